//! `check`: documents in their files, and what contradicts them there.

mod files;
mod roles;
mod traffic;

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
