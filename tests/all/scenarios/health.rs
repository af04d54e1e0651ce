//! Probes: thresholds both ways, one prober, and what follows for the shares.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::story::{self, Behaviour, ROUTE, START, Story, TICK, and, get};

const SECOND: Duration = Duration::from_secs(1);

/// Half to each, probed each second.
fn document(health: Value) -> Value {
    let health = and(
        json!({"interval": "1s", "timeout": "500ms", "unhealthy_after": 3, "healthy_after": 2}),
        health,
    );
    json!({
        "rollout": "r1",
        "routing": {
            "blue": {"weight": 1, "clusters": ["blue-only"], "credential": {"value": "of-blue"}},
            "green": {"weight": 1, "clusters": ["green-only"], "credential": {"value": "of-green"}},
        },
        "health": health,
        "attempts": true,
    })
}

fn plain() -> Value {
    document(json!({}))
}

/// A story that has served a request and had the answers to its first probes.
fn probed(workers: usize, document: &Value) -> Story {
    let story = Story::new(workers, document);
    for worker in 0..workers {
        story.send(worker, get("/"));
    }
    story.advance(3 * TICK);
    story
}

/// Lets so many probes be sent and answered.
fn probes(story: &Story, count: usize) {
    let before = story.callouts("green", "/health").len();
    while story.callouts("green", "/health").len() < before + count {
        story.advance(TICK);
        assert!(story.simulation.elapsed() < 3600 * SECOND, "no more probes");
    }
    story.advance(TICK);
}

#[test]
fn an_environment_serves_once_it_is_known_to_be_healthy() {
    let story = Story::new(1, &plain());
    assert_eq!(story.green(0, 10), 0, "nothing is known of it");
    story.advance(3 * TICK);
    assert_eq!(story.green(0, 10), 5);
    assert_eq!(story.metric("healthy", &[("environment", "green")]), 1);
    assert_eq!(story.metric("healthy", &[("environment", "blue")]), 1);
}

#[test]
fn a_canary_does_not_start_on_an_unhealthy_green() {
    let schedule = json!({"schedule": {"environment": "green", "start": START, "steps": [{"at": "1m", "weight": 20}]}});
    let story = Story::new(1, &and(plain(), schedule));
    story.answers("green", 503);
    story.send(0, get("/"));
    story.advance_to(120 * SECOND);
    assert_eq!(story.green(0, 100), 0);
    assert_eq!(
        story.metric("weight_planned", &[("environment", "green")]),
        2_000
    );
    assert_eq!(story.metric("weight", &[("environment", "green")]), 0);
    assert_eq!(story.metric("weight", &[("environment", "blue")]), 10_000);
    story.answers("green", 200);
    probes(&story, 2);
    assert_eq!(story.green(0, 100), 20, "it starts when green is well");
}

#[test]
fn thresholds_both_ways() {
    let story = probed(1, &plain());
    let serves = || story.green(0, 10) > 0;
    assert!(serves());
    story.answers("green", 503);
    probes(&story, 2);
    assert!(serves(), "two failures of three");
    story.answers("green", 200);
    probes(&story, 1);
    story.answers("green", 503);
    probes(&story, 2);
    assert!(serves(), "in a row");
    probes(&story, 1);
    assert!(!serves(), "the third");
    assert_eq!(story.metric("healthy", &[("environment", "green")]), 0);
    story.answers("green", 200);
    probes(&story, 1);
    assert!(!serves(), "one success of two");
    story.answers("green", 503);
    probes(&story, 1);
    story.answers("green", 200);
    probes(&story, 1);
    assert!(!serves(), "in a row");
    probes(&story, 1);
    assert!(serves(), "the second");
}

#[test]
fn what_counts_as_a_failure() {
    for behaviour in [
        Behaviour::Answers(StatusCode::NOT_FOUND, Duration::ZERO),
        Behaviour::Answers(StatusCode::FOUND, Duration::ZERO),
        Behaviour::Answers(StatusCode::OK, 2 * SECOND),
        Behaviour::Breaks(Duration::ZERO),
    ] {
        let story = probed(1, &plain());
        story.behave("green", behaviour);
        probes(&story, 3);
        story.advance(SECOND);
        story.behave("green", Behaviour::Answers(StatusCode::OK, Duration::ZERO));
        assert_eq!(story.green(0, 10), 0, "{behaviour:?}");
    }
}

#[test]
fn probes_are_counted_apart() {
    let story = probed(1, &plain());
    let before = story.metric("requests", &[]);
    story.answers("green", 503);
    probes(&story, 10);
    assert_eq!(story.metric("requests", &[]), before);
    assert_eq!(story.metric("attempts", &[("environment", "green")]), 0);
    let sent = story.callouts("green", "/health").len() as u64;
    let counted = story.metric("probes", &[("environment", "green")]);
    assert!(sent.abs_diff(counted) <= 1, "{counted} counted of {sent}");
    assert!(story.metric("probe_duration_ms", &[("environment", "green")]) >= sent - 1);
}

#[test]
fn a_probe_carries_no_credential() {
    let story = probed(
        1,
        &document(json!({"host": "api.example.com", "path": "/ready"})),
    );
    let probe = story.callouts("green", "/ready").pop().unwrap();
    assert_eq!(
        (probe.header("host"), probe.callout.timeout),
        ("api.example.com", SECOND / 2)
    );
    let shown = format!("{probe:?}");
    assert!(
        !shown.contains("of-green") && !shown.contains("of-blue"),
        "{shown}"
    );
    let probe = probed(1, &plain())
        .callouts("green", "/health")
        .pop()
        .unwrap();
    assert_eq!(probe.header("host"), "green-only");
}

#[test]
fn one_worker_probes() {
    let story = probed(4, &plain());
    let before = story.callouts("green", "/health").len();
    for _ in 0..60 {
        for worker in 0..4 {
            story.send(worker, get("/"));
        }
        story.advance(SECOND);
    }
    let probes = story.callouts("green", "/health").split_off(before);
    assert!(
        (58..=62).contains(&probes.len()),
        "{} probes in 60 seconds",
        probes.len()
    );
    let first = probes[0].worker;
    assert!(
        probes.iter().all(|probe| probe.worker == first),
        "one of them, while it lives"
    );
}

#[test]
fn a_worker_that_serves_nothing_does_not_probe() {
    let story = Story::new(3, &plain());
    story.advance(60 * SECOND);
    assert!(story.simulation.callouts().is_empty(), "nobody serves");
    story.send(2, get("/"));
    story.advance(60 * SECOND);
    let callouts = story.simulation.callouts();
    assert!(callouts.len() > 100);
    assert!(callouts.iter().all(|probe| probe.worker == 2));
}

/// The lease runs out, and another takes it.
#[test]
fn another_worker_takes_over() {
    let story = probed(2, &plain());
    let first = story.callouts("green", "/health")[0].worker;
    let other = 1 - first;
    assert!(story.simulation.trap(first, ROUTE));
    story.advance(10 * SECOND);
    let last = story.callouts("green", "/health").pop().unwrap();
    assert_eq!(last.worker, other);
    let at = story.callouts("green", "/health");
    let gaps = at.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(gaps.max().unwrap() <= 4_000_000_000, "no long silence");
    assert!(story.green(other, 10) > 0);
}

#[test]
fn all_workers_follow_what_one_has_found() {
    let story = probed(3, &plain());
    for worker in 0..3 {
        assert_eq!(story.green(worker, 10), 5, "worker {worker}");
    }
    story.answers("green", 503);
    probes(&story, 3);
    for worker in 0..3 {
        assert_eq!(story.green(worker, 10), 0, "worker {worker}");
    }
}

/// The data plane's failover carries it.
#[test]
fn an_unhealthy_stable_stays_in_rotation() {
    let story = probed(1, &plain());
    story.answers("blue", 503);
    probes(&story, 4);
    assert_eq!(story.metric("healthy", &[("environment", "blue")]), 0);
    assert_eq!(story.green(0, 10), 5);
}

#[test]
fn an_unhealthy_stable_fails_over_where_the_document_says_so() {
    let story = probed(1, &document(json!({"failover": true})));
    story.answers("blue", 503);
    probes(&story, 4);
    assert_eq!(story.green(0, 10), 10);
    story.answers("blue", 200);
    probes(&story, 2);
    assert_eq!(story.green(0, 10), 5);

    // Not to one that is no better.
    story.answers("blue", 503);
    story.answers("green", 503);
    probes(&story, 4);
    assert_eq!(story.green(0, 10), 0);
}

/// A tripped rollout stays on stable, however ill stable is: nothing is promoted while tripped.
#[test]
fn a_tripped_rollout_does_not_fail_over() {
    let guard =
        json!({"guard": {"environment": "green", "min_requests": 5, "max_error_rate": 0.1}});
    let story = probed(1, &and(document(json!({"failover": true})), guard));
    story.answers("green", 500);
    story.chosen(0, 20);
    story.answers("green", 200);
    story.answers("blue", 503);
    probes(&story, 5);
    assert_eq!(story.green(0, 10), 0);
}

#[test]
fn a_replaced_document_knows_what_the_old_one_knew() {
    let story = probed(2, &plain());
    let mut next = plain();
    next["routing"]["green"]["version"] = json!("2.1.1");
    story.replace(&next).unwrap();
    for worker in 0..2 {
        assert_eq!(story.green(worker, 10), 5, "worker {worker}, at once");
    }
    let before = story.callouts("green", "/health").len();
    story.advance(30 * SECOND);
    let more = story.callouts("green", "/health").len() - before;
    assert!((25..=35).contains(&more), "{more} probes in 30 seconds");
}

#[test]
fn a_rebuilt_vm_knows_what_was_found() {
    let story = probed(1, &plain());
    story.answers("green", 503);
    probes(&story, 3);
    story.answers("green", 200);
    assert!(story.simulation.trap(0, ROUTE));
    story.advance(TICK);
    assert_eq!(story.green(0, 10), 0, "still unhealthy");
    story.advance(10 * SECOND);
    assert_eq!(story.green(0, 10), 5, "probed again");
}

#[test]
fn a_clock_that_jumps_back_does_not_stop_the_probes() {
    let story = probed(2, &plain());
    story
        .simulation
        .set_wall_clock(story::start() - 3600 * SECOND);
    let before = story.callouts("green", "/health").len();
    story.advance(30 * SECOND);
    let more = story.callouts("green", "/health").len() - before;
    assert!((25..=35).contains(&more), "{more} probes in 30 seconds");
    assert_eq!(story.green(0, 10), 5);
}
