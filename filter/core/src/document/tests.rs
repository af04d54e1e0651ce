//! Documents, good and bad.

mod invalid;

use proptest::prelude::{Strategy as _, any, prop_assert, proptest};

use super::{Allow, AuthMode, Document, Spans, Strategy, Variables, parse, parse_attempt};
use crate::headers::tests::serialise;

const SEED: &str =
    r#"{"routing":{"blue":{"weight":95},"green":{"weight":5}},"strategy":"weighted_round_robin"}"#;
/// Everything that this version knows.
const WHOLE: &str = r#"{
    "rollout": "chat-api-2.1.0", "stable": "blue",
    "routing": {
        "green": {"weight": 5, "version": "2.1.0", "clusters": ["green-only"], "credential": {"env": "GREEN_API_KEY"}},
        "blue": {"weight": 95, "version": "2.0.3", "clusters": ["blue"],
                 "credential": {"header": "x-key", "scheme": "", "value": "secret-blue"}}
    },
    "strategy": "consistent_hash",
    "sticky": {"by": ["consumer", {"header": "x-user-id"}, {"cookie": "session"}, "source_address"],
               "set_cookie": {"name": "switchover", "max_age": "1h"}},
    "override": {"header": "x-deployment-mode", "allow": "consumers"},
    "auth": {
        "mode": "replace",
        "accept": [{"header": "authorization", "scheme": "Bearer"}, {"header": "api-key"}, {"query": "api_key"}],
        "consumers": [{"name": "team-a", "override": true, "keys": [
            {"sha256": "0000000000000000000000000000000000000000000000000000000000000000",
             "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00+01:00"}]}],
        "identity_header": "x-consumer",
        "exempt": [{"method": "OPTIONS"}, {"path": "/health"}]
    },
    "attempts": true, "rollback": false, "resume": 3,
    "schedule": {"environment": "green", "start": "2026-11-22T20:00:00Z", "ramp": "linear", "hold": null,
                 "steps": [{"at": "5m", "weight": 1}, {"at": "1h30m", "weight": 100}]},
    "guard": {"environment": "green", "window": "30s", "min_requests": 50, "max_error_rate": 0.05, "max_p50": "1s",
              "max_p95": "1500ms", "max_p99": "2s", "worse_than_stable_by": 0.02, "count_429": true},
    "health": {"path": "/health", "host": "api.example.com", "interval": "5s", "timeout": "10s", "unhealthy_after": 3,
               "healthy_after": 2, "failover": true},
    "shadow": {"environment": "green", "percent": 0.5, "max_body": "64KiB", "paths": ["/v1/embeddings"], "timeout": "10s"},
    "match": {"hosts": ["api.example.com", "*.example.org"], "path_prefix": "/v1"},
    "response_headers": false
}"#;

fn parsed(text: &str) -> Document {
    parse(text.as_bytes(), &|name| Some(format!("value of {name}"))).unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse(text.as_bytes(), &|_| None).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_document_has_the_documented_defaults() {
    let document = parsed(SEED);
    let rollout = &document.rollouts()[0];
    assert_eq!(rollout.id().as_str(), "default");
    assert_eq!(
        rollout.environments()[rollout.stable()].name().as_str(),
        "blue"
    );
    assert_eq!(rollout.weights(), [95, 5]);
    assert_eq!(rollout.environments()[1].clusters()[0].as_str(), "green");
    assert_eq!(
        (rollout.strategy(), rollout.allow),
        (Strategy::WeightedRoundRobin, Allow::Nobody)
    );
    assert_eq!(
        (rollout.auth.mode, rollout.attempts(), rollout.rollback),
        (AuthMode::Pass, false, false)
    );
    assert!(rollout.response_headers && rollout.fits_all() && rollout.sticky.by.is_empty());
    assert!(document.variables().is_empty() && !document.has_attempts());
}

#[test]
fn the_whole_document_is_understood_and_shows_no_secret() {
    let document = parsed(WHOLE);
    let (_, rollout) = document.rollout("chat-api-2.1.0").unwrap();
    assert_eq!(
        (rollout.weights(), rollout.stable(), rollout.resume()),
        (&[95, 5][..], 0, 3)
    );
    assert_eq!(document.variables(), ["GREEN_API_KEY"]);
    let credential = |index: usize| rollout.environments()[index].credential().unwrap();
    assert_eq!(
        (
            credential(0).header().as_str(),
            credential(0).value().expose()
        ),
        ("x-key", &b"secret-blue"[..])
    );
    assert_eq!(
        credential(1).value().expose(),
        b"Bearer value of GREEN_API_KEY"
    );
    let shown = format!("{document:?}");
    assert!(
        !shown.contains("secret-blue")
            && !shown.contains("value of")
            && shown.contains("<redacted>")
    );
}

#[test]
fn the_first_environment_by_name_is_stable_where_there_is_no_blue() {
    let document = parsed(r#"{"routing": {"v2": {"weight": 1}, "v1": {"weight": 0}}}"#);
    assert_eq!(
        document.rollouts()[0].environments()[document.rollouts()[0].stable()]
            .name()
            .as_str(),
        "v1"
    );
}

#[test]
fn several_rollouts() {
    let routing = r#""routing": {"blue": {"weight": 1}}"#;
    let found = problems(&format!(
        r#"{{"rollouts": [{{{routing}, "match": {{"path_prefix": "/a"}}}}, {{{routing}}}, {{{routing}, "rollout": "x"}}], "strategy": "weighted_random"}}"#
    ));
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("strategy: is unknown; allowed here: `rollouts`"));
    assert!(found[1].starts_with("rollouts[1].rollout: is the same as that of `rollouts[0]`"));
    assert!(found[2].starts_with("rollouts[2]: is never reached: `rollouts[1]`"));

    let document = parsed(&format!(
        r#"{{"rollouts": [
            {{{routing}, "rollout": "both", "match": {{"hosts": ["api.test", "*.wild.test"], "path_prefix": "/v1"}}}},
            {{{routing}, "rollout": "path", "match": {{"path_prefix": "/v2/"}}}},
            {{{routing}, "rollout": "host", "match": {{"hosts": ["api.test"]}}}}]}}"#
    ));
    let select = |authority: &str, path: &str| {
        let map = serialise(&[
            (":authority", authority.as_bytes()),
            (":path", path.as_bytes()),
        ]);
        let mut spans = Spans::default();
        document
            .select(&document.index(&map, &mut spans).unwrap())
            .map(|(_, rollout)| rollout.id().as_str().to_owned())
    };
    for (authority, path, expected) in [
        ("api.test", "/v1", Some("both")),
        ("API.test:8080", "/v1/models?x=/v2/", Some("both")),
        ("a.b.WILD.test", "/v1/", Some("both")),
        (".wild.test", "/v1", None),
        ("wild.test", "/v1", None),
        ("api.test", "/v10", Some("host")),
        ("other", "/v2/x", Some("path")),
        ("other", "/v2", None),
        ("other", "/v1?/v2/", None),
        ("[::1]:80", "", None),
    ] {
        assert_eq!(
            select(authority, path).as_deref(),
            expected,
            "{authority}{path}"
        );
    }
}

#[test]
fn credentials_from_variables() {
    let text = r#"{"routing": {"blue": {"weight": 1, "credential": {"env": "KEY"}}}}"#;
    for (value, good) in [(" k \n", true), ("", false), ("a\r\nb", false)] {
        let result = parse(text.as_bytes(), &|_| Some(value.to_owned()));
        assert_eq!(result.is_ok(), good, "{value:?}");
        if let Ok(document) = result {
            assert_eq!(
                document.rollouts()[0].environments()[0]
                    .credential()
                    .unwrap()
                    .value()
                    .expose(),
                b"Bearer k"
            );
        }
    }
}

#[test]
fn the_configuration_of_an_attempt_role() {
    assert_eq!(parse_attempt(b" "), Ok(None));
    assert_eq!(parse_attempt(b"{}"), Ok(None));
    assert_eq!(
        parse_attempt(br#"{"route_plugin": "main"}"#),
        Ok(Some("main".into()))
    );
    assert!(
        parse_attempt(br#"{"routing": {}}"#).unwrap_err()[0]
            .message
            .contains("allowed here: `route_plugin`")
    );
    assert!(parse_attempt(b"[]").is_err());
}

/// A document with one value replaced by something else entirely.
fn mutated() -> impl proptest::strategy::Strategy<Value = String> {
    let junk = proptest::sample::select(vec![
        "null",
        "-1",
        "1e999",
        "\"\"",
        "[]",
        "{}",
        "true",
        "[[[]]]",
        "\"\\u0000\"",
        "{\"a\":{}}",
    ]);
    (0..WHOLE.len(), 0_usize..40, junk).prop_map(|(start, length, junk)| {
        let end = (start + length).min(WHOLE.len());
        format!("{}{junk}{}", &WHOLE[..start], &WHOLE[end..])
    })
}

proptest! {
    #[test]
    fn any_bytes_give_problems_or_a_document(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(problems) = parse(&bytes, &|_| None) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn broken_documents_give_problems_or_a_document(text in mutated()) {
        for variables in [&(|_: &str| None) as Variables<'_>, &|_: &str| Some("v".to_owned())] {
            match parse(text.as_bytes(), variables) {
                Ok(document) => prop_assert!(!document.rollouts().is_empty()),
                Err(problems) => prop_assert!(!problems.is_empty()),
            }
        }
    }
}
