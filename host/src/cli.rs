//! The command line: what it takes, and one file for each verb.

mod demo;
mod schema;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Zero-downtime blue/green and canary delivery: a gateway that reads an Envoy file and runs Proxy-Wasm filters.
#[derive(Parser)]
#[command(version, max_term_width = 100, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve an Envoy bootstrap file.
    Serve(serve::ServeArgs),
    /// Print the JSON Schema of the rollout document.
    Schema,
    /// Run two demo upstreams and a gateway in front of them.
    Demo(demo::DemoArgs),
    /// Run an OpenAI-shaped upstream whose faults can be set.
    DemoUpstream(crate::demo::Args),
}

/// Runs the command line; the exit code is 0 for success, 1 for a failure, 2 for wrong usage.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Serve(args) => serve::run(&args),
        Verb::Schema => schema::run(),
        Verb::Demo(args) => demo::run(&args),
        Verb::DemoUpstream(args) => demo::upstream(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
