//! Why a verb makes no sense now.

use switchover_core::Share;

use crate::rollout::shares;

/// A verb that makes no sense now, and what would.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// No such environment.
    #[error("there is no environment {name:?}, only {}", known.join(", "))]
    UnknownEnvironment {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The stable environment takes what the others leave.
    #[error("{stable} is stable, and takes what the others leave; name another environment: {}", others.join(", "))]
    Stable {
        /// The stable environment.
        stable: String,
        /// The others.
        others: Vec<String>,
    },
    /// It is not clear which is meant.
    #[error("name the environment with `--environment`: {}", .0.join(", "))]
    NotNamed(Vec<String>),
    /// The stable environment is the only one.
    #[error("{0} is the only environment; there is nothing to switch to")]
    Alone(String),
    /// Other environments have the rest: take it from them first.
    #[error("{environment} can have at most {}: the rest belongs to other environments than {stable}; set those first", shares::percent(*most))]
    TooMuch {
        /// The environment.
        environment: String,
        /// The most that it can have.
        most: Share,
        /// The stable environment.
        stable: String,
    },
    /// The version cannot be written.
    #[error(
        "{0:?} is no version: expected 1 to 64 printable ASCII characters, no space at either end"
    )]
    Version(String),
    /// The id cannot be written, or is taken.
    #[error("{id:?} cannot be the new rollout's id: {why}")]
    Id {
        /// The id.
        id: String,
        /// Why not.
        why: &'static str,
    },
    /// There is no schedule.
    #[error("there is no schedule to {0}; `start` one, or `set` a share")]
    NoSchedule(&'static str),
    /// The schedule runs.
    #[error("the schedule runs already: {environment} gets {}; `promote` or `pause` it, or `set {environment}=0` first to start over", shares::percent(*share))]
    Running {
        /// Its environment.
        environment: String,
        /// Its share now.
        share: Share,
    },
    /// The schedule has reached its last step.
    #[error("the schedule is at its end: {environment} gets {}; {}", shares::percent(*share), at_the_end(*share))]
    AtTheEnd {
        /// Its environment.
        environment: String,
        /// Its share now.
        share: Share,
    },
    /// Nobody wrote the trip down: say with `--from` where the schedule goes on, and run `rollout watch` the next
    /// time.
    #[error("nothing in the document says when a tripwire tripped, and the schedule's clock went on: {environment} would get {} at once. \
             `resume --from 5` goes on from the step with at most 5 %, `resume --from 0` from the beginning; or `set {environment}=5`, then `resume`", shares::percent(*share))]
    ClockRuns {
        /// The schedule's environment.
        environment: String,
        /// Its share by the clock.
        share: Share,
    },
    /// The rollback holds until it is ended.
    #[error(
        "everything goes to {0} since a rollback; `resume` ends it, or `deploy` a version that is right"
    )]
    RolledBack(String),
    /// The steps do not fit.
    #[error("{over} is too short for {steps} steps that are at least a millisecond apart")]
    TooShort {
        /// How long it should take.
        over: String,
        /// How many steps there are.
        steps: usize,
    },
    /// `finish` is for an environment that has everything.
    #[error("{environment} gets {} of the traffic; `promote` it to 100 %, or `set {environment}=100`, before it becomes stable", shares::percent(*share))]
    NotDone {
        /// The environment.
        environment: String,
        /// Its share now.
        share: Share,
    },
    /// There is no higher number.
    #[error("the count of resumes cannot be raised above {0}; `deploy` begins a new rollout")]
    TooManyResumes(u32),
}

fn at_the_end(share: Share) -> &'static str {
    if share == Share::ALL {
        "`finish` makes it stable"
    } else {
        "`set` gives it another share"
    }
}
