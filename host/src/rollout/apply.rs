//! From a verb to the members that it changes, or to why it makes no sense now.

mod deploy;
mod nonsense;
mod schedule;

use serde_json::Value;
use switchover_core::document::{Document, Label, Rollout};
use switchover_core::{Share, Timestamp};

pub use nonsense::Nonsense;

use super::audit::History;
use super::edit::Edit;
use super::{Named, Verb, shares};

/// What a verb comes to.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// The rollout's id afterwards.
    pub(super) rollout: String,
    /// The members to change.
    pub(super) edits: Vec<Edit>,
    /// What it means, a sentence each.
    pub(super) notes: Vec<String>,
}

/// The ids that are or were some rollout's.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// The document, for the rollouts that are.
    pub(super) document: &'a Document,
    /// The audit log, for those that were.
    pub(super) history: &'a History,
}

/// A rollout at an instant.
struct Site<'a> {
    named: &'a Named<'a>,
    rollout: &'a Rollout,
    now: Timestamp,
}

/// What a verb comes to for a rollout of a document.
pub(super) fn plan(
    verb: &Verb,
    named: &Named<'_>,
    known: Known<'_>,
    now: Timestamp,
) -> Result<Plan, Nonsense> {
    let site = Site {
        named,
        rollout: named.rollout(),
        now,
    };
    match verb {
        Verb::Deploy {
            environment,
            version,
            rollout,
        } => site.deploy(environment, version, rollout.as_deref(), known),
        Verb::Set { environment, share } => site.set(environment, *share),
        Verb::Start { environment, over } => site.start(environment.as_deref(), *over),
        Verb::Promote => site.promote(),
        Verb::Pause => site.pause(),
        Verb::Resume { from } => site.resume(*from),
        Verb::Rollback { .. } => Ok(site.rollback()),
        Verb::Finish { environment } => site.finish(environment.as_deref()),
    }
}

// === impl Site ===

impl Site<'_> {
    fn plan(&self, edits: Vec<Edit>, notes: Vec<String>) -> Plan {
        Plan {
            rollout: self.named.id().to_owned(),
            edits,
            notes,
        }
    }

    fn others(&self) -> Vec<String> {
        let names = self
            .rollout
            .environments()
            .iter()
            .map(|e| e.name().as_str());
        let others = names.filter(|name| *name != self.named.stable());
        others.map(str::to_owned).collect()
    }

    /// The environment of this name, which cannot be stable.
    fn environment(&self, name: &str) -> Result<usize, Nonsense> {
        let found = self.rollout.environment(name.as_bytes());
        let index = found.ok_or_else(|| Nonsense::UnknownEnvironment {
            name: name.to_owned(),
            known: {
                let names = self.rollout.environments().iter();
                names.map(|e| e.name().as_str().to_owned()).collect()
            },
        })?;
        if index != self.rollout.stable() {
            return Ok(index);
        }
        let stable = self.named.stable().to_owned();
        match self.others() {
            others if others.is_empty() => Err(Nonsense::Alone(stable)),
            others => Err(Nonsense::Stable { stable, others }),
        }
    }

    /// The environment of this name; without one the schedule's, or the only one beside stable.
    fn target(&self, name: Option<&str>) -> Result<usize, Nonsense> {
        if let Some(name) = name {
            return self.environment(name);
        }
        if let Some(schedule) = self.rollout.schedule() {
            return Ok(schedule.environment());
        }
        match self.others().as_slice() {
            [only] => self.environment(only),
            [] => Err(Nonsense::Alone(self.named.stable().to_owned())),
            others => Err(Nonsense::NotNamed(others.to_vec())),
        }
    }

    /// Each environment's share by document and clock, as if there were no rollback.
    fn shares(&self) -> Vec<Share> {
        if self.rollout.rollback() {
            shares::of_weights(self.rollout.weights())
        } else {
            shares::of_weights(&self.rollout.weights_at(self.now))
        }
    }

    /// Another share for one environment: the others keep theirs, and stable takes the rest.
    fn with_share(&self, environment: usize, share: Share) -> Result<Vec<Share>, Nonsense> {
        let mut shares = self.shares();
        let stable = self.rollout.stable();
        let elsewhere: u32 = shares
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != environment && *index != stable)
            .map(|(_, share)| share.hundredths())
            .sum();
        let free = Share::ALL.hundredths().saturating_sub(elsewhere);
        let rest = free.checked_sub(share.hundredths());
        let rest = rest.ok_or_else(|| Nonsense::TooMuch {
            environment: self.named.name(environment).to_owned(),
            most: Share::from_hundredths(free),
            stable: self.named.stable().to_owned(),
        })?;
        for (index, part) in shares.iter_mut().enumerate() {
            match index {
                _ if index == environment => *part = share,
                _ if index == stable => *part = Share::from_hundredths(rest),
                _ => {}
            }
        }
        Ok(shares)
    }

    /// The edits that make shares the rollout's weights.
    fn weights(&self, shares: &[Share]) -> Vec<Edit> {
        let weights = shares::to_weights(shares).into_iter().enumerate();
        let edit = |(index, weight): (usize, u32)| {
            Edit::set(&["routing", self.named.name(index), "weight"], weight)
        };
        weights.map(edit).collect()
    }

    /// As in `green 25 %, blue 75 %`.
    fn described(&self, shares: &[Share]) -> String {
        let parts = shares.iter().enumerate().map(|(index, share)| {
            format!("{} {}", self.named.name(index), shares::percent(*share))
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Takes the schedule out, and says so.
    fn end_schedule(&self, edits: &mut Vec<Edit>, notes: &mut Vec<String>) {
        let Some(schedule) = self.rollout.schedule() else {
            return;
        };
        edits.push(Edit::remove(&["schedule"]));
        notes.push(format!(
            "the schedule is ended; it had {} at {}",
            self.named.name(schedule.environment()),
            shares::percent(schedule.share(self.now))
        ));
    }

    fn end_rollback(&self, edits: &mut Vec<Edit>) {
        if self.rollout.rollback() {
            edits.push(Edit::set(&["rollback"], false));
        }
    }

    fn set(&self, name: &str, share: Share) -> Result<Plan, Nonsense> {
        let environment = self.environment(name)?;
        let shares = self.with_share(environment, share)?;
        let mut edits = self.weights(&shares);
        let mut notes = vec![format!("shares: {}", self.described(&shares))];
        self.end_schedule(&mut edits, &mut notes);
        if self.rollout.rollback() {
            notes.push(format!(
                "everything still goes to {}, for the rollout is rolled back; `resume` ends that",
                self.named.stable()
            ));
        }
        Ok(self.plan(edits, notes))
    }

    fn version(&self, environment: usize) -> Option<&str> {
        let environment = self.rollout.environments().get(environment)?;
        environment.version().map(Label::as_str)
    }

    /// Everything to stable; the schedule's clock stands still meanwhile, so that `resume` goes on where it stood.
    fn rollback(&self) -> Plan {
        let stable = self.named.stable();
        if self.rollout.rollback() {
            return self.plan(
                Vec::new(),
                vec![format!("everything goes to {stable} already")],
            );
        }
        let mut edits = vec![Edit::set(&["rollback"], true)];
        let mut notes = vec![format!(
            "everything goes to {stable}; before: {}",
            self.described(&self.shares())
        )];
        if let Some(hold) = self.hold() {
            edits.push(hold);
            notes.push("the schedule is paused where it stood; `resume` lets it go on".to_owned());
        }
        self.plan(edits, notes)
    }

    /// The environment that is to become stable: the named one, else the one that gets everything.
    fn finished(&self, name: Option<&str>) -> Result<usize, Nonsense> {
        let everything = self.shares().iter().position(|share| *share == Share::ALL);
        let is_stable =
            everything == Some(self.rollout.stable()) && self.rollout.schedule().is_none();
        match (name, everything) {
            (Some(name), _) if name == self.named.stable() && is_stable => {
                Ok(self.rollout.stable())
            }
            (None, Some(all)) if is_stable || all != self.rollout.stable() => Ok(all),
            _ => self.target(name),
        }
    }

    fn finish(&self, name: Option<&str>) -> Result<Plan, Nonsense> {
        let old = self.named.stable();
        if self.rollout.rollback() {
            return Err(Nonsense::RolledBack(old.to_owned()));
        }
        let environment = self.finished(name)?;
        let new = self.named.name(environment);
        if environment == self.rollout.stable() {
            let note = format!("{new} is stable already and gets everything");
            return Ok(self.plan(Vec::new(), vec![note]));
        }
        let share = self.shares().get(environment).copied();
        let share = share.unwrap_or(Share::NONE);
        if share != Share::ALL {
            let environment = new.to_owned();
            return Err(Nonsense::NotDone { environment, share });
        }
        let mut edits = vec![Edit::set(&["stable"], new)];
        let all = |index| {
            if index == environment {
                Share::ALL
            } else {
                Share::NONE
            }
        };
        let shares: Vec<Share> = (0..self.rollout.environments().len()).map(all).collect();
        edits.extend(self.weights(&shares));
        let version = self.version(environment);
        let version = version.map_or(String::new(), |v| format!(" ({v})"));
        let mut notes = vec![format!(
            "{new}{version} is stable and gets everything; {old} is free for the next version"
        )];
        self.end_schedule(&mut edits, &mut notes);
        let names = |pointer: &str| self.named.member(pointer) == Some(&Value::from(new));
        if names("/guard/environment") {
            edits.push(Edit::set(&["guard", "environment"], old));
            notes.push(format!(
                "the guard watches {old}, where the next version goes"
            ));
        }
        if names("/shadow/environment") {
            edits.push(Edit::remove(&["shadow"]));
            notes.push(format!(
                "there are no shadow copies any more: {new} serves the requests themselves"
            ));
        } else if let Some(Value::String(copies)) = self.named.member("/shadow/environment") {
            notes.push(format!("shadow copies to {copies} go on"));
        }
        notes.push(format!(
            "if the gateway's last route, without a match, leads to {old}, let it lead to {new} before {old} is taken down"
        ));
        Ok(self.plan(edits, notes))
    }
}
