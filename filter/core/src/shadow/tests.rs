//! Which requests are copied, and what a copy carries.

use super::*;
use crate::document::parse;
use crate::headers::Spans;
use crate::time::Timestamp;

fn document(shadow: &str) -> Document {
    let text = format!(
        r#"{{"routing": {{"blue": {{"weight": 1, "credential": {{"header": "x-blue", "value": "B"}}}},
            "green": {{"weight": 0, "credential": {{"value": "G"}}}}}}, "shadow": {{"environment": "green", {shadow}}}}}"#
    );
    parse(text.as_bytes(), &|_| None).unwrap()
}

fn control(document: &Document) -> Control {
    Control::new(&document.rollouts()[0], Timestamp::from_millis(0))
}

fn is_copied(document: &Document, method: &str, path: &str, goes_to: usize, trusted: bool) -> bool {
    let pairs = serialise(&[(b":method", method.as_bytes()), (b":path", path.as_bytes())]);
    let mut spans = Spans::new();
    let headers = document.index(&pairs, &mut spans).unwrap();
    document.rollouts()[0].is_copied(
        goes_to,
        trusted,
        &headers,
        document,
        &control(document),
        &mut Random::new(1),
    )
}

#[test]
fn safe_methods_and_listed_paths() {
    let all = document(r#""percent": 100, "paths": ["/v1/embeddings"]"#);
    for (method, path, copied) in [
        ("GET", "/x", true),
        ("HEAD", "/x", true),
        ("OPTIONS", "/x", true),
        ("POST", "/x", false),
        ("DELETE", "/x?/v1/embeddings", false),
        ("TRACE", "/x", false),
        ("POST", "/v1/embeddings", true),
        ("POST", "/v1/embeddings?a=b", true),
        ("POST", "/v1/embeddings/1", false),
    ] {
        assert_eq!(
            is_copied(&all, method, path, 0, true),
            copied,
            "{method} {path}"
        );
    }
    assert!(
        !is_copied(&all, "GET", "/x", 1, true),
        "it goes there anyway"
    );
    assert!(
        !is_copied(&all, "GET", "/x", 0, false),
        "it may carry no key"
    );
    assert!(!is_copied(
        &document(r#""percent": 0"#),
        "GET",
        "/x",
        0,
        true
    ));
}

#[test]
fn so_many_of_a_hundred() {
    let document = document(r#""percent": 12.5"#);
    let pairs = serialise(&[(b":method", b"GET"), (b":path", b"/")]);
    let mut spans = Spans::new();
    let headers = document.index(&pairs, &mut spans).unwrap();
    let mut random = Random::new(7);
    let control = control(&document);
    let rollout = &document.rollouts()[0];
    let copied = (0..100_000)
        .filter(|_| rollout.is_copied(0, true, &headers, &document, &control, &mut random));
    let copied = copied.count();
    // Nine standard deviations.
    assert!(copied.abs_diff(12_500) < 950, "{copied}");
}

#[test]
fn a_copy_carries_its_own_credential_only() {
    let document = document(r#""percent": 100"#);
    let request: [(&[u8], &[u8]); 8] = [
        (b":method", b"GET"),
        (b":path", b"/x"),
        (b"x-blue", b"Bearer B"),
        (b"authorization", b"Bearer client"),
        (b"x-deployment-mode", b"blue"),
        (b"content-length", b"0"),
        (b"x-consumer", b"team-a"),
        (b"x-switchover-shadow", b"forged"),
    ];
    let head = document.rollouts()[0]
        .copied_head(&serialise(&request))
        .unwrap();
    let expected: [(&[u8], &[u8]); 6] = [
        (b":method", b"GET"),
        (b":path", b"/x"),
        (b"x-consumer", b"team-a"),
        (b"x-deployment-mode", b"green"),
        (b"x-switchover-shadow", b"true"),
        (b"authorization", b"Bearer G"),
    ];
    assert_eq!(all(&head).unwrap(), expected);
    assert_eq!(document.rollouts()[0].copied_head(b"no map"), None);
}

#[test]
fn models_that_may_not_go_there_are_not_copied() {
    let with = |models: &str| {
        let text = format!(
            r#"{{"models": {{"hold_headers": true, "catalogue": [{{"id": "a"}}, {{"id": "b"}}]}}, "routing": {{"blue": {{"weight": 1}},
                "green": {{"weight": 0{models}}}}}, "shadow": {{"environment": "green", "percent": 100}}}}"#
        );
        parse(text.as_bytes(), &|_| None).unwrap()
    };
    let may_copy = |document: &Document, model| document.rollouts()[0].may_copy(model);
    let bound = with(r#", "models": ["a"]"#);
    assert!(may_copy(&bound, Some("a")) && may_copy(&bound, None));
    assert!(!may_copy(&bound, Some("b")));
    assert!(may_copy(&with(""), Some("b")));
}

#[test]
fn what_is_to_be_left_in_peace_gets_no_copies() {
    let copied = |document: &Document, change: &dyn Fn(&mut Control)| {
        let pairs = serialise(&[(b":method", b"GET"), (b":path", b"/")]);
        let mut spans = Spans::new();
        let headers = document.index(&pairs, &mut spans).unwrap();
        let mut control = control(document);
        change(&mut control);
        let rollout = &document.rollouts()[0];
        rollout.is_copied(0, true, &headers, document, &control, &mut Random::new(1))
    };
    let all = document(r#""percent": 100"#);
    assert!(copied(&all, &|_| ()));
    assert!(!copied(&all, &Control::latch));
    let healthy =
        |green| move |control: &mut Control| control.set_health(vec![State::Healthy, green]);
    assert!(copied(&all, &healthy(State::Unknown)));
    assert!(!copied(&all, &healthy(State::Unhealthy)));
    let text = r#"{"routing": {"blue": {"weight": 1}, "green": {"weight": 0}}, "rollback": true,
        "shadow": {"environment": "green", "percent": 100}}"#;
    assert!(!copied(
        &parse(text.as_bytes(), &|_| None).unwrap(),
        &|_| ()
    ));
}
