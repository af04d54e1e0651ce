//! What is counted of one rollout.

use std::cell::RefCell;

use switchover_core::control::Control;
use switchover_core::document::{Document, Environment, Label, Rollout};
use switchover_core::guard::{Cause, Guard, Quantile, Side};
use switchover_core::health::State;
use switchover_core::route::Reason;
use switchover_core::shadow::Shadow;
use switchover_core::{AuthOutcome, Timestamp};

use crate::ffi::MetricKind;
use crate::meters::Meters;
use crate::shadow::ShadowOutcome;

/// The numbers of one rollout's metrics.
pub(crate) struct RolloutMeters {
    environments: Vec<EnvironmentMeters>,
    /// Made as they are counted, for there may be thousands: outcomes of nobody known, then those of each consumer.
    auth: RefCell<Vec<Option<usize>>>,
    /// 1 while the document is in force.
    pub(super) document: usize,
    overrides_refused: usize,
    step: Option<usize>,
    guard: Option<GuardMeters>,
    shadow: Option<ShadowMeters>,
}

struct EnvironmentMeters {
    requests: [usize; Reason::ALL.len()],
    attempts: usize,
    /// Where environments have `models`.
    refused: Option<usize>,
    failures: usize,
    retries: usize,
    /// By the environment that the attempt before went to, its own place unused.
    failovers: Vec<usize>,
    duration: usize,
    weight: usize,
    planned: usize,
    probes: Option<Probes>,
}

/// What the metrics of one environment have in common.
struct Own<'a> {
    meters: &'a mut Meters,
    environment: &'a str,
    rollout: &'a str,
    version: &'a str,
}

/// No label more; it has the place of one.
const NONE: (&str, &str) = ("from", "");

/// Of an environment that is probed.
struct Probes {
    healthy: usize,
    succeeded: usize,
    failed: usize,
    duration: usize,
}

/// Of a rollout with a guard.
struct GuardMeters {
    tripped: usize,
    trips: [usize; Cause::ALL.len()],
    latencies: [usize; Quantile::ALL.len()],
}

/// Of a rollout with copies.
struct ShadowMeters {
    outcomes: [usize; ShadowOutcome::ALL.len()],
    duration: usize,
}

// === impl RolloutMeters ===

impl RolloutMeters {
    pub(super) fn new(document: &Document, rollout: &Rollout, meters: &mut Meters) -> Self {
        let id = ("rollout", rollout.id().as_str());
        let environments: Vec<_> = rollout
            .environments()
            .iter()
            .map(|environment| EnvironmentMeters::new(rollout, environment, meters))
            .collect();
        let document = [("document", document.digest()), id];
        Self {
            environments,
            auth: RefCell::default(),
            document: meters.intern(MetricKind::Gauge, "document", &document),
            overrides_refused: meters.intern(MetricKind::Counter, "overrides_refused", &[id]),
            step: rollout
                .schedule()
                .map(|_| meters.intern(MetricKind::Gauge, "schedule_step", &[id])),
            guard: rollout
                .guard()
                .map(|guard| GuardMeters::new(rollout, guard, meters)),
            shadow: rollout
                .shadow()
                .map(|shadow| ShadowMeters::new(rollout, shadow, meters)),
        }
    }

    pub(crate) fn count_request(&self, environment: usize, reason: Reason, meters: &mut Meters) {
        let own = self
            .environments
            .get(environment)
            .and_then(|own| own.requests.get(reason.index()));
        own.into_iter().for_each(|index| meters.count(*index));
    }

    /// Counts how the look at a credential ended; `consumer` is the index of whose key it is.
    pub(crate) fn count_auth(
        &self,
        rollout: &Rollout,
        outcome: AuthOutcome,
        consumer: Option<usize>,
        meters: &mut Meters,
    ) {
        let Ok(mut auth) = self.auth.try_borrow_mut() else {
            return;
        };
        let row = consumer.map_or(0, |consumer| consumer + 1);
        let place = row * AuthOutcome::ALL.len() + outcome.index();
        if place >= auth.len() {
            auth.resize(place + 1, None);
        }
        let Some(index) = auth.get_mut(place) else {
            return;
        };
        let index = *index.get_or_insert_with(|| {
            let name = consumer.and_then(|consumer| rollout.consumer(consumer));
            let labels = [
                ("consumer", text(name)),
                ("outcome", outcome.label()),
                ("rollout", rollout.id().as_str()),
            ];
            meters.intern(MetricKind::Counter, "auth", &labels)
        });
        meters.count(index);
    }

    /// Counts where an attempt goes that went to `from` before: to another environment, or once more to the same. The first
    /// attempt comes from the environment that was chosen, which may have no host that is up.
    pub(crate) fn count_move(
        &self,
        from: Option<usize>,
        to: usize,
        is_first: bool,
        meters: &mut Meters,
    ) {
        let (Some(from), Some(own)) = (from, self.environments.get(to)) else {
            return;
        };
        if from == to && is_first {
            return;
        }
        let failover = own.failovers.get(from).filter(|_| from != to);
        meters.count(*failover.unwrap_or(&own.retries));
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

    pub(crate) fn count_failure(&self, environment: usize, meters: &mut Meters) {
        self.environments
            .get(environment)
            .into_iter()
            .for_each(|own| meters.count(own.failures));
    }

    pub(crate) fn count_trip(&self, cause: Cause, meters: &mut Meters) {
        let index = Cause::ALL.iter().position(|own| *own == cause);
        let trips = self.guard.as_ref().map(|guard| &guard.trips);
        let own = trips.zip(index).and_then(|(trips, index)| trips.get(index));
        own.into_iter().for_each(|index| meters.count(*index));
    }

    pub(crate) fn count_copy(&self, outcome: ShadowOutcome, meters: &mut Meters) {
        let outcomes = self.shadow.as_ref().map(|shadow| &shadow.outcomes);
        let own = outcomes.and_then(|outcomes| outcomes.get(outcome.index()));
        own.into_iter().for_each(|index| meters.count(*index));
    }

    /// A copy's answer took so long.
    pub(crate) fn record_copy(&self, millis: u64, meters: &mut Meters) {
        if let Some(shadow) = &self.shadow {
            meters.record(shadow.duration, millis);
        }
    }

    /// A probe has succeeded or failed.
    pub(crate) fn count_probe(&self, environment: usize, succeeded: bool, meters: &mut Meters) {
        let own = self.environments.get(environment);
        if let Some(probes) = own.and_then(|own| own.probes.as_ref()) {
            meters.count(if succeeded {
                probes.succeeded
            } else {
                probes.failed
            });
        }
    }

    /// An attempt came here whose model this environment does not take.
    pub(crate) fn count_refused_attempt(&self, environment: usize, meters: &mut Meters) {
        let own = self.environments.get(environment);
        if let Some(refused) = own.and_then(|own| own.refused) {
            meters.count(refused);
        }
    }

    /// A probe took so long.
    pub(crate) fn record_probe(&self, environment: usize, millis: u64, meters: &mut Meters) {
        let own = self.environments.get(environment);
        if let Some(probes) = own.and_then(|own| own.probes.as_ref()) {
            meters.record(probes.duration, millis);
        }
    }

    /// Records how long a request took.
    pub(crate) fn record_duration(&self, environment: usize, millis: u64, meters: &mut Meters) {
        if let Some(own) = self.environments.get(environment) {
            meters.record(own.duration, millis);
        }
    }

    /// Sets the gauges to how the rollout stands.
    pub(crate) fn show(
        &self,
        rollout: &Rollout,
        control: &Control,
        now: Timestamp,
        meters: &mut Meters,
    ) {
        meters.set(self.document, 1);
        let (weights, planned) = (shares(control.weights()), shares(control.planned()));
        let states = control.health().iter();
        let shown = self
            .environments
            .iter()
            .zip(weights)
            .zip(planned)
            .zip(states);
        for (((own, weight), planned), state) in shown {
            meters.set(own.weight, weight);
            meters.set(own.planned, planned);
            if let Some(probes) = &own.probes {
                meters.set(probes.healthy, u64::from(*state == State::Healthy));
            }
        }
        if let Some((step, schedule)) = self.step.zip(rollout.schedule()) {
            let reached = schedule
                .step(now)
                .map_or(0, |index| index.saturating_add(1));
            meters.set(step, u64::try_from(reached).unwrap_or(0));
        }
        if let Some(guard) = &self.guard {
            meters.set(guard.tripped, u64::from(control.is_tripped()));
            for (index, quantile) in guard.latencies.iter().zip(Quantile::ALL) {
                let latency = control.latency(Side::Guarded, quantile);
                meters.set(*index, latency.unwrap_or(0));
            }
        }
    }
}

// === impl EnvironmentMeters ===

impl EnvironmentMeters {
    fn new(rollout: &Rollout, environment: &Environment, meters: &mut Meters) -> Self {
        let mut own = Own {
            meters,
            environment: environment.name().as_str(),
            rollout: rollout.id().as_str(),
            version: text(environment.version()),
        };
        let requests =
            |reason: Reason| own.make(MetricKind::Counter, "requests", ("reason", reason.label()));
        let requests = Reason::ALL.map(requests);
        let attempts = own.make(MetricKind::Counter, "attempts", NONE);
        let refused = rollout
            .binds_models()
            .then(|| own.make(MetricKind::Counter, "refused_attempts", NONE));
        let failures = own.make(MetricKind::Counter, "failures", NONE);
        let duration = own.make(MetricKind::Histogram, "request_duration_ms", NONE);
        own.version = "";
        let from = |from: &Environment| {
            own.make(
                MetricKind::Counter,
                "failovers",
                ("from", from.name().as_str()),
            )
        };
        let failovers = rollout.environments().iter().map(from).collect();
        Self {
            requests,
            attempts,
            refused,
            failures,
            failovers,
            duration,
            retries: own.make(MetricKind::Counter, "retries", NONE),
            weight: own.make(MetricKind::Gauge, "weight", NONE),
            planned: own.make(MetricKind::Gauge, "weight_planned", NONE),
            probes: rollout.health().map(|_| Probes {
                succeeded: own.make(MetricKind::Counter, "probes", ("outcome", "succeeded")),
                failed: own.make(MetricKind::Counter, "probes", ("outcome", "failed")),
                healthy: own.make(MetricKind::Gauge, "healthy", NONE),
                duration: own.make(MetricKind::Histogram, "probe_duration_ms", NONE),
            }),
        }
    }
}

// === impl Own ===

impl Own<'_> {
    /// A metric of this environment with one label more, whose name comes between those that all have.
    fn make(&mut self, kind: MetricKind, family: &str, label: (&str, &str)) -> usize {
        let labels = [
            ("environment", self.environment),
            label,
            ("rollout", self.rollout),
            ("version", self.version),
        ];
        self.meters.intern(kind, family, &labels)
    }
}

// === impl GuardMeters ===

impl GuardMeters {
    fn new(rollout: &Rollout, guard: &Guard, meters: &mut Meters) -> Self {
        let id = ("rollout", rollout.id().as_str());
        let name = ("environment", name_of(rollout, guard.environment()));
        Self {
            tripped: meters.intern(MetricKind::Gauge, "tripped", &[id]),
            trips: Cause::ALL.map(|cause| {
                let labels = [("cause", cause.label()), name, id];
                meters.intern(MetricKind::Counter, "trips", &labels)
            }),
            latencies: Quantile::ALL.map(|quantile| {
                let family = ["latency_", quantile.label(), "_ms"].concat();
                meters.intern(MetricKind::Gauge, &family, &[name, id])
            }),
        }
    }
}

// === impl ShadowMeters ===

impl ShadowMeters {
    fn new(rollout: &Rollout, shadow: &Shadow, meters: &mut Meters) -> Self {
        let id = ("rollout", rollout.id().as_str());
        let name = ("environment", name_of(rollout, shadow.environment()));
        Self {
            outcomes: ShadowOutcome::ALL.map(|outcome| {
                let labels = [name, ("outcome", outcome.label()), id];
                meters.intern(MetricKind::Counter, "shadows", &labels)
            }),
            duration: meters.intern(MetricKind::Histogram, "shadow_duration_ms", &[name, id]),
        }
    }
}

/// The value of a label; empty where there is none.
fn text(label: Option<&Label>) -> &str {
    label.map_or("", Label::as_str)
}

fn name_of(rollout: &Rollout, environment: usize) -> &str {
    let environment = rollout.environments().get(environment);
    environment.map_or("", |environment| environment.name().as_str())
}

/// Weights in hundredths of a percent of their sum.
fn shares(weights: &[u32]) -> impl Iterator<Item = u64> {
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    let share = move |weight: &u32| (u64::from(*weight) * 10_000 + sum / 2) / sum.max(1);
    weights.iter().map(share)
}
