//! Where the document sends requests, and where the file's clusters and routes take them.

use super::*;

#[test]
fn clusters_of_environments() {
    gateway(
        &[("blue", "blue")],
        &[
            "error f.yaml:29: ROUTE.configuration.value > routing.blue.clusters[0]: \"blue\" is an aggregate, which says nothing about the environment; name its leaf (blue-only, green-only)",
        ],
    );
    gateway(
        &[("blue", "bleu")],
        &[
            "error f.yaml:29: ROUTE.configuration.value > routing.blue.clusters[0]: there is no cluster \"bleu\" in f.yaml",
        ],
    );
}

#[test]
fn attempts_need_both_sides() {
    gateway(
        &[("root", "other")],
        &[
            "error f.yaml:33: ROUTE.configuration.value > attempts: no cluster of f.yaml has an upstream filter with the root id switchover.attempt, so no credential is ever sent",
        ],
    );
    gateway(
        &[("attempts", "false")],
        &[
            "warning f.yaml:55: ATTEMPT: no rollout document says \"attempts\": true, so this filter injects nothing, and a credential follows a retry to the other environment",
        ],
    );
    gateway(
        &[("target", "green-only")],
        &[
            "warning f.yaml:27: ROUTE.configuration.value > stable: is blue, but the last route of f.yaml leads to \"green-only\", which is green: …",
            "warning f.yaml:33: ROUTE.configuration.value > attempts: routes of f.yaml lead to clusters without the attempt role, which get no credential: green-only",
        ],
    );
}

#[test]
fn endpoints_tell_their_environment() {
    gateway(
        &[("metadata", "")],
        &[
            "warning f.yaml:33: ROUTE.configuration.value > attempts: cluster \"blue-only\" of f.yaml: the endpoint 127.0.0.1:1 has no metadata switchover.environment, so it gets no credential behind an aggregate",
        ],
    );
    gateway(
        &[(
            "metadata",
            ", metadata: {filter_metadata: {switchover: {environment: red}}}",
        )],
        &[
            "warning f.yaml:33: ROUTE.configuration.value > attempts: cluster \"blue-only\" of f.yaml: the endpoint 127.0.0.1:1 is of environment \"red\", which this document does not have",
        ],
    );
}

/// A route that retries, in the gateway's only route.
const RETRIES: (&str, &str) = (
    "target",
    r#"blue", retry_policy: {retry_on: reset}, timeout: "9s"#,
);

const GUARD: &str = r#""guard": {"environment": "green", "max_error_rate": 0.1}"#;

#[test]
fn a_guard_sees_every_attempt() {
    let with = |attempts: &str| format!("{attempts}, {GUARD}");
    let (without, installed) = (with("false"), with("true"));
    let exposed = "warning f.yaml:33: ROUTE.configuration.value > guard.environment: failures of green reach clients: no route …";
    gateway(&[("attempts", &installed), RETRIES], &[exposed]);
    let unused = "warning f.yaml:55: ATTEMPT: no rollout document says …";
    gateway(&[("attempts", &without)], &[exposed, unused]);
    let blind = "warning f.yaml:33: ROUTE.configuration.value > guard: is blind to what f.yaml retries in another environment (blue): without the attempt role there it sees the last answer only; install it, and say \"attempts\": true";
    gateway(
        &[("attempts", &without), RETRIES],
        &[blind, exposed, unused],
    );
    let leaf = (
        "target",
        r#"blue-only", retry_policy: {retry_on: reset}, timeout: "9s"#,
    );
    gateway(&[("attempts", &without), leaf], &[exposed, unused]);
}

/// An environment's models bind retries where an attempt role sees them.
#[test]
fn models_bind_retries_where_they_are_seen() {
    const MODELS: &str =
        r#""models": {"catalogue": [{"id": "a"}], "hold_headers": true, "max_body": "1MiB"}"#;
    let held = "FAIL_RELOAD\n                allow_on_headers_stop_iteration: true";
    let bound = r#"blue-only"], "models": ["a"#;
    let (without, installed) = (format!("false, {MODELS}"), format!("true, {MODELS}"));
    let seen = [
        ("policy", held),
        ("blue", bound),
        RETRIES,
        ("attempts", &installed),
    ];
    gateway(&seen, &[]);
    let unused = "warning f.yaml:56: ATTEMPT: no rollout document says …";
    let unbound = "warning f.yaml:30: ROUTE.configuration.value > routing.blue.models: does not bind what f.yaml retries in another environment (blue): without the attempt role there a request for any model follows; install it, and say \"attempts\": true";
    gateway(
        &[
            ("policy", held),
            ("blue", bound),
            RETRIES,
            ("attempts", &without),
        ],
        &[unbound, unused],
    );
    gateway(
        &[("policy", held), ("blue", bound), ("attempts", &without)],
        &[unused],
    );
    gateway(
        &[("policy", held), RETRIES, ("attempts", &without)],
        &[unused],
    );
}

/// Failures of what is tried out reach clients unless a route steps to another environment.
#[test]
fn a_canary_has_somewhere_to_fail_over_to() {
    const SCHEDULE: &str = r#""schedule": {"environment": "green", "start": "2026-11-22T20:00:00Z", "steps": [{"at": "1m", "weight": 5}]}"#;
    let schedule = format!("true, {SCHEDULE}");
    let route = |retry: &str| {
        let policy = format!("{{retry_on: 5xx{retry}}}");
        let next = r#"}}, {match: {prefix: /x}, route: {cluster: "blue"#;
        format!("blue\", timeout: 9s, retry_policy: {policy}{next}")
    };
    let green_first = ("leaves", "green-only, blue-only");
    let exposed = "warning f.yaml:33: ROUTE.configuration.value > schedule.environment: failures of green reach clients: no route …";
    let plain = route("");
    gateway(
        &[("attempts", &schedule), green_first, ("target", &plain)],
        &[exposed],
    );
    let steps = route(
        r#", retry_priority: {name: p, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 1}}"#,
    );
    gateway(&[("attempts", &schedule), ("target", &steps)], &[exposed]);
    gateway(
        &[("attempts", &schedule), green_first, ("target", &steps)],
        &[],
    );
}

/// Where nothing was chosen, or nothing can choose, stable answers.
#[test]
fn the_last_route_leads_to_stable() {
    gateway(
        &[("attempts", r#"true, "stable": "green""#)],
        &[
            "warning f.yaml:33: ROUTE.configuration.value > stable: is green, but the last route of f.yaml leads to \"blue\", which is blue: …",
        ],
    );
}

#[test]
fn a_guard_watches_what_the_schedule_tries_out() {
    let document = |watched: &str| {
        format!(
            r#"{{"routing": {{"blue": {{"weight": 1}}, "green": {{"weight": 0}}, "red": {{"weight": 0}}}},
"schedule": {{"environment": "green", "start": "2026-11-22T20:00:00Z", "steps": [{{"at": "1m", "weight": 5}}]}},
"guard": {{"environment": "{watched}", "max_error_rate": 0.1}}}}"#
        )
    };
    same(&checked(&folder(), "r.json", &document("green")), &[]);
    same(
        &checked(&folder(), "r.json", &document("red")),
        &[
            "warning r.json:3: guard.environment: watches red, while the schedule gives traffic to green, which nothing watches; name green",
        ],
    );
}

#[test]
fn what_the_filter_calls_is_a_leaf() {
    let health = r#"true, "health": {"path": "/health"}"#;
    gateway(&[("attempts", health)], &[]);
    gateway(
        &[("attempts", health), ("blue", "bleu")],
        &[
            "error f.yaml:29: ROUTE.configuration.value > routing.blue.clusters[0]: there is no cluster \"bleu\" in f.yaml for the calls of health and shadow; name this environment's leaf in clusters",
        ],
    );
    let shadow = |of: &str| format!(r#"true, "shadow": {{"environment": "{of}", "percent": 5}}"#);
    gateway(
        &[("attempts", &shadow("blue")), ("blue", "blue")],
        &[
            "error f.yaml:29: ROUTE.configuration.value > routing.blue.clusters[0]: \"blue\" is an aggregate, where another environment may answer the calls of health and shadow; name this environment's leaf in clusters (blue-only, green-only)",
        ],
    );
    gateway(
        &[("attempts", &shadow("green")), ("blue", "blue")],
        &[
            "error f.yaml:29: ROUTE.configuration.value > routing.blue.clusters[0]: \"blue\" is an aggregate, which says nothing …",
        ],
    );
}

#[test]
fn a_schedule_that_ends_below_what_it_reached() {
    let dir = folder();
    let document = |last: &str| {
        format!(
            "{{\"rollouts\": [{{\"routing\": {{\"blue\": {{\"weight\": 1}}, \"green\": {{\"weight\": 0}}}},\n\"schedule\": {{\"environment\": \"green\", \"start\": \"2026-11-22T20:00:00Z\", \"steps\": [\n{{\"at\": \"5m\", \"weight\": 12.5}},\n{{\"at\": \"15m\", \"weight\": {last}}}]}}}}]}}"
        )
    };
    let none: [&str; 0] = [];
    assert_eq!(checked(&dir, "rollout.json", &document("12.5")), none);
    assert_eq!(
        checked(&dir, "rollout.json", &document("12.49")),
        [
            "warning rollout.json:4: rollouts[0].schedule.steps[1]: ends at 12.49 %, below the 12.5 % that an earlier step reaches"
        ]
    );
}
