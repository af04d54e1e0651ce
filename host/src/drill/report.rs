//! What a drill has measured, and which of its bounds were missed.

use std::time::Duration;

use serde::Serialize;

use super::load::Tally;
use super::{Engine, Options};

/// The figures of a drill.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What served.
    pub engine: String,
    /// Requests in all.
    pub requests: u64,
    /// Requests that ended with something else than 200, or with nothing.
    pub failed: u64,
    /// Responses that had begun and broke off; only the killing of a process may cause any.
    pub broken_off: u64,
    /// The part of the requests that were answered with 200, in percent.
    pub success_percent: f64,
    /// Mean latency, in milliseconds.
    pub mean_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// From the start of the verb that gives green everything to the last request that reached blue.
    pub switchover_ms: f64,
    /// From the start of the verb `rollback`, with everything on green, to the last request that reached green.
    pub rollback_ms: f64,
    /// From green's first failure, while it had its canary, to the last request that reached it.
    pub trip_ms: f64,
    /// Attempts that reached the failing green.
    pub trip_attempts: u64,
    /// Retries that were not made because too many were under way.
    pub retry_overflows: u64,
    /// The parts of the story.
    pub phases: Vec<Phase>,
    /// The bounds that were missed, a sentence each; none where all is well.
    pub missed: Vec<String>,
}

/// The figures of a part of the story.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// What was going on.
    pub name: &'static str,
    /// Requests that began in it.
    pub requests: u64,
    /// Failed ones among them.
    pub failed: u64,
    /// The part of them that green answered, in percent.
    pub green_percent: f64,
    /// Mean latency, in milliseconds.
    pub mean_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// What the story measures beside its requests.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) switchover: Duration,
    pub(super) rollback: Duration,
    pub(super) trip: Duration,
    pub(super) trip_attempts: u64,
    pub(super) retry_overflows: u64,
    /// Who got requests when nobody should have sent them any.
    pub(super) strays: Vec<String>,
}

/// How long it may take at most until the last request has gone the old way.
struct Bounds {
    verb: Duration,
    trip: Duration,
}

impl Report {
    /// Puts everything together; `killed` is the phase in which a process was killed.
    pub(super) fn new(
        options: &Options,
        measured: &Measured,
        phases: &[(&'static str, Tally)],
        killed: &str,
    ) -> Self {
        let mut all = Tally::default();
        phases.iter().for_each(|(_, tally)| all.add(tally));
        let mut report = Self {
            engine: options.engine.to_string(),
            requests: all.requests,
            failed: all.failed,
            broken_off: all.broken_off,
            success_percent: percent(all.requests - all.failed - all.broken_off, all.requests),
            mean_ms: all.latency.mean() / 1e3,
            p95_ms: quantile(&all, 0.95),
            p99_ms: quantile(&all, 0.99),
            switchover_ms: millis(measured.switchover),
            rollback_ms: millis(measured.rollback),
            trip_ms: millis(measured.trip),
            trip_attempts: measured.trip_attempts,
            retry_overflows: measured.retry_overflows,
            phases: phases
                .iter()
                .map(|(name, tally)| Phase::new(name, tally))
                .collect(),
            missed: Vec::new(),
        };
        report.missed = missed(&report, options, measured, phases, killed);
        report
    }
}

fn missed(
    report: &Report,
    options: &Options,
    measured: &Measured,
    phases: &[(&'static str, Tally)],
    killed: &str,
) -> Vec<String> {
    let bounds = Bounds::of(&options.engine);
    let mut missed = measured.strays.clone();
    for (name, tally) in phases {
        let broken_off = if *name == killed { 0 } else { tally.broken_off };
        if tally.failed + broken_off > 0 {
            let first = tally.first_failure.as_deref().unwrap_or("unknown");
            missed.push(format!(
                "{} of {} requests failed in the phase {name:?}; the first: {first}",
                tally.failed + broken_off,
                tally.requests
            ));
        }
    }
    if report.requests < options.requests {
        missed.push(format!(
            "{} requests were sent instead of {}",
            report.requests, options.requests
        ));
    }
    if report.retry_overflows > 0 {
        missed.push(format!("{} retries overflowed", report.retry_overflows));
    }
    for (what, took, most) in [
        ("the switchover", measured.switchover, bounds.verb),
        ("the rollback", measured.rollback, bounds.verb),
        ("the tripwire", measured.trip, bounds.trip),
    ] {
        if took > most {
            missed.push(format!("{what} took {took:.1?}, above {most:?}"));
        }
    }
    missed
}

// === impl Phase ===

impl Phase {
    fn new(name: &'static str, tally: &Tally) -> Self {
        Self {
            name,
            requests: tally.requests,
            failed: tally.failed,
            green_percent: percent(tally.green, tally.requests),
            mean_ms: tally.latency.mean() / 1e3,
            p95_ms: quantile(tally, 0.95),
            p99_ms: quantile(tally, 0.99),
        }
    }
}

// === impl Bounds ===

impl Bounds {
    /// Three times what a verb takes in the median, since this is one case of many.
    fn of(engine: &Engine) -> Self {
        let verb = match engine {
            Engine::Host => Duration::from_millis(3 * 50),
            Engine::Envoy(_) => Duration::from_millis(3 * 250),
        };
        // The worker that judges acts at once; this leaves room for the outcomes that a trip needs.
        let trip = Duration::from_secs(1);
        Self { verb, trip }
    }
}

fn quantile(tally: &Tally, quantile: f64) -> f64 {
    micros(tally.latency.value_at_quantile(quantile))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "at most a minute, in microseconds"
)]
fn micros(micros: u64) -> f64 {
    micros as f64 / 1e3
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a share of a count of requests")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}
