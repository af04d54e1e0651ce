//! What is in force, and what survives a new document.

use super::*;
use crate::document::{Document, parse};

const BLUE: usize = 0;
const GREEN: usize = 1;

fn document(more: &str) -> Document {
    let text = format!(
        r#"{{"routing": {{"blue": {{"weight": 95}}, "green": {{"weight": 5}}, "red": {{"weight": 0}}}}, {more}}}"#
    );
    parse(text.as_bytes(), &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_795_377_600_000 + millis)
}

fn outcome(environment: usize, status: u16) -> Outcome {
    Outcome {
        environment,
        status: Some(status),
        millis: 5,
    }
}

const GUARD: &str =
    r#""guard": {"environment": "green", "min_requests": 10, "max_error_rate": 0.5}"#;

#[test]
fn trips_on_the_very_request_and_stays() {
    let document = document(GUARD);
    let rollout = &document.rollouts()[0];
    let mut control = Control::new(rollout, at(0));
    for _ in 0..9 {
        assert!(
            control
                .record(rollout, &outcome(GREEN, 503), at(0))
                .is_none()
        );
    }
    assert!(
        control
            .record(rollout, &outcome(BLUE, 503), at(0))
            .is_none(),
        "stable trips nothing"
    );
    assert_eq!(control.weights(), [95, 5, 0]);
    let trip = control
        .record(rollout, &outcome(GREEN, 503), at(0))
        .unwrap();
    assert_eq!(
        (trip.cause, control.weights()),
        (Cause::ErrorRate, &[1, 0, 0][..])
    );
    assert!(
        control
            .record(rollout, &outcome(GREEN, 503), at(0))
            .is_none(),
        "it trips once"
    );
    // Long after the window is empty.
    control.refresh(rollout, at(3_600_000));
    assert!(control.is_tripped() && control.weights() == [1, 0, 0]);
    assert_eq!(control.planned(), [95, 5, 0]);
}

#[test]
fn other_workers_outcomes_count() {
    let document = document(GUARD);
    let rollout = &document.rollouts()[0];
    let mut control = Control::new(rollout, at(0));
    let mut others = Both::default();
    (others.guarded.total, others.guarded.failed) = (9, 9);
    control.set_others(others);
    assert!(
        control
            .record(rollout, &outcome(GREEN, 500), at(0))
            .is_some()
    );
}

#[test]
fn a_new_document_keeps_the_latch_unless_it_resumes() {
    let old = document(&format!("\"resume\": 3, {GUARD}"));
    let tripped = || {
        let rollout = &old.rollouts()[0];
        let mut control = Control::new(rollout, at(0));
        (0..10).for_each(|_| drop(control.record(rollout, &outcome(GREEN, 500), at(0))));
        assert!(control.is_tripped());
        control
    };
    for (more, latched) in [
        (format!("\"resume\": 3, {GUARD}"), true),
        ("\"resume\": 3".to_owned(), true),
        (format!("\"resume\": 2, {GUARD}"), true),
        (format!("\"resume\": 4, {GUARD}"), false),
    ] {
        let new = document(&more);
        let control = tripped().succeed(&old.rollouts()[0], &new.rollouts()[0], at(1));
        assert_eq!(control.is_tripped(), latched, "{more}");
        assert_eq!(control.weights() == [1, 0, 0], latched);
        let seen = control.figures().map_or(0, |figures| figures.guarded.total);
        assert!(
            latched || seen == 0,
            "what led to the trip does not lead to the next"
        );
    }
}

#[test]
fn a_new_document_keeps_the_counts_of_the_same_guard() {
    let old = document(GUARD);
    let counted = |more: &str| {
        let rollout = &old.rollouts()[0];
        let mut control = Control::new(rollout, at(0));
        (0..5).for_each(|_| drop(control.record(rollout, &outcome(GREEN, 500), at(0))));
        let new = document(more);
        let control = control.succeed(rollout, &new.rollouts()[0], at(1));
        control.figures().map(|figures| figures.guarded.total)
    };
    assert_eq!(counted(GUARD), Some(5));
    assert_eq!(
        counted(&GUARD.replace("0.5", "0.4")),
        Some(5),
        "only the limit is another"
    );
    assert_eq!(
        counted(&GUARD.replace("10", "10, \"window\": \"5s\"")),
        Some(0)
    );
    assert_eq!(counted(&GUARD.replace("green", "red")), Some(0));
    assert_eq!(counted("\"resume\": 0"), None);
}

#[test]
fn latches_are_read_by_resume() {
    let trip = Trip {
        cause: Cause::ErrorRate,
        story: "so it was; really".to_owned(),
    };
    let written = write_latch(&document("\"resume\": 2").rollouts()[0], &trip);
    assert_eq!(written, b"2;so it was; really");
    for (resume, latched) in [(0, true), (2, true), (3, false)] {
        let document = document(&format!("\"resume\": {resume}"));
        assert_eq!(is_latched(&document.rollouts()[0], &written), latched);
    }
    assert!(!is_latched(&document(GUARD).rollouts()[0], b"nonsense"));
}

#[test]
fn shares_of_the_unhealthy_go_to_stable() {
    use State::{Healthy, Unhealthy, Unknown};
    let weights = |more: &str, states: [State; 3]| {
        let document = document(more);
        let rollout = &document.rollouts()[0];
        let mut control = Control::new(rollout, at(0));
        control.set_health(states.to_vec());
        control.refresh(rollout, at(0));
        control.weights().to_vec()
    };
    let health = r#""health": {}"#;
    assert_eq!(
        weights(health, [Unknown; 3]),
        [100, 0, 0],
        "a canary starts once it is known to be healthy"
    );
    assert_eq!(weights(health, [Healthy; 3]), [95, 5, 0]);
    assert_eq!(weights(health, [Healthy, Unhealthy, Healthy]), [100, 0, 0]);
    assert_eq!(
        weights(health, [Unhealthy, Healthy, Healthy]),
        [95, 5, 0],
        "stable stays"
    );
    let failover = r#""health": {"failover": true}"#;
    assert_eq!(weights(failover, [Unhealthy, Healthy, Healthy]), [0, 5, 0]);
    assert_eq!(
        weights(failover, [Unhealthy, Unhealthy, Healthy]),
        [0, 0, 1]
    );
    assert_eq!(
        weights(failover, [Unhealthy; 3]),
        [100, 0, 0],
        "nobody is better"
    );
    assert_eq!(weights(failover, [Unknown, Healthy, Healthy]), [95, 5, 0]);
    let rollback = r#""health": {"failover": true}, "rollback": true"#;
    assert_eq!(weights(rollback, [Unhealthy, Healthy, Healthy]), [1, 0, 0]);
    assert_eq!(weights(GUARD, [Unknown; 3]), [95, 5, 0], "nobody is probed");
}

#[test]
fn no_environment_is_promoted_while_tripped() {
    let document = document(&format!("{GUARD}, \"health\": {{\"failover\": true}}"));
    let rollout = &document.rollouts()[0];
    let mut control = Control::new(rollout, at(0));
    control.latch();
    control.set_health(vec![State::Unhealthy, State::Healthy, State::Healthy]);
    control.refresh(rollout, at(0));
    assert_eq!(control.weights(), [1, 0, 0]);
}

#[test]
fn health_is_carried_by_name() {
    let old = document(r#""health": {}"#);
    let mut control = Control::new(&old.rollouts()[0], at(0));
    control.set_health(vec![State::Healthy, State::Healthy, State::Unhealthy]);
    let text = br#"{"routing": {"green": {"weight": 1}, "red": {"weight": 1}, "zinc": {"weight": 1}}, "health": {}}"#;
    let new = parse(text, &|_| None).unwrap();
    let next = control.succeed(&old.rollouts()[0], &new.rollouts()[0], at(1));
    assert_eq!(
        next.health(),
        [State::Healthy, State::Unhealthy, State::Unknown]
    );
}
