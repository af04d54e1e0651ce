//! `switchover schema`.

mod markdown;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

/// Arguments of `switchover schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  switchover schema > rollout.schema.json        for editors and other tools
  switchover schema --markdown | less            to read
  switchover schema --scenarios                  of the files that `switchover test` runs")]
pub(super) struct SchemaArgs {
    /// Print the reference as Markdown instead
    #[arg(long)]
    markdown: bool,
    /// Of scenario files
    #[arg(long, conflicts_with = "markdown")]
    scenarios: bool,
}

/// Prints the JSON Schema of the rollout document, the reference made from it, or the schema of scenario files.
///
/// # Errors
/// Where standard output is closed.
pub(super) fn run(args: &SchemaArgs) -> Result<ExitCode> {
    let schema = match args.scenarios {
        true => crate::scenario::schema(),
        false => switchover_core::document::schema(),
    };
    let mut out = std::io::stdout().lock();
    if args.markdown {
        out.write_all(markdown::reference(&schema).as_bytes())?;
    } else {
        writeln!(out, "{schema:#}")?;
    }
    Ok(ExitCode::SUCCESS)
}
