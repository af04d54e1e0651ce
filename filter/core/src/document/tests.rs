//! Documents, good and bad.

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
fn all_problems_are_told_at_once() {
    let found = problems(
        r#"{
        "rollout": "no spaces", "stable": "red", "strategie": "x", "resume": -1, "guard": {}, "rollback": "yes",
        "routing": {
            "blue": {"weight": 1.5, "credential": {"value": "hush", "env": "X"}, "clusters": ["a", "b"]},
            "green": {"wieght": 5, "clusters": ["b"], "credential": {"env": "MISSING"}},
            "Green": {"weight": 1}
        },
        "strategy": "fastest",
        "sticky": {"by": ["consumer", "user", {"header": "a", "cookie": "b"}, 5], "set_cookie": {"max_age": "10ms"}},
        "auth": {"mode": "normalize", "accept": [{"query": "k"}, {"header": "api-key"}, {"header": "api-key", "scheme": "X"}, {}],
            "consumers": [
                {"name": "a", "keys": [{"sha256": "my-secret-key"}]}, {"keys": []},
                {"name": "a", "keys": [{"sha256": "00000000000000000000000000000000000000000000000000000000000000AA",
                                        "not_before": "2026-02-30T00:00:00Z"}]},
                {"name": "b", "keys": [{"sha256": "00000000000000000000000000000000000000000000000000000000000000aa",
                                        "not_before": "2027-01-01T00:00:00Z", "not_after": "2026-01-01T00:00:00Z"}]}],
            "identity_header": "api-key", "exempt": [{}]},
        "override": {"allow": "consumers"},
        "match": {"hosts": [], "path_prefix": "v1"},
        "rollback": false
    }"#,
    );
    let paths: Vec<_> = found
        .iter()
        .map(|problem| problem.split(": ").next().unwrap())
        .collect();
    for path in [
        "rollout",
        "stable",
        "strategie",
        "resume",
        "guard",
        "guard.environment",
        "rollback",
        "routing.blue.weight",
        "routing.blue.credential",
        "routing.green.wieght",
        "routing.green.weight",
        "routing.green.clusters[0]",
        "routing.green.credential.env",
        "routing.Green",
        "strategy",
        "sticky.by[1]",
        "sticky.by[2]",
        "sticky.by[3]",
        "sticky.set_cookie.max_age",
        "auth.accept[0]",
        "auth.accept[2]",
        "auth.accept[3]",
        "auth.consumers[0].keys[0].sha256",
        "auth.consumers[1].name",
        "auth.consumers[1].keys",
        "auth.consumers[2].name",
        "auth.consumers[2].keys[0].not_before",
        "auth.consumers[3].keys[0].sha256",
        "auth.consumers[3].keys[0].not_after",
        "auth.identity_header",
        "auth.exempt[0]",
        "override.allow",
        "match.hosts",
        "match.path_prefix",
    ] {
        assert!(
            paths.contains(&path),
            "no problem at {path} among\n{}",
            found.join("\n")
        );
    }
    assert_eq!(found.len(), 35, "{}", found.join("\n"));
    let text = found.join("\n");
    assert!(!text.contains("hush") && !text.contains("my-secret-key"));
    assert!(text.contains("`MISSING` is not set") && text.contains("did you mean `strategy`?"));
    assert!(text.contains("stable: names no environment: expected `blue` or `green`"));
}

#[test]
fn models_that_make_no_sense() {
    let with =
        |models: &str| problems(&SEED.replacen('{', &format!("{{\"models\": {models}, "), 1));
    for (models, expected) in [
        ("{}", "models.catalogue: is missing: expected an array"),
        (
            r#"{"catalogue": []}"#,
            "models.catalogue: has no valid model: expected at least one",
        ),
        (
            r#"{"catalogue": [{"id": "a"}, {"id": "a"}]}"#,
            "models.catalogue[1].id: is the same as that of `catalogue[0]`",
        ),
        (
            r#"{"catalogue": [{"id": "a b"}]}"#,
            "models.catalogue[0].id: expected a model's name: 1 to 128 of the characters A-Z, a-z, 0-9 and `._:/@+-`",
        ),
        (
            r#"{"catalogue": [{"id": "a", "usd_per_million": -1}]}"#,
            "models.catalogue[0].usd_per_million: is out of range: expected a number from 0 to 4000 with at most six decimals",
        ),
        (
            r#"{"catalogue": [{"id": "a", "usd_per_million": {"output": 1}}]}"#,
            "models.catalogue[0].usd_per_million.input: is missing: expected a number from 0 to 4000 with at most six decimals",
        ),
        (
            r#"{"catalogue": [{"id": "a"}], "aliases": {"b": "c"}}"#,
            "models.aliases.b: names no model of the catalogue",
        ),
        (
            r#"{"catalogue": [{"id": "a"}], "aliases": {"a": "a"}}"#,
            "models.aliases.a: is the name of a model of the catalogue itself",
        ),
        (
            r#"{"catalogue": [{"id": "a"}], "aliases": {"b**": "a"}}"#,
            "models.aliases[\"b**\"]: is no alias: expected a model's name, or what names begin with and `*`",
        ),
        (
            r#"{"catalogue": [{"id": "a"}], "limits": {}}"#,
            "models.limits: limits nothing: expected at least one field",
        ),
        (
            r#"{"catalogue": [{"id": "a"}], "max_body": "1GiB"}"#,
            "models.max_body: expected a size such as `512KiB`, at most `64MiB`",
        ),
    ] {
        assert!(
            with(models).contains(&expected.to_owned()),
            "{models}: {:?}",
            with(models)
        );
    }
    let green = |rest: &str| {
        SEED.replacen(r#"{"weight":5}"#, r#"{"weight":5,"models":["a"]}"#, 1)
            .replacen('{', &format!("{{{rest}"), 1)
    };
    assert_eq!(
        problems(&green("")),
        ["models: is missing, and `routing.green.models` needs it"]
    );
    assert_eq!(
        problems(&green(r#""models": {"catalogue": [{"id": "a"}]}, "#)),
        [
            "models.hold_headers: must be true where an environment has `models`: the body is needed before the route is chosen"
        ]
    );
    parsed(&green(
        r#""models": {"catalogue": [{"id": "a"}], "hold_headers": true}, "#,
    ));
    let consumer = WHOLE.replacen(
        r#""override": true, "keys""#,
        r#""override": true, "limits": {"usd_per_day": 1}, "keys""#,
        1,
    );
    assert!(
        parse(consumer.as_bytes(), &|_| Some("x".into())).unwrap_err()[0]
            .to_string()
            .starts_with("models: is missing, and the consumer `team-a`")
    );
}

#[test]
fn schedules_that_make_no_sense() {
    for (schedule, expected) in [
        (r#"{}"#, "schedule.environment: is missing"),
        (
            r#"{"environment": "blue", "start": "2026-01-01T00:00:00Z", "steps": [{"at": "1m", "weight": 1}]}"#,
            "schedule.environment: is stable itself: expected another environment",
        ),
        (
            r#"{"environment": "red", "start": "2026-01-01T00:00:00Z", "steps": [{"at": "1m", "weight": 1}]}"#,
            "schedule.environment: names no environment: expected `blue` or `green`",
        ),
        (
            r#"{"environment": "green", "start": "0001-01-01T00:00:00Z", "steps": [{"at": "1m", "weight": 1}]}"#,
            "schedule.start: is out of range: expected an instant from the year 2000 to 2199",
        ),
        (
            r#"{"environment": "green", "start": "2026-01-01T00:00:00Z", "steps": []}"#,
            "schedule.steps: has no valid step",
        ),
        (
            r#"{"environment": "green", "start": "2026-01-01T00:00:00Z", "steps": [{"at": "2m", "weight": 1}, {"at": "1m", "weight": 5}]}"#,
            "schedule.steps[1].at: is not after the step before it: offsets must rise",
        ),
        (
            r#"{"environment": "green", "start": "2026-01-01T00:00:00Z", "steps": [{"at": "1m", "weight": 1}, {"at": "60s", "weight": 5}]}"#,
            "schedule.steps[1].at: is not after the step before it: offsets must rise",
        ),
        (
            r#"{"environment": "green", "start": "2026-01-01T00:00:00Z", "steps": [{"at": "1m", "weight": 101}]}"#,
            "schedule.steps[0].weight: is out of range: expected percent",
        ),
        (
            r#"{"environment": "green", "start": "2026-01-01T00:00:00Z", "steps": [{"at": "1m", "weight": 0.125}]}"#,
            "schedule.steps[0].weight: has too many decimals: expected percent",
        ),
        (
            r#"{"environment": "green", "start": "2026-01-01T00:00:00Z", "steps": [{"at": "366d", "weight": 1}]}"#,
            "schedule.steps[0].at: is too late: expected at most `365d`",
        ),
        (
            r#"{"environment": "green", "start": "2026-01-01T00:00:00Z", "hold": "2025-12-31T23:59:59Z", "steps": [{"at": "1m", "weight": 1}]}"#,
            "schedule.hold: is before `start`",
        ),
    ] {
        refused("schedule", schedule, expected);
    }
    parsed(&SEED.replacen('{', r#"{"schedule": {"environment": "green", "start": "2026-01-01T00:00:00Z", "ramp": "linear", "hold": "2026-01-01T00:00:00Z",
        "steps": [{"at": "0s", "weight": 33.33}, {"at": "1m", "weight": 0}]}, "#, 1));
}

#[test]
fn guards_probes_and_copies_that_make_no_sense() {
    for (field, value, expected) in [
        (
            "guard",
            r#"{"environment": "green"}"#,
            "guard: has no limit",
        ),
        (
            "guard",
            r#"{"environment": "blue", "max_error_rate": 0.1}"#,
            "guard.environment: is stable itself",
        ),
        (
            "guard",
            r#"{"environment": "green", "max_error_rate": 1}"#,
            "guard.max_error_rate: can never be crossed",
        ),
        (
            "guard",
            r#"{"environment": "green", "max_error_rate": 5, "max_p99": "1s"}"#,
            "guard.max_error_rate: is out of range: expected a number from 0 to 1",
        ),
        (
            "guard",
            r#"{"environment": "green", "worse_than_stable_by": 1.0}"#,
            "guard.worse_than_stable_by: can never be crossed",
        ),
        (
            "guard",
            r#"{"environment": "green", "max_p99": "0s"}"#,
            "guard.max_p99: is out of range: expected from `1ms` to `10m`",
        ),
        (
            "guard",
            r#"{"environment": "green", "max_p50": "2s", "max_p99": "100ms"}"#,
            "guard.max_p99: is below `max_p50`, which then can never be crossed first",
        ),
        (
            "guard",
            r#"{"environment": "green", "max_p99": "1h"}"#,
            "guard.max_p99: is out of range",
        ),
        (
            "guard",
            r#"{"environment": "green", "max_p99": "1s", "window": "999ms"}"#,
            "guard.window: is out of range: expected from `1s` to `1h`",
        ),
        (
            "guard",
            r#"{"environment": "green", "max_p99": "1s", "min_requests": 0}"#,
            "guard.min_requests: is out of range: expected an integer from 1 to 1000000",
        ),
        (
            "health",
            r#"{"interval": "10ms"}"#,
            "health.interval: is out of range: expected from `250ms` to `1h`",
        ),
        (
            "health",
            r#"{"timeout": "2m"}"#,
            "health.timeout: is out of range",
        ),
        (
            "health",
            r#"{"unhealthy_after": 0}"#,
            "health.unhealthy_after: is out of range: expected an integer from 1 to 100",
        ),
        (
            "health",
            r#"{"path": "health"}"#,
            "health.path: expected a path",
        ),
        (
            "shadow",
            r#"{"environment": "green"}"#,
            "shadow.percent: is missing",
        ),
        (
            "shadow",
            r#"{"environment": "green", "percent": 5, "max_body": "2MiB"}"#,
            "shadow.max_body: expected a size",
        ),
        (
            "shadow",
            r#"{"environment": "green", "percent": 5, "max_body": "64"}"#,
            "shadow.max_body: expected a size",
        ),
    ] {
        refused(field, value, expected);
    }
    let without = SEED.replace(r#""green":{"#, r#""green":{"clusters": [], "#);
    let found = problems(&without.replacen('{', r#"{"health": {}, "#, 1));
    assert_eq!(
        found,
        ["health: needs a cluster of `green` to call: `clusters` is empty there"]
    );
}

/// Exactly one problem, which starts so.
fn refused(field: &str, value: &str, expected: &str) {
    let found = problems(&SEED.replacen('{', &format!("{{\"{field}\": {value}, "), 1));
    assert!(
        found.iter().any(|problem| problem.starts_with(expected)),
        "{value}: {found:?}"
    );
    assert!(found.len() == 1 || value == "{}", "{value}: {found:?}");
}

#[test]
fn texts_that_are_no_documents() {
    assert!(problems("")[0].contains("is empty"));
    assert!(problems("{")[0].starts_with("is not JSON: "));
    assert!(problems("\n\u{1b}\n\u{7}routing")[0].ends_with("use a `StringValue`)"));
    assert!(problems("[]")[0].contains("expected an object"));
    assert_eq!(
        problems("{}"),
        ["routing: is missing: expected an object from environment names to environments"]
    );
    assert_eq!(problems(r#"{"routing": {}}"#).len(), 1);
    assert_eq!(
        problems(r#"{"routing": {"blue": {"weight": 0}}}"#),
        ["routing: has only weights of 0: at least one environment needs more",]
    );
    assert_eq!(
        problems(r#"{"rollouts": []}"#),
        ["rollouts: is empty: expected at least one rollout"]
    );
    assert_eq!(
        problems(r#"{"routing": {"a": {"weight": 1}, "a": {"weight": 1}}}"#).len(),
        2
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
