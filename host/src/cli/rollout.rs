//! `switchover rollout`: the operator's verbs.

mod show;
mod status;
mod watch;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::Value;
use switchover_core::{Duration, Share};

use crate::rollout::live::Admin;
use crate::rollout::{Request, Verb, audit, change, shares};

/// The variable that names the document once for all verbs.
pub(super) const DOCUMENT: &str = "SWITCHOVER_DOCUMENT";

const EXAMPLES: &str = "\
Examples:
  export SWITCHOVER_DOCUMENT=envoy/demo.ecds.yaml
  switchover rollout status --admin http://127.0.0.1:9901
  switchover rollout deploy green=2.1.0     a new version, a new rollout, no traffic
  switchover rollout start --over 90m       1, 5, 25, 50, 100 %
  switchover rollout pause                  stays where it is
  switchover rollout promote                to the next step, now
  switchover rollout resume                 goes on where it stood
  switchover rollout resume --from 5        after a trip: goes on from the step with at most 5 %
  switchover rollout rollback               all to stable, at once
  switchover rollout finish                 green becomes stable
  switchover rollout set green=12.5         a fixed share instead of a schedule

DOCUMENT is a rollout document in JSON, or the ECDS file (YAML or JSON) that holds it; all else in \
the file stays byte for byte. It is named last, with --document, or by SWITCHOVER_DOCUMENT. A change \
is checked, written beside the file and moved onto it, which is what the gateway notices; one that \
`switchover check` refuses is not written. Each change is a line in DOCUMENT.audit.jsonl; \
SWITCHOVER_OPERATOR says who made it, else USER or LOGNAME, else the user's name in /etc/passwd or number.

Exit code: 0 where the document says what was asked for, 1 where the verb was refused or failed and \
the document is as it was (or was changed, but that could not be printed; the message says so), 2 for \
wrong arguments.";

/// Arguments of `switchover rollout`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct RolloutArgs {
    #[command(subcommand)]
    verb: RolloutVerb,
}

#[derive(Debug, Subcommand)]
enum RolloutVerb {
    /// Show where a rollout stands, and with --admin what proxies do.
    Status(status::StatusArgs),
    /// Name the new version of an environment: a new rollout, without traffic.
    Deploy(DeployArgs),
    /// Start a schedule now: the document's own steps, else 1, 5, 25, 50, 100 % after 5, 15, 30, 60, 90 minutes.
    Start(StartArgs),
    /// Give an environment a fixed share; stable takes what the others leave, and a schedule is ended.
    Set(SetArgs),
    /// Go to the schedule's next step now; a paused schedule stays paused there.
    Promote(ChangeArgs),
    /// Let the schedule's clock stand still.
    Pause(ChangeArgs),
    /// Let the schedule go on where it stood, end a rollback, open a tripped latch.
    Resume(ResumeArgs),
    /// Send everything to stable at once, and pause the schedule.
    Rollback(ChangeArgs),
    /// Make the new version, which gets everything already, stable.
    Finish(FinishArgs),
    /// Watch proxies, and roll back for all when one has tripped.
    Watch(watch::WatchArgs),
}

/// The document.
#[derive(Debug, Args)]
pub(super) struct OnDocument {
    /// The rollout document, or the ECDS file that holds it
    #[arg(value_name = "DOCUMENT")]
    file: Option<PathBuf>,
    /// The same; default: SWITCHOVER_DOCUMENT
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    document: Option<PathBuf>,
    /// The rollout's id, where the document has several
    #[arg(long, value_name = "ID")]
    pub(super) rollout: Option<String>,
}

/// What every verb that changes something takes.
#[derive(Debug, Args)]
struct ChangeArgs {
    #[command(flatten)]
    on: OnDocument,
    /// The audit log; default: DOCUMENT.audit.jsonl
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Say what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print {document, rollout, changes, notes, written} as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  switchover rollout deploy green=2.1.0 envoy/demo.ecds.yaml
  switchover rollout deploy green=2.1.1 --rollout-id chat-api-hotfix")]
struct DeployArgs {
    /// The environment and its version, as in green=2.1.0
    #[arg(value_name = "ENVIRONMENT=VERSION", value_parser = assignment)]
    version: (String, String),
    /// The new rollout's id, one that no rollout had before; default: the old one with the new version in it
    #[arg(long, value_name = "ID")]
    rollout_id: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  switchover rollout start envoy/demo.ecds.yaml
  switchover rollout start --over 3h --environment green")]
struct StartArgs {
    /// How long it takes until the last step, as in 90m or 1h30m; all steps are stretched alike
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    over: Option<Duration>,
    /// The environment; may be left out where there is only one beside stable
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "With more than two environments the others keep their shares, and stable takes the rest.

Examples:
  switchover rollout set green=25 envoy/demo.ecds.yaml
  switchover rollout set green=0.5
  switchover rollout set green=0"
)]
struct SetArgs {
    /// The environment and its share in percent, with at most two decimals, as in green=12.5
    #[arg(value_name = "ENVIRONMENT=PERCENT", value_parser = share)]
    share: (String, Share),
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A schedule that was stopped by pause or rollback goes on where it stood. A trip stops it only once \
`rollout watch` or an operator has written it down as a rollback. Until then the schedule's clock goes on, and where \
there is a guard --from must say where the schedule is to be.

Examples:
  switchover rollout resume envoy/demo.ecds.yaml
  switchover rollout resume --from 5      from the step with at most 5 %
  switchover rollout resume --from 0      from the beginning"
)]
struct ResumeArgs {
    /// Go on from the last step before the share exceeds this, in percent; 0: from the beginning
    #[arg(long, value_name = "PERCENT", value_parser = shares::parse)]
    from: Option<Share>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The weights become 100 and 0 and the schedule ends. A guard that watches the environment watches the \
one that was stable from then on, where the next version goes. Shadow copies to the environment end; copies to another \
one go on. Where the environment is stable already and gets everything, there is nothing to change.

Examples:
  switchover rollout finish envoy/demo.ecds.yaml"
)]
struct FinishArgs {
    /// The environment; default: the one that gets everything
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Runs a verb.
///
/// # Errors
/// The verb was refused or failed, and the document is as it was; or it was changed and that cannot be printed.
pub(super) fn run(args: RolloutArgs) -> Result<ExitCode> {
    let (verb, args) = match args.verb {
        RolloutVerb::Status(args) => return status::run(&args),
        RolloutVerb::Watch(args) => return watch::run(args),
        RolloutVerb::Deploy(args) => {
            let (environment, version) = args.version;
            let verb = Verb::Deploy {
                environment,
                version,
                rollout: args.rollout_id,
            };
            (verb, args.change)
        }
        RolloutVerb::Start(args) => {
            let verb = Verb::Start {
                environment: args.environment,
                over: args.over,
            };
            (verb, args.change)
        }
        RolloutVerb::Set(args) => {
            let (environment, share) = args.share;
            (Verb::Set { environment, share }, args.change)
        }
        RolloutVerb::Promote(args) => (Verb::Promote, args),
        RolloutVerb::Pause(args) => (Verb::Pause, args),
        RolloutVerb::Resume(args) => (Verb::Resume { from: args.from }, args.change),
        RolloutVerb::Rollback(args) => {
            let reason = Value::Null;
            (Verb::Rollback { reason }, args)
        }
        RolloutVerb::Finish(args) => {
            let environment = args.environment;
            (Verb::Finish { environment }, args.change)
        }
    };
    let path = args.on.path()?;
    let request = Request {
        rollout: args.on.rollout,
        verb,
        now: SystemTime::now(),
        who: audit::operator(&|name| std::env::var(name).ok()),
        audit: args.audit,
        dry_run: args.dry_run,
        expected: None,
    };
    let outcome = change(&path, &request)?;
    let mut out = anstream::stdout().lock();
    let shown = show::outcome(&mut out, &path, &request, &outcome, args.json)
        .and_then(|()| io::Write::flush(&mut out));
    if outcome.written {
        let verb = request.verb.name();
        shown.with_context(|| {
            format!(
                "{verb} was written to {}, but what has changed cannot be printed",
                path.display()
            )
        })?;
    } else {
        shown?;
    }
    Ok(ExitCode::SUCCESS)
}

// === impl OnDocument ===

impl OnDocument {
    /// The document's file.
    pub(super) fn path(&self) -> Result<PathBuf> {
        let named = self.file.clone().or_else(|| self.document.clone());
        document_of(named).with_context(|| {
            format!(
                "no document: name its file last, with --document, or in the variable {DOCUMENT}"
            )
        })
    }
}

/// The file that was named, else the one that [`DOCUMENT`] names.
pub(super) fn document_of(named: Option<PathBuf>) -> Option<PathBuf> {
    let variable = || std::env::var_os(DOCUMENT).filter(|name| !name.is_empty());
    named.or_else(|| variable().map(PathBuf::from))
}

/// Reads `NAME=VALUE`.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected ENVIRONMENT=VALUE, such as green=2.1.0".to_owned()),
    }
}

fn share(text: &str) -> Result<(String, Share), String> {
    let (name, value) = assignment(text)
        .map_err(|_| "expected ENVIRONMENT=PERCENT, such as green=25".to_owned())?;
    Ok((name, shares::parse(&value)?))
}

/// Reads a duration as the document writes it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    Duration::parse(text).ok_or_else(|| "expected a duration such as 90s, 5m or 1h30m".to_owned())
}

pub(super) fn admin(text: &str) -> Result<Admin, String> {
    Admin::parse(text)
}

/// The one thread on which proxies are asked.
pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}
