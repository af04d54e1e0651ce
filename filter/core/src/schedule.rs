//! Shares by the clock: a pure function of the document and the time, so that a fleet agrees and a restart goes on.

use crate::document::{Ramp, Rollout};
use crate::time::{Duration, Timestamp};

/// A part of all traffic, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

/// A share that changes with time.
#[derive(Debug)]
pub struct Schedule {
    pub(crate) environment: usize,
    pub(crate) start: Timestamp,
    /// At least one, their offsets rising.
    pub(crate) steps: Vec<Step>,
    pub(crate) ramp: Ramp,
    pub(crate) hold: Option<Timestamp>,
}

/// One step of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// When it is reached, from the schedule's start.
    pub at: Duration,
    /// The share from then on.
    pub weight: Share,
}

// === impl Share ===

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(10_000);

    /// From hundredths of a percent; more than everything is everything.
    #[must_use]
    pub fn from_hundredths(hundredths: u32) -> Self {
        Self(hundredths.min(Self::ALL.0))
    }

    /// In hundredths of a percent, from 0 to 10,000.
    #[must_use]
    pub fn hundredths(self) -> u32 {
        self.0
    }

    /// The part of the way from `self` to `to` after `passed` of `whole`, rounded towards `self`.
    fn towards(self, to: Self, passed: u64, whole: u64) -> Self {
        let part = |way: u32| {
            let part = u64::from(way).saturating_mul(passed) / whole.max(1);
            u32::try_from(part).unwrap_or(way).min(way)
        };
        Self(if to >= self {
            self.0 + part(to.0 - self.0)
        } else {
            self.0 - part(self.0 - to.0)
        })
    }
}

// === impl Schedule ===

impl Schedule {
    /// The index of the environment whose share changes.
    #[must_use]
    pub fn environment(&self) -> usize {
        self.environment
    }

    /// The instant from which offsets count.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The steps, at least one, their offsets rising.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How it gets from one share to the next.
    #[must_use]
    pub fn ramp(&self) -> Ramp {
        self.ramp
    }

    /// The instant at which the schedule's clock stands still.
    #[must_use]
    pub fn hold(&self) -> Option<Timestamp> {
        self.hold
    }

    /// The environment's share.
    #[must_use]
    pub fn share(&self, now: Timestamp) -> Share {
        let Some(elapsed) = self.elapsed(now) else {
            return Share::NONE;
        };
        let reached = self.reached(elapsed);
        let (since, share) = reached
            .checked_sub(1)
            .and_then(|index| self.steps.get(index))
            .map_or((0, Share::NONE), |step| (step.at.as_millis(), step.weight));
        match (self.ramp, self.steps.get(reached)) {
            (Ramp::Linear, Some(next)) => {
                let whole = next.at.as_millis().saturating_sub(since);
                share.towards(next.weight, elapsed.saturating_sub(since), whole)
            }
            _ => share,
        }
    }

    /// The index of the step that has been reached; `None` before the first.
    #[must_use]
    pub fn step(&self, now: Timestamp) -> Option<usize> {
        self.reached(self.elapsed(now)?).checked_sub(1)
    }

    /// The next step and when it is reached; `None` after the last, and where the clock stands still before it.
    #[must_use]
    pub fn next_step(&self, now: Timestamp) -> Option<(usize, Timestamp)> {
        let index = self.elapsed(now).map_or(0, |elapsed| self.reached(elapsed));
        let at = self.start.after(self.steps.get(index)?.at);
        let comes = self.hold.is_none_or(|hold| at <= hold);
        comes.then_some((index, at))
    }

    /// Milliseconds since the start on the schedule's clock; `None` before.
    fn elapsed(&self, now: Timestamp) -> Option<u64> {
        let now = self.hold.map_or(now, |hold| now.min(hold));
        let elapsed = now.as_millis().checked_sub(self.start.as_millis())?;
        u64::try_from(elapsed).ok()
    }

    /// How many steps have been reached.
    fn reached(&self, elapsed: u64) -> usize {
        self.steps
            .partition_point(|step| step.at.as_millis() <= elapsed)
    }
}

// === weights ===

impl Rollout {
    /// The weights by the document and the clock alone, in the environments' order: their sum is above zero.
    #[must_use]
    pub fn weights_at(&self, now: Timestamp) -> Vec<u32> {
        match &self.schedule {
            _ if self.rollback => self.all_to(self.stable),
            None => self.weights.clone(),
            Some(schedule) => self.split(schedule.environment, schedule.share(now)),
        }
    }

    /// Everything to one environment.
    pub(crate) fn all_to(&self, environment: usize) -> Vec<u32> {
        let one = |index| u32::from(index == environment);
        (0..self.environments.len()).map(one).collect()
    }

    /// A share for one environment, and the rest for the others by their weights, or for stable where these have none.
    fn split(&self, environment: usize, share: Share) -> Vec<u32> {
        let mut others: Vec<u64> = self.weights.iter().copied().map(u64::from).collect();
        others
            .get_mut(environment)
            .into_iter()
            .for_each(|own| *own = 0);
        if others.iter().all(|weight| *weight == 0) {
            let stable = others.get_mut(self.stable);
            stable.into_iter().for_each(|weight| *weight = 1);
        }
        let sum: u64 = others.iter().sum();
        let rest = u64::from(Share::ALL.0 - share.0);
        let mut weights: Vec<u64> = others.iter().map(|weight| weight * rest).collect();
        weights
            .get_mut(environment)
            .into_iter()
            .for_each(|own| *own = u64::from(share.0) * sum);
        reduce(weights)
    }
}

/// The smallest weights in these proportions; rounded where their sum would not fit 32 bits, none of them to zero.
fn reduce(mut weights: Vec<u64>) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor);
    for weight in &mut weights {
        *weight /= divisor.max(1);
    }
    while weights.iter().sum::<u64>() > u64::from(u32::MAX) {
        for weight in &mut weights {
            *weight = weight.div_ceil(2);
        }
    }
    let narrow = |weight| u32::try_from(weight).unwrap_or(u32::MAX);
    weights.into_iter().map(narrow).collect()
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests;
