//! The verbs that set a schedule's clock.

use serde_json::{Value, json};
use switchover_core::document::Ramp;
use switchover_core::{Duration, Schedule, Share, Step, Timestamp};

use super::{Nonsense, Plan, Site};
use crate::rollout::edit::Edit;
use crate::rollout::{rfc3339, shares};

/// The phases where the document has none: minutes from the start, and percent.
const DEFAULT_PHASES: [(u64, u32); 5] = [(5, 1), (15, 5), (30, 25), (60, 50), (90, 100)];

// === impl Site ===

impl Site<'_> {
    pub(super) fn start(
        &self,
        name: Option<&str>,
        over: Option<Duration>,
    ) -> Result<Plan, Nonsense> {
        let environment = self.target(name)?;
        let (name, stable) = (self.named.name(environment), self.named.stable());
        if self.rollout.rollback() {
            return Err(Nonsense::RolledBack(stable.to_owned()));
        }
        let own = self.rollout.schedule();
        if let Some(schedule) = own.filter(|s| s.start() <= self.now) {
            return Err(self.running(schedule));
        }
        let steps = scaled(own, over)?;
        let mut schedule = json!({
            "environment": name,
            "start": rfc3339(self.now),
            "steps": written(&steps),
        });
        if own.is_some_and(|s| matches!(s.ramp(), Ramp::Linear)) {
            schedule["ramp"] = "linear".into();
        }
        // Unlike a share of its own, a schedule lets the other environments share the rest by their weights: with no
        // weight left among them, stable's must be some.
        let mut edits = match self.with_share(environment, Share::NONE) {
            Ok(shares) if self.others_have_none(environment) => self.weights(&shares),
            _ => Vec::new(),
        };
        edits.push(Edit::set(&["schedule"], schedule));
        let described = steps.iter().map(|(at, weight)| {
            format!(
                "{weight} % after {}",
                shares::duration(Duration::from_millis(*at))
            )
        });
        let mut notes = vec![format!(
            "{name} gets {}",
            described.collect::<Vec<_>>().join(", ")
        )];
        let before = self
            .shares()
            .get(environment)
            .copied()
            .unwrap_or(Share::NONE);
        if before > Share::NONE {
            notes.push(format!(
                "until the first step it gets nothing; before, it got {}",
                shares::percent(before)
            ));
        }
        Ok(self.plan(edits, notes))
    }

    fn others_have_none(&self, environment: usize) -> bool {
        let weights = self.rollout.weights().iter().enumerate();
        weights
            .filter(|(index, _)| *index != environment)
            .all(|(_, weight)| *weight == 0)
    }

    /// Why a schedule cannot be started again.
    fn running(&self, schedule: &Schedule) -> Nonsense {
        let environment = self.named.name(schedule.environment()).to_owned();
        let share = schedule.share(self.now);
        if self.is_over(schedule) {
            Nonsense::AtTheEnd { environment, share }
        } else {
            Nonsense::Running { environment, share }
        }
    }

    /// Whether the last step has been reached.
    fn is_over(&self, schedule: &Schedule) -> bool {
        schedule
            .step(self.now)
            .is_some_and(|at| at + 1 >= schedule.steps().len())
    }

    /// The schedule, if it has steps to come and there is no rollback.
    fn running_schedule(&self, verb: &'static str) -> Result<&Schedule, Nonsense> {
        let schedule = self.rollout.schedule().ok_or(Nonsense::NoSchedule(verb))?;
        if self.rollout.rollback() {
            return Err(Nonsense::RolledBack(self.named.stable().to_owned()));
        }
        if self.is_over(schedule) {
            return Err(self.running(schedule));
        }
        Ok(schedule)
    }

    /// Since when the schedule's clock stands still; its start where that is still to come.
    fn held_since(&self, schedule: &Schedule) -> Option<Timestamp> {
        let reached = self.now.max(schedule.start());
        schedule.hold().filter(|hold| *hold <= reached)
    }

    /// The edit that stops a schedule's clock; it cannot stand still before its start.
    fn stop(&self, schedule: &Schedule) -> Edit {
        let hold = self.now.max(schedule.start());
        Edit::set(&["schedule", "hold"], rfc3339(hold))
    }

    pub(super) fn promote(&self) -> Result<Plan, Nonsense> {
        let schedule = self.running_schedule("promote")?;
        let next = schedule.step(self.now).map_or(0, |at| at + 1);
        let Some(step) = schedule.steps().get(next) else {
            return Err(self.running(schedule));
        };
        let held = self.held_since(schedule);
        let clock = held.map_or(self.now, |held| held.min(self.now));
        let start = rfc3339(earlier(clock, step.at));
        let mut edits = vec![Edit::set(&["schedule", "start"], start)];
        if held.is_some_and(|held| held > clock) {
            edits.push(Edit::set(&["schedule", "hold"], rfc3339(clock)));
        }
        let name = self.named.name(schedule.environment());
        let mut notes = vec![format!(
            "{name} gets {} (step {} of {}) now; before, it got {}",
            shares::percent(step.weight),
            next + 1,
            schedule.steps().len(),
            shares::percent(schedule.share(self.now)),
        )];
        match schedule.steps().get(next + 1) {
            Some(_) if held.is_some() => {
                notes.push("the schedule is still paused there; `resume` lets it go on".to_owned())
            }
            Some(after) => {
                let wait = after.at.as_millis().saturating_sub(step.at.as_millis());
                notes.push(format!(
                    "{} follows in {}",
                    shares::percent(after.weight),
                    shares::duration(Duration::from_millis(wait))
                ));
            }
            None if step.weight == Share::ALL => {
                notes.push("that is the last step; `finish` makes it stable".to_owned())
            }
            None => notes.push("that is the last step".to_owned()),
        }
        Ok(self.plan(edits, notes))
    }

    pub(super) fn pause(&self) -> Result<Plan, Nonsense> {
        let schedule = self.running_schedule("pause")?;
        if let Some(since) = self.held_since(schedule) {
            let note = format!(
                "the schedule is paused already, since {}; `resume` lets it go on",
                rfc3339(since)
            );
            return Ok(self.plan(Vec::new(), vec![note]));
        }
        let name = self.named.name(schedule.environment());
        let notes = vec![format!(
            "{name} stays at {}; `resume` lets the schedule go on, `promote` goes to the next step",
            shares::percent(schedule.share(self.now))
        )];
        Ok(self.plan(vec![self.stop(schedule)], notes))
    }

    /// Stops the schedule's clock, if it runs and has somewhere to go.
    pub(super) fn hold(&self) -> Option<Edit> {
        let schedule = self.rollout.schedule()?;
        let runs = self.held_since(schedule).is_none() && !self.is_over(schedule);
        runs.then(|| self.stop(schedule))
    }

    pub(super) fn resume(&self, from: Option<Share>) -> Result<Plan, Nonsense> {
        let count = self.rollout.resume();
        let raised = count
            .checked_add(1)
            .ok_or(Nonsense::TooManyResumes(count))?;
        let mut edits = vec![Edit::set(&["resume"], raised)];
        let mut notes = Vec::new();
        if self.rollout.rollback() {
            notes.push("the rollback is ended".to_owned());
        }
        self.end_rollback(&mut edits);
        match (self.rollout.schedule(), from) {
            (Some(schedule), Some(from)) => {
                self.resume_from(schedule, from, &mut edits, &mut notes);
            }
            (Some(schedule), None) => {
                self.know_where_it_stood(schedule)?;
                self.resume_schedule(schedule, &mut edits, &mut notes);
            }
            (None, Some(_)) => return Err(Nonsense::NoSchedule("resume `--from` a step of")),
            (None, None) => notes.push(format!(
                "shares: {}",
                self.described(&shares::of_weights(self.rollout.weights()))
            )),
        }
        notes.push("where a proxy's tripwire had tripped, it is armed anew".to_owned());
        Ok(self.plan(edits, notes))
    }

    /// A trip leaves the schedule's clock running; only a `rollback` or a `pause` that is written stops it. After a
    /// trip that nobody wrote down, the clock leads to a share that the environment never had.
    fn know_where_it_stood(&self, schedule: &Schedule) -> Result<(), Nonsense> {
        let stands = self.held_since(schedule).is_some() || schedule.start() > self.now;
        let may_have_tripped = if self.rollout.rollback() {
            !self.is_over(schedule)
        } else {
            self.rollout.guard().is_some()
        };
        if stands || !may_have_tripped {
            return Ok(());
        }
        Err(Nonsense::ClockRuns {
            environment: self.named.name(schedule.environment()).to_owned(),
            share: schedule.share(self.now),
        })
    }

    /// Sets the clock to the last step before the share exceeds `from`; for nothing, to the beginning.
    fn resume_from(
        &self,
        schedule: &Schedule,
        from: Share,
        edits: &mut Vec<Edit>,
        notes: &mut Vec<String>,
    ) {
        let steps = schedule.steps().iter().enumerate();
        let reached = steps
            .take_while(|(_, step)| step.weight <= from && from > Share::NONE)
            .last();
        let name = self.named.name(schedule.environment());
        let (start, note) = match reached {
            Some((index, step)) => (
                earlier(self.now, step.at),
                format!(
                    "the schedule goes on from step {} of {}: {name} gets {}",
                    index + 1,
                    schedule.steps().len(),
                    shares::percent(step.weight)
                ),
            ),
            None => (
                self.now,
                format!(
                    "the schedule goes on from the beginning: {name} gets nothing until the first step"
                ),
            ),
        };
        edits.push(Edit::set(&["schedule", "start"], rfc3339(start)));
        if schedule.hold().is_some() {
            edits.push(Edit::set(&["schedule", "hold"], Value::Null));
        }
        notes.push(note);
    }

    /// Shifts the start by the time for which the clock stood still.
    fn resume_schedule(&self, schedule: &Schedule, edits: &mut Vec<Edit>, notes: &mut Vec<String>) {
        let name = self.named.name(schedule.environment());
        let share = shares::percent(schedule.share(self.now));
        if schedule.hold().is_some() {
            edits.push(Edit::set(&["schedule", "hold"], Value::Null));
        }
        match self.held_since(schedule) {
            Some(since) => {
                let held = self
                    .now
                    .as_millis()
                    .saturating_sub(since.as_millis())
                    .max(0);
                if held > 0 {
                    let start = schedule.start().as_millis().saturating_add(held);
                    let start = rfc3339(Timestamp::from_millis(start));
                    edits.push(Edit::set(&["schedule", "start"], start));
                }
                let held = Duration::from_millis(held.unsigned_abs());
                notes.push(format!(
                    "the schedule goes on where it stood: {name} gets {share}; it was paused for {}",
                    shares::duration(held)
                ));
            }
            None => notes.push(format!(
                "by the schedule, whose clock went on meanwhile, {name} gets {share}"
            )),
        }
    }
}

/// The steps of a schedule, else the default phases; stretched so that the last is reached after `over`.
fn scaled(own: Option<&Schedule>, over: Option<Duration>) -> Result<Vec<(u64, Value)>, Nonsense> {
    let steps: Vec<(u64, Value)> = match own {
        Some(schedule) => {
            let step = |s: &Step| (s.at.as_millis(), shares::number(s.weight));
            schedule.steps().iter().map(step).collect()
        }
        None => DEFAULT_PHASES
            .iter()
            .map(|(m, w)| (m * 60_000, Value::from(*w)))
            .collect(),
    };
    let whole = steps.last().map_or(1, |(at, _)| *at).max(1);
    let Some(over) = over else {
        return Ok(steps);
    };
    let at = |at: u64| {
        let scaled = u128::from(at) * u128::from(over.as_millis()) / u128::from(whole);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    };
    let scaled: Vec<_> = steps
        .into_iter()
        .map(|(offset, weight)| (at(offset), weight))
        .collect();
    let rises = scaled
        .windows(2)
        .all(|pair| matches!(pair, [(a, _), (b, _)] if a < b));
    if !rises || over.as_millis() == 0 {
        let over = shares::duration(over);
        return Err(Nonsense::TooShort {
            over,
            steps: scaled.len(),
        });
    }
    Ok(scaled)
}

/// Steps as the document writes them.
fn written(steps: &[(u64, Value)]) -> Value {
    let step = |(at, weight): &(u64, Value)| {
        let at = shares::duration(Duration::from_millis(*at));
        json!({"at": at, "weight": weight})
    };
    steps.iter().map(step).collect()
}

/// An instant so long before another.
fn earlier(instant: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(instant.as_millis().saturating_sub(by))
}
