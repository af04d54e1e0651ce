//! Where a rollout stands, by its document and the clock.

use serde::Serialize;
use serde_json::Value;
use switchover_core::{Share, Timestamp};

use super::{Named, rfc3339, shares};

/// How far proxies may be from our clock, in milliseconds; their ticks are a quarter of it apart.
const MOMENT: i64 = 1000;

/// A rollout at an instant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The rollout's id.
    pub rollout: String,
    /// What is going on.
    pub phase: Phase,
    /// The environments, in order of their names.
    pub environments: Vec<Environment>,
    /// The schedule.
    pub schedule: Option<Schedule>,
    /// Whether everything goes to stable.
    pub rollback: bool,
    /// The count of resumes.
    pub resume: u32,
    /// Whether the document has a tripwire.
    pub guard: bool,
}

/// What is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The weights stand as they are written.
    Fixed,
    /// The schedule starts later.
    Waiting,
    /// The schedule runs.
    Running,
    /// The schedule's clock stands still.
    Paused,
    /// The schedule has reached its last step.
    AtTheEnd,
    /// Everything goes to stable.
    RolledBack,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Whether it is stable.
    pub stable: bool,
    /// Its version.
    pub version: Option<String>,
    /// Its share of all traffic in percent, by document and clock.
    #[serde(serialize_with = "as_percent")]
    pub share: Share,
    /// The least and the most that its share is within a moment, for proxies whose clock or tick is not ours.
    #[serde(skip)]
    pub(super) about: (Share, Share),
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Schedule {
    /// The environment whose share changes.
    pub environment: String,
    /// When it started, or starts: RFC 3339.
    pub start: String,
    /// The number of steps.
    pub steps: usize,
    /// How many of them have been reached.
    pub reached: usize,
    /// Since when its clock stands still: RFC 3339.
    pub held_since: Option<String>,
    /// The step to come, where the clock leads there.
    pub next: Option<Next>,
}

/// A step to come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Next {
    /// The share from then on, in percent.
    #[serde(serialize_with = "as_percent")]
    pub share: Share,
    /// When: RFC 3339.
    pub at: String,
    /// How long it is until then, as in `4m30s`.
    pub after: String,
}

pub(super) fn as_percent<S: serde::Serializer>(
    share: &Share,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let number: Value = shares::number(*share);
    number.serialize(serializer)
}

// === impl Status ===

impl Status {
    /// A rollout at an instant.
    #[must_use]
    pub fn at(named: &Named<'_>, now: Timestamp) -> Self {
        let rollout = named.rollout();
        let [before, shares, after] = [-MOMENT, 0, MOMENT].map(|millis| {
            let at = Timestamp::from_millis(now.as_millis().saturating_add(millis));
            shares::of_weights(&rollout.weights_at(at))
        });
        let about = before.into_iter().zip(&shares).zip(after);
        let about = about.map(|((a, b), c)| (a.min(*b).min(c), a.max(*b).max(c)));
        let shares = shares.iter().copied().zip(about);
        let environments = rollout.environments().iter().zip(shares).enumerate();
        Self {
            rollout: named.id().to_owned(),
            phase: Phase::of(named, now),
            environments: environments
                .map(|(index, (environment, (share, about)))| Environment {
                    name: environment.name().as_str().to_owned(),
                    stable: index == rollout.stable(),
                    version: environment.version().map(|v| v.as_str().to_owned()),
                    share,
                    about,
                })
                .collect(),
            schedule: rollout.schedule().map(|s| Schedule::at(s, named, now)),
            rollback: rollout.rollback(),
            resume: rollout.resume(),
            guard: rollout.guard().is_some(),
        }
    }
}

// === impl Phase ===

impl Phase {
    fn of(named: &Named<'_>, now: Timestamp) -> Self {
        let rollout = named.rollout();
        let Some(schedule) = rollout.schedule().filter(|_| !rollout.rollback()) else {
            return if rollout.rollback() {
                Self::RolledBack
            } else {
                Self::Fixed
            };
        };
        if schedule
            .step(now)
            .is_some_and(|at| at + 1 >= schedule.steps().len())
        {
            Self::AtTheEnd
        } else if schedule
            .hold()
            .is_some_and(|hold| hold <= now.max(schedule.start()))
        {
            Self::Paused
        } else if schedule.start() > now {
            Self::Waiting
        } else {
            Self::Running
        }
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Fixed => "fixed shares",
            Self::Waiting => "the schedule starts later",
            Self::Running => "the schedule runs",
            Self::Paused => "paused",
            Self::AtTheEnd => "the schedule is at its end",
            Self::RolledBack => "rolled back",
        }
    }
}

// === impl Schedule ===

impl Schedule {
    fn at(schedule: &switchover_core::Schedule, named: &Named<'_>, now: Timestamp) -> Self {
        let step = |index: usize| schedule.steps().get(index);
        let next = schedule.next_step(now).and_then(|(index, at)| {
            let wait = at.as_millis().saturating_sub(now.as_millis()).max(0);
            Some(Next {
                share: step(index)?.weight,
                at: rfc3339(at),
                after: shares::duration(switchover_core::Duration::from_millis(
                    wait.unsigned_abs(),
                )),
            })
        });
        let held = schedule
            .hold()
            .filter(|hold| *hold <= now.max(schedule.start()));
        Self {
            environment: named.name(schedule.environment()).to_owned(),
            start: rfc3339(schedule.start()),
            steps: schedule.steps().len(),
            reached: schedule.step(now).map_or(0, |index| index + 1),
            held_since: held.map(rfc3339),
            next,
        }
    }
}
