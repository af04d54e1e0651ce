//! Metrics: counted in guest memory, handed to the host on the tick.

mod rollout;

use switchover_core::document::Document;
use switchover_core::metrics;

use crate::ffi::{self, MetricKind};

pub(crate) use rollout::RolloutMeters;

/// All metrics of the VM, each under its name once, however often documents are replaced.
pub(crate) struct Meters(Vec<Meter>);

struct Meter {
    name: String,
    kind: MetricKind,
    /// The host's number, once it has been asked for it.
    id: Option<u32>,
    /// What the host has not been told yet; of a gauge, what it was told last.
    pending: u64,
}

// === impl Meters ===

impl Meters {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// The metrics of each rollout of a document.
    pub(crate) fn of(&mut self, document: &Document) -> Vec<RolloutMeters> {
        document
            .rollouts()
            .iter()
            .map(|rollout| RolloutMeters::new(document, rollout, self))
            .collect()
    }

    /// Counts a document that was taken over or refused. The host is told at once, for the VM may be there only to try it.
    pub(crate) fn count_reload(&mut self, is_accepted: bool) {
        for (outcome, is_so) in [("accepted", is_accepted), ("rejected", !is_accepted)] {
            let index = self.intern(MetricKind::Counter, "reloads", &[("outcome", outcome)]);
            // Both are there from the first on: whoever looks for a rise needs the 0 before it.
            self.0.get_mut(index).map(Meter::id);
            if is_so {
                self.count(index);
            }
        }
        self.flush();
    }

    /// Hands all counts to the host.
    pub(crate) fn flush(&mut self) {
        let counts = |meter: &&mut Meter| matches!(meter.kind, MetricKind::Counter);
        for meter in self
            .0
            .iter_mut()
            .filter(counts)
            .filter(|meter| meter.pending > 0)
        {
            if let Some(id) = meter.id() {
                ffi::increment_metric(id, std::mem::take(&mut meter.pending));
            }
        }
    }

    pub(crate) fn intern(
        &mut self,
        kind: MetricKind,
        family: &str,
        labels: &[(&str, &str)],
    ) -> usize {
        let name = metrics::name(family, labels);
        if let Some(index) = self.0.iter().position(|meter| meter.name == name) {
            return index;
        }
        self.0.push(Meter {
            name,
            kind,
            id: None,
            pending: 0,
        });
        self.0.len() - 1
    }

    /// Shows that another document of the same rollouts has taken over.
    pub(crate) fn supersede(&mut self, old: &[RolloutMeters], new: &[RolloutMeters]) {
        for old in old {
            if new.iter().all(|new| new.document != old.document) {
                self.set(old.document, 0);
            }
        }
    }

    /// Sets the gauges of a rollout that is over to 0, so that no alarm goes on for it.
    pub(crate) fn retire(&mut self, rollout: &str) {
        // Labels are in order of their names, and no gauge has one that comes after `rollout`.
        let ending = metrics::name("", &[("rollout", rollout)]);
        let ending = ending.trim_start_matches("switchover.");
        for index in 0..self.0.len() {
            let gauge = self.0.get(index).filter(|meter| {
                matches!(meter.kind, MetricKind::Gauge) && meter.name.ends_with(ending)
            });
            if gauge.is_some_and(|meter| meter.id.is_some()) {
                self.set(index, 0);
            }
        }
    }

    /// Sets a gauge, where the host was told something else before.
    fn set(&mut self, index: usize, value: u64) {
        let Some(meter) = self.0.get_mut(index) else {
            return;
        };
        if meter.id.is_some() && meter.pending == value {
            return;
        }
        if let Some(id) = meter.id() {
            ffi::record_metric(id, value);
            meter.pending = value;
        }
    }

    /// Records a value in a histogram; at once, since a histogram takes one value at a time.
    pub(crate) fn record(&mut self, index: usize, value: u64) {
        if let Some(id) = self.0.get_mut(index).and_then(Meter::id) {
            ffi::record_metric(id, value);
        }
    }

    fn count(&mut self, index: usize) {
        self.add(index, 1);
    }

    pub(crate) fn add(&mut self, index: usize, count: u64) {
        if let Some(meter) = self.0.get_mut(index) {
            meter.pending = meter.pending.saturating_add(count);
        }
    }
}

// === impl Meter ===

impl Meter {
    fn id(&mut self) -> Option<u32> {
        if self.id.is_none() {
            self.id = ffi::define_metric(self.kind, &self.name);
        }
        self.id
    }
}
