//! What the console shows, as JSON: the document by the clock, and what the proxies do.

use serde::Serialize;
use serde_json::Value;
use switchover_core::document::Ramp;
use switchover_core::{Schedule, Timestamp};

use super::act;
use super::proxy::{Condition, Known, ProxyState, Seen};
use super::window::{Count, SPAN};
use crate::report::{By, Report, has_models};
use crate::rollout::audit::Told;
use crate::rollout::live::Percent;
use crate::rollout::status::Status;
use crate::rollout::{Loaded, Named, rfc3339};

/// Everything at an instant.
#[derive(Debug, Serialize)]
pub(super) struct State {
    /// The instant: RFC 3339.
    now: String,
    /// How far back measured figures reach, in seconds.
    window_s: u64,
    document: DocumentState,
    rollouts: Vec<RolloutState>,
    proxies: Vec<ProxyState>,
    /// What models took and cost, as `switchover report` tells it; `None` where the document has none.
    costs: Option<Report>,
    /// The newest first.
    audit: Vec<Told>,
}

/// The document's file.
#[derive(Debug, Serialize)]
struct DocumentState {
    path: String,
    /// The version that proxies name in their metrics.
    version: Option<String>,
    /// Why it cannot be read; what is shown is then what it said before.
    error: Option<String>,
}

/// A rollout.
#[derive(Debug, Serialize)]
struct RolloutState {
    #[serde(flatten)]
    status: Status,
    /// By environment, in the order of the status.
    live: Vec<Live>,
    course: Option<Course>,
    tripwire: Option<Tripwire>,
    verbs: Vec<act::Possible>,
}

/// What all proxies together do with an environment.
#[derive(Debug, Serialize)]
struct Live {
    name: String,
    /// Its part of the requests lately, in percent.
    measured: Option<f64>,
    requests_per_second: Option<f64>,
    /// The part of outcomes that were no failures; `None` without a guard, which is what counts them.
    success: Option<f64>,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// How many proxies find it healthy, of those that probe it; `None` where none does.
    healthy: Option<[usize; 2]>,
}

/// A schedule on its own clock.
#[derive(Debug, Serialize)]
struct Course {
    /// Whether the share changes evenly between the steps.
    linear: bool,
    /// Where the clock is, from the start, in milliseconds; negative before.
    clock_ms: i64,
    held: bool,
    steps: Vec<CourseStep>,
}

#[derive(Debug, Serialize)]
struct CourseStep {
    after_ms: u64,
    share: Percent,
}

/// A guard.
#[derive(Debug, Serialize)]
struct Tripwire {
    environment: String,
    /// As the document has it.
    limits: Value,
    /// Proxies whose tripwire has tripped, and over which limits.
    tripped: Vec<Trip>,
}

#[derive(Debug, Serialize)]
struct Trip {
    proxy: String,
    /// The limits' names in the document; none where another proxy's process counted it.
    causes: Vec<&'static str>,
}

/// The document as it was read last.
#[derive(Default)]
pub(super) struct Read {
    /// What it said when it was right.
    pub(super) good: Option<Loaded>,
    /// Why it cannot be read now.
    pub(super) error: Option<String>,
    /// The log's last lines.
    pub(super) audit: Vec<Told>,
}

// === impl State ===

impl State {
    pub(super) fn new(path: String, read: &Read, seen: &[&Seen], now: Timestamp) -> Self {
        let named = read.good.iter().flat_map(|loaded| {
            let all = loaded.all().into_iter();
            all.map(move |named| (loaded, named))
        });
        let named: Vec<(&Loaded, Named<'_>)> = named.collect();
        let statuses: Vec<Status> = named
            .iter()
            .map(|(_, named)| Status::at(named, now))
            .collect();
        let known: Vec<Known<'_>> = seen
            .iter()
            .map(|seen| Known::new(seen, &statuses))
            .collect();
        let version = read
            .good
            .as_ref()
            .map(|loaded| loaded.document().digest().to_owned());
        let proxies = known.iter().map(|known| known.state(version.as_deref()));
        let proxies = proxies.collect();
        let document = read.good.as_ref().map(Loaded::document);
        let costs = document.filter(|own| has_models(own)).map(|own| {
            let counted: Vec<_> = seen.iter().filter_map(|seen| seen.costs.as_ref()).collect();
            Report::new(&counted, By::Model, Some(own))
        });
        let rollouts = named.iter().zip(statuses).enumerate();
        let rollouts = rollouts
            .map(|(at, (named, status))| RolloutState::new(named, status, at, &known, now))
            .collect();
        Self {
            now: rfc3339(now),
            window_s: SPAN.as_secs(),
            document: DocumentState {
                path,
                version,
                error: read.error.clone(),
            },
            rollouts,
            proxies,
            costs,
            audit: read
                .audit
                .iter()
                .cloned()
                .map(act::without_secrets)
                .collect(),
        }
    }
}

impl State {
    /// Whether every proxy has answered, or failed to.
    pub(super) fn is_complete(&self) -> bool {
        let asked = |proxy: &ProxyState| proxy.condition == Condition::Asked;
        !self.proxies.iter().any(asked)
    }
}

// === impl RolloutState ===

impl RolloutState {
    fn new(
        (loaded, named): &(&Loaded, Named<'_>),
        status: Status,
        at: usize,
        known: &[Known<'_>],
        now: Timestamp,
    ) -> Self {
        let names = status.environments.iter().map(|e| e.name.as_str());
        let lately: Vec<Lately> = names
            .map(|environment| Lately::of(&status.rollout, environment, known))
            .collect();
        let all: f64 = lately.iter().filter_map(|own| own.rate).sum();
        let figures = |environment: usize| {
            let of_proxies = known.iter().filter_map(move |known| known.figures.get(at));
            of_proxies.filter_map(move |figures| figures.environments.get(environment))
        };
        let live = status.environments.iter().zip(lately).enumerate();
        let live = live.map(|(index, (environment, lately))| {
            let probed: Vec<bool> = figures(index).filter_map(|own| own.healthy).collect();
            let healthy = probed.iter().filter(|healthy| **healthy).count();
            Live {
                name: environment.name.clone(),
                measured: lately
                    .rate
                    .filter(|_| all > 0.0)
                    .map(|rate| 100.0 * rate / all),
                requests_per_second: lately.rate,
                // Filters look at outcomes for the guard's sake.
                success: lately.count.success().filter(|_| status.guard),
                p50_ms: lately.count.latency(0.50),
                p95_ms: lately.count.latency(0.95),
                p99_ms: lately.count.latency(0.99),
                healthy: (!probed.is_empty()).then_some([healthy, probed.len()]),
            }
        });
        let is_armed =
            |known: &Known<'_>| known.figures.get(at).and_then(|own| own.tripped) == Some(false);
        let armed = !known.is_empty() && known.iter().all(is_armed);
        Self {
            live: live.collect(),
            course: named.rollout().schedule().map(|s| Course::new(s, now)),
            tripwire: Tripwire::new(named, at, known),
            verbs: act::possible(loaded, named, armed, now),
            status,
        }
    }
}

/// What all proxies did lately with an environment.
struct Lately {
    rate: Option<f64>,
    count: Count,
}

impl Lately {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with few digits"
    )]
    fn of(rollout: &str, environment: &str, known: &[Known<'_>]) -> Self {
        let (mut rate, mut sum) = (None, Count::default());
        let answering = known.iter().filter(|known| known.stats().is_some());
        for (took, counts) in answering.filter_map(|known| known.seen.window.lately()) {
            let own = counts.of(rollout, environment);
            let requests = own.map_or(0, |own| own.requests) as f64;
            rate = Some(rate.unwrap_or(0.0) + requests / took.as_secs_f64());
            own.into_iter().for_each(|own| sum.add(own));
        }
        Self { rate, count: sum }
    }
}

// === impl Course ===

impl Course {
    fn new(schedule: &Schedule, now: Timestamp) -> Self {
        let hold = schedule
            .hold()
            .filter(|hold| *hold <= now.max(schedule.start()));
        let clock = hold.unwrap_or(now).as_millis();
        let step = |step: &switchover_core::Step| CourseStep {
            after_ms: step.at.as_millis(),
            share: Percent(step.weight),
        };
        Self {
            linear: matches!(schedule.ramp(), Ramp::Linear),
            clock_ms: clock.saturating_sub(schedule.start().as_millis()),
            held: hold.is_some(),
            steps: schedule.steps().iter().map(step).collect(),
        }
    }
}

// === impl Tripwire ===

impl Tripwire {
    fn new(named: &Named<'_>, at: usize, known: &[Known<'_>]) -> Option<Self> {
        let guard = named.rollout().guard()?;
        let has_tripped = |known: &&Known<'_>| {
            let figures = known.figures.get(at);
            figures.is_some_and(|figures| figures.tripped == Some(true))
        };
        let trip = |known: &Known<'_>| Trip {
            proxy: known.seen.admin.name().to_owned(),
            causes: known.causes(named.id()),
        };
        Some(Self {
            environment: named.name(guard.environment()).to_owned(),
            limits: named.member("/guard").cloned().unwrap_or_default(),
            tripped: known.iter().filter(has_tripped).map(trip).collect(),
        })
    }
}
