//! `switchover schema`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;

/// Prints the JSON Schema of the rollout document.
///
/// # Errors
/// Where standard output is closed.
pub(super) fn run() -> Result<ExitCode> {
    let schema = serde_json::to_string_pretty(&switchover_core::document::schema())?;
    writeln!(std::io::stdout().lock(), "{schema}")?;
    Ok(ExitCode::SUCCESS)
}
