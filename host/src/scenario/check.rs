//! What came of a step beside what was expected.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;

use super::matching::{self, Mismatch, Values};
use super::model::{
    Amount, By, Callouts, Expect, Level, LogLines, Match, Received, Responded, Share, Shares, Short,
};
use super::read::Step as Way;
use super::run::describe;
use crate::process::{LogLevel, LogLine};
use crate::simulation::{Outgoing, Record, Sent, Simulation};

/// Something that is not as expected.
pub(super) struct Found {
    /// Where that is said, from `expect` on.
    pub(super) place: Vec<Way>,
    /// What was expected and what came.
    pub(super) mismatch: Mismatch,
    /// What helps to understand it.
    pub(super) context: Vec<String>,
}

/// A moment of a scenario.
pub(super) struct Moment {
    pub(super) logs: usize,
    pub(super) callouts: usize,
    pub(super) elapsed: Duration,
}

// === impl Moment ===

impl Moment {
    /// The start.
    pub(super) const START: Self = Self {
        logs: 0,
        callouts: 0,
        elapsed: Duration::ZERO,
    };
}

// === impl Found ===

impl Found {
    pub(super) fn of(place: Vec<Way>, mismatch: Mismatch) -> Self {
        Self {
            place,
            mismatch,
            context: Vec::new(),
        }
    }

    pub(super) fn new(key: &str, expected: &str, actual: &str) -> Self {
        let mismatch = Mismatch {
            expected: expected.to_owned(),
            actual: actual.to_owned(),
        };
        Self::of(vec![Way::Key(key.to_owned())], mismatch)
    }

    /// The same with more to understand it by.
    pub(super) fn with(mut self, context: Vec<String>) -> Self {
        self.context.extend(context);
        self
    }
}

/// Collects what is not as expected under a place.
struct Checks {
    found: Vec<Found>,
    place: Vec<Way>,
}

// === impl Checks ===

impl Checks {
    fn new() -> Self {
        Self {
            found: Vec::new(),
            place: Vec::new(),
        }
    }

    fn within(&mut self, step: Way, check: impl FnOnce(&mut Self)) {
        self.place.push(step);
        check(self);
        self.place.pop();
    }

    fn key(&mut self, key: &str, check: impl FnOnce(&mut Self)) {
        self.within(Way::Key(key.to_owned()), check);
    }

    fn put(&mut self, checked: Result<(), Mismatch>) {
        if let Err(mismatch) = checked {
            self.found.push(Found::of(self.place.clone(), mismatch));
        }
    }

    fn fail(&mut self, expected: impl Into<String>, actual: impl Into<String>) {
        let (expected, actual) = (expected.into(), actual.into());
        self.put(Err(Mismatch { expected, actual }));
    }

    /// A text that is there once.
    fn text(&mut self, key: &str, wanted: Option<&Short<Match>>, actual: &str) {
        if let Some(wanted) = wanted {
            let checked = wanted.check(&[Cow::Borrowed(actual)]);
            self.key(key, |checks| checks.put(checked));
        }
    }

    /// Named values; all of them are told where one is not as expected.
    fn map<'a>(
        &mut self,
        key: &str,
        wanted: &BTreeMap<String, Short<Match>>,
        actual: Option<&'a HeaderMap>,
    ) {
        self.key(key, |checks| {
            for (name, wanted) in wanted {
                let values: Values<'a> = match actual {
                    Some(map) => matching::header(
                        map,
                        name.strip_prefix(":authority").map_or(name, |_| "host"),
                    ),
                    None => Vec::new(),
                };
                let before = checks.found.len();
                checks.key(name, |checks| checks.put(wanted.check(&values)));
                if let Some(found) = checks.found.get_mut(before) {
                    found.context = headers(key, actual);
                }
            }
        });
    }
}

/// All headers as context.
fn headers(what: &str, map: Option<&HeaderMap>) -> Vec<String> {
    let Some(map) = map else {
        return vec![format!("there are no {what}")];
    };
    let lines = map
        .iter()
        .map(|(name, value)| format!("  {name}: {}", String::from_utf8_lossy(value.as_bytes())));
    std::iter::once(format!("{what} were:"))
        .chain(lines)
        .collect()
}

/// What is expected of one request.
pub(super) fn record(expect: &Expect, record: &Record) -> Vec<Found> {
    let mut checks = Checks::new();
    if let Some(wanted) = &expect.upstream {
        checks.key("upstream", |checks| {
            match (&wanted.0.0, record.attempts.last()) {
                (None, None) => {}
                (None, Some(sent)) => checks.fail("no request reaches an upstream", one(sent)),
                (Some(wanted), Some(sent)) => received(checks, wanted, sent),
                (Some(_), None) => {
                    checks.fail("a request that reaches an upstream", no_attempt(record))
                }
            }
        });
    }
    if let Some(wanted) = &expect.attempts {
        checks.key("attempts", |checks| attempts(checks, wanted, record));
    }
    if let Some(wanted) = &expect.response {
        checks.key("response", |checks| responded(checks, wanted, record));
    }
    if let Some(wanted) = expect.reset
        && wanted != record.reset
    {
        let text = |reset| {
            if reset {
                "broken off"
            } else {
                "not broken off"
            }
        };
        checks.key("reset", |checks| {
            checks.fail(text(wanted), text(record.reset))
        });
    }
    if let Some(wanted) = &expect.paused {
        let actual = match &record.held {
            Some(held) => format!("held by {:?} at {}", held.plugin, held.what),
            None if record.ended.is_some() => "over".to_owned(),
            None => "not held by a filter".to_owned(),
        };
        let held = record.held.as_ref().map(|held| &held.plugin);
        let fits = match &wanted.plugin {
            Some(plugin) => held == Some(plugin),
            None => held.is_some() != wanted.not,
        };
        let expected = match (&wanted.plugin, wanted.not) {
            (Some(plugin), _) => format!("held by {plugin:?}"),
            (None, true) => "not held by a filter".to_owned(),
            (None, false) => "held by a filter".to_owned(),
        };
        if !fits {
            checks.key("paused", |checks| checks.fail(expected, actual));
        }
    }
    checks.found
}

fn attempts(checks: &mut Checks, wanted: &[Short<Received>], record: &Record) {
    if wanted.len() != record.attempts.len() {
        let actual: Vec<_> = record.attempts.iter().map(one).collect();
        let actual = match actual.is_empty() {
            true => no_attempt(record),
            false => format!("{}: {}", actual.len(), actual.join(", ")),
        };
        checks.fail(format!("{} attempts", wanted.len()), actual);
    }
    for (at, (wanted, sent)) in wanted.iter().zip(&record.attempts).enumerate() {
        checks.within(Way::Index(at), |checks| received(checks, wanted, sent));
    }
}

fn received(checks: &mut Checks, wanted: &Received, sent: &Sent) {
    checks.text("cluster", wanted.cluster.as_ref(), &sent.cluster);
    checks.text("route", wanted.route.as_ref(), &sent.route);
    checks.text(
        "route_cluster",
        wanted.route_cluster.as_ref(),
        &sent.route_cluster,
    );
    checks.text("method", wanted.method.as_ref(), sent.method.as_str());
    checks.text(
        "path",
        wanted.path.as_ref(),
        &String::from_utf8_lossy(&sent.path),
    );
    checks.map("headers", &wanted.headers, Some(&sent.headers));
    checks.text(
        "body",
        wanted.body.as_ref(),
        &String::from_utf8_lossy(&sent.body),
    );
    checks.map("trailers", &wanted.trailers, sent.trailers.as_ref());
}

fn responded(checks: &mut Checks, wanted: &Responded, record: &Record) {
    let Some(response) = &record.response else {
        let actual = match (record.reset, &record.ended) {
            (true, _) => "nothing: the exchange was broken off",
            (false, None) => "nothing yet: the request is under way",
            (false, Some(_)) => "nothing",
        };
        return checks.fail("a response", actual);
    };
    let body = response.whole_body();
    let body = String::from_utf8_lossy(&body);
    if let Some(status) = wanted.status
        && status != response.status.as_u16()
    {
        checks.key("status", |checks| {
            checks.fail(status.to_string(), response.status.as_u16().to_string());
        });
        if let Some(found) = checks.found.last_mut() {
            found.context = vec![format!("details: {}", record.details)];
            if !body.is_empty() {
                let body: String = body.chars().take(300).collect();
                found.context.push(format!("body: {body}"));
            }
        }
    }
    checks.map("headers", &wanted.headers, Some(&response.headers));
    checks.text("body", wanted.body.as_ref(), &body);
    checks.map("trailers", &wanted.trailers, response.trailers.as_ref());
    checks.text("details", wanted.details.as_ref(), record.details);
}

fn one(sent: &Sent) -> String {
    let path = String::from_utf8_lossy(&sent.path);
    format!("{} {path} to {}", sent.method, sent.cluster)
}

fn no_attempt(record: &Record) -> String {
    match (&record.response, &record.held) {
        (Some(response), _) => format!(
            "none: the client got {} ({})",
            response.status.as_u16(),
            record.details
        ),
        (None, Some(held)) => format!("none: held at {}", held.what),
        (None, None) => "none".to_owned(),
    }
}

/// What is expected of all the rest.
pub(super) fn world(
    expect: &Expect,
    simulation: &Simulation,
    before: &Moment,
    records: &[Record],
    vm_id: &str,
) -> Vec<Found> {
    let mut checks = Checks::new();
    if let Some(took) = &expect.took {
        let actual = simulation.elapsed().saturating_sub(before.elapsed);
        checks.key("took", |checks| checks.put(took.check(actual)));
    }
    if !expect.logs.is_empty() {
        let lines = simulation.logs();
        let lines = lines.get(before.logs..).unwrap_or_default();
        checks.key("logs", |checks| {
            for (at, wanted) in expect.logs.iter().enumerate() {
                checks.within(Way::Index(at), |checks| logs(checks, wanted, lines));
            }
        });
    }
    if !expect.metrics.is_empty() {
        checks.key("metrics", |checks| {
            metrics(checks, &expect.metrics, simulation)
        });
    }
    checks.key("shared_data", |checks| {
        for (key, wanted) in &expect.shared_data {
            let value = simulation.shared_data().get(vm_id, key.as_bytes());
            let value = value.map(|(value, _)| String::from_utf8_lossy(&value).into_owned());
            let values: Values<'_> = value.into_iter().map(Cow::Owned).collect();
            checks.key(key, |checks| checks.put(wanted.check(&values)));
        }
    });
    if !expect.callouts.is_empty() {
        let made = simulation.callouts();
        let made = made.get(before.callouts..).unwrap_or_default();
        checks.key("callouts", |checks| {
            for (at, wanted) in expect.callouts.iter().enumerate() {
                checks.within(Way::Index(at), |checks| callouts(checks, wanted, made));
            }
        });
    }
    if let Some(wanted) = &expect.shares {
        checks.key("shares", |checks| shares(checks, wanted, records));
    }
    checks.found
}

fn logs(checks: &mut Checks, wanted: &LogLines, lines: &[LogLine]) {
    let fits = |line: &&LogLine| {
        wanted
            .text
            .as_ref()
            .is_none_or(|text| text.holds(&line.text))
            && wanted
                .level
                .is_none_or(|level| log_level(level) == line.level)
            && wanted
                .plugin
                .as_ref()
                .is_none_or(|plugin| *plugin == line.plugin)
    };
    let count = count(lines.iter().filter(fits).count());
    let what = match &wanted.text {
        Some(text) => format!("lines like {}", text.describe()),
        None => "lines".to_owned(),
    };
    amount(checks, wanted.count.as_ref(), count, &what);
}

fn metrics(
    checks: &mut Checks,
    wanted: &BTreeMap<String, Short<Amount<u64>>>,
    simulation: &Simulation,
) {
    let samples = simulation.metrics();
    for (name, wanted) in wanted {
        let mut parts = name.split(';');
        let family = parts.next().unwrap_or_default();
        let labels: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let fitting = samples
            .iter()
            .filter(|sample| sample.matches(family, &labels));
        let values: Vec<u64> = fitting.map(|sample| sample.value).collect();
        let before = checks.found.len();
        checks.key(name, |checks| checks.put(wanted.check(values.iter().sum())));
        if let Some(found) = checks.found.get_mut(before)
            && values.is_empty()
        {
            found.mismatch.actual.push_str(" (there is no such metric)");
            let mut known: Vec<_> = samples.iter().map(|sample| &sample.family).collect();
            known.dedup();
            let known: Vec<_> = known.into_iter().map(String::as_str).collect();
            found.context = vec![format!("metrics were: {}", known.join(", "))];
        }
    }
}

fn callouts(checks: &mut Checks, wanted: &Callouts, made: &[std::rc::Rc<Outgoing>]) {
    // Each on its own, so that what is wrong of the only one can be told.
    let wrong = |outgoing: &Outgoing| {
        let asked = &outgoing.callout;
        let mut checks = Checks::new();
        checks.text("cluster", wanted.cluster.as_ref(), &asked.cluster);
        checks.text("method", wanted.method.as_ref(), asked.head.method.as_str());
        let path = String::from_utf8_lossy(asked.head.path.as_bytes());
        checks.text("path", wanted.path.as_ref(), &path);
        checks.map("headers", &wanted.headers, Some(&asked.head.headers));
        checks.text(
            "body",
            wanted.body.as_ref(),
            &String::from_utf8_lossy(&asked.body),
        );
        if let Some(timeout) = &wanted.timeout {
            checks.key("timeout", |checks| checks.put(timeout.check(asked.timeout)));
        }
        if let Some(worker) = wanted.worker.filter(|worker| *worker != outgoing.worker) {
            checks.key("worker", |checks| {
                checks.fail(worker.to_string(), outgoing.worker.to_string());
            });
        }
        checks.found
    };
    let all: Vec<_> = made.iter().map(|outgoing| wrong(outgoing)).collect();
    let fitting = count(all.iter().filter(|found| found.is_empty()).count());
    let before = checks.found.len();
    amount(checks, wanted.count.as_ref(), fitting, "callouts like this");
    if let Some(failed) = checks.found.get_mut(before) {
        let mut told: Vec<_> = made
            .iter()
            .take(10)
            .map(|made| format!("  {}", describe(made)))
            .collect();
        told.insert(0, format!("callouts were ({}):", made.len()));
        if let [found] = &all[..]
            && let Some(found) = found.first()
        {
            let Mismatch { expected, actual } = &found.mismatch;
            let what = super::read::path_text(&found.place);
            told.push(format!("  its {what}: expected {expected}, found {actual}"));
        }
        failed.context = told;
    }
}

/// How many there are to be; at least one, if nothing is said.
fn amount(checks: &mut Checks, wanted: Option<&Short<Amount<u64>>>, actual: u64, what: &str) {
    let wanted = wanted.map_or(Amount::SOME, |wanted| wanted.0);
    let checked = wanted.check(actual).map_err(|mismatch| Mismatch {
        expected: format!("{} {what}", mismatch.expected),
        ..mismatch
    });
    checks.put(checked);
}

fn shares(checks: &mut Checks, wanted: &Shares, records: &[Record]) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for record in records {
        *counts.entry(kind(&wanted.by, record)).or_default() += 1;
    }
    let all = as_float(count(records.len()));
    let tolerance = wanted.within.as_ref().map(|within| of(within.0, all));
    let off = |share: Share, actual: u64| {
        let distance = (as_float(actual) - of(share, all)).abs();
        match (tolerance, share) {
            (Some(tolerance), _) => distance > tolerance + 1e-9,
            (None, Share::Count(_)) => distance > 0.0,
            // There is no half of a request.
            (None, Share::Percent(_)) => distance >= 1.0,
        }
    };
    let expected = wanted.expect.iter();
    let wrong = expected
        .clone()
        .any(|(name, share)| off(share.0, counts.get(name).copied().unwrap_or(0)))
        || counts.keys().any(|name| !wanted.expect.contains_key(name));
    if !wrong {
        return;
    }
    let expected: Vec<_> = expected
        .map(|(name, share)| match share.0 {
            Share::Count(count) => format!("{name}: {count}"),
            Share::Percent(percent) => format!("{name}: {percent}% = {}", of(share.0, all)),
        })
        .collect();
    let actual: Vec<_> = counts
        .iter()
        .map(|(name, count)| format!("{name}: {count}"))
        .collect();
    let within = tolerance.map(|tolerance| format!(", each within {tolerance}"));
    checks.fail(
        format!(
            "{}{} of {} requests",
            expected.join(", "),
            within.unwrap_or_default(),
            records.len()
        ),
        actual.join(", "),
    );
}

/// What a request is told from others by.
fn kind(by: &By, record: &Record) -> String {
    let first = |map: &HeaderMap, name: &str| {
        let values = matching::header(map, name);
        values.first().map(|value| value.to_string())
    };
    let kind = match by {
        By::Status => record
            .response
            .as_ref()
            .map(|response| response.status.as_u16().to_string()),
        By::Cluster => record.attempts.last().map(|sent| sent.cluster.to_string()),
        By::Route => record.attempts.last().map(|sent| sent.route.to_string()),
        By::ResponseHeader(name) => record
            .response
            .as_ref()
            .and_then(|response| first(&response.headers, name)),
        By::UpstreamHeader(name) => record
            .attempts
            .first()
            .and_then(|sent| first(&sent.headers, name)),
    };
    kind.unwrap_or_default()
}

fn of(share: Share, all: f64) -> f64 {
    match share {
        Share::Count(count) => as_float(count),
        Share::Percent(percent) => percent * all / 100.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn as_float(count: u64) -> f64 {
    count as f64
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn log_level(level: Level) -> LogLevel {
    match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
        Level::Critical => LogLevel::Critical,
    }
}
