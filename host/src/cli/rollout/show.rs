//! What a verb prints.

use std::io::{self, Write};
use std::path::Path;

use anstyle::Style;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};

use crate::rollout::{Change, Outcome, Request};

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
        writeln!(out, "{}", table(&outcome.changes))?;
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
        let value =
            |value: &Option<Value>| value.as_ref().map_or("none".to_owned(), Value::to_string);
        table.add_row([
            format!(" {}", change.path),
            value(&change.before),
            "→".to_owned(),
            value(&change.after),
        ]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
