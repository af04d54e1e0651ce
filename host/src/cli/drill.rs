//! `switchover drill`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use crate::drill::{self, DrillError, Engine, Options, Progress, Report};

/// Arguments of `switchover drill`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  switchover drill
  switchover drill --envoy .venv/bin/envoy --requests 20000 --json | jq .rollback_ms

Blue serves; green is deployed and gets its canary; it fails, the tripwire trips, the operator rolls back; a mended
green gets everything, is rolled back and brought on again, has its process killed while it serves, comes back and
becomes stable. The upstreams and the gateway, from envoy/demo.yaml, are processes of their own on ports of the
kernel's choice on 127.0.0.1, with one worker; they end with the drill, however it ends. Its files, in the temporary directory, are left only
where the drill itself was killed (SIGKILL).

Exit codes: 0 if no request failed and no bound was missed, 1 if any did or was, 2 for wrong usage.")]
pub(super) struct DrillArgs {
    /// Run this Envoy instead of the bundled host.
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// The filter.
    #[arg(long, value_name = "PATH", default_value = "dist/switchover.wasm")]
    wasm: PathBuf,
    /// Least number of requests.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    requests: u64,
    /// Connections of the load.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// How long each canary takes to its last step, by the default phases.
    #[arg(long, value_name = "TIME", default_value = "9s", value_parser = humantime::parse_duration)]
    canary: Duration,
    /// Longest time for all of it.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    limit: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `switchover drill`.
///
/// # Errors
/// Where it cannot be run to its end.
pub(super) fn run(args: &DrillArgs) -> Result<ExitCode> {
    let options = Options {
        engine: args.envoy.clone().map_or(Engine::Host, Engine::Envoy),
        program: std::env::current_exe().context("cannot find this program's own file")?,
        wasm: args.wasm.clone(),
        requests: args.requests,
        connections: args.connections,
        canary: args.canary,
        limit: args.limit,
    };
    let bar = bar(args.requests)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let report = runtime.block_on(interruptible(&options, |progress| show(&bar, progress)));
    bar.finish_and_clear();
    let report = report?;
    let mut out = anstream::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", text(&report))?;
    }
    Ok(match report.missed.as_slice() {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// A signal drops the drill, and with it its processes.
async fn interruptible(options: &Options, progress: impl Fn(Progress)) -> Result<Report> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot take SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot take SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot take SIGHUP")?;
    let mut quit = signal(SignalKind::quit()).context("cannot take SIGQUIT")?;
    tokio::select! {
        report = drill::run(options, &progress) => report.map_err(|e: DrillError| e.into()),
        _ = terminate.recv() => bail!("ended by SIGTERM"),
        _ = hangup.recv() => bail!("ended by SIGHUP"),
        _ = quit.recv() => bail!("ended by SIGQUIT"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}

fn bar(requests: u64) -> Result<ProgressBar> {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(requests),
        false => ProgressBar::hidden(),
    };
    let style = "{bar:30} {human_pos}/{human_len} requests, {elapsed}: {msg}";
    bar.set_style(ProgressStyle::with_template(style)?);
    Ok(bar)
}

fn show(bar: &ProgressBar, progress: Progress) {
    let Progress {
        phase,
        number,
        phases,
        requests,
    } = progress;
    bar.set_length(bar.length().unwrap_or(0).max(requests));
    bar.set_position(requests);
    bar.set_message(format!("{number}/{phases} {phase}"));
}

fn text(report: &Report) -> String {
    let mut phases = table([
        "phase", "requests", "failed", "on green", "mean", "p95", "p99",
    ]);
    for phase in &report.phases {
        phases.add_row([
            phase.name.to_owned(),
            phase.requests.to_string(),
            phase.failed.to_string(),
            format!("{:.1} %", phase.green_percent),
            millis(phase.mean_ms),
            millis(phase.p95_ms),
            millis(phase.p99_ms),
        ]);
    }
    let mut results = table(["result", "measured"]);
    results.add_rows([
        ["mean latency".to_owned(), millis(report.mean_ms)],
        ["p95 latency".to_owned(), millis(report.p95_ms)],
        ["p99 latency".to_owned(), millis(report.p99_ms)],
        [
            "success rate".to_owned(),
            format!("{:.4} %", report.success_percent),
        ],
        ["switchover time".to_owned(), millis(report.switchover_ms)],
        ["rollback time".to_owned(), millis(report.rollback_ms)],
        ["tripwire's time".to_owned(), millis(report.trip_ms)],
        [
            "attempts on the failing green".to_owned(),
            report.trip_attempts.to_string(),
        ],
        ["failed requests".to_owned(), report.failed.to_string()],
        [
            "answers broken off".to_owned(),
            report.broken_off.to_string(),
        ],
        ["requests".to_owned(), report.requests.to_string()],
    ]);
    let mut text = format!("{} on one worker\n\n{phases}\n\n{results}\n", report.engine);
    for missed in &report.missed {
        text.push_str(&format!("missed: {missed}\n"));
    }
    text
}

/// A table whose first column is words and whose others are figures.
fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn millis(millis: f64) -> String {
    format!("{millis:.2} ms")
}
