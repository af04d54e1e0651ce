//! `switchover trace`.

mod text;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::abi::AbiArgs;
use super::exchange::{DEFAULT_HEADERS, ExchangeArgs, PluginArgs};
use crate::trace::{self, Trace, Tracing};

/// Arguments of `switchover trace`.
#[derive(clap::Args)]
#[command(
    after_help = "One request runs through the filters in this process, and everything that passes between them and the host \
is shown: callbacks with what they returned and what they did to the headers, the hostcalls in them with arguments, \
status and what was handed over, and the time of each. Times are those of a cold guest; `switchover bench` measures.

Secrets are masked as <secret 1>, <secret 2>, the same value with the same number, wherever they occur: values of \
headers, of members of configurations and bodies, and of parameters of queries and forms that go by names like \
authorization, cookie, session, token, password or api-key, of names given by --mask, passwords in URLs, and all \
variables. There is no way to show them.

With --json, a line for each callback: {\"event\": \"callback\", \"plugin\", \"context\", \"name\", \"arguments\": [{\"name\", \
\"value\"}], \"calls\": [{\"name\", \"arguments\", \"status\", \"returned\", \"ns\"}], \"changes\": [{\"map\", \"name\", \"before\", \
\"after\"}], \"result\", \"trap\", \"guest_ns\", \"host_ns\"}, and one at the end: {\"event\": \"summary\", \"outcome\", \
\"problem\", \"callbacks\", \"hostcalls\", \"guest_ns\", \"host_ns\"}.

Examples:
  switchover trace filter.wasm --header 'authorization: Bearer KEY'
  switchover trace auth.wasm log.wasm --method POST --body '{\"a\": 1}'
  switchover trace filter.wasm --callout '200:{\"allow\": true}'
  switchover trace filter.wasm --json | jq -c 'select(.event == \"callback\") | [.name, .result]'

Exit code: 0, or 1 where a filter does not start or traps, 2 for wrong arguments."
)]
pub(super) struct TraceArgs {
    /// Filters' modules: a chain, in order
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<PathBuf>,
    #[command(flatten)]
    plugin: PluginArgs,
    #[command(flatten)]
    exchange: ExchangeArgs,
    /// Run so many requests before, which are not shown
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    after: u32,
    /// Let the filters tick so often after the request
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    ticks: u32,
    /// Mask the values of headers, members and parameters of this name too; may be given several times
    #[arg(long, value_name = "NAME")]
    mask: Vec<String>,
    #[command(flatten)]
    abi: AbiArgs,
    /// Bytes of a value that are shown; JSON has them all
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    width: usize,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

/// Runs `switchover trace`; exit code 1 where a filter does not start or traps.
///
/// # Errors
/// Where a module cannot be loaded, or an argument makes no sense.
pub(super) fn run(args: &TraceArgs) -> Result<ExitCode> {
    // Traps are in the trace; the log would show them without masks.
    super::log::start(&"off".parse()?)?;
    let options = args.abi.options();
    let trace = trace::run(&Tracing {
        chain: args.plugin.plugins(&args.filters)?,
        exchange: args.exchange.exchange(DEFAULT_HEADERS, 0)?,
        after: args.after,
        ticks: args.ticks,
        abi: options.clone(),
        mask: args.mask.clone(),
    })?;
    if args.json {
        json_lines(&trace)?;
    } else {
        let mut out = anstream::stdout().lock();
        text::write(&mut out, &trace, args.width, args.filters.len() > 1)?;
    }
    super::abi::report(&options)?;
    Ok(match trace.problem {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

fn json_lines(trace: &Trace) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (mut hostcalls, mut guest, mut host) = (0, 0, 0);
    for callback in &trace.callbacks {
        let mut line = json!(callback);
        line["event"] = "callback".into();
        hostcalls += callback.calls.len();
        guest += callback.guest.as_nanos();
        host += callback.host.as_nanos();
        writeln!(out, "{line}")?;
    }
    let summary = json!({
        "event": "summary",
        "outcome": trace.outcome,
        "problem": trace.problem,
        "callbacks": trace.callbacks.len(),
        "hostcalls": hostcalls,
        "guest_ns": u64::try_from(guest).unwrap_or(u64::MAX),
        "host_ns": u64::try_from(host).unwrap_or(u64::MAX),
    });
    writeln!(out, "{summary}")
}
