//! What the console's buttons do: the verbs, after the operator has seen what they come to.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchover_core::{Share, Timestamp};

use crate::rollout::audit::Told;
use crate::rollout::{
    Change, Expected, Loaded, Named, Preview, Request, RolloutError, Verb, change, preview,
    refusal, shares,
};

/// Members whose values are shown; of all others only that they change.
const SHOWN: [&str; 5] = ["rollout", "stable", "rollback", "resume", "schedule"];

/// What the page asks for.
#[derive(Debug, Deserialize)]
pub(super) struct Ask {
    rollout: String,
    #[serde(flatten)]
    deed: Deed,
    /// What the operator agreed to; without it nothing is written.
    confirmed: Option<Confirmed>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
enum Deed {
    Promote,
    Pause,
    Resume {
        from: Option<String>,
    },
    Set {
        environment: String,
        percent: String,
    },
    Rollback,
    Finish,
}

/// What a preview said.
#[derive(Debug, Deserialize)]
struct Confirmed {
    sha256: String,
    /// The shares afterwards, in percent, in the environments' order.
    shares: Vec<Value>,
}

/// Whether a verb makes sense now.
#[derive(Debug, Serialize)]
pub(super) struct Possible {
    verb: &'static str,
    /// Why not.
    refused: Option<String>,
}

/// Whose document is changed, and by whom.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    pub(super) document: PathBuf,
    pub(super) audit: Option<PathBuf>,
    pub(super) operator: String,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActError {
    /// The request says nothing that is understood.
    #[error("{0}")]
    Wrong(String),
    /// The verb is refused.
    #[error(transparent)]
    Refused(#[from] RolloutError),
}

/// Which verbs make sense for a rollout; `armed` is whether the tripwire of every proxy is known not to have tripped.
pub(super) fn possible(
    loaded: &Loaded,
    named: &Named<'_>,
    armed: bool,
    now: Timestamp,
) -> Vec<Possible> {
    let verbs = [
        Verb::Promote,
        Verb::Pause,
        Verb::Resume { from: None },
        Verb::Rollback {
            reason: Value::Null,
        },
        Verb::Finish { environment: None },
        Verb::Set {
            environment: named.stable().to_owned(),
            share: Share::NONE,
        },
    ];
    let has_others = named.rollout().environments().len() > 1;
    let possible = |verb: Verb| Possible {
        verb: verb.name(),
        refused: match &verb {
            // Which one is asked for by the dialog.
            Verb::Set { .. } if has_others => None,
            Verb::Resume { .. } => nothing_to_resume(named, armed)
                .or_else(|| refused_resume(loaded, named, &verb, now)),
            verb => refusal(loaded, named, verb, now),
        },
    };
    verbs.into_iter().map(possible).collect()
}

/// Why there is nothing that a `resume` would end. The verb itself cannot know: proxies trip, not documents.
fn nothing_to_resume(named: &Named<'_>, armed: bool) -> Option<String> {
    let rollout = named.rollout();
    let is_held = rollout
        .schedule()
        .is_some_and(|schedule| schedule.hold().is_some());
    let may_have_tripped = rollout.guard().is_some() && !armed;
    (!rollout.rollback() && !is_held && !may_have_tripped).then(|| {
        "there is nothing to resume: no schedule is paused, nothing is rolled back, and no tripwire has tripped"
            .to_owned()
    })
}

fn refused_resume(
    loaded: &Loaded,
    named: &Named<'_>,
    verb: &Verb,
    now: Timestamp,
) -> Option<String> {
    // Where nobody knows where the schedule stood, the dialog asks.
    let from = Verb::Resume {
        from: Some(Share::NONE),
    };
    refusal(loaded, named, verb, now).filter(|_| refusal(loaded, named, &from, now).is_some())
}

/// A line of the audit log without values that might be a secret.
pub(super) fn without_secrets(mut told: Told) -> Told {
    told.changes.iter_mut().for_each(hide);
    told
}

/// Takes the values away, unless they are of a member that verbs set themselves.
fn hide(change: &mut Change) {
    let mut keys = change.path.split('.');
    let is_shown = match (keys.next(), keys.next(), keys.next()) {
        (Some("routing"), Some(_), Some("weight" | "version")) => true,
        (Some("guard"), Some("environment"), None) => true,
        (Some(first), _, _) => SHOWN.contains(&first),
        _ => false,
    };
    if !is_shown {
        for value in [&mut change.before, &mut change.after]
            .into_iter()
            .flatten()
        {
            *value = "…".into();
        }
    }
}

// === impl Desk ===

impl Desk {
    /// Says what a button would do.
    pub(super) fn preview(&self, ask: Ask) -> Result<Value, ActError> {
        let preview = preview(&self.document, &self.request(ask)?)?;
        let Preview {
            mut outcome,
            sha256,
            effects,
            moves,
        } = preview;
        outcome.changes.iter_mut().for_each(hide);
        Ok(json!({"sha256": sha256, "outcome": outcome, "effects": effects, "moves": moves}))
    }

    /// Does what was agreed to.
    pub(super) fn change(&self, ask: Ask) -> Result<Value, ActError> {
        if ask.confirmed.is_none() {
            let message =
                "`confirmed` is missing: ask for a preview first, and send its sha256 and shares";
            return Err(ActError::Wrong(message.to_owned()));
        }
        let mut outcome = change(&self.document, &self.request(ask)?)?;
        outcome.changes.iter_mut().for_each(hide);
        Ok(json!({ "outcome": outcome }))
    }

    fn request(&self, ask: Ask) -> Result<Request, ActError> {
        let expected = ask.confirmed.map(Confirmed::expected).transpose()?;
        Ok(Request {
            rollout: Some(ask.rollout),
            verb: ask.deed.verb()?,
            now: SystemTime::now(),
            who: format!("{} (console)", self.operator),
            audit: self.audit.clone(),
            dry_run: false,
            expected,
        })
    }
}

// === impl Deed ===

impl Deed {
    fn verb(self) -> Result<Verb, ActError> {
        Ok(match self {
            Self::Promote => Verb::Promote,
            Self::Pause => Verb::Pause,
            Self::Resume { from } => Verb::Resume {
                from: from.as_deref().map(share).transpose()?,
            },
            Self::Set {
                environment,
                percent,
            } => Verb::Set {
                environment,
                share: share(&percent)?,
            },
            Self::Rollback => Verb::Rollback {
                reason: Value::Null,
            },
            Self::Finish => Verb::Finish { environment: None },
        })
    }
}

// === impl Confirmed ===

impl Confirmed {
    fn expected(self) -> Result<Expected, ActError> {
        let shares = self.shares.iter().map(|value| share(&value.to_string()));
        Ok(Expected {
            shares: shares.collect::<Result<_, _>>()?,
            sha256: self.sha256,
        })
    }
}

fn share(text: &str) -> Result<Share, ActError> {
    shares::parse(text).map_err(ActError::Wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_members_that_verbs_do_not_set_are_hidden() {
        let shown = |path: &str| {
            let mut change = Change {
                path: path.to_owned(),
                before: Some("secret".into()),
                after: None,
            };
            hide(&mut change);
            change.before == Some("secret".into())
        };
        for path in [
            "routing.green.weight",
            "schedule.hold",
            "stable",
            "resume",
            "guard.environment",
        ] {
            assert!(shown(path), "{path}");
        }
        for path in [
            "routing.green.credential",
            "auth",
            "auth.consumers",
            "shadow",
            "routing",
            "guard",
            "routing.green",
        ] {
            assert!(!shown(path), "{path}");
        }
    }
}
