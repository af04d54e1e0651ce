//! What came of a step beside what was expected.

mod world;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;

use super::matching::{self, Mismatch, Values};
use super::model::{Expect, Match, Received, Responded, Short};
use super::read::Step as Way;
use crate::simulation::{Record, Sent};
pub(super) use world::world;

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
    pub(super) grpc: usize,
    pub(super) elapsed: Duration,
}

// === impl Moment ===

impl Moment {
    /// The start.
    pub(super) const START: Self = Self {
        logs: 0,
        callouts: 0,
        grpc: 0,
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
                found.context.push("body:".to_owned());
                found
                    .context
                    .extend(body.lines().map(|line| format!("  {line}")));
            }
        }
    }
    checks.map("headers", &wanted.headers, Some(&response.headers));
    checks.text("body", wanted.body.as_ref(), &body);
    checks.map("trailers", &wanted.trailers, response.trailers.as_ref());
    checks.text("details", wanted.details.as_ref(), &record.details);
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
