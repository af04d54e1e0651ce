//! `switchover rollout watch`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::json;
use switchover_core::Duration;

use super::{OnDocument, admin, duration, runtime};
use crate::rollout::live::Admin;
use crate::rollout::watch::{Event, Watch};
use crate::rollout::{Loaded, rfc3339, timestamp};

/// Arguments of `switchover rollout watch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A tripped proxy sends its own traffic to stable at once, by itself; what it saw is forgotten with \
its process, and other proxies did not see it. The watcher writes `rollback` into the document, which makes it permanent \
for all. A proxy that cannot be reached is told, and asked again; a document that cannot be read or changed is told once \
for each reason, and tried again, and so is a trip that waits for it.

A tripwire that had tripped before it was first looked at counts after a second: the proxy may not have taken up a \
resume that has just been written. With several rollouts the watcher ends when all that have a guard are rolled back.

Examples:
  switchover rollout watch --admin http://127.0.0.1:9901 envoy/demo.ecds.yaml
  switchover rollout watch --admin http://10.0.0.1:9901 --admin http://10.0.0.2:9901 --keep-watching

Exit code: 0 after the rollback, after --for, or when interrupted (SIGINT, SIGTERM); 1 where there is no right \
document at the start; 2 for wrong arguments."
)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    on: OnDocument,
    /// The admin server of a gateway, as in http://127.0.0.1:9901; may be repeated
    #[arg(long, value_name = "URL", value_parser = admin, required = true)]
    admin: Vec<Admin>,
    /// From one look to the next, at least 50ms
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "1s")]
    interval: Duration,
    /// Go on after the last rollback, for the next rollout
    #[arg(long)]
    keep_watching: bool,
    /// End after this time; default: never
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    limit: Option<Duration>,
    /// The audit log; default: DOCUMENT.audit.jsonl
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Print each event as a line of JSON
    #[arg(long)]
    json: bool,
}

/// Watches until a rollback, a signal or the limit.
///
/// # Errors
/// There is no right document at the start.
pub(super) fn run(args: WatchArgs) -> Result<ExitCode> {
    let path = args.on.path()?;
    let loaded = Loaded::read(&path)?;
    if let Some(id) = &args.on.rollout {
        loaded.named(Some(id))?;
    }
    let mut watch = Watch::new(path, args.on.rollout, args.audit, args.admin);
    runtime()?.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let limit = async {
            match args.limit {
                Some(limit) => tokio::time::sleep(std_duration(limit)).await,
                None => std::future::pending().await,
            }
        };
        let looks = async {
            let mut ticks = tokio::time::interval(std_duration(args.interval));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let events = watch.look().await;
                for event in &events {
                    print(event, args.json)?;
                }
                let rolled_back = events.iter().any(|e| matches!(e, Event::RolledBack { .. }));
                let remain = events.iter().any(|e| matches!(e, Event::Remaining(_)));
                if rolled_back && !remain && !args.keep_watching {
                    return Ok(());
                }
            }
        };
        tokio::select! {
            ended = looks => ended,
            () = limit => Ok(()),
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn print(event: &Event, as_json: bool) -> io::Result<()> {
    let time = rfc3339(timestamp(SystemTime::now()));
    let mut out = anstream::stdout().lock();
    if as_json {
        let mut value = match event {
            Event::Lost(error) => json!({"event": "lost", "error": error.to_string()}),
            Event::Found(proxy) => json!({"event": "found", "proxy": proxy}),
            Event::RolledBack { proxy, outcome } => {
                json!({"event": "rolled_back", "proxy": proxy, "rollout": outcome.rollout, "notes": outcome.notes})
            }
            Event::Pending {
                proxy,
                rollout,
                error,
            } => {
                json!({"event": "pending", "proxy": proxy, "rollout": rollout, "error": error.to_string()})
            }
            Event::Remaining(rollouts) => json!({"event": "remaining", "rollouts": rollouts}),
            Event::Failed(error) => json!({"event": "failed", "error": error.to_string()}),
        };
        value["time"] = time.into();
        return writeln!(out, "{value}");
    }
    match event {
        Event::Lost(error) => writeln!(out, "{time} {error}; asked again"),
        Event::Found(proxy) => writeln!(out, "{time} {proxy} is watched"),
        Event::RolledBack { proxy, outcome } => {
            writeln!(
                out,
                "{time} {proxy} has tripped: {} is rolled back for all",
                outcome.rollout
            )?;
            outcome
                .notes
                .iter()
                .try_for_each(|note| writeln!(out, "- {note}"))
        }
        Event::Pending {
            proxy,
            rollout,
            error,
        } => writeln!(
            out,
            "{time} {proxy} has tripped, but the rollback of {rollout} is not written yet: {error}; tried again"
        ),
        Event::Remaining(rollouts) => {
            writeln!(out, "{time} still watched: {}", rollouts.join(", "))
        }
        Event::Failed(error) => writeln!(out, "{time} {error}"),
    }
}

fn std_duration(duration: Duration) -> std::time::Duration {
    std::time::Duration::from_millis(duration.as_millis())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval.as_millis() < 50 {
        return Err("is too often: expected at least 50ms".to_owned());
    }
    Ok(interval)
}
