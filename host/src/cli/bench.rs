//! `switchover bench`.

mod report;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::exchange::{DEFAULT_HEADERS, ExchangeArgs, PluginArgs};
use crate::bench::{self, Subject, Verdict, Workload};
use crate::config::WasmPlugin;

/// Arguments of `switchover bench`.
#[derive(clap::Args)]
#[command(
    after_help = "A request is: contexts made, request headers, bodies where there are any, response headers, done, \
log, delete, through the gateway's own filter chain with deadline and memory limit on. Making the two heads is not part \
of the figure. Filters take turns, a batch of requests each, after a tenth as many to warm up; what is printed is the \
median over batches with its 95 % interval, and the cost in proportion to the first filter, batch by batch.

Memory: linear memory only grows, in pages of 64 KiB. Of the requests that are counted,
  steady    it did not grow
  warm-up   it grew in the first half only
  leak      it grew in both halves, in the second at least a third as much as in the first, or until the guest trapped
  unclear   it grew in the second half, but only then or little: give more --requests
What looks like a leak or is unclear is watched for up to ten times as many requests, until it has grown by 8 MiB or no \
more: a collector of garbage may wait so long. A leak of one byte a request shows from about 200,000 requests on.

Examples:
  switchover bench filter.wasm
  switchover bench before.wasm after.wasm --header 'authorization: Bearer KEY'
  switchover bench --chain auth.wasm limit.wasm log.wasm
  switchover bench filter.wasm --body-size 65536 --requests 100000
  switchover bench filter.wasm --json | jq .ns_per_request_median

Exit code: 0, or 1 where a filter leaks, traps or does not start, 2 for wrong arguments."
)]
pub(super) struct BenchArgs {
    /// Filters' modules: each is measured, and compared with the first
    #[arg(required = true, value_name = "FILTER")]
    filters: Vec<PathBuf>,
    /// Measure one chain of the filters: the first alone, the first two, and so on; what each adds is shown
    #[arg(long)]
    chain: bool,
    #[command(flatten)]
    plugin: PluginArgs,
    /// Requests to run with each, after a tenth as many to warm up
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    requests: u64,
    #[command(flatten)]
    exchange: ExchangeArgs,
    /// Default headers of request and response, each
    #[arg(long, value_name = "N", default_value_t = DEFAULT_HEADERS)]
    header_count: usize,
    /// Bytes of the request's and of the response's body, where none is given; 0 is no body
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    body_size: usize,
    #[command(flatten)]
    abi: super::abi::AbiArgs,
    /// Print JSON: an object for one filter, a list of them for several
    #[arg(long)]
    json: bool,
}

/// Runs `switchover bench`; exit code 1 where a guest leaks or has trapped.
///
/// # Errors
/// Where a filter does not start or traps, or an argument makes no sense.
pub(super) fn run(args: &BenchArgs) -> Result<ExitCode> {
    super::log::start(&"warn".parse()?)?;
    let plugins = args.plugin.plugins(&args.filters)?;
    let workload = Workload {
        subjects: subjects(&args.filters, plugins, args.chain),
        exchange: args.exchange.exchange(args.header_count, args.body_size)?,
        requests: args.requests,
        abi: args.abi.options(),
    };
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(bench::total(&workload))
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {human_pos}/{human_len} requests, {eta} to go",
    )?);
    let measured = bench::run(&workload, |done| {
        bar.set_length(bar.length().unwrap_or(0).max(done));
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    if args.json {
        report::json(&measured, args.filters.len() > 1)?;
    } else {
        report::text(&measured, args.chain)?;
    }
    let is_bad = |m: &bench::Measured| m.trapped || m.growth.verdict == Verdict::Leak;
    Ok(match measured.iter().any(is_bad) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Each filter by itself, or chains of the first one, the first two, and so on.
fn subjects(filters: &[PathBuf], plugins: Vec<WasmPlugin>, chain: bool) -> Vec<Subject> {
    let stem = |path: &Path| {
        path.file_stem()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let mut names: Vec<String> = Vec::new();
    for path in filters {
        let name = stem(path).unwrap_or_default();
        let same = filters
            .iter()
            .filter(|other| stem(other).as_ref() == Some(&name));
        // Two builds of one filter have one name: the paths tell them apart.
        let is_alone = chain || same.count() == 1;
        names.push(match is_alone {
            true => name,
            false => path.display().to_string(),
        });
    }
    let each = names.into_iter().zip(plugins);
    if !chain {
        return each
            .map(|(name, plugin)| Subject {
                name,
                chain: vec![plugin],
            })
            .collect();
    }
    let mut subjects: Vec<Subject> = Vec::new();
    for (name, plugin) in each {
        let (name, mut chain) = match subjects.last() {
            Some(before) => (format!("+ {name}"), before.chain.clone()),
            None => (name, Vec::new()),
        };
        chain.push(plugin);
        subjects.push(Subject { name, chain });
    }
    subjects
}
