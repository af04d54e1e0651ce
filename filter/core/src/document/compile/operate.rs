//! How a rollout is operated: schedule, tripwire, probes, copies.

use crate::document::Environment;
use crate::document::compile::{named_environment, values};
use crate::document::raw::{self, Items, Ramp};
use crate::document::read::{At, Problems};
use crate::document::text::{Name, Size, UrlPath};
use crate::guard::Guard;
use crate::health::Health;
use crate::schedule::{Schedule, Step};
use crate::shadow::Shadow;
use crate::time::{Duration, Timestamp};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_millis(1_000);
const MINUTE: Duration = Duration::from_millis(60_000);
const HOUR: Duration = Duration::from_millis(3_600_000);
const YEAR: Duration = Duration::from_millis(365 * 86_400_000);
/// 2000-01-01 and 2200-01-01: a start outside is a slip of the pen.
const YEARS: (Timestamp, Timestamp) = (
    Timestamp::from_millis(946_684_800_000),
    Timestamp::from_millis(7_258_118_400_000),
);

/// The environments that are operated.
pub(super) struct Among<'a> {
    pub(super) environments: &'a [Environment],
    /// `None` where it could not be read.
    pub(super) stable: Option<usize>,
}

impl Among<'_> {
    #[cold]
    #[inline(never)]
    pub(super) fn schedule(
        &self,
        raw: Option<raw::Schedule>,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Schedule> {
        let raw = raw?;
        let environment = self.canary(raw.environment, at, problems);
        let steps = raw
            .steps
            .map(|steps| rising(steps, &at.member("steps"), problems));
        for (instant, field) in [(raw.start, "start"), (raw.hold, "hold")] {
            if instant.is_some_and(|instant| !(YEARS.0..YEARS.1).contains(&instant)) {
                let message = "is out of range: expected an instant from the year 2000 to 2199";
                problems.push(&at.member(field), message);
            }
        }
        if raw
            .hold
            .zip(raw.start)
            .is_some_and(|(hold, start)| hold < start)
        {
            problems.push(
                &at.member("hold"),
                "is before `start`, so no step is ever reached",
            );
        }
        Some(Schedule {
            environment: environment?,
            start: raw.start?,
            steps: steps?,
            ramp: raw.ramp.unwrap_or(Ramp::Step),
            hold: raw.hold,
        })
    }

    #[cold]
    #[inline(never)]
    pub(super) fn guard(
        &self,
        raw: Option<raw::Guard>,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Guard> {
        let raw = raw?;
        let environment = self.canary(raw.environment, at, problems);
        let window = within(
            raw.window,
            30_000,
            SECOND,
            HOUR,
            &at.member("window"),
            problems,
        );
        let min_requests = raw.min_requests.map_or(50, |count| count.0);
        let max_latency = [
            (raw.max_p50, "max_p50"),
            (raw.max_p95, "max_p95"),
            (raw.max_p99, "max_p99"),
        ]
        .map(|(limit, field)| {
            limit.map(|limit| {
                let longest = Duration::from_millis(10 * MINUTE.as_millis());
                within(
                    Some(limit),
                    0,
                    MILLISECOND,
                    longest,
                    &at.member(field),
                    problems,
                )
            })
        });
        let fields = ["max_p50", "max_p95", "max_p99"];
        let mut lower: Option<(Duration, &str)> = None;
        for (limit, field) in max_latency.into_iter().zip(fields) {
            if let (Some((before, name)), Some(limit)) = (lower, limit)
                && limit < before
            {
                let message = [
                    "is below `",
                    name,
                    "`, which then can never be crossed first",
                ];
                problems.push(&at.member(field), message.concat());
            }
            lower = limit.map(|limit| (limit, field)).or(lower);
        }
        for (rate, field) in [
            (raw.max_error_rate, "max_error_rate"),
            (raw.worse_than_stable_by, "worse_than_stable_by"),
        ] {
            if rate.is_some_and(|rate| rate.millionths() >= 1_000_000) {
                let message = "can never be crossed: expected a number below 1";
                problems.push(&at.member(field), message);
            }
        }
        let rates = [raw.max_error_rate, raw.worse_than_stable_by];
        if rates.iter().all(Option::is_none) && max_latency.iter().all(Option::is_none) {
            let message = "has no limit: expected at least one of `max_error_rate`, `max_p50`, `max_p95`, `max_p99` and `worse_than_stable_by`";
            problems.push(at, message);
        }
        Some(Guard {
            environment: environment?,
            window,
            min_requests,
            max_error_rate: raw.max_error_rate,
            max_latency,
            worse_than_stable_by: raw.worse_than_stable_by,
            count_429: raw.count_429.unwrap_or(false),
        })
    }

    #[cold]
    #[inline(never)]
    pub(super) fn health(
        &self,
        raw: Option<raw::Health>,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Health> {
        let raw = raw?;
        let quarter = Duration::from_millis(250);
        self.callable(None, at, problems);
        let interval = within(
            raw.interval,
            5_000,
            quarter,
            HOUR,
            &at.member("interval"),
            problems,
        );
        let timeout = within(
            raw.timeout,
            10_000,
            MILLISECOND,
            MINUTE,
            &at.member("timeout"),
            problems,
        );
        Some(Health {
            path: raw.path.or_else(|| UrlPath::new("/health"))?,
            host: raw.host,
            interval,
            timeout,
            unhealthy_after: raw.unhealthy_after.map_or(3, |count| count.0),
            healthy_after: raw.healthy_after.map_or(2, |count| count.0),
            failover: raw.failover.unwrap_or(false),
        })
    }

    #[cold]
    #[inline(never)]
    pub(super) fn shadow(
        &self,
        raw: Option<raw::Shadow>,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Shadow> {
        const DEFAULT_BODY: Size = Size(64 << 10);
        let raw = raw?;
        let named = raw.environment?;
        let environment = named_environment(
            &named,
            self.environments,
            &at.member("environment"),
            problems,
        )?;
        self.callable(Some(environment), at, problems);
        let longest = Duration::from_millis(10 * MINUTE.as_millis());
        let timeout = within(
            raw.timeout,
            30_000,
            MILLISECOND,
            longest,
            &at.member("timeout"),
            problems,
        );
        Some(Shadow {
            environment,
            percent: raw.percent?,
            max_body: raw.max_body.unwrap_or(DEFAULT_BODY),
            paths: raw.paths.map(values).unwrap_or_default(),
            timeout,
        })
    }

    /// The index of an environment other than stable.
    fn canary(&self, name: Option<Name>, at: &At<'_>, problems: &mut Problems) -> Option<usize> {
        let at = at.member("environment");
        let index = named_environment(&name?, self.environments, &at, problems)?;
        if Some(index) == self.stable {
            problems.push(&at, "is stable itself: expected another environment");
        }
        Some(index)
    }

    /// Notes environments (one, or all) without a cluster that could be called.
    fn callable(&self, environment: Option<usize>, at: &At<'_>, problems: &mut Problems) {
        for (index, own) in self.environments.iter().enumerate() {
            let asked = environment.is_none_or(|environment| environment == index);
            if asked && own.clusters.is_empty() {
                let name = own.name.as_str();
                problems.push(
                    at,
                    [
                        "needs a cluster of `",
                        name,
                        "` to call: `clusters` is empty there",
                    ]
                    .concat(),
                );
            }
        }
    }
}

/// The steps, if there is at least one and their offsets rise.
fn rising(Items(raw): Items<raw::Step>, at: &At<'_>, problems: &mut Problems) -> Vec<Step> {
    if raw.is_empty() {
        problems.push(at, "has no valid step: expected at least one");
    }
    let mut steps: Vec<Step> = Vec::new();
    for (index, raw) in raw {
        let item = at.item(index);
        let (Some(offset), Some(weight)) = (raw.at, raw.weight) else {
            continue;
        };
        let at = item.member("at");
        if offset > YEAR {
            problems.push(&at, "is too late: expected at most `365d`");
        }
        if steps.last().is_some_and(|before| before.at >= offset) {
            problems.push(&at, "is not after the step before it: offsets must rise");
        }
        steps.push(Step { at: offset, weight });
    }
    steps
}

/// A duration within bounds, or its default.
fn within(
    duration: Option<Duration>,
    default: u64,
    least: Duration,
    most: Duration,
    at: &At<'_>,
    problems: &mut Problems,
) -> Duration {
    let duration = duration.unwrap_or(Duration::from_millis(default));
    if !(least..=most).contains(&duration) {
        let message = [
            "is out of range: expected from `",
            &text(least),
            "` to `",
            &text(most),
            "`",
        ];
        problems.push(at, message.concat());
    }
    duration
}

/// A duration in its largest whole unit.
fn text(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let millis = duration.as_millis();
    let unit = UNITS.iter().find(|(unit, _)| millis.is_multiple_of(*unit));
    unit.map_or_else(String::new, |(unit, name)| {
        [&(millis / unit).to_string(), *name].concat()
    })
}
