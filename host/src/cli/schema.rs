//! `switchover schema`.

mod markdown;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

/// Arguments of `switchover schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  switchover schema > rollout.schema.json        for editors and other tools
  switchover schema --markdown | less            to read")]
pub(super) struct SchemaArgs {
    /// Print the reference as Markdown instead
    #[arg(long)]
    markdown: bool,
}

/// Prints the JSON Schema of the rollout document, or the reference made from it.
///
/// # Errors
/// Where standard output is closed.
pub(super) fn run(args: &SchemaArgs) -> Result<ExitCode> {
    let schema = switchover_core::document::schema();
    let mut out = std::io::stdout().lock();
    if args.markdown {
        out.write_all(markdown::reference(&schema).as_bytes())?;
    } else {
        writeln!(out, "{schema:#}")?;
    }
    Ok(ExitCode::SUCCESS)
}
