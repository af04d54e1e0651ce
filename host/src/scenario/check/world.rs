//! What is expected of all but single requests: time, logs, metrics, shared data, callouts, shares.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::HeaderMap;

use super::super::matching::{self, Mismatch, Values};
use super::super::model::{
    Amount, By, Callouts, Expect, GrpcCallouts, GrpcState, Level, LogLines, Share, Shares, Short,
};
use super::super::read::{Step as Way, path_text};
use super::super::run::describe;
use super::{Checks, Found, Moment};
use crate::process::{LogLevel, LogLine};
use crate::simulation::{GrpcCall, Outgoing, Record, Sending, Simulation};

/// What is expected of all the rest.
pub(in super::super) fn world(
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
    if !expect.grpc.is_empty() {
        let made = simulation.grpc_calls();
        let made = made.get(before.grpc..).unwrap_or_default();
        checks.key("grpc", |checks| {
            for (at, wanted) in expect.grpc.iter().enumerate() {
                checks.within(Way::Index(at), |checks| grpc(checks, wanted, made));
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
    let names: Vec<_> = made.iter().map(|outgoing| describe(outgoing)).collect();
    counted(checks, wanted.count.as_ref(), &all, &names);
}

fn grpc(checks: &mut Checks, wanted: &GrpcCallouts, made: &[std::rc::Rc<GrpcCall>]) {
    let wrong = |call: &GrpcCall| {
        let mut checks = Checks::new();
        checks.text("cluster", wanted.cluster.as_ref(), &call.start.cluster);
        checks.text("path", wanted.path.as_ref(), &call.start.path);
        checks.map("headers", &wanted.headers, Some(&call.start.metadata));
        if let Some(wanted) = &wanted.messages {
            let sent = call.sent();
            checks.key("messages", |checks| {
                if wanted.len() != sent.len() {
                    let (expected, actual) = (wanted.len(), sent.len());
                    checks.fail(format!("{expected} messages"), actual.to_string());
                }
                for (at, (wanted, sent)) in wanted.iter().zip(&sent).enumerate() {
                    let checked = wanted.check(&[String::from_utf8_lossy(sent)]);
                    checks.within(Way::Index(at), |checks| checks.put(checked));
                }
            });
        }
        if let Some(state) = wanted.state {
            let state = match state {
                GrpcState::Open => Sending::Open,
                GrpcState::Closed => Sending::Closed,
                GrpcState::Cancelled => Sending::Cancelled,
            };
            if state != call.sending() {
                checks.key("state", |checks| {
                    checks.fail(format!("{state:?}"), format!("{:?}", call.sending()));
                });
            }
        }
        checks.found
    };
    let all: Vec<_> = made.iter().map(|call| wrong(call)).collect();
    let name =
        |call: &std::rc::Rc<GrpcCall>| format!("{} of {}", call.start.path, call.start.cluster);
    let names: Vec<_> = made.iter().map(name).collect();
    counted(checks, wanted.count.as_ref(), &all, &names);
}

/// How many callouts nothing was wrong of; what was wrong of the only one is told.
fn counted(
    checks: &mut Checks,
    wanted: Option<&Short<Amount<u64>>>,
    all: &[Vec<Found>],
    names: &[String],
) {
    let fitting = count(all.iter().filter(|found| found.is_empty()).count());
    let before = checks.found.len();
    amount(checks, wanted, fitting, "callouts like this");
    let Some(failed) = checks.found.get_mut(before) else {
        return;
    };
    failed.context = vec![format!("callouts were ({}):", names.len())];
    let told = names.iter().take(10).map(|name| format!("  {name}"));
    failed.context.extend(told);
    if let [found] = all
        && let Some(found) = found.first()
    {
        let Mismatch { expected, actual } = &found.mismatch;
        let what = path_text(&found.place);
        let told = format!("  its {what}: expected {expected}, found {actual}");
        failed.context.push(told);
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
    let of_all = |percent: f64| percent * all / 100.0;
    let within = wanted.within.as_ref().and_then(|within| within.percent);
    let within = within.map(of_all);
    let fits = |share: &Share, actual: u64| {
        let near = |percent| {
            let distance = (as_float(actual) - of_all(percent)).abs();
            match within {
                Some(within) => distance <= within + 1e-9,
                // There is no half of a request.
                None => distance < 1.0,
            }
        };
        share.percent.is_none_or(near)
            && share.at_least.is_none_or(|least| actual >= least)
            && share.at_most.is_none_or(|most| actual <= most)
    };
    let expected = wanted.expect.iter();
    let right = expected
        .clone()
        .all(|(name, share)| fits(share, counts.get(name).copied().unwrap_or(0)))
        && counts.keys().all(|name| wanted.expect.contains_key(name));
    if right {
        return;
    }
    let expected: Vec<_> = expected
        .map(
            |(name, share)| match (share.percent, share.at_least, share.at_most) {
                (Some(percent), ..) => format!("{name}: {percent}% = {}", of_all(percent)),
                (None, Some(least), Some(most)) if least == most => format!("{name}: {least}"),
                (None, least, most) => {
                    let least = least.unwrap_or(0);
                    let most = most.map_or("all".to_owned(), |most| most.to_string());
                    format!("{name}: {least} to {most}")
                }
            },
        )
        .collect();
    let actual: Vec<_> = counts
        .iter()
        .map(|(name, count)| format!("{name}: {count}"))
        .collect();
    let within = within.map(|within| format!(", within {within}"));
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
