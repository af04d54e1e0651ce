//! Changing a document's file as a verb asks, and saying in advance what that would do.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use switchover_core::{Share, Timestamp};

use super::audit::{self, AuditLog, Entry, State};
use super::file::DocumentFile;
use super::status::as_percent;
use super::{Change, Loaded, Named, RolloutError, Verb, apply, problem, shares, timestamp};

/// How many sticky keys are looked at to say who moves.
const KEYS: usize = 10_000;
/// How far, in hundredths of a percent, shares may be from those that were shown before: a ramp goes on meanwhile.
const DRIFT: u32 = 100;

/// Who changes what, and when.
#[derive(Debug, Clone)]
pub struct Request {
    /// The rollout's id; may be `None` where the document has only one.
    pub rollout: Option<String>,
    /// The verb.
    pub verb: Verb,
    /// The present.
    pub now: SystemTime,
    /// Who asks, for the audit log.
    pub who: String,
    /// The audit log; beside the document if `None`.
    pub audit: Option<PathBuf>,
    /// Whether nothing is to be written.
    pub dry_run: bool,
    /// What the operator was shown and agreed to; nothing else is written.
    pub expected: Option<Expected>,
}

/// What a [`Preview`] said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The document's SHA-256, as in [`Preview::sha256`].
    pub sha256: String,
    /// The shares afterwards, in the environments' order.
    pub shares: Vec<Share>,
}

/// What a verb did, or would have done.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// The rollout's id, after the change.
    pub rollout: String,
    /// The members that have changed; none where all was as asked for already.
    pub changes: Vec<Change>,
    /// What it means, a sentence each.
    pub notes: Vec<String>,
    /// Whether the file was replaced.
    pub written: bool,
}

/// What a verb would do now.
#[derive(Debug, Clone)]
pub struct Preview {
    /// What it comes to; nothing is written.
    pub outcome: Outcome,
    /// SHA-256 of the document's JSON text as it is, in hexadecimal digits.
    pub sha256: String,
    /// The shares by document and clock, in the environments' order.
    pub effects: Vec<Effect>,
    /// Who moves, where requests of one user stay together; `None` where each request is decided by itself.
    pub moves: Option<Vec<Move>>,
}

/// An environment's share before and after a change, in percent of all traffic.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Effect {
    /// The environment.
    pub name: String,
    /// Before.
    #[serde(serialize_with = "as_percent")]
    pub before: Share,
    /// Afterwards.
    #[serde(serialize_with = "as_percent")]
    pub after: Share,
}

/// Users who go from one environment to another.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Move {
    /// Where they are.
    pub from: String,
    /// Where they go.
    pub to: String,
    /// The part of all users, in percent: counted over ten thousand made-up keys.
    #[serde(serialize_with = "as_percent")]
    pub part: Share,
}

/// A change that has been worked out, with the file locked.
struct Prepared {
    file: DocumentFile,
    log: PathBuf,
    before: Loaded,
    /// The whole file's new text and the document in it; `None` where nothing changes.
    after: Option<(String, Loaded)>,
    outcome: Outcome,
}

/// Changes a document's file as a verb asks.
///
/// # Errors
/// Nothing was changed, and why; the file is as it was.
pub fn change(path: &Path, request: &Request) -> Result<Outcome, RolloutError> {
    let mut prepared = Prepared::new(path, request)?;
    if let Some(expected) = &request.expected {
        prepared.check(expected, request)?;
    }
    if let Some((text, after)) = &prepared.after
        && !request.dry_run
    {
        prepared.write(path, request, text, after)?;
        prepared.outcome.written = true;
    }
    Ok(prepared.outcome)
}

/// Says what a verb would do, by the same steps up to the writing.
///
/// # Errors
/// The verb would be refused, and why.
pub fn preview(path: &Path, request: &Request) -> Result<Preview, RolloutError> {
    let prepared = Prepared::new(path, request)?;
    let (before, after) = prepared.both(request)?;
    let now = timestamp(request.now);
    let of = |named: &Named<'_>| shares::of_weights(&named.rollout().weights_at(now));
    let environments = before.rollout().environments().iter();
    let effects = environments
        .zip(of(&before).into_iter().zip(of(&after)))
        .map(|(environment, (before, after))| Effect {
            name: environment.name().as_str().to_owned(),
            before,
            after,
        });
    Ok(Preview {
        sha256: prepared.before.sha256(),
        effects: effects.collect(),
        moves: before
            .member("/sticky")
            .map(|_| moves(&before, &after, request)),
        outcome: prepared.outcome.clone(),
    })
}

/// Why a verb makes no sense for a rollout now, or changes nothing; `None` where it would change something.
#[must_use]
pub(crate) fn refusal(
    loaded: &Loaded,
    named: &Named<'_>,
    verb: &Verb,
    now: Timestamp,
) -> Option<String> {
    let known = apply::Known {
        document: loaded.document(),
        history: &None,
    };
    match apply::plan(verb, named, known, now) {
        Ok(plan) if plan.edits.is_empty() => Some(plan.notes.join("; ")),
        Ok(_) => None,
        Err(nonsense) => Some(nonsense.to_string()),
    }
}

/// Who moves, by the filter's own choice for each of many keys.
fn moves(before: &Named<'_>, after: &Named<'_>, request: &Request) -> Vec<Move> {
    let now = timestamp(request.now);
    let (old, new) = (before.rollout(), after.rollout());
    let (old_weights, new_weights) = (old.weights_at(now), new.weights_at(now));
    let count = old.environments().len();
    let mut counts = vec![0; count * count];
    for key in (0..KEYS).map(|n| format!("user-{n}")) {
        let from = old.environment_of_key(&old_weights, key.as_bytes());
        let to = new.environment_of_key(&new_weights, key.as_bytes());
        if let Some(own) = counts.get_mut(from * count + to) {
            *own += 1;
        }
    }
    let moved = counts.iter().enumerate().filter_map(|(place, moved)| {
        let (from, to) = (place / count, place % count);
        (from != to && *moved > 0).then(|| Move {
            from: before.name(from).to_owned(),
            to: before.name(to).to_owned(),
            // Of ten thousand keys, each is a hundredth of a percent.
            part: Share::from_hundredths(*moved),
        })
    });
    moved.collect()
}

// === impl Prepared ===

impl Prepared {
    /// Locks and reads the file, and works out the new text.
    fn new(path: &Path, request: &Request) -> Result<Self, RolloutError> {
        let file = DocumentFile::open(path)?;
        let loaded = Loaded::parse(path, file.text())?;
        let before = loaded.named(request.rollout.as_deref())?;
        let log = request.audit.clone();
        let log = log.unwrap_or_else(|| audit::beside(path));
        let history = audit::history(&log, file.metadata())?;
        let known = apply::Known {
            document: loaded.document(),
            history: &history,
        };
        let plan = apply::plan(&request.verb, &before, known, timestamp(request.now))?;

        let mut text = loaded.carrier.document().to_owned();
        let mut changes = Vec::new();
        for edit in &plan.edits {
            let (new, change) = edit.apply(&text, before.base()).ok_or_else(|| {
                let message = format!("has no object around `{}`", edit.path.join("."));
                RolloutError::Foreign(Box::new(problem(path, message)))
            })?;
            text = new;
            changes.extend(change);
        }
        let after = if changes.is_empty() {
            None
        } else {
            let whole = loaded.carrier.replace(file.text(), &text);
            let whole = whole.map_err(|p| RolloutError::Foreign(Box::new(p)))?;
            let after = Loaded::parse(path, &whole).map_err(|error| match error {
                RolloutError::Broken(problems) => RolloutError::Refused(problems),
                other => other,
            })?;
            Some((whole, after))
        };
        Ok(Self {
            file,
            log,
            before: loaded,
            after,
            outcome: Outcome {
                rollout: plan.rollout,
                changes,
                notes: plan.notes,
                written: false,
            },
        })
    }

    /// The rollout before and after.
    fn both(&self, request: &Request) -> Result<(Named<'_>, Named<'_>), RolloutError> {
        let before = self.before.named(request.rollout.as_deref())?;
        let after = self.after.as_ref().map_or(&self.before, |(_, after)| after);
        Ok((before, after.named(Some(&self.outcome.rollout))?))
    }

    /// Refuses what would be another change than the one that was shown.
    fn check(&self, expected: &Expected, request: &Request) -> Result<(), RolloutError> {
        if self.before.sha256() != expected.sha256 {
            return Err(RolloutError::Stale);
        }
        let (_, after) = self.both(request)?;
        let now = timestamp(request.now);
        let shares = shares::of_weights(&after.rollout().weights_at(now));
        let is_near = |(a, b): (&Share, &Share)| a.hundredths().abs_diff(b.hundredths()) <= DRIFT;
        let is_as_shown = shares.len() == expected.shares.len()
            && shares.iter().zip(&expected.shares).all(is_near);
        if is_as_shown {
            return Ok(());
        }
        let parts = shares.iter().enumerate();
        let parts =
            parts.map(|(at, share)| format!("{} {}", after.name(at), shares::percent(*share)));
        Err(RolloutError::Moved(parts.collect::<Vec<_>>().join(", ")))
    }

    /// Appends to the audit log, then replaces the file: a change that cannot be told is not made.
    fn write(
        &self,
        path: &Path,
        request: &Request,
        text: &str,
        after: &Loaded,
    ) -> Result<(), RolloutError> {
        let mut log = AuditLog::open(&self.log)?;
        let staged = self.file.stage(text)?;
        let before = self.before.named(request.rollout.as_deref())?;
        let mut entry = Entry {
            time: audit::rfc3339(request.now),
            who: &request.who,
            document: path.display().to_string(),
            verb: request.verb.name(),
            arguments: request.verb.arguments(),
            before: State::new(before.id(), self.before.carrier.document()),
            after: State::new(&self.outcome.rollout, after.carrier.document()),
            changes: &self.outcome.changes,
            failed: None,
        };
        log.append(&entry)?;
        if let Err(error) = staged.commit() {
            entry.failed = Some(error.to_string());
            log.append(&entry)?;
            return Err(error.into());
        }
        log.sync();
        Ok(())
    }
}
