//! Outcomes as people and as programs read them.

pub(super) mod transcript;

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::diff::{self, Line};
use super::{Failure, Outcome};
use crate::terminal::escaped;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const EXPECTED: Style = AnsiColor::Green.on_default();
const ACTUAL: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// A scenario's outcome: a line, and what failed.
///
/// # Errors
/// Where `out` cannot be written to.
pub fn outcome(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
    let (style, word) = match outcome.passed() {
        true => (GOOD, "ok  "),
        false => (BAD, "FAIL"),
    };
    writeln!(
        out,
        "{style}{word}{style:#} {BOLD}{}{BOLD:#} {DIM}{}:{}{DIM:#}",
        outcome.name,
        outcome.file.display(),
        outcome.line
    )?;
    for line in &outcome.told {
        writeln!(out, "     {DIM}{}{DIM:#}", escaped(line))?;
    }
    let mut step = "";
    for failure in &outcome.failures {
        if failure.step != step {
            step = &failure.step;
            writeln!(out, "     {}", escaped(step))?;
        }
        self::failure(out, outcome, failure)?;
    }
    Ok(())
}

fn failure(out: &mut impl Write, outcome: &Outcome, failure: &Failure) -> io::Result<()> {
    writeln!(
        out,
        "     {DIM}{}:{}:{DIM:#} {}",
        outcome.file.display(),
        failure.line,
        escaped(&failure.place)
    )?;
    writeln!(
        out,
        "       {EXPECTED}- expected{EXPECTED:#}  {ACTUAL}+ actual{ACTUAL:#}"
    )?;
    for line in diff::lines(&failure.expected, &failure.actual) {
        match line {
            Line::Missing(text) => {
                writeln!(out, "       {EXPECTED}- {}{EXPECTED:#}", escaped(&text))?
            }
            Line::Extra(text) => writeln!(out, "       {ACTUAL}+ {}{ACTUAL:#}", escaped(&text))?,
            Line::Same(text) => writeln!(out, "         {}", escaped(&text))?,
        }
    }
    for line in &failure.context {
        writeln!(out, "       {DIM}{}{DIM:#}", escaped(line))?;
    }
    Ok(())
}

/// How many passed and failed, in one line.
#[must_use]
pub fn summary(outcomes: &[Outcome], took: Duration) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let passed = outcomes.len() - failed;
    let requests: u64 = outcomes.iter().map(|outcome| outcome.requests).sum();
    format!(
        "{passed} passed, {failed} failed; {requests} requests in {:.2} s",
        took.as_secs_f64()
    )
}

/// All outcomes for programs.
#[must_use]
pub fn json(outcomes: &[Outcome], took: Duration) -> Value {
    let failure = |failure: &Failure| {
        json!({
            "step": failure.step,
            "line": failure.line,
            "path": failure.place,
            "expected": failure.expected,
            "actual": failure.actual,
            "context": failure.context,
        })
    };
    let scenario = |outcome: &Outcome| {
        json!({
            "file": outcome.file.display().to_string(),
            "line": outcome.line,
            "name": outcome.name,
            "passed": outcome.passed(),
            "seconds": outcome.took.as_secs_f64(),
            "virtual_seconds": outcome.passed_by.as_secs_f64(),
            "requests": outcome.requests,
            "failures": outcome.failures.iter().map(failure).collect::<Vec<_>>(),
            "told": outcome.told,
        })
    };
    json!({
        "passed": outcomes.iter().filter(|outcome| outcome.passed()).count(),
        "failed": outcomes.iter().filter(|outcome| !outcome.passed()).count(),
        "seconds": took.as_secs_f64(),
        "scenarios": outcomes.iter().map(scenario).collect::<Vec<_>>(),
    })
}
