//! Metrics: counted in guest memory, handed to the host on the tick.

use switchover_core::document::Document;
use switchover_core::route::Reason;
use switchover_core::{AuthOutcome, metrics};

use crate::ffi::{self, MetricKind};

/// All metrics of the VM, each under its name once, however often documents are replaced.
pub(crate) struct Meters(Vec<Meter>);

struct Meter {
    name: String,
    kind: MetricKind,
    /// The host's number, once it has been asked for it.
    id: Option<u32>,
    /// What the host has not been told yet.
    pending: u64,
}

/// The numbers of one rollout's metrics.
pub(crate) struct RolloutMeters {
    environments: Vec<EnvironmentMeters>,
    auth: [usize; AuthOutcome::ALL.len()],
    overrides_refused: usize,
}

struct EnvironmentMeters {
    requests: [usize; Reason::ALL.len()],
    attempts: usize,
    duration: usize,
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
            .map(|rollout| RolloutMeters::new(rollout, self))
            .collect()
    }

    /// Hands all counts to the host.
    pub(crate) fn flush(&mut self) {
        for meter in self.0.iter_mut().filter(|meter| meter.pending > 0) {
            if let Some(id) = meter.id() {
                ffi::increment_metric(id, std::mem::take(&mut meter.pending));
            }
        }
    }

    fn intern(&mut self, kind: MetricKind, family: &str, labels: &[(&str, &str)]) -> usize {
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

    fn count(&mut self, index: usize) {
        if let Some(meter) = self.0.get_mut(index) {
            meter.pending = meter.pending.saturating_add(1);
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

// === impl RolloutMeters ===

impl RolloutMeters {
    fn new(rollout: &switchover_core::document::Rollout, meters: &mut Meters) -> Self {
        let id = ("rollout", rollout.id().as_str());
        let environments = rollout.environments().iter().map(|environment| {
            let name = ("environment", environment.name().as_str());
            EnvironmentMeters {
                requests: Reason::ALL.map(|reason| {
                    meters.intern(
                        MetricKind::Counter,
                        "requests",
                        &[name, ("reason", reason.label()), id],
                    )
                }),
                attempts: meters.intern(MetricKind::Counter, "attempts", &[name, id]),
                duration: meters.intern(MetricKind::Histogram, "request_duration_ms", &[name, id]),
            }
        });
        Self {
            environments: environments.collect(),
            auth: AuthOutcome::ALL.map(|outcome| {
                meters.intern(
                    MetricKind::Counter,
                    "auth",
                    &[("outcome", outcome.label()), id],
                )
            }),
            overrides_refused: meters.intern(MetricKind::Counter, "overrides_refused", &[id]),
        }
    }

    pub(crate) fn count_request(&self, environment: usize, reason: Reason, meters: &mut Meters) {
        let own = self
            .environments
            .get(environment)
            .and_then(|own| own.requests.get(reason.index()));
        own.into_iter().for_each(|index| meters.count(*index));
    }

    pub(crate) fn count_auth(&self, outcome: AuthOutcome, meters: &mut Meters) {
        self.auth
            .get(outcome.index())
            .into_iter()
            .for_each(|index| meters.count(*index));
    }

    pub(crate) fn count_refused_override(&self, meters: &mut Meters) {
        meters.count(self.overrides_refused);
    }

    pub(crate) fn count_attempt(&self, environment: usize, meters: &mut Meters) {
        self.environments
            .get(environment)
            .into_iter()
            .for_each(|own| meters.count(own.attempts));
    }

    /// Records how long a request took; at once, since a histogram takes one value at a time.
    pub(crate) fn record_duration(&self, environment: usize, millis: u64, meters: &mut Meters) {
        let meter = self
            .environments
            .get(environment)
            .and_then(|own| meters.0.get_mut(own.duration));
        if let Some(id) = meter.and_then(Meter::id) {
            ffi::record_metric(id, millis);
        }
    }
}
