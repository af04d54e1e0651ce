//! The tripwire: when it trips.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::story::{self, Behaviour, ROUTE, Story, TICK, and, get};

const SECOND: Duration = Duration::from_secs(1);

/// Everything goes to green, and green is watched.
pub(super) fn document(guard: Value) -> Value {
    let guard = and(
        json!({"environment": "green", "window": "30s", "min_requests": 20}),
        guard,
    );
    json!({
        "rollout": "r1",
        "routing": {
            "blue": {"weight": 0, "clusters": ["blue-only"]},
            "green": {"weight": 1, "clusters": ["green-only"]},
        },
        "guard": guard,
        "attempts": true,
    })
}

/// More than half of green's attempts may not fail.
pub(super) fn half() -> Value {
    document(json!({"max_error_rate": 0.5}))
}

pub(super) fn is_tripped(story: &Story) -> bool {
    story.advance(TICK);
    match story.metric("tripped", &[]) {
        0 => false,
        1 => true,
        other => panic!("tripped is {other}"),
    }
}

/// Trips a story's first worker.
pub(super) fn trip(story: &Story) {
    story.answers("green", 500);
    assert_eq!(story.green(0, 21), 20);
    story.answers("green", 200);
}

#[test]
fn it_trips_at_exactly_min_requests() {
    let story = Story::new(1, &half());
    story.answers("green", 500);
    for request in 1..=20 {
        let told = story.send(0, get("/"));
        assert_eq!(
            (told.status, told.chosen.as_str()),
            (StatusCode::OK, "green"),
            "request {request}"
        );
    }
    let told = story.send(0, get("/"));
    assert_eq!(
        (told.status, told.chosen.as_str()),
        (StatusCode::OK, "blue"),
        "the very next"
    );
    assert_eq!(story.green(0, 1000), 0);
    assert!(is_tripped(&story));
    assert_eq!(
        story.metric("trips", &[("environment", "green"), ("rollout", "r1")]),
        1
    );
    assert_eq!(story.metric("failures", &[("environment", "green")]), 20);
    assert_eq!(story.metric("weight", &[("environment", "green")]), 0);
    assert_eq!(
        story.metric("weight_planned", &[("environment", "green")]),
        10_000
    );
    let lines = story.logged("tripped");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for word in ["r1", "green", "20", "max_error_rate"] {
        assert!(lines[0].contains(word), "{word} in {:?}", lines[0]);
    }
}

#[test]
fn below_min_requests_it_never_trips() {
    let story = Story::new(1, &half());
    story.answers("green", 500);
    assert_eq!(story.green(0, 19), 19);
    assert!(!is_tripped(&story));
    // What was before the window counts no more.
    story.advance(31 * SECOND);
    assert_eq!(story.green(0, 19), 19);
    assert!(!is_tripped(&story));
    assert_eq!(
        story.green(0, 2),
        1,
        "the twentieth within the window trips"
    );
}

#[test]
fn at_the_limit_it_does_not_trip_and_above_it_does() {
    let story = Story::new(1, &half());
    for _ in 0..10 {
        story.answers("green", 200);
        assert_eq!(story.green(0, 1), 1);
        story.answers("green", 500);
        assert_eq!(story.green(0, 1), 1);
    }
    assert!(!is_tripped(&story), "10 of 20 is not more than half");
    assert_eq!(story.green(0, 2), 1, "11 of 21 is");
    assert!(is_tripped(&story));
}

/// Few requests in each of many workers are many in all. Between two ticks a worker knows what the others had counted at
/// the last one.
#[test]
fn workers_count_together() {
    let story = Story::new(4, &half());
    story.answers("green", 500);
    let mut reached = 0;
    for _ in 0..20 {
        for worker in 0..4 {
            reached += story.green(worker, 1);
        }
        story.advance(TICK);
    }
    assert!(is_tripped(&story));
    // 4 requests a tick: min_requests and at most two ticks' worth.
    assert!(
        (20..=28).contains(&reached),
        "{reached} requests reached green"
    );
}

/// What it had counted is lost with it, but not what it had told the others.
#[test]
fn a_vm_that_dies_in_the_window_does_not_disarm_the_others() {
    let story = Story::new(2, &half());
    story.answers("green", 500);
    assert_eq!(story.green(0, 10), 10);
    story.advance(TICK);
    assert!(story.simulation.trap(0, ROUTE));
    story.advance(TICK);
    assert_eq!(story.green(0, 1), 1, "rebuilt, and armed");
    story.advance(TICK);
    let reached = story.green(1, 20);
    assert!(
        (9..=10).contains(&reached),
        "{reached} reached green by the other"
    );
    story.advance(TICK);
    assert_eq!(story.green(0, 10) + story.green(1, 10), 0);
    assert!(is_tripped(&story));
}

/// Half of the requests go to each, so that both are known.
fn worse_than_stable() -> Story {
    let routing = json!({"routing": {
        "blue": {"weight": 1, "clusters": ["blue-only"]},
        "green": {"weight": 1, "clusters": ["green-only"]},
    }});
    Story::new(
        1,
        &and(document(json!({"worse_than_stable_by": 0.2})), routing),
    )
}

/// Sends one request to each environment, with these statuses.
fn pair(story: &Story, blue: u16, green: u16) {
    story.answers("blue", blue);
    story.answers("green", green);
    story.chosen(0, 2);
}

#[test]
fn as_bad_as_stable_is_no_reason() {
    let story = worse_than_stable();
    for _ in 0..100 {
        pair(&story, 503, 503);
    }
    assert!(!is_tripped(&story), "both fail alike");
}

#[test]
fn worse_than_stable_trips() {
    let story = worse_than_stable();
    for round in 0..40 {
        let green = if round % 4 == 0 { 503 } else { 200 };
        pair(&story, 200, green);
    }
    assert!(is_tripped(&story), "a quarter failed, of stable's none");
    assert!(
        story.logged("worse_than_stable_by").len() == 1,
        "{:?}",
        story.simulation.logs()
    );
}

/// Without enough of stable's there is nothing to compare with.
#[test]
fn worse_than_an_unknown_stable_does_not_trip() {
    let story = Story::new(1, &document(json!({"worse_than_stable_by": 0.2})));
    // Failed over, each makes an outcome of stable's too: not so here.
    let story = story.without_failover();
    story.answers("green", 500);
    assert_eq!(story.green(0, 200), 200);
    assert!(!is_tripped(&story));
}

#[test]
fn slow_answers_trip() {
    let story = Story::new(1, &document(json!({"max_p99": "2s", "window": "10m"})));
    story.behave(
        "green",
        Behaviour::Answers(StatusCode::OK, Duration::from_millis(1900)),
    );
    assert_eq!(story.green(0, 100), 100);
    assert!(!is_tripped(&story));
    story.behave(
        "green",
        Behaviour::Answers(StatusCode::OK, Duration::from_millis(2100)),
    );
    let slow = story.green(0, 50);
    // More than one of a hundred: the second slow one of 102.
    assert_eq!(slow, 2);
    assert!(is_tripped(&story));
    assert_eq!(story.metric("trips", &[("cause", "max_p99")]), 1);
}

#[test]
fn the_median_and_the_twentieth_are_limits_too() {
    for (limit, slow_of_forty, trips) in [
        ("max_p50", 20, false),
        ("max_p50", 21, true),
        ("max_p95", 2, false),
        ("max_p95", 3, true),
    ] {
        let guard = json!({limit: "100ms", "min_requests": 40, "window": "10m"});
        let story = Story::new(1, &document(guard));
        for request in 0..40 {
            let millis = if request < slow_of_forty { 150 } else { 10 };
            story.behave(
                "green",
                Behaviour::Answers(StatusCode::OK, Duration::from_millis(millis)),
            );
            assert_eq!(story.green(0, 1), 1);
        }
        assert_eq!(
            is_tripped(&story),
            trips,
            "{slow_of_forty} of 40 above {limit}"
        );
    }
}

#[test]
fn latencies_are_told() {
    let story = Story::new(1, &document(json!({"max_p99": "10s", "window": "10m"})));
    story.behave(
        "green",
        Behaviour::Answers(StatusCode::OK, Duration::from_millis(80)),
    );
    story.green(0, 200);
    story.advance(TICK);
    for family in ["latency_p50_ms", "latency_p95_ms", "latency_p99_ms"] {
        let told = story.metric(family, &[("environment", "green")]);
        // Logarithmic buckets: as exact as they are fine.
        assert!((64..=128).contains(&told), "{family} is {told}");
    }
}

/// A jump back neither forgets that it tripped nor keeps it from tripping.
#[test]
fn a_clock_that_jumps_back_does_not_disarm_it() {
    let story = Story::new(1, &half());
    assert_eq!(story.green(0, 5), 5);
    story
        .simulation
        .set_wall_clock(story::start() - 3600 * SECOND);
    story.advance(TICK);
    assert!(!is_tripped(&story));
    story.answers("green", 500);
    let reached = story.green(0, 100);
    assert!((15..=26).contains(&reached), "{reached} reached green");
    assert!(is_tripped(&story));
    story
        .simulation
        .set_wall_clock(story::start() - 7200 * SECOND);
    assert!(is_tripped(&story));
    assert_eq!(story.green(0, 20), 0);
}

/// A clock that jumps forward by more than the window: what was counted is past.
#[test]
fn a_clock_that_jumps_forward_empties_the_window() {
    let story = Story::new(1, &half());
    story.answers("green", 500);
    assert_eq!(story.green(0, 19), 19);
    story
        .simulation
        .set_wall_clock(story::start() + 3600 * SECOND);
    assert_eq!(story.green(0, 19), 19);
    assert!(!is_tripped(&story));
}
