//! `switchover console`.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use switchover_core::Secret;
use tokio::signal::unix::{SignalKind, signal};

use super::rollout::{admin, runtime};
use crate::console::{self, Settings};
use crate::rollout::live::Admin;
use crate::rollout::{Loaded, audit};

/// Arguments of `switchover console`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Its buttons change DOCUMENT as the verbs of `switchover rollout` do, and only after a look at what \
that would do. On loopback everybody on this machine may use it; on any other address it demands a token, read from \
--token-file or made and printed at the start.

Examples:
  switchover console envoy/demo.ecds.yaml --admin http://127.0.0.1:9901
  switchover console rollout.json --admin http://10.0.0.1:9901 --admin http://10.0.0.2:9901 --listen 127.0.0.1:8000
  switchover console rollout.json --admin http://10.0.0.1:9901 --listen 0.0.0.0:9902 --token-file /etc/switchover/token

Exit code: 0 when it was ended (SIGINT, SIGTERM), 1 where there is no right document or it cannot listen, 2 for \
wrong arguments."
)]
pub(super) struct ConsoleArgs {
    /// The rollout document, or the ECDS file that holds it
    #[arg(value_name = "DOCUMENT", env = super::rollout::DOCUMENT)]
    document: PathBuf,
    /// The admin server of a gateway, as in http://127.0.0.1:9901; may be repeated
    #[arg(long, value_name = "URL", value_parser = admin)]
    admin: Vec<Admin>,
    /// Where the console listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9902")]
    listen: SocketAddr,
    /// A file with the token that users must know: at least 16 characters
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The audit log; default: DOCUMENT.audit.jsonl
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
}

/// Serves the console until a signal.
///
/// # Errors
/// There is no right document, no right token, or it cannot listen.
pub(super) fn run(args: ConsoleArgs) -> Result<ExitCode> {
    Loaded::read(&args.document)?;
    let (token, made) = match &args.token_file {
        Some(file) => (Some(token(file)?), None),
        None if args.listen.ip().is_loopback() => (None, None),
        None => {
            let made = console::make_token()?;
            (Some(Secret::new(made.clone().into_bytes())), Some(made))
        }
    };
    let settings = Settings {
        document: args.document,
        audit: args.audit,
        proxies: args.admin,
        operator: audit::operator(&|name| std::env::var(name).ok()),
        token,
    };
    runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let address = console::serve(settings, args.listen).await?;
        let mut out = anstream::stdout().lock();
        // Behind the #, where it is sent to nobody.
        let made = made.map_or(String::new(), |token| format!("#token={token}"));
        writeln!(out, "http://{address}/console{made}")?;
        io::Write::flush(&mut out)?;
        drop(out);
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted?,
            _ = terminate.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads a token from its file.
pub(super) fn token(file: &Path) -> Result<Secret> {
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("{} cannot be read", file.display()))?;
    console::token(&text).with_context(|| format!("{} is no token's file", file.display()))
}
