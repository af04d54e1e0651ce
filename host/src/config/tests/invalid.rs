//! Files that are refused, with the exact problems. Unless a case says otherwise, real Envoy refuses them too.

mod clusters;
mod filters;
mod routes;

use super::*;

/// Checks one problem, or several, of a file with a changed part.
fn refused(parts: &Parts<'_>, expected: &[&str]) {
    assert_eq!(parts.problems(), expected, "{}", parts.yaml());
}

fn hcm(part: &str, expected: &[&str]) {
    refused(
        &Parts {
            hcm: part,
            ..Parts::default()
        },
        expected,
    );
}

fn filters(part: &str, expected: &[&str]) {
    refused(
        &Parts {
            filters: part,
            ..Parts::default()
        },
        expected,
    );
}

fn route(part: &str, expected: &[&str]) {
    refused(
        &Parts {
            route: part,
            ..Parts::default()
        },
        expected,
    );
}

fn clusters(part: &str, expected: &[&str]) {
    let clusters = format!("{CLUSTER}, {part}");
    let expected: Vec<_> = expected
        .iter()
        .map(|e| e.replace("CLUSTER.", "static_resources.clusters[1]."))
        .collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    refused(
        &Parts {
            clusters: &clusters,
            ..Parts::default()
        },
        &expected,
    );
}

fn top(part: &str, expected: &[&str]) {
    refused(
        &Parts {
            top: part,
            ..Parts::default()
        },
        expected,
    );
}

#[test]
fn the_usual_parts_are_valid() {
    assert_eq!(Parts::default().problems(), [] as [String; 0]);
}

#[test]
fn all_problems_at_once() {
    let text = "node: {id: y, locality: {}}\nadmin: {address: {socket_address: {address: localhost, port_value: 70000}}}\n\
                staticResources: {}\nstatic_resources:\n  clusters:\n  - name: a\n    connect_timeout: 250ms\n    lb_policy: MAGLEV\n    \
                transport_socket: {}\n    load_assignment: {cluster_name: a}\n";
    assert_eq!(
        problems(text),
        [
            "1: node.id: expected text; put quotes around it, found the boolean true",
            "1: node.locality: is not supported here; supported: cluster, id",
            "2: admin.address.socket_address.port_value: expected an integer from 0 to 65535, found the number 70000",
            "3: staticResources: is written static_resources here (snake_case)",
            "7: CLUSTER.connect_timeout: expected a duration in seconds such as \"0.25s\", found \"250ms\"",
            "8: CLUSTER.lb_policy: \"MAGLEV\" is not supported here; supported: ROUND_ROBIN, RANDOM, LEAST_REQUEST",
            "9: CLUSTER.transport_socket.name: is required",
            "9: CLUSTER.transport_socket.typed_config: is required",
        ]
    );
}

/// Envoy takes these; each would change what happens, so the host refuses them by name.
#[test]
fn what_only_envoy_supports() {
    top(
        "dynamic_resources: {}\nlayered_runtime: {}\nstats_flush_interval: 1s",
        &[
            "13: dynamic_resources: is not supported: there is no xDS server; write listeners and clusters into static_resources",
            "14: layered_runtime: is not supported: there is no runtime; write values into the fields themselves",
            "15: stats_flush_interval: is not supported here; supported: admin, node, static_resources, stats_config",
        ],
    );
    hcm(
        "access_log_options: {}, access_log: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, log_format: {text_format_source: {inline_string: \"%WHO%\"}}}}],",
        &[
            "8: HCM.access_log_options: is not supported: an exchange is logged at its end",
            "8: HCM.access_log[0].typed_config.log_format.text_format_source: %WHO% is not supported here",
        ],
    );
    hcm(
        "codec_type: HTTP3,",
        &["8: HCM.codec_type: \"HTTP3\" is not supported here; supported: AUTO, HTTP1, HTTP2"],
    );
    route(
        "match: {prefix: /, case_sensitive: false, runtime_fraction: {}}, route: {cluster: blue, hash_policy: []}, typed_per_filter_config: {}",
        &[
            "11: ROUTE.typed_per_filter_config: is not supported: a filter is the same on every route here",
            "11: ROUTE.match.runtime_fraction: is not supported: there is no runtime; use weighted_clusters",
            "11: ROUTE.match.case_sensitive: only true, Envoy's default, is supported",
            "11: ROUTE.route.hash_policy: is not supported: stickiness is the rollout document's: sticky",
        ],
    );
    route(
        "match: {prefix: /}, route: {cluster: blue}, request_headers_to_add: [{header: {key: x, value: \"%REQ(y)%\"}}]",
        &[
            "11: ROUTE.request_headers_to_add[0].header.value: format strings (%…%) are not supported; write %% for a percent sign",
        ],
    );
    clusters(
        "{name: c, type: EDS, http2_protocol_options: {}, outlier_detection: {}, load_assignment: {cluster_name: c}}",
        &[
            "12: CLUSTER.http2_protocol_options: is not supported: deprecated; use typed_extension_protocol_options with HttpProtocolOptions",
            "12: CLUSTER.type: \"EDS\" is not supported here; supported: STATIC, STRICT_DNS",
            "12: CLUSTER.outlier_detection: is not supported here; supported: circuit_breakers, cluster_type, connect_timeout, dns_lookup_family, dns_refresh_rate, health_checks, lb_policy, load_assignment, name, respect_dns_ttl, transport_socket, type, typed_extension_protocol_options",
        ],
    );
}

#[test]
fn stats_tags() {
    top(
        "stats_config: {use_all_default_tags: false, stats_tags: [{tag_name: a, regex: b}, {tag_name: c, fixed_value: d}, {regex: \"(\"}]}",
        &[
            "13: stats_config.use_all_default_tags: only true, Envoy's default, is supported",
            "13: stats_config.stats_tags[0].regex: needs a capture group: the first is removed from the name, the second or else the first is the value",
            "13: stats_config.stats_tags[1].fixed_value: is not supported: use regex",
            "13: stats_config.stats_tags[2].tag_name: is required",
            "13: stats_config.stats_tags[2].regex: not a regular expression: unclosed group",
        ],
    );
}

#[test]
fn tracing() {
    let of = |part: &str, provider: &str| {
        format!(
            "tracing: {{{part} provider: {{name: t, typed_config: {{\"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, {provider}}}}}}},"
        )
    };
    let service = |uri: &str| {
        format!("http_service: {{http_uri: {{uri: \"{uri}\", cluster: blue, timeout: 1s}}}}")
    };
    hcm(&of("", &service("http://c:4318/v1/traces")), &[]);
    hcm(
        &of(
            "random_sampling: {value: 101}, verbose: true,",
            &service("/v1/traces"),
        ),
        &[
            "8: HCM.tracing.verbose: only false, Envoy's default, is supported",
            "8: HCM.tracing.provider.typed_config.http_service.http_uri.uri: expected a URI such as \"http://collector:4318/v1/traces\", found \"/v1/traces\"",
            "8: HCM.tracing.random_sampling.value: expected a number from 0 to 100, found the number 101",
        ],
    );
    hcm(
        &of("", "grpc_service: {}"),
        &[
            "8: HCM.tracing.provider.typed_config.grpc_service: is not supported: spans go by OTLP over HTTP: use http_service",
        ],
    );
    hcm("tracing: {},", &["8: HCM.tracing.provider: is required"]);
    hcm(
        &of(
            "",
            "http_service: {http_uri: {uri: \"http://c/v1\", cluster: nowhere, timeout: 1s}}",
        ),
        &[
            "8: HCM.tracing.provider.typed_config.http_service.http_uri.cluster: there is no cluster \"nowhere\"; the file has blue",
        ],
    );
}
