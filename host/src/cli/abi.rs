//! `--abi` and `--lint`: how guests are served, for all verbs that run some.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Result;

use crate::abi::lint::Lint;
use crate::abi::{Mode, Options};

/// How the ABI is carried out.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct AbiArgs {
    /// Whom to follow where Envoy and the specification of Proxy-Wasm differ.
    #[arg(long, value_name = "MODE", default_value = "envoy")]
    abi: Mode,
    /// Say, once for each filter, what would break elsewhere or is answered otherwise (host/ABI.md lists the rules).
    #[arg(long)]
    lint: bool,
}

impl AbiArgs {
    /// The same for the host.
    pub(super) fn options(&self) -> Options {
        Options {
            mode: self.abi,
            lint: self.lint.then(|| Arc::new(Lint::default())),
            observers: None,
        }
    }
}

/// Writes what the lint has found to standard error.
pub(super) fn report(options: &Options) -> Result<()> {
    let Some(lint) = &options.lint else {
        return Ok(());
    };
    let mut err = anstream::stderr().lock();
    let findings = lint.findings();
    for finding in &findings {
        writeln!(err, "lint: {finding}")?;
    }
    if findings.is_empty() {
        writeln!(err, "lint: nothing found")?;
    }
    Ok(())
}
