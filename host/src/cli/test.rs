//! `switchover test`.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use regex::Regex;

use crate::scenario::{LoadError, Options, Suite, junit, report};
use crate::vm::cache::ModuleCache;

/// Arguments of `switchover test`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  switchover test tests/scenarios
  switchover test auth.yaml --filter 'wrong key' --verbose
  switchover test . --junit report.xml
  switchover test . --lint
  switchover test . --json | jq '.scenarios[] | select(.passed | not)'
  switchover schema --scenarios > scenarios.schema.json     for editors

Exit codes: 0 all passed, 1 some failed, 2 wrong usage or a bad file.
The format is described in host/SCENARIOS.md.")]
pub(super) struct TestArgs {
    /// Scenario files, or folders of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only scenarios in whose names this regular expression finds something.
    #[arg(long, value_name = "REGEX")]
    filter: Option<Regex>,
    /// How many run at a time; as many as there are processors if it is left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Name the scenarios, and run none.
    #[arg(long)]
    list: bool,
    /// Write a JUnit report to this file.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    abi: super::abi::AbiArgs,
    /// Show every scenario, and all that happened in it.
    #[arg(long, short)]
    verbose: bool,
}

/// Wrong usage, or a bad file.
const BAD_USAGE: u8 = 2;

/// Runs `switchover test`.
///
/// # Errors
/// Where output cannot be written.
pub(super) fn run(args: &TestArgs) -> Result<ExitCode> {
    super::log::start(&"off".parse()?)?;
    let mut suite = match Suite::load(&args.paths) {
        Ok(suite) => suite,
        Err(error) => return refused(&error),
    };
    if let Some(filter) = &args.filter {
        suite.retain(|name| filter.is_match(name));
    }
    let names = suite.names();
    if names.is_empty() {
        let filter = args.filter.as_ref().map(Regex::as_str).unwrap_or_default();
        eprintln!("error: no scenario's name matches /{filter}/");
        return Ok(ExitCode::from(BAD_USAGE));
    }
    let mut out = anstream::stdout().lock();
    if args.list {
        for name in names {
            writeln!(out, "{}:{}: {}", name.file.display(), name.line, name.name)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let progress = progress(names.len())?;
    let options = Options {
        jobs: jobs(args.jobs),
        tell: args.verbose,
        module_cache: ModuleCache::default_folder(&|name| std::env::var(name).ok()),
        abi: args.abi.options(),
    };
    let began = Instant::now();
    let outcomes = suite.run(&options, |_| progress.inc(1))?;
    let took = began.elapsed();
    progress.finish_and_clear();
    if let Some(file) = &args.junit {
        std::fs::write(file, junit::xml(&outcomes, took))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if args.json {
        writeln!(out, "{:#}", report::json(&outcomes, took))?;
    } else {
        let shown = outcomes
            .iter()
            .filter(|outcome| args.verbose || !outcome.passed());
        for outcome in shown {
            report::outcome(&mut out, outcome)?;
        }
        writeln!(out, "{}", report::summary(&outcomes, took))?;
    }
    super::abi::report(&options.abi)?;
    Ok(match outcomes.iter().all(|outcome| outcome.passed()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn refused(error: &LoadError) -> Result<ExitCode> {
    let mut err = anstream::stderr().lock();
    if let LoadError::Problems(problems) = error {
        for problem in problems {
            writeln!(err, "{problem}")?;
        }
    }
    writeln!(err, "error: {error}")?;
    Ok(ExitCode::from(BAD_USAGE))
}

fn jobs(asked: Option<u16>) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or_else(processors, usize::from)
}

fn progress(scenarios: usize) -> Result<ProgressBar> {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(u64::try_from(scenarios)?),
        false => ProgressBar::hidden(),
    };
    bar.set_style(ProgressStyle::with_template(
        "{bar:40} {human_pos}/{human_len} scenarios, {eta} to go",
    )?);
    Ok(bar)
}
