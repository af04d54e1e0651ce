//! `switchover serve`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::builder::{OsStringValueParser, TypedValueParser};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::log::{self, LogLevel};
use crate::config::{self, Bootstrap};
use crate::gateway::{Options, Running};
use crate::process::GuestLimits;
use crate::vm::cache::ModuleCache;

/// Arguments of `switchover serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  switchover serve envoy/demo.yaml
  switchover serve envoy.yaml --workers 4 --access-log | jq .status
  switchover serve envoy.yaml --lint

The file's paths are relative to the working directory, as in Envoy.
SIGTERM and Ctrl-C drain: no new connections, requests in progress are finished. Another Ctrl-C
while it drains cuts them off. SIGHUP is ignored, as in Envoy.")]
pub(super) struct ServeArgs {
    /// The Envoy bootstrap, YAML or JSON.
    file: PathBuf,
    /// Worker threads.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Write a JSON line for each request to standard output.
    #[arg(long)]
    access_log: bool,
    /// Write the admin's ip:port to this file once it listens.
    #[arg(long, value_name = "PATH")]
    admin_address_path: Option<PathBuf>,
    /// Least level of log lines on standard error: error, warn, info, debug, trace, or tracing directives.
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        env = "SWITCHOVER_LOG"
    )]
    log_level: LogLevel,
    /// How long one callback of a filter may run.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    callback_deadline: Duration,
    /// Memory a filter's VM may have, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    filter_memory: u16,
    /// A file with the token that users of the admin's /console must know: at least 16 characters. Without it, the
    /// console is there only where the admin listens on loopback.
    #[arg(long, value_name = "PATH")]
    console_token_file: Option<PathBuf>,
    #[command(flatten)]
    abi: super::abi::AbiArgs,
    /// Folder of compiled filters, for a start without a compiler; made if missing, and this user's alone. Empty: none is
    /// kept. By default switchover/modules in the user's cache folder.
    #[arg(long, value_name = "FOLDER", env = "SWITCHOVER_MODULE_CACHE", value_parser = perhaps_empty())]
    module_cache: Option<PathBuf>,
    /// How long requests in progress are waited for when the process is to end.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    drain: Duration,
}

/// A path, or nothing: the library's own parser refuses that.
fn perhaps_empty() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Runs `switchover serve`.
///
/// # Errors
/// Where the gateway cannot start.
pub(super) fn run(args: &ServeArgs) -> Result<ExitCode> {
    log::start(&args.log_level)?;
    // Huge pages save no time here and nearly double the memory, since few pages of many kinds are touched. Some kernels
    // give them unasked; one that has none has nothing to turn off.
    _ = rustix::thread::disable_transparent_huge_pages(true);
    let options = Options {
        workers: usize::from(args.workers),
        access_log: args.access_log,
        admin_address_path: args.admin_address_path.clone(),
        limits: GuestLimits {
            memory: usize::from(args.filter_memory) * 1024 * 1024,
            deadline: args.callback_deadline,
        },
        abi: args.abi.options(),
        drain: args.drain,
        module_cache: match &args.module_cache {
            Some(folder) if folder.as_os_str().is_empty() => None,
            Some(folder) => Some(folder.clone()),
            None => options().module_cache,
        },
        console_token: match &args.console_token_file {
            Some(file) => Some(super::console::token(file)?),
            None => None,
        },
        ..options()
    };
    serve(
        &args.file,
        options,
        async |_| ignore_hangups(),
        |_, ()| Ok(()),
    )
}

/// What watches files needs no signal to read them again, and a terminal that is closed ends no gateway.
fn ignore_hangups() -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot take SIGHUP")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP is ignored: documents are read when they change");
        }
    });
    Ok(())
}

/// What `serve` does without arguments.
pub(super) fn options() -> Options {
    Options {
        workers: 1,
        access_log: false,
        admin_address_path: None,
        abi: crate::abi::Options::default(),
        limits: GuestLimits::default(),
        drain: Duration::from_secs(30),
        compiler: std::env::current_exe().ok(),
        module_cache: ModuleCache::default_folder(&|name| std::env::var(name).ok()),
        env: Arc::new(|name| std::env::var(name).ok()),
        console_token: None,
        log_lines_lost: log::lost(),
    }
}

/// Serves a file until SIGTERM or Ctrl-C; `before` runs when the file is known to be good, `ready`, with what `before`
/// gave, when it is served.
pub(super) fn serve<T>(
    file: &Path,
    options: Options,
    before: impl AsyncFnOnce(&Bootstrap) -> Result<T>,
    ready: impl FnOnce(&Running, T) -> Result<()>,
) -> Result<ExitCode> {
    let loaded = match config::load(file, &*options.env) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let mut err = std::io::stderr().lock();
            for problem in &problems {
                writeln!(err, "{problem}")?;
            }
            let count = match problems.len() {
                1 => "1 problem".to_owned(),
                count => format!("{count} problems"),
            };
            writeln!(
                err,
                "error: {} has {count} and is not served",
                file.display()
            )?;
            return Ok(ExitCode::FAILURE);
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(async {
        // Before anything listens, so that a signal at any time drains.
        let mut terminate = signal(SignalKind::terminate()).context("cannot take SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot take SIGINT")?;
        let prepared = before(&loaded.bootstrap).await?;
        let running = Running::start(&loaded.bootstrap, options).await?;
        for (listener, address) in loaded.bootstrap.listeners.iter().zip(&running.listeners) {
            tracing::info!(listener = listener.name, "listening on http://{address}");
        }
        if let Some(address) = running.admin_address {
            tracing::info!("admin on http://{address}");
        }
        ready(&running, prepared)?;
        let (began, draining) = oneshot::channel();
        let end = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = began.send(());
        };
        tokio::select! {
            served = running.serve_until(end) => {
                served?;
                Ok(ExitCode::SUCCESS)
            }
            cut = interrupted(draining) => {
                cut?;
                tracing::warn!("requests in progress were cut off by another Ctrl-C");
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

/// Waits for a Ctrl-C after the drain has begun.
async fn interrupted(draining: oneshot::Receiver<()>) -> Result<()> {
    if draining.await.is_err() {
        return std::future::pending().await;
    }
    // What came before is not seen by this one.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot take SIGINT")?;
    interrupt.recv().await;
    Ok(())
}
