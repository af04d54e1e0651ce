use proptest::prelude::*;
use serde_json::{Value, json};

use super::body::{BodyOutcome, Passed};
use crate::document::{Document, parse};
use crate::headers::Spans;
use crate::headers::tests::serialise;
use crate::reply::Reply;
use crate::route::Reason;
use crate::scan::{Scan, Usage};

fn document(models: Value) -> Document {
    let mut document = json!({
        "routing": {"blue": {"weight": 1}, "green": {"weight": 99}},
        "auth": {"mode": "replace", "consumers": [
            {"name": "team-a", "keys": [{"sha256": "0".repeat(64)}]},
            {"name": "team-b", "keys": [{"sha256": "1".repeat(64)}], "models": ["gpt-4.1-*"]}]},
        "models": {
            "catalogue": [
                {"id": "gpt-4.1", "owned_by": "openai", "created": 1_744_000_000, "usd_per_million": {"input": 2, "cached_input": 0.5, "output": 8}, "reference_usd_per_million": 10},
                {"id": "gpt-4.1-mini", "usd_per_million": 0.4},
                {"id": "claude-sonnet-4.5"},
            ],
            "aliases": {"gpt-4": "gpt-4.1", "claude*": "claude-sonnet-4.5", "claude-mini*": "gpt-4.1-mini", "*": "gpt-4.1"},
        },
    });
    let own = document["models"].as_object_mut().unwrap();
    own.extend(models.as_object().unwrap().clone());
    parse(document.to_string().as_bytes(), &|_| None).unwrap()
}

fn judged(document: &Document, body: &[u8], path: &str, consumer: usize) -> Result<Passed, Reply> {
    let mut scan = Scan::new();
    scan.feed(body);
    let rollout = &document.rollouts()[0];
    let passed = rollout.judge_body(
        scan.finish(),
        path.ends_with("/completions"),
        Some(consumer),
    );
    passed.map_err(|refused| refused.reply)
}

/// A body as it goes on.
fn rewritten(document: &Document, passed: &Passed, body: &[u8]) -> Vec<u8> {
    let models = document.rollouts()[0].models().unwrap();
    let (start, rest) = body.split_at(passed.reach());
    let mut whole = Vec::new();
    models.rewrite(passed, start, &mut whole);
    whole.extend(rest);
    whole
}

fn name(document: &Document, passed: &Passed) -> Option<String> {
    let models = document.rollouts()[0].models().unwrap();
    let name = models.name(passed.model, passed.unknown.as_deref());
    name.map(str::to_owned)
}

fn error(reply: &Reply) -> Value {
    serde_json::from_str::<Value>(&reply.body).unwrap()["error"].take()
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn names_are_found_by_alias() {
    let document = document(json!({}));
    let models = document.rollouts()[0].models().unwrap();
    let name = |name: &str| {
        models
            .find(name)
            .map(|index| models.catalogue()[index].id())
    };
    for (asked, expected) in [
        ("gpt-4.1", "gpt-4.1"),
        ("gpt-4.1-mini", "gpt-4.1-mini"),
        ("gpt-4", "gpt-4.1"),
        ("claude-sonnet-4.5", "claude-sonnet-4.5"),
        ("claude-3", "claude-sonnet-4.5"),
        ("claude-mini-2", "gpt-4.1-mini"),
        ("anything", "gpt-4.1"),
    ] {
        assert_eq!(name(asked), Some(expected), "{asked}");
    }
}

#[test]
fn an_alias_is_rewritten_and_nothing_else() {
    let document = document(json!({"include_usage": false}));
    let body = br#"{"messages": [{"model": "gpt-4"}], "model" : "gpt\u002d4", "n": 1.50}"#;
    let passed = judged(&document, body, CHAT, 0).unwrap();
    assert_eq!(
        (
            passed.outcome,
            passed.model,
            name(&document, &passed).as_deref()
        ),
        (BodyOutcome::Aliased, Some(0), Some("gpt-4.1"))
    );
    assert_eq!(
        rewritten(&document, &passed, body),
        br#"{"messages": [{"model": "gpt-4"}], "model" : "gpt-4.1", "n": 1.50}"#
    );
    let passed = judged(&document, br#"{"model": "gpt-4.1"}"#, CHAT, 0).unwrap();
    assert_eq!((passed.outcome, passed.reach()), (BodyOutcome::Known, 0));
}

#[test]
fn unknown_models_are_answered_in_the_apis_words() {
    let document = document(json!({"aliases": {}}));
    let reply = judged(&document, br#"{"model": "gpt-4.1-mimi"}"#, CHAT, 0).unwrap_err();
    assert_eq!(reply.status, 404);
    assert_eq!(
        error(&reply),
        json!({"message": "The model `gpt-4.1-mimi` does not exist or you do not have access to it. Did you mean `gpt-4.1-mini`?",
               "type": "invalid_request_error", "param": "model", "code": "model_not_found"})
    );
    let hidden = judged(&document, br#"{"model": "gpt-4.1"}"#, CHAT, 1).unwrap_err();
    assert_eq!(error(&hidden)["code"], "model_not_found");
    assert!(judged(&document, br#"{"model": "gpt-4.1-mini"}"#, CHAT, 1).is_ok());
    for (body, status, code) in [
        (&b"{}"[..], 400, "missing_required_parameter"),
        (b"{\"model\": 1}", 400, "invalid_type"),
        (b"{", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"\x1f\x8b", 400, "invalid_json"),
        (&[b'['; 200], 400, "invalid_json"),
    ] {
        let reply = judged(&document, body, CHAT, 0).unwrap_err();
        assert_eq!(
            (reply.status, error(&reply)["code"].as_str().unwrap()),
            (status, code)
        );
    }
}

#[test]
fn what_is_unknown_may_pass() {
    let document = document(json!({"aliases": {}, "unknown": "pass"}));
    let passed = judged(&document, br#"{"model": "other"}"#, CHAT, 0).unwrap();
    assert_eq!(
        (passed.outcome, name(&document, &passed).as_deref()),
        (BodyOutcome::Unknown, Some("other"))
    );
    assert!(
        judged(&document, br#"{"model": "other"}"#, CHAT, 1).is_err(),
        "not allowed to team-b"
    );
    assert_eq!(
        judged(&document, b"{", CHAT, 0).unwrap().outcome,
        BodyOutcome::Unreadable
    );
    assert_eq!(
        document.rollouts()[0]
            .judge_long_body(Some(0))
            .unwrap()
            .outcome,
        BodyOutcome::TooLarge
    );
    // Whoever may not use all models does not get another by hiding which it is.
    let rollout = &document.rollouts()[0];
    assert!(judged(&document, b"{", CHAT, 1).is_err());
    assert!(rollout.judge_long_body(Some(1)).is_err());
    assert!(rollout.judge_encoded_body(Some(1)).is_err());
    assert!(rollout.judge_encoded_body(Some(0)).is_ok());
}

#[test]
fn streams_are_asked_for_their_usage() {
    let document = document(json!({}));
    let asked = |body: &str, path: &str| {
        let passed = judged(&document, body.as_bytes(), path, 0).unwrap();
        let whole = rewritten(&document, &passed, body.as_bytes());
        (String::from_utf8(whole).unwrap(), passed.hides_usage)
    };
    for (body, expected) in [
        (
            r#"{"model":"gpt-4","stream":true}"#,
            r#"{"stream_options":{"include_usage":true},"model":"gpt-4.1","stream":true}"#,
        ),
        (
            r#"{"model":"gpt-4.1","stream":true,"stream_options":{}}"#,
            r#"{"model":"gpt-4.1","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"stream_options":{"a":1},"model":"gpt-4","stream":true}"#,
            r#"{"stream_options":{"include_usage":true,"a":1},"model":"gpt-4.1","stream":true}"#,
        ),
        (
            r#"{"model":"gpt-4.1","stream":true,"stream_options":null}"#,
            r#"{"model":"gpt-4.1","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"model":"gpt-4.1","stream":true,"stream_options":{"include_usage":false}}"#,
            r#"{"model":"gpt-4.1","stream":true,"stream_options":{"include_usage":true}}"#,
        ),
    ] {
        assert_eq!(asked(body, CHAT), (expected.to_owned(), true));
    }
    for (body, path) in [
        (
            r#"{"model":"gpt-4.1","stream":true,"stream_options":{"include_usage":true}}"#,
            CHAT,
        ),
        (r#"{"model":"gpt-4.1","stream":false}"#, CHAT),
        (r#"{"model":"gpt-4.1","stream":true}"#, "/v1/responses"),
    ] {
        assert_eq!(asked(body, path), (body.to_owned(), false));
    }
}

#[test]
fn a_model_goes_where_it_may() {
    let ids = ["gpt-4.1", "gpt-4.1-mini", "only-green", "nowhere"].map(|id| json!({"id": id}));
    let text = json!({
        "stable": "blue",
        "routing": {"blue": {"weight": 1, "models": ["gpt-*", "only-blue"]}, "green": {"weight": 99, "models": ["gpt-4.1-mini", "only-green"]}},
        "models": {"hold_headers": true, "catalogue": ids},
    });
    let document = parse(text.to_string().as_bytes(), &|_| None).unwrap();
    let rollout = &document.rollouts()[0];
    let (blue, green) = (
        rollout.environment(b"blue").unwrap(),
        rollout.environment(b"green").unwrap(),
    );
    assert_eq!(rollout.for_model(green, "gpt-4.1"), Some(blue));
    assert_eq!(rollout.for_model(green, "gpt-4.1-mini"), Some(green));
    assert_eq!(rollout.for_model(blue, "only-green"), Some(green));
    let body = |name: &str| {
        judged(
            &document,
            format!("{{\"model\":\"{name}\"}}").as_bytes(),
            CHAT,
            0,
        )
    };
    assert!(body("only-green").is_ok());
    // Nor is it proposed or listed.
    let refused = body("nowhere").unwrap_err();
    assert_eq!(refused.status, 404);
    assert!(!refused.body.contains("Did you mean"), "{}", refused.body);
    let list = rollout.listing(b"GET", b"/v1/models", None).unwrap();
    assert!(list.body.contains("\"only-green\"") && !list.body.contains("nowhere"));
    assert_eq!(Reason::ALL[Reason::Model.index()], Reason::Model);
}

#[test]
fn answers_cost_what_the_catalogue_says() {
    let document = document(json!({}));
    let models = document.rollouts()[0].models().unwrap();
    let usage = Usage {
        input: 1_000,
        cached: 400,
        output: 100,
    };
    // 600 at 2, 400 at 0.50, 100 at 8 dollars a million: 2,200 millionths of a dollar.
    let cost = models.cost(Some(0), &usage);
    assert_eq!((cost.own, cost.reference), (2_200_000_000, 11_000_000_000));
    let cost = models.cost(Some(1), &usage);
    assert_eq!((cost.own, cost.reference), (440_000_000, 440_000_000));
    assert_eq!(models.cost(None, &usage), super::Cost::default());
}

#[test]
fn the_catalogue_is_listed_for_each_consumer() {
    let document = document(json!({}));
    let rollout = &document.rollouts()[0];
    let get = |path: &str, consumer| {
        let reply = rollout.listing(b"GET", path.as_bytes(), Some(consumer))?;
        Some((
            reply.status,
            serde_json::from_str::<Value>(&reply.body).unwrap(),
        ))
    };
    let (status, list) = get("/v1/models", 0).unwrap();
    assert_eq!(
        (status, &list["data"][0]),
        (
            200,
            &json!({"id": "gpt-4.1", "object": "model", "created": 1_744_000_000, "owned_by": "openai"})
        )
    );
    assert_eq!(list["data"].as_array().unwrap().len(), 3);
    assert_eq!(
        get("/v1/models", 1).unwrap().1["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(get("/v1/models/gpt%2D4.1", 0).unwrap().1["id"], "gpt-4.1");
    assert_eq!(get("/v1/models/gpt-4.1", 1).unwrap().0, 404);
    assert_eq!(get("/v1/modelsx", 0), None);
    assert!(rollout.listing(b"POST", b"/v1/models", None).is_none());
}

#[test]
fn only_posts_to_endpoints_name_a_model() {
    let document = document(json!({"endpoints": ["/llm"]}));
    let rollout = &document.rollouts()[0];
    let names = |method: &str, path: &str| {
        let map = serialise(&[(":method", method.as_bytes()), (":path", path.as_bytes())]);
        let mut spans = Spans::new();
        let headers = document.index(&map, &mut spans).unwrap();
        document.endpoint(rollout, &headers).is_some()
    };
    assert!(names("POST", "/llm?x=1"));
    assert!(!names("GET", "/llm") && !names("POST", CHAT));
}

proptest! {
    #[test]
    fn a_rewritten_body_is_the_same_but_for_the_model(
        before in proptest::collection::vec(("[a-z\"\\\\é]{0,6}", any::<i32>()), 0..4),
        after in proptest::collection::vec(("[a-z\"\\\\é]{0,6}", "[a-z\"\\\\é]{0,9}"), 0..4),
        is_pretty: bool,
    ) {
        let document = document(json!({"include_usage": false}));
        let mut members = serde_json::Map::new();
        members.extend(before.into_iter().map(|(key, value)| (format!("b{key}"), value.into())));
        members.insert("model".into(), "gpt-4".into());
        members.extend(after.into_iter().map(|(key, value)| (format!("z{key}"), value.into())));
        let value = Value::from(members);
        let body = if is_pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let passed = judged(&document, &body, CHAT, 0).unwrap();
        let whole = rewritten(&document, &passed, &body);
        let mut expected = value;
        expected["model"] = "gpt-4.1".into();
        prop_assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap(), expected);
    }

    #[test]
    fn a_stream_that_is_asked_is_the_same_but_for_that(members in members_of_a_stream()) {
        let document = document(json!({}));
        let texts: Vec<String> = members.iter().map(|(key, value)| format!("{}: {value}", json!(key))).collect();
        let body = format!("{{{}}}", texts.join(", "));
        let passed = judged(&document, body.as_bytes(), CHAT, 0).unwrap();
        let whole = rewritten(&document, &passed, body.as_bytes());
        let mut expected: Value = serde_json::from_str(&body).unwrap();
        let before = expected["stream_options"]["include_usage"].clone();
        expected["model"] = "gpt-4.1".into();
        expected["stream_options"]["include_usage"] = true.into();
        prop_assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap(), expected, "{}", body);
        prop_assert_eq!(passed.hides_usage, before != json!(true));
    }
}

/// The members of a request for a stream, in any order.
fn members_of_a_stream() -> impl Strategy<Value = Vec<(String, Value)>> {
    let options = proptest::sample::select(vec![
        None,
        Some(json!(null)),
        Some(json!({})),
        Some(json!({"include_usage": true})),
        Some(json!({"include_usage": false, "a": [1, {"include_usage": true}]})),
        Some(json!({"a": "include_usage", "include_usage": null})),
        Some(json!({"a": {}})),
    ]);
    let model = proptest::sample::select(vec!["gpt-4", "gpt-4.1"]);
    let more = proptest::collection::vec(("[a-z\"\\\\é]{0,6}", any::<i32>()), 0..4);
    let members = (options, model, more).prop_map(|(options, model, more)| {
        let more = more
            .into_iter()
            .map(|(key, value)| (format!("z{key}"), value.into()));
        let own = [("model", Some(json!(model))), ("stream", Some(json!(true)))];
        let own = own.into_iter().chain([("stream_options", options)]);
        let own = own.filter_map(|(key, value)| Some((key.to_owned(), value?)));
        own.chain(more).collect::<Vec<_>>()
    });
    members.prop_shuffle()
}
