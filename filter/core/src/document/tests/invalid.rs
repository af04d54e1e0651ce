//! Documents that are refused, with their problems.

use super::*;

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
            r#"{"catalogue": [{"id": "a"}], "count_usage": false, "include_usage": true}"#,
            "models.include_usage: must be false where `count_usage` is: nobody would count what streams are asked for",
        ),
        (
            r#"{"catalogue": [{"id": "a"}], "count_usage": false, "limits": {"usd_per_day": 1}}"#,
            "models.count_usage: must be true where tokens or dollars are limited: they are known only where answers are counted",
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
    let uncounted = consumer.replacen(
        '{',
        r#"{"models": {"catalogue": [{"id": "a"}], "count_usage": false}, "#,
        1,
    );
    assert!(
        parse(uncounted.as_bytes(), &|_| Some("x".into())).unwrap_err()[0]
            .to_string()
            .starts_with("models.count_usage: must be true where tokens or dollars are limited")
    );
    let requests_alone = uncounted.replacen("usd_per_day", "requests_per_minute", 1);
    parse(requests_alone.as_bytes(), &|_| Some("x".into())).unwrap();
    let unasked = uncounted.replacen("count_usage", "include_usage", 1);
    assert!(
        parse(unasked.as_bytes(), &|_| Some("x".into())).unwrap_err()[0]
            .to_string()
            .starts_with("models.include_usage: must be true where tokens or dollars are limited")
    );
}

#[test]
fn rules_for_consumers_that_nobody_verifies() {
    let with = |auth: &str, limits: &str| {
        let models = format!(r#"{{"models": {{"catalogue": [{{"id": "a"}}]{limits}}}, {auth}"#);
        SEED.replacen('{', &models, 1)
    };
    let limited = r#", "limits": {"requests_per_minute": 1}"#;
    assert_eq!(
        problems(&with("", limited)),
        ["models.limits: limits verified consumers, and only `auth.mode` `replace` verifies any"]
    );
    let bound = r#""auth": {"mode": "normalize", "accept": [{"header": "api-key"}], "consumers": [{"name": "a",
        "models": ["a"], "keys": [{"sha256": "b6a2d8ad3f2e3d3be6e0ae2e8cd0be4a5b1b0a6e3b0ac2ac2d0cb9a3d0bc0c3b"}]}]}, "#;
    let found = problems(&with(bound, ""));
    let expected = "auth.mode: must be `replace` where a consumer, here `a`, has `models` or `limits`: no other mode verifies any";
    assert!(found.contains(&expected.to_owned()), "{found:?}");
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
