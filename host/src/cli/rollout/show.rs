//! What a verb prints.

use std::io::{self, Write};
use std::path::Path;

use anstyle::Style;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use crate::rollout::{Change, Outcome, Request};

/// How much of a value is shown.
const SHOWN: usize = 60;

/// Prints what a verb did: a line for each member, then what it means.
pub(super) fn outcome(
    out: &mut dyn Write,
    path: &Path,
    request: &Request,
    outcome: &Outcome,
    as_json: bool,
) -> io::Result<()> {
    if as_json {
        let mut value = json!(outcome);
        value["document"] = path.to_string_lossy().into();
        return writeln!(out, "{value:#}");
    }
    let bold = Style::new().bold();
    let file = path.display();
    let (verb, rollout) = (request.verb.name(), &outcome.rollout);
    match (outcome.changes.is_empty(), outcome.written) {
        (true, _) => writeln!(out, "{bold}{rollout}{bold:#} in {file}: nothing to change")?,
        (false, true) => writeln!(out, "{bold}{rollout}{bold:#} in {file}: {verb}")?,
        (false, false) => writeln!(
            out,
            "{bold}{rollout}{bold:#} in {file}: {verb} would change"
        )?,
    }
    if !outcome.changes.is_empty() {
        writeln!(out, "{}", table(&outcome.changes).trim_fmt())?;
    }
    for note in &outcome.notes {
        writeln!(out, "- {note}")?;
    }
    Ok(())
}

fn table(changes: &[Change]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for change in changes {
        let (before, after) = (shown(change.before.as_ref()), shown(change.after.as_ref()));
        table.add_row([format!(" {}", change.path), format!("{before} → {after}")]);
    }
    table
}

/// A value on one line; what is long is cut.
fn shown(value: Option<&Value>) -> String {
    let text = value.map_or("none".to_owned(), Value::to_string);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
