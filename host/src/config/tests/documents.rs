//! `check`: documents in their files, and what contradicts them there.

use std::fs;

use tempfile::TempDir;

use super::*;

/// The first bytes of every Wasm module.
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// A gateway of two environments with both roles, in a folder of its own.
///
/// `{{…}}` are replaced by `with`.
const GATEWAY: &str = r#"node: {id: a, cluster: b}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: a
          http_filters:
          - name: strip
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations: {request_mutations: [{{strip}}]}
          - name: route
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: route
                root_id: switchover.route
                failure_policy: {{policy}}
                vm_config: {vm_id: v, code: {local: {filename: DIR/filter.wasm}}, environment_variables: {host_env_keys: [BLUE, GREEN]}}
                configuration:
                  "@type": type.googleapis.com/google.protobuf.StringValue
                  value: |
                    {
                      "routing": {
                        "blue": {"weight": 9, "clusters": ["{{blue}}"], "credential": {"env": "BLUE"}},
                        "green": {"weight": 1, "clusters": ["green-only"], "credential": {"header": "x-key", "env": "{{variable}}"}}
                      },
                      "auth": {"identity_header": "x-consumer"},
                      "attempts": {{attempts}}
                    }
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - {name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: "{{target}}"}}]}
  clusters:
  - name: blue
    lb_policy: CLUSTER_PROVIDED
    cluster_type:
      name: aggregate
      typed_config: {"@type": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [{{leaves}}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http_protocol_options: {}}
        http_filters:
        - name: attempt
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
            config:
              root_id: {{root}}
              failure_policy: FAIL_RELOAD
              vm_config: {vm_id: "{{vm}}", code: {local: {filename: DIR/filter.wasm}}, environment_variables: {host_env_keys: [BLUE, GREEN]}}
              configuration: {"@type": type.googleapis.com/google.protobuf.StringValue, value: '{{configuration}}'}
        - name: codec
          typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}
  - name: blue-only
    load_assignment:
      cluster_name: blue-only
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}{{metadata}}}]}]
  - name: green-only
    load_assignment:
      cluster_name: green-only
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 2}}}, metadata: {filter_metadata: {switchover: {environment: green}}}}]}]
stats_config: {stats_tags: [{{tags}}]}
"#;

/// What stands in the gateway where a test says nothing else.
const USUAL: [(&str, &str); 11] = [
    ("leaves", "blue-only, green-only"),
    ("strip", "{remove: x-other}"),
    ("policy", "FAIL_RELOAD"),
    ("blue", "blue-only"),
    ("variable", "GREEN"),
    ("attempts", "true"),
    ("target", "blue"),
    ("root", "switchover.attempt"),
    ("vm", "v"),
    ("configuration", "{}"),
    (
        "metadata",
        ", metadata: {filter_metadata: {switchover: {environment: blue}}}",
    ),
];

fn keys(name: &str) -> Option<String> {
    ["BLUE", "GREEN"]
        .contains(&name)
        .then(|| "secret".to_owned())
}

/// A folder with a module.
fn folder() -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    fs::write(dir.path().join("filter.wasm"), MODULE).expect("written");
    dir
}

/// The problems of a file in a folder, with the folder's path cut out.
fn checked(dir: &TempDir, name: &str, text: &str) -> Vec<String> {
    let folder = dir.path().to_str().expect("a path in UTF-8");
    fs::write(dir.path().join(name), text.replace("DIR", folder)).expect("written");
    let problems = check(&dir.path().join(name), &keys);
    let words = problems.iter().map(|p| match p.severity {
        Severity::Error => format!("error {p}"),
        Severity::Warning => format!("warning {p}"),
    });
    let shorten = |line: String| {
        line.replace(&format!("{folder}/"), "")
            .replace("static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[1].typed_config.config", "ROUTE")
            .replace("static_resources.clusters[0].typed_extension_protocol_options[\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"].http_filters[0].typed_config.config", "ATTEMPT")
    };
    words.map(shorten).collect()
}

/// Checks the gateway with some of its places changed.
fn gateway(with: &[(&str, &str)], expected: &[&str]) {
    let mut text = GATEWAY.to_owned();
    let tags = tags(&switchover_core::metrics::LABELS);
    for (name, value) in with.iter().chain(&USUAL).chain(&[("tags", &*tags)]) {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    same(&checked(&folder(), "f.yaml", &text), expected);
}

/// Tag rules for these labels.
fn tags(labels: &[&str]) -> String {
    let rule = |label: &&str| {
        format!("{{tag_name: {label}, regex: '^wasmcustom\\.switchover\\..*?(;{label}=([^;]*))'}}")
    };
    labels.iter().map(rule).collect::<Vec<_>>().join(", ")
}

/// Compares; an expected line that ends in `…` is only a beginning, where the words are the document parser's.
fn same(found: &[String], expected: &[&str]) {
    let fits = |(found, expected): (&String, &&str)| match expected.strip_suffix('…') {
        Some(start) => found.starts_with(start),
        None => found == expected,
    };
    let all = found.len() == expected.len() && found.iter().zip(expected).all(fits);
    assert!(all, "found {found:#?}\nexpected {expected:#?}");
}

#[test]
fn the_usual_gateway_is_sound() {
    gateway(&[], &[]);
}

#[test]
fn labels_without_a_rule() {
    let some = tags(&[
        "cause",
        "environment",
        "outcome",
        "reason",
        "rollout",
        "version",
    ]);
    gateway(
        &[("tags", &some)],
        &[
            "warning f.yaml: stats_config.stats_tags: no rule takes the labels consumer, document, from, model, usage out of the names of Switchover's metrics, so dashboards and alerts miss them; each is {tag_name: LABEL, regex: '^wasmcustom\\.switchover\\..*?(;LABEL=([^;]*))'}",
        ],
    );
}

#[test]
fn a_documents_problems_have_the_files_lines() {
    gateway(
        &[("attempts", "1"), ("variable", "RED")],
        &[
            "error f.yaml:30: ROUTE.configuration.value > routing.green.credential.env: …",
            "error f.yaml:33: ROUTE.configuration.value > attempts: …",
        ],
    );
}

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
fn two_route_roles_of_one_name() {
    let dir = folder();
    let filter = |weight: u32, name: &str| {
        format!(
            "{{name: {name}, typed_config: {{\"@type\": {WASM}, config: {{name: {name}, root_id: switchover.route, failure_policy: FAIL_RELOAD, vm_config: {{vm_id: v, code: {{local: {{filename: DIR/filter.wasm}}}}}}, configuration: {{\"@type\": type.googleapis.com/google.protobuf.StringValue, value: '{{\"routing\": {{\"blue\": {{\"weight\": {weight}}}}}}}'}}}}}}}}"
        )
    };
    let twice = |first: String, second: String| {
        let filters = format!("{first}, {second}, {ROUTER}");
        let parts = Parts {
            filters: &filters,
            ..Parts::default()
        };
        checked(&dir, "f.yaml", &parts.yaml())
    };
    let none: [&str; 0] = [];
    let warnings = |found: Vec<String>| -> Vec<String> {
        found
            .into_iter()
            .filter(|l| l.starts_with("error"))
            .collect()
    };
    assert_eq!(warnings(twice(filter(1, "a"), filter(2, "b"))), none);
    assert_eq!(warnings(twice(filter(1, "a"), filter(1, "a"))), none);
    same(
        &warnings(twice(filter(1, "a"), filter(2, "a"))),
        &[
            "error f.yaml:9: ROUTE: another route role named \"a\" with the vm_id \"v\" has another document; give each a name of its own",
        ],
    );
}

#[test]
fn a_filter_that_may_be_bypassed() {
    let warning = |header: &str| {
        format!(
            "warning f.yaml:20: ROUTE: with FAIL_OPEN a client's own {header} gets through when the VM has failed; put a header_mutation filter that removes it before this one"
        )
    };
    let (mode, identity) = (warning("x-deployment-mode"), warning("x-consumer"));
    gateway(&[("policy", "FAIL_OPEN")], &[&mode, &identity]);
    gateway(
        &[
            ("policy", "FAIL_OPEN"),
            ("strip", "{remove: X-Deployment-Mode}"),
        ],
        &[&identity],
    );
    gateway(
        &[
            ("policy", "FAIL_OPEN"),
            ("strip", "{remove: x-deployment-mode}, {remove: x-consumer}"),
        ],
        &[],
    );
}

#[test]
fn roles_share_a_vm() {
    gateway(
        &[("vm", "other")],
        &[
            "warning f.yaml:55: ATTEMPT: runs in a VM of its own, since its vm_id differs from the route role's; a document reaches it a tick later",
        ],
    );
    gateway(&[("configuration", r#"{"route_plugin": "route"}"#)], &[]);
    gateway(
        &[("configuration", r#"{"route_plugin": "x"}"#)],
        &[
            "error f.yaml:58: ATTEMPT.configuration.value: there is no route plugin \"x\"; there is route",
        ],
    );
}

#[test]
fn the_attempt_roles_own_configuration() {
    let dir = folder();
    let mut text = GATEWAY.replace("{{configuration}}", r#"{"routing": {}}"#);
    let rules = tags(&switchover_core::metrics::LABELS);
    for (name, value) in USUAL.iter().chain(&[("tags", &*rules)]) {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    same(
        &checked(&dir, "f.yaml", &text),
        &["error f.yaml:58: ATTEMPT.configuration.value > routing: …"],
    );
}

const ECDS: &str = r#"version_info: "1"
resources:
- "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
  name: route
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    config:
      root_id: switchover.route
      failure_policy: FAIL_RELOAD
      vm_config: {code: {local: {filename: DIR/filter.wasm}}, environment_variables: {host_env_keys: [RED]}}
      configuration:
        "@type": type.googleapis.com/google.protobuf.StringValue
        value: |
          {"routing": {"blue": {"weight": 1, "credential": {"env": "RED"}},
            "green": {"weight": -1}}}
"#;

#[test]
fn discovered_documents() {
    let dir = folder();
    let path = "resources[0].typed_config.config";
    let document = [
        format!("error ecds.yaml:15: {path}.configuration.value > routing.green.weight: …"),
        format!(
            "warning ecds.yaml:10: {path}.vm_config.environment_variables.host_env_keys[0]: the variable RED is not set here, so the guest goes without it"
        ),
    ];
    let document = document.each_ref().map(String::as_str);
    same(&checked(&dir, "ecds.yaml", ECDS), &document);
    let discovery = format!(
        "{{name: NAME, config_discovery: {{config_source: {{path_config_source: {{path: DIR/PATH}}}}, type_urls: [{WASM}]}}}}, {ROUTER}"
    );
    let bootstrap = |name: &str, path: &str| {
        let filters = discovery.replace("NAME", name).replace("PATH", path);
        let rules = tags(&switchover_core::metrics::LABELS);
        Parts {
            filters: &filters,
            top: &format!("stats_config: {{stats_tags: [{rules}]}}"),
            ..Parts::default()
        }
        .yaml()
    };
    same(
        &checked(&dir, "f.yaml", &bootstrap("route", "ecds.yaml")),
        &document,
    );
    let hcm =
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0]";
    assert_eq!(
        checked(&dir, "f.yaml", &bootstrap("route", "none.json")),
        [format!(
            "error f.yaml:9: {hcm}.config_discovery: the document none.json does not exist; it must when the listener starts"
        )]
    );
    let named = "error ecds.yaml:4: resources[0].name: must be the filter's name, \"x\"".to_owned();
    assert!(checked(&dir, "f.yaml", &bootstrap("x", "ecds.yaml")).contains(&named));
}

#[test]
fn plain_documents() {
    let dir = folder();
    let document = "{\n\"routing\": {\"blue\": {\"weight\": 1, \"credential\": {\"env\": \"ANY\"}}},\n\"strategy\": \"none\"}";
    same(
        &checked(&dir, "rollout.json", document),
        &["error rollout.json:3: strategy: …"],
    );
    assert_eq!(
        checked(
            &dir,
            "rollout.json",
            &document.replace("none", "weighted_random")
        ),
        [] as [&str; 0]
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

#[test]
fn modules() {
    let dir = folder();
    let wasm = |file: &str| {
        let filter = format!(
            "{{name: w, typed_config: {{\"@type\": {WASM}, config: {{failure_policy: FAIL_RELOAD, vm_config: {{code: {{local: {{filename: DIR/{file}}}}}}}}}}}}}, {ROUTER}"
        );
        Parts {
            filters: &filter,
            ..Parts::default()
        }
        .yaml()
    };
    fs::write(dir.path().join("text"), "(module)").expect("written");
    let at = "error f.yaml:9: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.config.vm_config.code.local";
    assert_eq!(
        checked(&dir, "f.yaml", &wasm("filter.wasm")),
        [] as [&str; 0]
    );
    assert_eq!(
        checked(&dir, "f.yaml", &wasm("text")),
        [format!("{at}: text is not a Wasm module")]
    );
    assert_eq!(
        checked(&dir, "f.yaml", &wasm("none")),
        [format!(
            "{at}: the Wasm module none cannot be read: No such file or directory (os error 2)"
        )]
    );
}

#[test]
fn files_that_cannot_be_read() {
    let dir = folder();
    let path = dir.path().join("none.yaml");
    let problems: Vec<_> = check(&path, &keys)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        problems,
        [format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            path.display()
        )]
    );
    fs::write(&path, b"\xff").expect("written");
    let problems: Vec<_> = check(&path, &keys)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        problems,
        [format!("{}: is not text in UTF-8", path.display())]
    );
}

#[test]
fn models_and_the_file_agree() {
    let found = |policy: &str, models: &str| {
        let attempts = format!("true, \"models\": {{\"catalogue\": [{{\"id\": \"a\"}}]{models}}}");
        let mut text = GATEWAY.to_owned();
        let with = [("policy", policy), ("attempts", &attempts)];
        let tags = tags(&switchover_core::metrics::LABELS);
        for (name, value) in with.iter().chain(&USUAL).chain(&[("tags", &*tags)]) {
            text = text.replace(&format!("{{{{{name}}}}}"), value);
        }
        checked(&folder(), "f.yaml", &text)
    };
    let plain = "FAIL_RELOAD";
    let held = "FAIL_RELOAD\n                allow_on_headers_stop_iteration: true";
    let small = r#", "max_body": "1MiB""#;
    let one = |found: Vec<String>, severity: &str, words: &str| {
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(severity) && found[0].contains(words),
            "{found:?}"
        );
    };
    same(&found(plain, small), &[]);
    same(
        &found(held, &format!("{small}, \"hold_headers\": true")),
        &[],
    );
    one(
        found(plain, &format!("{small}, \"hold_headers\": true")),
        "error",
        "models.hold_headers: is true, but the plugin's configuration does not say allow_on_headers_stop_iteration",
    );
    one(
        found(held, small),
        "warning",
        "models.hold_headers: is false, though",
    );
    one(
        found(plain, ""),
        "warning",
        "models.max_body: allows bodies of 4194304 bytes, and the listener's per_connection_buffer_limit_bytes only 1048576",
    );
}
