//! Operating a rollout: what an operator asks for becomes a change of the document's file.
//!
//! [`change()`] is every verb: it locks the file, works out the new text, refuses what `check` refuses, appends to the
//! audit log and moves the new text onto the old. [`status`] says where a rollout stands, [`live`] what a proxy does.

mod apply;
pub mod audit;
mod change;
pub(crate) mod edit;
mod file;
pub mod live;
mod select;
pub mod shares;
pub mod status;
#[cfg(test)]
mod tests;
pub mod watch;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use switchover_core::{Duration, Share, Timestamp, document};

use crate::config::{self, Carrier, Problem, Severity};

pub use apply::Nonsense;
pub(crate) use change::refusal;
pub use change::{Expected, Outcome, Preview, Request, change, preview};
pub use edit::Change;
pub use select::{Named, SelectError};

use audit::AuditError;
use file::FileError;

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// A new version in an environment, as a new rollout, without traffic.
    Deploy {
        /// The environment.
        environment: String,
        /// The version that runs there now.
        version: String,
        /// The new rollout's id; derived from the old one's if `None`.
        rollout: Option<String>,
    },
    /// A schedule that starts now: the document's own steps, else the default phases.
    Start {
        /// The environment; may be left out where only one can be meant.
        environment: Option<String>,
        /// How long it takes until the last step.
        over: Option<Duration>,
    },
    /// A fixed share for an environment; stable takes what the others leave.
    Set {
        /// The environment.
        environment: String,
        /// Its share.
        share: Share,
    },
    /// On to the schedule's next step, now.
    Promote,
    /// The schedule's clock stands still.
    Pause,
    /// The schedule goes on where it stood, a rollback ends, and a tripped latch opens.
    Resume {
        /// The schedule goes on from its last step before its share exceeds this one; where it stood if `None`.
        from: Option<Share>,
    },
    /// Everything to stable.
    Rollback {
        /// What led to it, for the audit log; null where an operator asked for it.
        reason: Value,
    },
    /// The new version becomes stable.
    Finish {
        /// The environment; may be left out where only one can be meant.
        environment: Option<String>,
    },
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file holds no document that can be changed.
    #[error("{0}")]
    Foreign(Box<Problem>),
    /// Somebody changed the file by hand: run `switchover check` on it.
    #[error("the document is refused as it is, so it cannot be operated; correct it first:\n{}", lines(.0))]
    Broken(Vec<Problem>),
    /// The rollout.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The verb makes no sense now.
    #[error(transparent)]
    Nonsense(#[from] Nonsense),
    /// The verb would have made a wrong document: the lines below say what would be wrong.
    #[error("nothing was written, for the document would be refused:\n{}", lines(.0))]
    Refused(Vec<Problem>),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The document is not the one that the operator was shown.
    #[error(
        "the document was changed by someone else meanwhile; nothing was written, look at what it says now"
    )]
    Stale,
    /// The clock went on, so that the same verb would do something else than the operator was shown.
    #[error("the schedule went on meanwhile, and nothing was written: now it would be {0}")]
    Moved(String),
}

/// A document's text, checked.
pub struct Loaded {
    carrier: Carrier,
    document: document::Document,
    /// The document as it is written.
    json: Value,
}

fn lines(problems: &[Problem]) -> String {
    let lines = problems.iter().map(|p| format!("  {p}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The errors that `check` finds in a text. Variables of the gateway's process are not those of the operator's shell:
/// the document is right without them.
fn errors(path: &Path, text: &str) -> Vec<Problem> {
    let problems = config::check_text(path, text, &|_| None);
    let is_error = |p: &Problem| p.severity == Severity::Error && !is_about_code(p);
    problems.into_iter().filter(is_error).collect()
}

/// Whether a problem is that the filter's binary is not here: its path is relative to the gateway's working directory.
fn is_about_code(problem: &Problem) -> bool {
    problem.path.contains(".vm_config.code")
}

fn problem(path: &Path, message: String) -> Problem {
    Problem {
        file: path.to_owned(),
        line: 0,
        path: String::new(),
        message,
        severity: Severity::Error,
    }
}

/// The document's instant of a wall clock; 1970 for a clock before that.
#[must_use]
pub fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A document's instant in RFC 3339.
#[must_use]
pub fn rfc3339(instant: Timestamp) -> String {
    let millis = u64::try_from(instant.as_millis()).unwrap_or(0);
    let time = UNIX_EPOCH.checked_add(std::time::Duration::from_millis(millis));
    audit::rfc3339(time.unwrap_or(UNIX_EPOCH))
}

// === impl Loaded ===

impl Loaded {
    /// Reads a file with a rollout document in it.
    ///
    /// # Errors
    /// The file cannot be read, holds no document, or a wrong one.
    pub fn read(path: &Path) -> Result<Self, RolloutError> {
        Self::parse(path, &file::read(path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, RolloutError> {
        let carrier = Carrier::find(path, text).map_err(|p| RolloutError::Foreign(Box::new(p)))?;
        let problems = errors(path, text);
        if !problems.is_empty() {
            return Err(RolloutError::Broken(problems));
        }
        // That is what `check` does where it does not know a variable.
        let unknown = |_: &str| Some("unknown".to_owned());
        match document::parse(carrier.document().as_bytes(), &unknown) {
            Ok(document) => Ok(Self {
                json: serde_json::from_str(carrier.document()).unwrap_or_default(),
                carrier,
                document,
            }),
            Err(problems) => Err(RolloutError::Broken(
                problems
                    .into_iter()
                    .map(|p| Problem {
                        path: p.path,
                        ..problem(path, p.message)
                    })
                    .collect(),
            )),
        }
    }

    /// SHA-256 of the document's JSON text, in hexadecimal digits.
    fn sha256(&self) -> String {
        audit::sha256(self.carrier.document())
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &document::Document {
        &self.document
    }

    /// All rollouts, in their order.
    pub(crate) fn all(&self) -> Vec<Named<'_>> {
        let ids = self.document.rollouts().iter().map(|r| r.id().as_str());
        ids.filter_map(|id| self.named(Some(id)).ok()).collect()
    }

    /// The document as it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.carrier.document()
    }

    /// An error at a JSON path of the document.
    #[must_use]
    pub fn error(&self, path: &str, message: String) -> Problem {
        self.carrier.error(path, message)
    }

    /// The rollout of this id, or the only one.
    ///
    /// # Errors
    /// There is none of this id, or there are several and none is named.
    pub fn named(&self, id: Option<&str>) -> Result<Named<'_>, SelectError> {
        Named::select(&self.document, &self.json, id)
    }
}

// === impl Verb ===

impl Verb {
    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Deploy { .. } => "deploy",
            Self::Start { .. } => "start",
            Self::Set { .. } => "set",
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Resume { .. } => "resume",
            Self::Rollback { .. } => "rollback",
            Self::Finish { .. } => "finish",
        }
    }

    /// Its arguments, for the audit log.
    fn arguments(&self) -> Value {
        match self {
            Self::Deploy {
                environment,
                version,
                rollout,
            } => json!({"environment": environment, "version": version, "rollout": rollout}),
            Self::Start { environment, over } => {
                json!({"environment": environment, "over": over.map(shares::duration)})
            }
            Self::Set { environment, share } => {
                json!({"environment": environment, "percent": shares::number(*share)})
            }
            Self::Finish { environment } => json!({"environment": environment}),
            Self::Rollback { reason } if !reason.is_null() => json!({"reason": reason}),
            Self::Resume { from: Some(from) } => json!({"from": shares::number(*from)}),
            Self::Promote | Self::Pause | Self::Resume { .. } | Self::Rollback { .. } => json!({}),
        }
    }
}
