//! `switchover rollout status`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde_json::json;

use super::{OnDocument, admin, runtime};
use crate::cli::table;
use crate::rollout::live::{Admin, Figures, LiveError};
use crate::rollout::status::{Phase, Status};
use crate::rollout::{Loaded, shares, timestamp};

/// Arguments of `switchover rollout status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Shares are those of the document and the clock; with --admin, what each proxy does as well: the shares \
in force after tripwire and health, its counts, and the latencies of the guard's window.

Examples:
  switchover rollout status envoy/demo.ecds.yaml
  switchover rollout status --admin http://127.0.0.1:9901 --admin http://127.0.0.1:9902
  switchover rollout status --json | jq '.rollouts[0].phase'

Exit code: 0 also where a proxy gives no figures (it is shown), 1 where there is no right \
document, 2 for wrong arguments."
)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    on: OnDocument,
    /// The admin server of a gateway, as in http://127.0.0.1:9901; may be repeated
    #[arg(long, value_name = "URL", value_parser = admin)]
    admin: Vec<Admin>,
    /// Print {document, rollouts: [{…, proxies: [{…}]}]} as JSON
    #[arg(long)]
    json: bool,
}

/// A proxy's figures of each rollout, or why there are none.
type Answer = (String, Result<Vec<Figures>, LiveError>);

/// Shows where the rollouts of a document stand.
///
/// # Errors
/// There is no right document, or no rollout of that id.
pub(super) fn run(args: &StatusArgs) -> Result<ExitCode> {
    let path = args.on.path()?;
    let loaded = Loaded::read(&path)?;
    let now = timestamp(SystemTime::now());
    let statuses = match &args.on.rollout {
        Some(id) => vec![Status::at(&loaded.named(Some(id))?, now)],
        None => {
            let all = loaded.document().rollouts().iter();
            let status = |id| Ok(Status::at(&loaded.named(Some(id))?, now));
            all.map(|r| status(r.id().as_str()))
                .collect::<Result<_>>()?
        }
    };
    let answers = runtime()?.block_on(async {
        let ask = |proxy: &Admin| {
            let (proxy, statuses) = (proxy.clone(), &statuses);
            async move { (proxy.name().to_owned(), proxy.figures(statuses).await) }
        };
        futures_util::future::join_all(args.admin.iter().map(ask)).await
    });
    let mut out = anstream::stdout().lock();
    if args.json {
        json(&mut out, &path, &statuses, &answers)?;
    } else {
        for (index, status) in statuses.iter().enumerate() {
            text(&mut out, status)?;
            proxies(&mut out, status, index, &answers)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn json(
    out: &mut dyn Write,
    path: &Path,
    statuses: &[Status],
    answers: &[Answer],
) -> io::Result<()> {
    let rollouts = statuses.iter().enumerate().map(|(index, status)| {
        let mut value = json!(status);
        let proxies = answers.iter().map(|(proxy, answer)| match answer {
            Ok(figures) => json!(figures.get(index)),
            Err(error) => json!({"proxy": proxy, "error": error.to_string()}),
        });
        value["proxies"] = proxies.collect();
        value
    });
    let rollouts: Vec<_> = rollouts.collect();
    writeln!(
        out,
        "{:#}",
        json!({"document": path.to_string_lossy(), "rollouts": rollouts})
    )
}

/// The rollout by document and clock.
fn text(out: &mut dyn Write, status: &Status) -> io::Result<()> {
    let bold = Style::new().bold();
    let colour = match status.phase {
        Phase::RolledBack => AnsiColor::Red,
        Phase::Paused | Phase::Waiting => AnsiColor::Yellow,
        Phase::Fixed | Phase::Running | Phase::AtTheEnd => AnsiColor::Green,
    };
    let phase = Style::new().fg_color(Some(colour.into()));
    writeln!(
        out,
        "{bold}{}{bold:#}: {phase}{}{phase:#}",
        status.rollout,
        status.phase.words()
    )?;
    let mut table = table::new(["environment", "version", "share"]);
    for environment in &status.environments {
        let stable = if environment.stable { " (stable)" } else { "" };
        table.add_row([
            format!("{}{stable}", environment.name),
            environment.version.clone().unwrap_or_default(),
            shares::percent(environment.share),
        ]);
    }
    table::align_right(&mut table, 2);
    writeln!(out, "{table}")?;
    let Some(schedule) = &status.schedule else {
        return Ok(());
    };
    let name = &schedule.environment;
    write!(
        out,
        "{name}: step {} of {}, since {}",
        schedule.reached, schedule.steps, schedule.start
    )?;
    match (&schedule.held_since, &schedule.next) {
        (Some(since), _) => writeln!(out, "; its clock stands still since {since}"),
        (None, Some(next)) => writeln!(
            out,
            "; {} follows in {} ({})",
            shares::percent(next.share),
            next.after,
            next.at
        ),
        (None, None) => writeln!(out, "; no step is to come"),
    }
}

/// What the proxies do with it.
fn proxies(
    out: &mut dyn Write,
    status: &Status,
    index: usize,
    answers: &[Answer],
) -> io::Result<()> {
    if answers.is_empty() {
        return Ok(());
    }
    let mut table = table::new([
        "proxy",
        "environment",
        "in force",
        "healthy",
        "requests",
        "attempts",
        "failures",
        "p50 ms",
        "p95 ms",
        "p99 ms",
    ]);
    let mut lines = Vec::new();
    for (proxy, answer) in answers {
        let figures = match answer {
            Ok(figures) => figures.get(index),
            Err(error) => {
                lines.push(error.to_string());
                continue;
            }
        };
        let Some(figures) = figures else { continue };
        if !figures.follows {
            lines.push(format!("{proxy} does not run this document as it is now"));
        }
        if figures.tripped == Some(true) {
            lines.push(format!(
                "{proxy} has tripped: everything goes to stable there until `resume`"
            ));
        }
        for environment in &figures.environments {
            let latency = |ms: Option<f64>| ms.map_or(String::new(), |ms| ms.to_string());
            let healthy = environment
                .healthy
                .map_or("", |h| if h { "yes" } else { "no" });
            table.add_row([
                proxy.clone(),
                environment.name.clone(),
                environment
                    .in_force
                    .map_or(String::new(), |p| shares::percent(p.0)),
                healthy.to_owned(),
                environment.requests.to_string(),
                environment.attempts.to_string(),
                environment.failures.to_string(),
                latency(environment.p50_ms),
                latency(environment.p95_ms),
                latency(environment.p99_ms),
            ]);
        }
    }
    table::align_right(&mut table, 2);
    if !table.is_empty() {
        writeln!(out, "{table}")?;
    }
    let warn = Style::new().bold().fg_color(Some(AnsiColor::Yellow.into()));
    for line in lines {
        writeln!(out, "{warn}!{warn:#} {line}")?;
    }
    if status.rollback {
        writeln!(
            out,
            "the document says `rollback`: proxies that run it send everything to stable"
        )?;
    }
    Ok(())
}
