//! The tripwire: what outcomes do in this worker, and what workers tell each other through shared data on the tick.

use switchover_core::Timestamp;
use switchover_core::control::{Trip, is_latched, write_latch};
use switchover_core::document::Rollout;
use switchover_core::guard::{Both, Outcome, fleet};

use crate::ffi::{self, Level};
use crate::library::{Live, key};
use crate::meters::Meters;

/// Another worker may write the table at the same moment; after so many times the next tick will do.
const SWAPS_TRIED: usize = 4;

impl Live {
    /// Counts how an attempt or a request ended. Where that crosses a limit, this worker sends everything to stable from
    /// here on, and leaves a latch for the others.
    pub(crate) fn record(
        &self,
        index: usize,
        outcome: &Outcome,
        now: Timestamp,
        meters: &mut Meters,
    ) {
        let (Some(rollout), Some(own)) =
            (self.document.rollouts().get(index), self.meters.get(index))
        else {
            return;
        };
        if rollout
            .guard()
            .is_some_and(|guard| guard.is_failure(outcome.status))
        {
            own.count_failure(outcome.environment, meters);
        }
        let Some(mut control) = self.control_mut(index) else {
            return;
        };
        let Some(trip) = control.record(rollout, outcome, now) else {
            return;
        };
        if !latch(&self.plugin, rollout, &trip) {
            // Another worker was first, and has told it.
            return;
        }
        own.count_trip(trip.cause, meters);
        ffi::log(
            Level::Warn,
            &["switchover: `", &self.plugin, "`: ", &trip.story].concat(),
        );
    }

    /// Looks whether another worker has tripped, and exchanges figures with all of them.
    pub(crate) fn meet_others(&self, index: usize, worker: u64, now: Timestamp) {
        let Some(rollout) = self.document.rollouts().get(index) else {
            return;
        };
        if rollout.guard().is_none() {
            return;
        }
        self.look_at_latch(index);
        let Some(mut control) = self.control_mut(index) else {
            return;
        };
        let own = control.figures().copied().unwrap_or_default();
        let Some(table) = self.table(index) else {
            return;
        };
        control.set_others(exchange(table, worker, &own, now));
    }

    /// Follows a latch that another worker, or this one before its VM was rebuilt, has left.
    pub(crate) fn look_at_latch(&self, index: usize) {
        let Some(rollout) = self.document.rollouts().get(index) else {
            return;
        };
        let Some(mut control) = self
            .control_mut(index)
            .filter(|control| !control.is_tripped())
        else {
            return;
        };
        let latch = ffi::shared_data(&latch_key(&self.plugin, rollout.id().as_str()));
        if latch.is_some_and(|(latch, _)| is_latched(rollout, &latch)) {
            control.latch();
        }
    }
}

/// Puts this worker's figures into the table and gives the sum of the others'.
fn exchange(key: &str, worker: u64, own: &Both, now: Timestamp) -> Both {
    let now = u64::try_from(now.as_millis()).unwrap_or(0);
    let mut others = Both::default();
    for _ in 0..SWAPS_TRIED {
        let found = ffi::shared_data(key);
        let (table, version) = match &found {
            Some((table, version)) => (&**table, Some(*version)),
            None => (&[][..], None),
        };
        let (next, sum) = fleet::exchange(table, worker, own, now);
        others = sum;
        if ffi::swap_shared_data(key, &next, version) {
            break;
        }
    }
    others
}

/// Leaves a latch for the other workers; false where there is one already.
fn latch(plugin: &str, rollout: &Rollout, trip: &Trip) -> bool {
    let key = latch_key(plugin, rollout.id().as_str());
    for _ in 0..SWAPS_TRIED {
        let found = ffi::shared_data(&key);
        if found
            .as_ref()
            .is_some_and(|(latch, _)| is_latched(rollout, latch))
        {
            return false;
        }
        let version = found.map(|(_, version)| version);
        if ffi::swap_shared_data(&key, &write_latch(rollout, trip), version) {
            return true;
        }
    }
    true
}

/// The key of the workers' figures. Those of another guard, and those from before a resume, are in another place.
pub(crate) fn table_key(plugin: &str, rollout: &Rollout) -> Option<String> {
    let fingerprint = rollout.guard()?.fingerprint(rollout).to_string();
    let resume = rollout.resume().to_string();
    let id = [rollout.id().as_str(), &resume, &fingerprint].join("\0");
    Some(key("guard", plugin, &id))
}

fn latch_key(plugin: &str, rollout: &str) -> String {
    key("trip", plugin, rollout)
}
