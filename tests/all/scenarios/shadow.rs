//! Copies of requests for an environment that serves nothing yet.

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use switchover_host::simulation::{Outgoing, Request};
use switchover_tests::keys::consumer;
use switchover_tests::story::{Behaviour, Story, TICK, and, get, request, with};

/// Everything goes to blue; of all of it green gets copies.
fn document(shadow: Value) -> Value {
    let shadow = and(
        json!({"environment": "green", "percent": 100, "max_body": "16B"}),
        shadow,
    );
    json!({
        "rollout": "r1",
        "routing": {
            "blue": {"weight": 1, "clusters": ["blue-only"], "credential": {"value": "of-blue"}},
            "green": {"weight": 0, "clusters": ["green-only"],
                      "credential": {"header": "x-green-key", "scheme": "", "value": "of-green"}},
        },
        "auth": {"mode": "replace", "consumers": [consumer("a", "of-the-client")], "exempt": [{"path": "/open"}]},
        "shadow": shadow,
        "attempts": true,
    })
}

fn plain() -> Value {
    document(json!({}))
}

/// The same with the client's key.
fn keyed(request: Request) -> Request {
    with(request, "api-key", "of-the-client")
}

/// All copies so far.
fn copies(story: &Story) -> Vec<Rc<Outgoing>> {
    story.simulation.callouts()
}

#[test]
fn a_copy_has_greens_credential_and_nobody_elses() {
    let story = Story::new(1, &plain());
    let told = story.send(0, with(keyed(get("/v1/models?page=2")), "x-user-id", "u1"));
    assert_eq!(
        (told.status, told.chosen.as_str()),
        (StatusCode::OK, "blue")
    );
    let copies = copies(&story);
    let [copy] = &copies[..] else {
        panic!("{copies:?}")
    };
    assert_eq!(copy.callout.cluster, "green-only");
    assert_eq!(copy.callout.head.path.as_bytes(), b"/v1/models?page=2");
    assert_eq!(copy.header("x-green-key"), "of-green");
    assert_eq!(copy.header("x-deployment-mode"), "green");
    assert_eq!(
        (copy.header("x-user-id"), copy.header("host")),
        ("u1", "gateway.test")
    );
    let shown = format!("{copy:?}");
    for secret in ["of-blue", "of-the-client"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    // The request itself is what it would be without.
    let (_, headers) = &told.attempts[0];
    assert_eq!(headers["authorization"], "Bearer of-blue");
    assert!(!headers.contains_key("x-green-key"), "{headers:?}");
}

/// The route role injects blue's credential itself; the copy has green's all the same.
#[test]
fn a_copy_without_an_attempt_role() {
    let story = Story::new(1, &and(plain(), json!({"attempts": false})));
    story.send(0, keyed(get("/")));
    let copies = copies(&story);
    assert_eq!(copies[0].header("x-green-key"), "of-green");
    let shown = format!("{copies:?}");
    assert!(
        !shown.contains("of-blue") && !shown.contains("of-the-client"),
        "{shown}"
    );
}

#[test]
fn some_percent_are_copied() {
    let story = Story::new(1, &document(json!({"percent": 5})));
    for _ in 0..4_000 {
        story.send(0, keyed(get("/")));
    }
    let count = copies(&story).len();
    assert!((150..=250).contains(&count), "{count} of 4,000 at 5 %");
}

#[test]
fn methods_that_change_something_are_not_copied() {
    let story = Story::new(1, &document(json!({"paths": ["/listed"]})));
    for (method, path, copied) in [
        ("GET", "/", true),
        ("HEAD", "/", true),
        ("OPTIONS", "/", true),
        ("POST", "/", false),
        ("PUT", "/", false),
        ("DELETE", "/", false),
        ("PATCH", "/listed/no", false),
        ("POST", "/listed", true),
        ("DELETE", "/listed?all", true),
    ] {
        let before = copies(&story).len();
        assert_eq!(
            story.send(0, keyed(request(method, path, ""))).status,
            StatusCode::OK
        );
        let more = copies(&story).split_off(before);
        assert_eq!(more.len() == 1, copied, "{method} {path}");
        assert!(
            more.iter().all(|copy| copy.callout.head.method == method),
            "{more:?}"
        );
    }
}

#[test]
fn bodies_are_copied_up_to_the_limit() {
    let story = Story::new(1, &document(json!({"paths": ["/"]})));
    story.send(0, keyed(request("POST", "/", "sixteen bytes it")));
    let copy = copies(&story).pop().unwrap();
    assert_eq!(&copy.callout.body[..], b"sixteen bytes it");
    let told = story.send(0, keyed(request("POST", "/", "seventeen bytes !")));
    assert_eq!(
        (told.status, copies(&story).len()),
        (StatusCode::OK, 1),
        "longer ones are not"
    );
    story.advance(TICK);
    assert_eq!(story.metric("shadows", &[("outcome", "too_large")]), 1);
}

/// The answer comes before the copy's, and when that never comes.
#[test]
fn the_client_never_waits() {
    let story = Story::new(1, &document(json!({"timeout": "5s"})));
    story.behave(
        "green",
        Behaviour::Answers(StatusCode::OK, Duration::from_secs(60)),
    );
    let told = story.send(0, keyed(get("/")));
    assert_eq!(
        (told.status, story.simulation.elapsed()),
        (StatusCode::OK, Duration::ZERO)
    );
    story.behave(
        "green",
        Behaviour::Answers(StatusCode::OK, Duration::from_millis(700)),
    );
    story.send(0, keyed(get("/")));
    story.advance(Duration::from_secs(10));
    assert_eq!(story.metric("shadows", &[("outcome", "answered")]), 1);
    assert_eq!(
        story.metric("shadows", &[("outcome", "failed")]),
        1,
        "in time or not at all"
    );
    assert_eq!(
        story.send(0, keyed(get("/"))).status,
        StatusCode::OK,
        "the VM lives"
    );
}

#[test]
fn a_copys_answer_is_dropped_and_counted_apart() {
    let story = Story::new(1, &plain());
    story.answers("green", 500);
    for _ in 0..10 {
        let told = story.send(0, keyed(get("/")));
        assert_eq!((told.status, told.attempts.len()), (StatusCode::OK, 1));
        assert_eq!(told.headers["x-deployment-mode"], "blue");
    }
    story.advance(TICK);
    let green = ("environment", "green");
    assert_eq!(story.metric("shadows", &[green]), 10);
    assert_eq!(story.metric("shadow_duration_ms", &[green]), 10);
    for family in ["requests", "attempts", "failures"] {
        assert_eq!(story.metric(family, &[green]), 0, "{family}");
    }
    assert_eq!(story.metric("requests", &[("environment", "blue")]), 10);
}

#[test]
fn what_goes_there_anyway_is_not_copied() {
    let mut document = plain();
    document["routing"]["green"]["weight"] = json!(1);
    let story = Story::new(1, &document);
    for _ in 0..10 {
        story.send(0, keyed(get("/")));
    }
    assert_eq!(copies(&story).len(), 5);
}

/// They show no key, so that green's may not go with them.
#[test]
fn exempt_and_refused_requests_are_not_copied() {
    let story = Story::new(1, &plain());
    assert_eq!(story.send(0, get("/open")).status, StatusCode::OK);
    assert_eq!(story.send(0, get("/")).status, StatusCode::UNAUTHORIZED);
    assert!(copies(&story).is_empty());
}

/// What a client sends under the names that copies are known by does not come through twice.
#[test]
fn a_client_cannot_name_the_copys_environment() {
    let story = Story::new(1, &plain());
    let forged = with(
        with(keyed(get("/")), "x-deployment-mode", "blue"),
        "x-green-key",
        "forged",
    );
    story.send(0, forged);
    let copy = copies(&story).pop().unwrap();
    for name in ["x-deployment-mode", "x-green-key"] {
        assert_eq!(
            copy.callout.head.headers.get_all(name).iter().count(),
            1,
            "{name}"
        );
    }
    assert_eq!(copy.header("x-green-key"), "of-green");
}

#[test]
fn a_copy_whose_document_is_replaced_meanwhile_hurts_nobody() {
    let story = Story::new(1, &plain());
    story.behave(
        "green",
        Behaviour::Answers(StatusCode::OK, Duration::from_secs(1)),
    );
    story.send(0, keyed(get("/")));
    story.replace(&document(json!({"percent": 0}))).unwrap();
    story.advance(Duration::from_secs(2));
    assert_eq!(story.send(0, keyed(get("/"))).status, StatusCode::OK);
    assert_eq!(copies(&story).len(), 1);
}

/// Copies that nobody answers keep neither probes nor later copies back.
#[test]
fn copies_under_way_are_bounded_and_forgotten_with_their_document() {
    let with_probes = |rollout: &str| {
        let mut document = and(
            plain(),
            json!({"health": {"interval": "1s", "timeout": "500ms"}}),
        );
        document["shadow"]["timeout"] = json!("10m");
        document["rollout"] = json!(rollout);
        document
    };
    let story = Story::new(1, &with_probes("r1"));
    story.behave("green", Behaviour::OnlyHealth);
    let copied = || story.callouts("green", "/").len();
    for _ in 0..1_100 {
        story.send(0, keyed(get("/")));
    }
    assert_eq!(copied(), 1_024);
    story.advance(TICK);
    assert_eq!(story.metric("shadows", &[("outcome", "not_sent")]), 76);
    story.advance(Duration::from_secs(5));
    assert_eq!(story.metric("healthy", &[("environment", "green")]), 1);
    story.replace(&with_probes("r2")).unwrap();
    story.advance(TICK);
    story.send(0, keyed(get("/")));
    assert_eq!(copied(), 1_025);
}
