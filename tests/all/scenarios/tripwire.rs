//! The tripwire: what counts, when it trips, and how long it holds.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::keys::consumer;
use switchover_tests::story::{self, Behaviour, ROUTE, START, Story, TICK, and, get, with};

const SECOND: Duration = Duration::from_secs(1);

/// Everything goes to green, and green is watched.
fn document(guard: Value) -> Value {
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
fn half() -> Value {
    document(json!({"max_error_rate": 0.5}))
}

fn is_tripped(story: &Story) -> bool {
    story.advance(TICK);
    match story.metric("tripped", &[]) {
        0 => false,
        1 => true,
        other => panic!("tripped is {other}"),
    }
}

/// Trips a story's first worker.
fn trip(story: &Story) {
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

#[test]
fn too_many_requests_are_no_failure_unless_the_document_says_so() {
    let story = Story::new(1, &half());
    story.answers("green", 429);
    assert_eq!(story.green(0, 100), 100);
    assert!(!is_tripped(&story));
    assert_eq!(story.metric("failures", &[]), 0);

    let story = Story::new(
        1,
        &document(json!({"max_error_rate": 0.5, "count_429": true})),
    );
    story.answers("green", 429);
    assert_eq!(story.green(0, 100), 20);
    assert!(is_tripped(&story));
}

#[test]
fn client_errors_are_no_failures() {
    let story = Story::new(1, &half());
    for status in [400, 401, 404, 408, 499] {
        story.answers("green", status);
        assert_eq!(story.green(0, 30), 30, "{status}");
    }
    assert!(!is_tripped(&story));
}

#[test]
fn an_attempt_without_an_answer_is_a_failure() {
    let story = Story::new(1, &half());
    story.behave("green", Behaviour::Breaks(Duration::from_millis(5)));
    assert_eq!(story.green(0, 100), 20);
    assert!(is_tripped(&story));
    assert_eq!(story.metric("failures", &[("environment", "green")]), 20);
}

#[test]
fn a_client_that_goes_away_is_no_failure() {
    let story = Story::new(1, &half());
    story.abandon(0, "green", 100);
    assert!(!is_tripped(&story));
    assert_eq!(story.metric("failures", &[]), 0);
    assert_eq!(story.green(0, 50), 50);
}

/// They carry no credential, so that their failures say nothing of the environment.
#[test]
fn exempt_requests_do_not_count() {
    let auth = json!({"mode": "replace", "consumers": [consumer("a", "key")], "exempt": [{"path": "/open"}]});
    let story = Story::new(1, &and(half(), json!({"auth": auth})));
    story.answers("green", 500);
    for _ in 0..100 {
        assert_eq!(story.send(0, get("/open")).chosen, "green");
    }
    assert!(!is_tripped(&story));
    for _ in 0..20 {
        assert_eq!(
            story.send(0, with(get("/"), "api-key", "key")).chosen,
            "green"
        );
    }
    assert!(is_tripped(&story), "the others do");
}

#[test]
fn refused_requests_do_not_count() {
    let auth = json!({"mode": "replace", "consumers": [consumer("a", "key")]});
    let story = Story::new(
        1,
        &and(
            document(json!({"max_error_rate": 0.0})),
            json!({"auth": auth}),
        ),
    );
    for _ in 0..100 {
        assert_eq!(story.send(0, get("/")).status, StatusCode::UNAUTHORIZED);
    }
    assert!(!is_tripped(&story));
}

#[test]
fn probes_and_copies_do_not_count() {
    let fields = json!({
        "routing": {
            "blue": {"weight": 1, "clusters": ["blue-only"]},
            "green": {"weight": 0, "clusters": ["green-only"]},
        },
        "health": {"interval": "250ms", "timeout": "200ms"},
        "shadow": {"environment": "green", "percent": 100},
    });
    let story = Story::new(1, &and(half(), fields));
    story.answers("green", 500);
    for _ in 0..100 {
        assert_eq!(story.send(0, get("/")).chosen, "blue");
        story.advance(TICK);
    }
    assert!(
        story.callouts("green", "/health").len() >= 50,
        "probes were sent"
    );
    assert!(
        story.callouts("green", "/").len() >= 100,
        "copies were sent"
    );
    assert!(!is_tripped(&story));
    assert_eq!(story.metric("failures", &[]), 0);
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

/// Where no attempt role is installed, responses count.
#[test]
fn responses_count_without_an_attempt_role() {
    let document = and(half(), json!({"attempts": false}));
    let story = Story::new(1, &document).without_failover();
    story.answers("green", 500);
    assert_eq!(story.green(0, 100), 20);
    assert!(is_tripped(&story));

    let story = Story::new(1, &document).without_failover();
    story.behave("green", Behaviour::Breaks(Duration::ZERO));
    assert_eq!(story.green(0, 100), 20, "the gateway's own 503");
    assert!(is_tripped(&story));

    let story = Story::new(1, &document).without_failover();
    story.abandon(0, "green", 100);
    assert!(!is_tripped(&story), "clients that went away");
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
