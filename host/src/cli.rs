//! The command line: what it takes, and one file for each verb.

mod abi;
mod bench;
mod check;
mod compile;
mod console;
mod demo;
mod drill;
mod exchange;
mod generate;
mod inspect;
mod log;
mod pack;
mod plan;
mod render;
mod report;
mod rollout;
mod schema;
mod serve;
mod table;
mod test;
mod trace;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::terminal::escaped_lines;
use crate::vm::engine;

/// Zero-downtime blue/green and canary delivery: a gateway that reads an Envoy file and runs Proxy-Wasm filters.
#[derive(Parser)]
#[command(
    name = "switchover",
    version,
    max_term_width = 100,
    propagate_version = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve an Envoy bootstrap file.
    Serve(serve::ServeArgs),
    /// Check an Envoy file and the rollout documents in it.
    Check(check::CheckArgs),
    /// Operate a rollout: show, deploy, start, promote, pause, resume, roll back, finish.
    Rollout(rollout::RolloutArgs),
    /// Show a rollout and its proxies live on one page, and operate it there.
    Console(console::ConsoleArgs),
    /// Show what models took and cost: tokens, dollars, what was saved, and how much that is a month.
    Report(report::ReportArgs),
    /// Simulate a rollout's schedule over time: shares, and who moves when.
    Plan(plan::PlanArgs),
    /// Look at a filter: ABI, language, imports, exports, contents, and whether it loads here and in Envoy.
    Inspect(inspect::InspectArgs),
    /// Pack a filter into an OCI image, as Istio and Envoy Gateway pull it.
    Pack(pack::PackArgs),
    /// Show every callback and hostcall of one request, with secrets masked.
    Trace(trace::TraceArgs),
    /// Measure what filters cost by themselves, in process, and whether they leak.
    Bench(bench::BenchArgs),
    /// Run scenarios for Proxy-Wasm filters: YAML, in process, under a virtual clock.
    Test(test::TestArgs),
    /// Write a document as files for Envoy, or as objects for Istio, Envoy Gateway or the Gateway API.
    Render(render::RenderArgs),
    /// Print the JSON Schema of the rollout document, or of scenarios.
    Schema(schema::SchemaArgs),
    /// Run two demo upstreams and a gateway in front of them.
    Demo(demo::DemoArgs),
    /// Run the whole story of a rollout under load, and measure it.
    Drill(drill::DrillArgs),
    /// Run an OpenAI-shaped upstream whose faults can be set.
    DemoUpstream(crate::demo::Args),
    /// Print a shell's completions.
    Completions(generate::CompletionsArgs),
    /// Write man pages.
    Man(generate::ManArgs),
    /// Compile a module from standard input to standard output, for the gateway's own use.
    #[command(hide = true, name = engine::COMPILE_VERB)]
    Compile,
}

/// Runs the command line; the exit code is 0 for success, 1 for a failure, 2 for wrong usage.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Serve(args) => serve::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Rollout(args) => rollout::run(args),
        Verb::Console(args) => console::run(args),
        Verb::Report(args) => report::run(&args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Render(args) => render::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Pack(args) => pack::run(&args),
        Verb::Trace(args) => trace::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Compile => compile::run(),
        Verb::Schema(args) => schema::run(&args),
        Verb::Completions(args) => generate::completions(Arguments::command(), &args),
        Verb::Man(args) => generate::man(Arguments::command(), &args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Drill(args) => drill::run(&args),
        Verb::DemoUpstream(args) => demo::upstream(args),
    };
    let mut last_words = String::new();
    let code = outcome.unwrap_or_else(|error| {
        // Whoever read the output has had enough of it, as in `switchover schema | head`.
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            return ExitCode::SUCCESS;
        }
        last_words = format!("error: {}\n", escaped_lines(&format!("{error:#}")));
        ExitCode::FAILURE
    });
    log::end(&last_words);
    code
}
