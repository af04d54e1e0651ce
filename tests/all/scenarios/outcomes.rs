//! The tripwire: what counts as a failure, and what does not count at all.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::keys::consumer;
use switchover_tests::story::{Behaviour, Story, TICK, and, get, with};

use super::tripwire::{document, half, is_tripped};

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

/// The host breaks an attempt off where the request turns out to be invalid, too long or too slow, and says so to the
/// client; that the environment did not answer it, and nobody else did, is another matter.
#[test]
fn an_attempt_broken_off_for_the_requests_sake_is_no_failure() {
    let story = Story::new(1, &half());
    let broken = |status| {
        story.behave("green", Behaviour::GivenUp(status));
        let told = story.send(0, get("/"));
        assert_eq!((told.status, told.chosen.as_str()), (status, "green"));
    };
    for status in [400, 408, 413].map(|status| StatusCode::from_u16(status).unwrap()) {
        (0..50).for_each(|_| broken(status));
    }
    assert!(!is_tripped(&story));
    assert_eq!(story.metric("failures", &[]), 0);
    (0..10).for_each(|_| broken(StatusCode::SERVICE_UNAVAILABLE));
    (0..10).for_each(|_| broken(StatusCode::GATEWAY_TIMEOUT));
    assert!(is_tripped(&story));
    assert_eq!(story.metric("failures", &[("environment", "green")]), 20);
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
    // An unhealthy environment gets no copies, so it is asked for either by itself.
    let copies = Story::new(1, &without_health(and(half(), fields.clone())));
    let story = Story::new(1, &and(half(), fields));
    for story in [&story, &copies] {
        story.answers("green", 500);
        for _ in 0..100 {
            assert_eq!(story.send(0, get("/")).chosen, "blue");
            story.advance(TICK);
        }
        assert!(!is_tripped(story));
        assert_eq!(story.metric("failures", &[]), 0);
    }
    assert!(
        story.callouts("green", "/health").len() >= 50,
        "probes were sent"
    );
    assert!(
        copies.callouts("green", "/").len() >= 100,
        "copies were sent"
    );
}

fn without_health(mut document: Value) -> Value {
    document.as_object_mut().unwrap().remove("health");
    document
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
