//! A rollout over time, worked out in advance: shares by the clock, and which sticky keys move when.
//!
//! The same functions decide in the filter, so what is planned here is what will happen as long as nothing trips.

pub mod chart;

use std::cmp::Ordering;

use serde::Serialize;
use switchover_core::document::{Ramp, Rollout};
use switchover_core::{Duration, Share, Timestamp};

use crate::rollout::live::Percent;
use crate::rollout::{Named, rfc3339, shares};

/// Parts into which each stretch of a linear ramp is cut.
const PARTS: u64 = 4;
/// The length of a plan without a schedule.
const HOUR: Duration = Duration::from_millis(3_600_000);
/// What is shown after a schedule's last step, as a part of its length.
const AFTERWARDS: u64 = 10;

/// A rollout over time.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The rollout's id.
    pub rollout: String,
    /// The environments, in order of their names.
    pub environments: Vec<String>,
    /// The environment whose share is looked at: the schedule's, else the first beside stable.
    pub environment: String,
    /// How many keys there are.
    pub keys: usize,
    /// The instants, in order.
    pub rows: Vec<Row>,
    /// What must not be: a reason to refuse the document.
    pub violations: Vec<String>,
    /// What looks wrong.
    pub warnings: Vec<String>,
    /// The environment's index.
    #[serde(skip)]
    target: usize,
    /// Whether shares change all the time.
    #[serde(skip)]
    is_linear: bool,
}

/// One instant.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The instant: RFC 3339.
    pub at: String,
    /// From the plan's begin.
    #[serde(serialize_with = "as_text")]
    pub after: Duration,
    /// What happens then.
    pub what: String,
    /// The environments' shares, in percent.
    #[serde(serialize_with = "as_percents")]
    pub shares: Vec<Share>,
    /// How many of the keys are in each environment.
    pub keys: Vec<usize>,
    /// How many keys came to the environment since the row before.
    pub came: usize,
    /// How many keys left it since then.
    pub left: usize,
    /// How many keys moved although the shares give no reason; there must be none.
    pub against: usize,
    #[serde(skip)]
    weights: Vec<u32>,
}

/// What to work out.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The begin; the schedule's start if `None`, or the present where there is no schedule.
    pub from: Option<Timestamp>,
    /// How long; until shortly after the last step if `None`.
    pub length: Option<Duration>,
    /// The present.
    pub now: Timestamp,
}

fn as_text<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shares::duration(*value))
}

fn as_percents<S: serde::Serializer>(value: &[Share], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(value.iter().map(|share| Percent(*share)))
}

/// Works out what becomes of keys under a rollout.
#[must_use]
pub fn simulate(named: &Named<'_>, keys: &[Vec<u8>], span: Span) -> Plan {
    let rollout = named.rollout();
    let target = match rollout.schedule() {
        Some(schedule) => schedule.environment(),
        None => (0..rollout.environments().len())
            .find(|index| *index != rollout.stable())
            .unwrap_or(rollout.stable()),
    };
    let mut plan = Plan {
        rollout: named.id().to_owned(),
        environments: rollout
            .environments()
            .iter()
            .map(|e| e.name().as_str().to_owned())
            .collect(),
        environment: named.name(target).to_owned(),
        keys: keys.len(),
        rows: Vec::new(),
        violations: Vec::new(),
        warnings: warnings(rollout, named.name(target)),
        target,
        is_linear: rollout
            .schedule()
            .is_some_and(|s| matches!(s.ramp(), Ramp::Linear)),
    };
    let mut places: Vec<usize> = Vec::new();
    let instants = instants(rollout, span);
    let from = instants.first().map_or(span.now, |(at, _)| *at);
    for (at, what) in instants {
        let weights = rollout.weights_at(at);
        let next: Vec<usize> = keys
            .iter()
            .map(|key| rollout.environment_of_key(&weights, key))
            .collect();
        let row = Row::new(&plan, at, from, what, weights, &places, &next);
        plan.check(rollout, &row, at);
        plan.rows.push(row);
        places = next;
    }
    plan
}

/// The instants at which something happens, in order, and what.
fn instants(rollout: &Rollout, span: Span) -> Vec<(Timestamp, String)> {
    let schedule = rollout.schedule();
    let from = span
        .from
        .or(schedule.map(|s| s.start()))
        .unwrap_or(span.now);
    let length = span.length.unwrap_or_else(|| {
        let Some(schedule) = schedule else {
            return HOUR;
        };
        let last = schedule
            .steps()
            .last()
            .map_or(from, |step| schedule.start().after(step.at));
        let left = u64::try_from(last.as_millis().saturating_sub(from.as_millis())).unwrap_or(0);
        Duration::from_millis(left.saturating_add((left / AFTERWARDS).max(1)))
    });
    let to = from.after(length);
    let mut all = vec![(from, "begin".to_owned()), (to, "end".to_owned())];
    if let Some(schedule) = schedule {
        all.push((schedule.start(), "start".to_owned()));
        all.extend(schedule.hold().map(|hold| (hold, "hold".to_owned())));
        let mut before = 0;
        for (index, step) in schedule.steps().iter().enumerate() {
            let at = step.at.as_millis();
            if matches!(schedule.ramp(), Ramp::Linear) {
                let part = |part: u64| before + (at - before) / PARTS * part;
                let between = (1..PARTS).map(|n| {
                    (
                        schedule.start().after(Duration::from_millis(part(n))),
                        String::new(),
                    )
                });
                all.extend(between);
            }
            all.push((
                schedule.start().after(step.at),
                format!("step {}", index + 1),
            ));
            before = at;
        }
    }
    all.retain(|(at, _)| (from..=to).contains(at));
    // Of what happens at one instant, the last named is the most telling.
    all.sort_by_key(|(at, _)| *at);
    let mut distinct: Vec<(Timestamp, String)> = Vec::new();
    for (at, what) in all {
        match distinct.last_mut().filter(|(last, _)| *last == at) {
            Some((_, last)) if !what.is_empty() => *last = what,
            Some(_) => {}
            None => distinct.push((at, what)),
        }
    }
    distinct
}

fn warnings(rollout: &Rollout, environment: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if rollout.rollback() {
        warnings.push(
            "the document says `rollback`: everything goes to stable, whatever the schedule says"
                .to_owned(),
        );
    }
    let Some(schedule) = rollout.schedule() else {
        warnings.push("there is no schedule: the shares stand as they are".to_owned());
        return warnings;
    };
    let most = schedule.steps().iter().map(|step| step.weight).max();
    let last = schedule.steps().last().map(|step| step.weight);
    if let (Some(most), Some(last)) = (most, last)
        && last < most
    {
        warnings.push(format!(
            "the schedule ends with {environment} at {}, below the {} that it reaches before",
            shares::percent(last),
            shares::percent(most)
        ));
    }
    if let Some(hold) = schedule.hold() {
        warnings.push(format!(
            "the schedule's clock stands still from {} on",
            rfc3339(hold)
        ));
    }
    warnings
}

// === impl Plan ===

impl Plan {
    /// The environment's share at each of so many evenly spread instants, in percent, from begin to end.
    #[must_use]
    pub fn curve(&self, rollout: &Rollout, points: usize) -> Vec<f64> {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else {
            return Vec::new();
        };
        let (Some(from), whole) = (Timestamp::parse(&first.at), last.after.as_millis()) else {
            return Vec::new();
        };
        let steps = u64::try_from(points.saturating_sub(1)).unwrap_or(1).max(1);
        let share = |point: u64| {
            let at = u128::from(whole) * u128::from(point) / u128::from(steps);
            let at = from.after(Duration::from_millis(u64::try_from(at).unwrap_or(whole)));
            let shares = shares::of_weights(&rollout.weights_at(at));
            let share = shares.get(self.target).copied().unwrap_or(Share::NONE);
            f64::from(share.hundredths()) / 100.0
        };
        (0..=steps).map(share).collect()
    }

    fn check(&mut self, rollout: &Rollout, row: &Row, at: Timestamp) {
        let sum: u64 = row.weights.iter().copied().map(u64::from).sum();
        if sum == 0 {
            self.violations
                .push(format!("at {} the shares add up to nothing", row.at));
            return;
        }
        let weight = row.weights.get(self.target).copied().map_or(0, u64::from);
        if let Some(schedule) = rollout.schedule().filter(|_| !rollout.rollback()) {
            let share = u64::from(schedule.share(at).hundredths());
            // Exact to half a hundredth of a percent.
            let whole = u64::from(Share::ALL.hundredths());
            if (2 * weight * whole).abs_diff(2 * share * sum) > sum {
                self.violations.push(format!(
                    "at {} {} should get {} and gets {weight} of {sum}",
                    row.at,
                    self.environment,
                    shares::percent(schedule.share(at))
                ));
            }
        }
        if row.against > 0 {
            self.violations.push(format!(
                "at {} {} keys moved although the shares give no reason",
                row.at, row.against
            ));
        }
    }
}

// === impl Row ===

impl Row {
    fn new(
        plan: &Plan,
        at: Timestamp,
        from: Timestamp,
        what: String,
        weights: Vec<u32>,
        before: &[usize],
        after: &[usize],
    ) -> Self {
        let mut row = Self {
            at: rfc3339(at),
            after: Duration::from_millis(
                u64::try_from(at.as_millis() - from.as_millis()).unwrap_or(0),
            ),
            what,
            shares: shares::of_weights(&weights),
            keys: vec![0; weights.len()],
            came: 0,
            left: 0,
            against: 0,
            weights,
        };
        for place in after {
            if let Some(count) = row.keys.get_mut(*place) {
                *count += 1;
            }
        }
        let old = plan
            .rows
            .last()
            .map(|row| row.weights.as_slice())
            .unwrap_or_default();
        for (from, to) in before.iter().zip(after).filter(|(from, to)| from != to) {
            row.came += usize::from(*to == plan.target);
            row.left += usize::from(*from == plan.target);
            row.against +=
                usize::from(proportion(old, &row.weights, *from, *to) != Ordering::Greater);
        }
        row
    }
}

/// How the weight of `to` in proportion to that of `from` has changed.
fn proportion(before: &[u32], after: &[u32], from: usize, to: usize) -> Ordering {
    let weight = |weights: &[u32], index| weights.get(index).copied().map_or(0, u64::from);
    (weight(after, to) * weight(before, from)).cmp(&(weight(before, to) * weight(after, from)))
}

#[cfg(test)]
mod tests;
