//! `switchover bench`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use http::{HeaderMap, HeaderName, HeaderValue};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::bench::{self, Measured, Workload};
use crate::stream::head::Target;

/// Arguments of `switchover bench`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  switchover bench dist/switchover.wasm --root-id switchover.route --configuration rollout.json \\
      --header 'authorization: Bearer KEY'
  switchover bench filter.wasm --json | jq .ns_per_request_median

One VM in this process, without a network: a stream's contexts, request and response headers.
The heads' cloning is part of the figure.")]
pub(super) struct BenchArgs {
    /// The filter's module.
    filter: PathBuf,
    /// File with the plugin's configuration; none is empty.
    #[arg(long, value_name = "FILE")]
    configuration: Option<PathBuf>,
    /// The plugin's root id.
    #[arg(long, default_value = "")]
    root_id: String,
    /// Requests to run, after a tenth as many to warm up.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000_000))]
    requests: u64,
    /// A request header; may be given several times.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The request's path.
    #[arg(long, default_value = "/v1/chat/completions")]
    path: String,
    /// An environment variable for the guest; may be given several times.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `switchover bench`; exit code 1 where the guest's memory grew.
///
/// # Errors
/// Where the filter does not start or traps, or an argument makes no sense.
pub(super) fn run(args: &BenchArgs) -> Result<ExitCode> {
    super::serve::log_to_stderr(&"warn".parse()?)?;
    let workload = workload(args)?;
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(args.requests)
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {human_pos}/{human_len} requests, {eta} to go",
    )?);
    let measured = bench::run(&workload, |done| bar.set_position(done))?;
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", json(&measured))?;
    } else {
        write!(out, "{}", table(&measured))?;
    }
    Ok(if measured.memory_growth == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn workload(args: &BenchArgs) -> Result<Workload> {
    let configuration = match &args.configuration {
        Some(path) => {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => Vec::new(),
    };
    let mut request = HeaderMap::new();
    request.insert(http::header::HOST, HeaderValue::from_static("bench.local"));
    for header in &args.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| anyhow!("--header {header:?}: write NAME: VALUE"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes())
            .with_context(|| format!("--header {header:?}"))?;
        let value =
            HeaderValue::from_str(value.trim()).with_context(|| format!("--header of {name}"))?;
        request.insert(name, value);
    }
    let environment = args
        .environment
        .iter()
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| anyhow!("--env: write NAME=VALUE"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect::<Result<_>>()?;
    let path = Target::from_bytes(args.path.as_bytes());
    if matches!(path, Target::Invalid(_)) {
        bail!("--path {:?} is no path: it must begin with /", args.path);
    }
    let mut response = HeaderMap::new();
    response.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("2"));
    let plugin = bench::plugin(
        args.filter.clone(),
        args.root_id.clone(),
        configuration.into(),
        environment,
    );
    Ok(Workload {
        plugin,
        request,
        path,
        response,
        requests: args.requests,
    })
}

fn json(measured: &Measured) -> serde_json::Value {
    json!({
        "requests": measured.requests,
        "ns_per_request_median": measured.ns_median,
        "ns_per_request_p10": measured.ns_p10,
        "ns_per_request_p90": measured.ns_p90,
        "hostcalls_per_request": measured.hostcalls,
        "callbacks_per_request": measured.callbacks,
        "guest_memory_bytes": measured.memory,
        "guest_memory_growth_bytes": measured.memory_growth,
        "answered_by_filter": measured.answered,
    })
}

fn table(measured: &Measured) -> String {
    let verdict = if measured.memory_growth == 0 {
        "does not leak"
    } else {
        "GROWS"
    };
    format!(
        "requests          {}\nns a request      {} (p10 {}, p90 {})\nhostcalls         {:.2} a request\n\
         callbacks         {:.2} a request\nguest memory      {} bytes, {} grown: {verdict}\nanswered itself   {}\n",
        measured.requests,
        measured.ns_median,
        measured.ns_p10,
        measured.ns_p90,
        measured.hostcalls,
        measured.callbacks,
        measured.memory,
        measured.memory_growth,
        measured.answered,
    )
}
