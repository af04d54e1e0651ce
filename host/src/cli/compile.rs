//! `switchover compile-module`: what the gateway runs to have a guest compiled outside of its own memory.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};

use crate::vm::{VmError, engine};

/// Reads a module from standard input and writes it compiled to standard output.
///
/// # Errors
/// Where it is no module; the message is what the gateway reports.
pub(super) fn run() -> Result<ExitCode> {
    let mut module = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut module)
        .context("cannot read the module")?;
    let compiled = engine::precompile(&module).map_err(|error| match error {
        // The gateway says what that is.
        VmError::Compile(what) => anyhow!(what),
        error => error.into(),
    })?;
    std::io::stdout()
        .lock()
        .write_all(&compiled)
        .context("cannot write the compiled module")?;
    Ok(ExitCode::SUCCESS)
}
