//! The tripwire: who follows a trip, and how long it holds.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use switchover_tests::story::{Behaviour, ROUTE, START, Story, TICK, and, get};

use super::tripwire::{document, half, is_tripped, trip};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn other_workers_follow_within_a_tick() {
    let story = Story::new(3, &half());
    trip(&story);
    story.advance(TICK);
    for worker in 0..3 {
        assert_eq!(story.green(worker, 50), 0, "worker {worker}");
    }
    assert!(is_tripped(&story));
    assert_eq!(story.metric("trips", &[]), 1, "one of them tripped");
}

/// "VM killed by a trap mid-window keeps its latch".
#[test]
fn a_rebuilt_vm_keeps_the_latch() {
    let story = Story::new(1, &half());
    trip(&story);
    assert!(story.simulation.trap(0, ROUTE));
    story.advance(TICK);
    assert_eq!(story.green(0, 50), 0, "from its first request on");
    assert!(is_tripped(&story));
}

#[test]
fn it_stays_tripped_when_the_document_is_replaced() {
    let story = Story::new(2, &half());
    trip(&story);
    let mut next = half();
    next["routing"]["green"]["version"] = json!("2.1.1");
    story.replace(&next).unwrap();
    assert_eq!(story.green(0, 50), 0);
    // A bad document changes nothing either.
    story.replace(&json!({"routing": {}})).unwrap_err();
    story.advance(600 * SECOND);
    assert_eq!(
        story.green(0, 50) + story.green(1, 50),
        0,
        "time does not open it"
    );
    assert!(is_tripped(&story));
}

#[test]
fn it_stays_tripped_when_the_guard_is_changed_or_removed() {
    let story = Story::new(1, &half());
    trip(&story);
    story
        .replace(&document(json!({"max_error_rate": 0.9, "window": "60s"})))
        .unwrap();
    assert_eq!(story.green(0, 50), 0);
    let mut without = half();
    without.as_object_mut().unwrap().remove("guard");
    story.replace(&without).unwrap();
    story.advance(TICK);
    assert_eq!(story.green(0, 50), 0, "without a guard");
}

#[test]
fn a_new_rollout_opens_it() {
    let story = Story::new(2, &half());
    trip(&story);
    story
        .replace(&and(half(), json!({"rollout": "r2"})))
        .unwrap();
    assert_eq!(story.green(0, 50), 50);
    assert_eq!(story.green(1, 50), 50);
    story.answers("green", 500);
    // 50 good ones are in the window.
    assert_eq!(story.green(0, 200), 51, "and it is armed");
    // The old one is still tripped.
    story.replace(&half()).unwrap();
    assert_eq!(story.green(0, 50), 0);
}

#[test]
fn a_raised_resume_opens_it() {
    let story = Story::new(2, &half());
    trip(&story);
    story.advance(TICK);
    story.replace(&and(half(), json!({"resume": 1}))).unwrap();
    for worker in 0..2 {
        story.advance(TICK);
        assert_eq!(
            story.green(worker, 30),
            30,
            "worker {worker}: what was counted before counts no more"
        );
    }
    assert!(!is_tripped(&story));
    story.advance(31 * SECOND);
    trip(&story);
    assert!(is_tripped(&story), "it is armed again");
    story.replace(&and(half(), json!({"resume": 1}))).unwrap();
    assert_eq!(story.green(0, 30), 0, "the same number opens nothing");
    story.replace(&and(half(), json!({"resume": 2}))).unwrap();
    assert_eq!(story.green(0, 30), 30);
}

/// A rebuilt VM after a resume is not caught by the latch of before.
#[test]
fn a_rebuilt_vm_is_resumed_too() {
    let story = Story::new(1, &half());
    trip(&story);
    story.replace(&and(half(), json!({"resume": 1}))).unwrap();
    assert!(story.simulation.trap(0, ROUTE));
    story.advance(TICK);
    assert_eq!(story.green(0, 30), 30);
}

/// No environment gets more while tripped, whatever the schedule says.
#[test]
fn the_schedule_does_not_go_on_while_tripped() {
    let schedule = json!({"schedule": {"environment": "green", "start": START,
        "steps": [{"at": "1m", "weight": 50}, {"at": "2m", "weight": 100}]}});
    let story = Story::new(1, &and(half(), schedule));
    story.advance_to(60 * SECOND + TICK);
    story.answers("green", 500);
    assert_eq!(story.green(0, 100), 20);
    story.advance_to(600 * SECOND);
    assert_eq!(story.green(0, 100), 0);
    assert_eq!(
        story.metric("weight_planned", &[("environment", "green")]),
        10_000
    );
    assert_eq!(story.metric("weight", &[("environment", "green")]), 0);
}

/// Each rollout of a document has its own.
#[test]
fn rollouts_trip_apart() {
    let of = |id: &str, prefix: &str| {
        and(
            half(),
            json!({"rollout": id, "match": {"path_prefix": prefix}}),
        )
    };
    let both = json!({"rollouts": [of("r1", "/one"), of("r2", "/two")]});
    let story = Story::of(1, &half()["routing"], &both);
    story.answers("green", 500);
    for _ in 0..30 {
        story.send(0, get("/one"));
    }
    assert_eq!(story.send(0, get("/one")).chosen, "blue");
    assert_eq!(story.send(0, get("/two")).chosen, "green");
    story.advance(TICK);
    assert_eq!(story.metric("tripped", &[("rollout", "r1")]), 1);
    assert_eq!(story.metric("tripped", &[("rollout", "r2")]), 0);
}

/// Whoever loosens a limit while slow attempts are under way is not tripped by them.
#[test]
fn attempts_under_way_count_by_the_new_limits() {
    let limits = |p99: &str| document(json!({"min_requests": 5, "max_p99": p99, "window": "10m"}));
    for (before, after, trips) in [("500ms", "1m", false), ("1m", "500ms", true)] {
        let story = Story::new(1, &limits(before));
        let slow = Behaviour::Answers(StatusCode::OK, Duration::from_secs(1));
        story.behave("green", slow);
        let under_way: Vec<_> = (0..10).map(|_| story.begin(0, get("/"))).collect();
        story.replace(&limits(after)).unwrap();
        story.advance(Duration::from_secs(1));
        assert!(under_way.iter().all(|exchange| exchange.is_over()));
        assert_eq!(is_tripped(&story), trips, "{before} to {after}");
    }
}
