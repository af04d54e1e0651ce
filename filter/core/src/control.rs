//! What one worker knows of a running rollout: the weights in force, the tripwire, the health of the environments.

use crate::document::Rollout;
use crate::guard::{Both, Cause, Outcome, Quantile, Side, Window};
use crate::health::State;
use crate::time::Timestamp;

/// The state of one rollout in one worker.
#[derive(Debug)]
pub struct Control {
    /// By the document and the clock alone.
    planned: Vec<u32>,
    /// In force: after latch and health.
    weights: Vec<u32>,
    /// In the environments' order.
    health: Vec<State>,
    window: Option<Window>,
    /// What the other workers had counted at the last tick.
    others: Both,
    tripped: bool,
}

/// What a crossed tripwire leaves: for the log, for metrics, and for the other workers.
#[derive(Debug)]
pub struct Trip {
    /// The limit.
    pub cause: Cause,
    /// Who tripped, on what figures.
    pub story: String,
}

// === impl Control ===

impl Control {
    /// A fresh start: nothing has been counted, and no environment's health is known.
    #[must_use]
    pub fn new(rollout: &Rollout, now: Timestamp) -> Self {
        let mut control = Self {
            planned: Vec::new(),
            weights: Vec::new(),
            health: vec![State::Unknown; rollout.environments.len()],
            window: rollout.guard.as_ref().map(Window::new),
            others: Both::default(),
            tripped: false,
        };
        control.refresh(rollout, now);
        control
    }

    /// Goes on where `self`, of another document with the same rollout id, stands: health is known by the environments'
    /// names, the latch holds unless `resume` was raised, and so do the counts unless another guard counts otherwise.
    #[must_use]
    pub fn succeed(&mut self, old: &Rollout, new: &Rollout, now: Timestamp) -> Self {
        let mut next = Self::new(new, now);
        for (state, environment) in next.health.iter_mut().zip(&new.environments) {
            let before = old.environment(environment.name.as_str().as_bytes());
            *state = before.map_or(State::Unknown, |index| self.health_of(index));
        }
        let resumed = new.resume > old.resume;
        if let (Some(before), Some(after)) = (&old.guard, &new.guard)
            && !resumed
            && before.counts_alike(after)
            && same_environment(old, before.environment, new, after.environment)
            && same_environment(old, old.stable, new, new.stable)
        {
            next.window = self.window.take();
            next.others = self.others;
        }
        next.tripped = self.tripped && !resumed;
        next.refresh(new, now);
        next
    }

    /// Works the weights out anew, for the present time and what is known; whether they have changed.
    pub fn refresh(&mut self, rollout: &Rollout, now: Timestamp) -> bool {
        self.planned = rollout.weights_at(now);
        if let Some(window) = &mut self.window {
            window.advance(millis(now));
        }
        let weights = if self.tripped {
            rollout.all_to(rollout.stable)
        } else {
            self.by_health(rollout)
        };
        let changed = weights != self.weights;
        self.weights = weights;
        changed
    }

    /// The weights in force, in the environments' order; their sum is above zero.
    #[must_use]
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// The weights by the document and the clock alone, in the environments' order.
    #[must_use]
    pub fn planned(&self) -> &[u32] {
        &self.planned
    }

    /// Whether the tripwire has been crossed.
    #[must_use]
    pub fn is_tripped(&self) -> bool {
        self.tripped
    }

    /// What is known of each environment, in their order.
    #[must_use]
    pub fn health(&self) -> &[State] {
        &self.health
    }

    /// Takes in what has been found out; it counts from the next [`Control::refresh`].
    pub fn set_health(&mut self, states: Vec<State>) {
        if states.len() == self.health.len() {
            self.health = states;
        }
    }

    /// What this worker has counted.
    #[must_use]
    pub fn figures(&self) -> Option<&Both> {
        self.window.as_ref().map(Window::figures)
    }

    /// A latency of the environment that is watched, in milliseconds; `None` without a guard.
    #[must_use]
    pub fn latency(&self, side: Side, quantile: Quantile) -> Option<u64> {
        let window = self.window.as_ref()?;
        Some(window.latency(side, quantile))
    }

    /// Takes in what the other workers have counted.
    pub fn set_others(&mut self, others: Both) {
        self.others = others;
    }

    /// Another worker has tripped; it counts from the next [`Control::refresh`].
    pub fn latch(&mut self) {
        self.tripped = true;
    }

    /// Counts an outcome. Should it cross a limit, everything goes to stable from here on, and the trip is given, once.
    #[inline]
    pub fn record(&mut self, rollout: &Rollout, outcome: &Outcome, now: Timestamp) -> Option<Trip> {
        let guard = rollout.guard.as_ref()?;
        let window = self.window.as_mut()?;
        let side = match outcome.environment {
            index if index == guard.environment => Side::Guarded,
            index if index == rollout.stable => Side::Stable,
            _ => return None,
        };
        window.record(guard, side, outcome, millis(now));
        if self.tripped || side == Side::Stable {
            return None;
        }
        let figures = window.figures().plus(&self.others);
        let cause = guard.judge(&figures)?;
        let story = guard.story(rollout, cause, &figures, window);
        self.tripped = true;
        self.weights = rollout.all_to(rollout.stable);
        Some(Trip { cause, story })
    }

    fn health_of(&self, environment: usize) -> State {
        self.health.get(environment).copied().unwrap_or_default()
    }

    /// The planned weights with the shares of environments that are not known to be healthy at stable; and stable's at the
    /// others where it is unhealthy and the document says so.
    fn by_health(&self, rollout: &Rollout) -> Vec<u32> {
        let mut weights = self.planned.clone();
        let Some(health) = rollout.health.as_ref().filter(|_| !rollout.rollback) else {
            return weights;
        };
        let mut moved = 0_u32;
        for (index, weight) in weights.iter_mut().enumerate() {
            if index != rollout.stable && self.health_of(index) != State::Healthy {
                moved = moved.saturating_add(std::mem::take(weight));
            }
        }
        let stable = weights.get_mut(rollout.stable);
        stable
            .into_iter()
            .for_each(|weight| *weight = weight.saturating_add(moved));
        if health.failover && self.health_of(rollout.stable) == State::Unhealthy {
            self.fail_over(rollout, &mut weights);
        }
        weights
    }

    /// Moves stable's share to the healthy environments, by their weights; where all of these are 0, to the first.
    fn fail_over(&self, rollout: &Rollout, weights: &mut [u32]) {
        let others = |(index, _): &(usize, &u32)| *index != rollout.stable;
        if weights
            .iter()
            .enumerate()
            .filter(others)
            .all(|(_, weight)| *weight == 0)
        {
            let mut states = self.health.iter().enumerate();
            let healthy =
                states.find(|(index, state)| *index != rollout.stable && **state == State::Healthy);
            let Some(weight) = healthy.and_then(|(index, _)| weights.get_mut(index)) else {
                return;
            };
            *weight = 1;
        }
        weights
            .get_mut(rollout.stable)
            .into_iter()
            .for_each(|weight| *weight = 0);
    }
}

fn same_environment(old: &Rollout, before: usize, new: &Rollout, after: usize) -> bool {
    let name = |rollout: &Rollout, index: usize| {
        let environment = rollout.environments.get(index)?;
        Some(environment.name.as_str().to_owned())
    };
    name(old, before) == name(new, after)
}

fn millis(now: Timestamp) -> u64 {
    u64::try_from(now.as_millis()).unwrap_or(0)
}

// === the latch ===

/// The latch as it stands in shared data: `RESUME;STORY`.
#[must_use]
pub fn write_latch(rollout: &Rollout, trip: &Trip) -> Vec<u8> {
    [&rollout.resume.to_string(), ";", &trip.story]
        .concat()
        .into_bytes()
}

/// Whether a latch holds for this document: it has not been resumed since.
#[must_use]
pub fn is_latched(rollout: &Rollout, latch: &[u8]) -> bool {
    let resume = latch.split(|byte| *byte == b';').next();
    let resume = resume.and_then(|digits| str::from_utf8(digits).ok()?.parse::<u32>().ok());
    resume.is_some_and(|resume| resume >= rollout.resume)
}

#[cfg(test)]
mod tests;
