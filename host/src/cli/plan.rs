//! `switchover plan`: a rollout's schedule, worked out in advance.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use switchover_core::{Duration, Timestamp};

use super::rollout::{OnDocument, duration};
use super::table;
use crate::plan::{Plan, Span, chart, simulate};
use crate::rollout::{Loaded, shares, timestamp};

/// The exit code where a property is violated.
const VIOLATED: u8 = 1;
/// The most keys that are made or read.
const MOST_KEYS: usize = 10_000_000;

/// Arguments of `switchover plan`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Keys are what the document's `sticky` takes from requests: consumers, users, sessions. Each is in the \
environment in which the filter would put it. A key moves only to an environment whose share rose or from one whose share fell.

Examples:
  switchover plan envoy/demo.ecds.yaml
  switchover plan rollout.json --keys users.txt --for 2h
  switchover plan rollout.json --from 2026-11-22T20:00:00Z --svg plan.svg
  switchover plan rollout.json --json | jq '.rows[].keys'

Exit code: 0 where all properties hold (warnings may be printed), 1 where one is violated or there is \
no right document, 2 for wrong arguments."
)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    on: OnDocument,
    /// A file with a key on each line, or how many to make up
    #[arg(long, value_name = "FILE|N", default_value = "10000")]
    keys: String,
    /// How long; default: until shortly after the schedule's last step
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    length: Option<Duration>,
    /// From this instant (RFC 3339) on; default: the schedule's start
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    from: Option<Timestamp>,
    /// Draw a chart into this file; `-` prints it, and nothing else
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// Works out a document's schedule, and prints it.
///
/// # Errors
/// There is no right document, the keys cannot be read, or the chart cannot be written.
pub(super) fn run(args: &PlanArgs) -> Result<ExitCode> {
    let path = args.on.path()?;
    let loaded = Loaded::read(&path)?;
    let named = loaded.named(args.on.rollout.as_deref())?;
    let span = Span {
        from: args.from,
        length: args.length,
        now: timestamp(SystemTime::now()),
    };
    let plan = simulate(&named, &keys(&args.keys)?, span);
    let mut out = anstream::stdout().lock();
    let is_printed = args.svg.as_deref() == Some(Path::new("-"));
    if let Some(svg) = &args.svg {
        let drawn = chart::svg(&plan).map_err(anyhow::Error::msg)?;
        if is_printed {
            out.write_all(drawn.as_bytes())?;
        } else {
            draw(svg, &drawn, &path)?;
        }
    }
    if is_printed {
        // A program reads it.
    } else if args.json {
        let mut value = json!(plan);
        value["document"] = path.to_string_lossy().into();
        writeln!(out, "{value:#}")?;
    } else {
        text(&mut out, &plan)?;
        writeln!(out, "{}", chart::terminal(&plan, named.rollout()))?;
        verdict(&mut out, &plan)?;
    }
    Ok(if plan.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(VIOLATED)
    })
}

/// Writes a chart, unless the file that it would replace is the document.
fn draw(svg: &Path, drawn: &str, document: &Path) -> Result<()> {
    let file = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    if file(svg).is_some_and(|svg| file(document) == Some(svg)) {
        bail!(
            "{} is the document itself: name another file for the chart",
            svg.display()
        );
    }
    std::fs::write(svg, drawn).with_context(|| format!("{} cannot be written", svg.display()))
}

/// Made-up keys, or the lines of a file.
fn keys(source: &str) -> Result<Vec<Vec<u8>>> {
    if let Ok(count) = source.parse::<usize>() {
        if count > MOST_KEYS {
            bail!("{count} keys are too many: expected at most {MOST_KEYS}");
        }
        return Ok((0..count)
            .map(|n| format!("key-{n}").into_bytes())
            .collect());
    }
    let bytes = std::fs::read(Path::new(source))
        .with_context(|| format!("the keys in {source} cannot be read"))?;
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let keys: Vec<_> = lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    if keys.is_empty() {
        bail!("{source} has no keys: expected one on each line");
    }
    if keys.len() > MOST_KEYS {
        bail!(
            "{source} has {} keys, which are too many: expected at most {MOST_KEYS}",
            keys.len()
        );
    }
    Ok(keys)
}

fn text(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let bold = Style::new().bold();
    writeln!(
        out,
        "{bold}{}{bold:#}: {} over time, {} keys",
        plan.rollout, plan.environment, plan.keys
    )?;
    let mut header: Vec<String> = ["after", "instant", ""].map(str::to_owned).to_vec();
    header.extend(plan.environments.iter().map(|name| format!("{name} share")));
    header.extend(plan.environments.iter().map(|name| format!("{name} keys")));
    header.extend([
        format!("came to {}", plan.environment),
        format!("left {}", plan.environment),
        "moved back".to_owned(),
    ]);
    let mut table = table::new(header);
    for row in &plan.rows {
        let mut cells = vec![
            shares::duration(row.after),
            row.at.clone(),
            row.what.clone(),
        ];
        cells.extend(row.shares.iter().map(|share| shares::percent(*share)));
        cells.extend(row.keys.iter().map(usize::to_string));
        cells.extend([row.came, row.left, row.against].map(|n| n.to_string()));
        table.add_row(cells);
    }
    table::align_right(&mut table, 3);
    writeln!(out, "{table}")
}

/// What holds, and what does not.
fn verdict(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let style = |colour: AnsiColor| Style::new().bold().fg_color(Some(colour.into()));
    let (error, warning) = (style(AnsiColor::Red), style(AnsiColor::Yellow));
    for message in &plan.violations {
        writeln!(out, "{error}violated{error:#}: {message}")?;
    }
    for message in &plan.warnings {
        writeln!(out, "{warning}warning{warning:#}: {message}")?;
    }
    if plan.violations.is_empty() {
        writeln!(
            out,
            "the shares add up to the whole at each instant, and no key moved back"
        )?;
    }
    Ok(())
}

fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text)
        .ok_or_else(|| "expected an instant in RFC 3339, such as 2026-11-22T20:00:00Z".to_owned())
}
