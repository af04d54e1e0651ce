//! Files that are refused, with the exact problems. Unless a case says otherwise, real Envoy refuses them too.

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
fn chains_of_filters() {
    let wasm = format!(
        "{{name: w, typed_config: {{\"@type\": {WASM}, config: {{vm_config: {{code: {{local: {{filename: f.wasm}}}}}}}}}}}}"
    );
    let last = "the last filter must be Router (type.googleapis.com/envoy.extensions.filters.http.router.v3.Router)";
    filters("", &[&format!("9: HCM.http_filters: {last}")]);
    filters(&wasm, &[&format!("9: HCM.http_filters[0]: {last}")]);
    filters(
        &format!("{ROUTER}, {wasm}"),
        &[
            "9: HCM.http_filters[0]: must be the last filter: Router",
            &format!("9: HCM.http_filters[1]: {last}"),
        ],
    );
    let mutation =
        "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    filters(
        &format!(
            "{{name: l, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}}}, {ROUTER}"
        ),
        &[&format!(
            "9: HCM.http_filters[0].typed_config[\"@type\"]: the type \"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\" is not supported here; supported: {WASM}, {mutation}, {router}"
        )],
    );
    filters(
        &format!("{{name: l, typed_config: {{}}}}, {ROUTER}"),
        &[&format!(
            "9: HCM.http_filters[0].typed_config: the field @type is missing; supported here: {WASM}, {mutation}, {router}"
        )],
    );
}

fn wasm_config(config: &str, expected: &[&str]) {
    let filter =
        format!("{{name: w, typed_config: {{\"@type\": {WASM}, config: {{{config}}}}}}}, {ROUTER}");
    let expected: Vec<_> = expected
        .iter()
        .map(|e| format!("9: HCM.http_filters[0].typed_config.config{e}"))
        .collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    filters(&filter, &expected);
}

#[test]
fn wasm_plugins() {
    let vm = "vm_config: {code: {local: {filename: f.wasm}}}";
    wasm_config("name: a", &[".vm_config: is required"]);
    wasm_config(
        &format!("{vm}, fail_open: false, failure_policy: FAIL_OPEN"),
        &[".fail_open: only one of fail_open, failure_policy may be set; leave fail_open out"],
    );
    wasm_config(
        &format!("{vm}, reload_config: {{backoff: {{base_interval: 0.0019s}}}}"),
        &[
            ".reload_config.backoff.base_interval: must be at least 0.002s: below that, Envoy 1.40 divides by zero",
        ],
    );
    // Envoy takes these two.
    wasm_config(
        &format!(
            "{vm}, configuration: {{\"@type\": type.googleapis.com/google.protobuf.Struct, value: {{a: 1}}}}"
        ),
        &[
            ".configuration: Envoy hands a Struct to the guest as protobuf's wire bytes, not as JSON; write JSON into a type.googleapis.com/google.protobuf.StringValue",
        ],
    );
    wasm_config(
        &format!("{vm}, capability_restriction_config: {{}}"),
        &[
            ".capability_restriction_config: is not supported: leave it out; every capability is allowed",
        ],
    );
    wasm_config(
        "vm_config: {runtime: v8, code: {remote: {}}, environment_variables: {key_values: {A: b}, host_env_keys: [A, B, B]}}",
        &[
            ".vm_config.runtime: \"v8\" is not supported here; supported: envoy.wasm.runtime.v8, envoy.wasm.runtime.wasmtime, envoy.wasm.runtime.wamr",
            ".vm_config.code.remote: is not supported: fetch the module first and name it with local: {filename: …}",
            ".vm_config.environment_variables.host_env_keys[0]: the variable \"A\" is set twice",
            ".vm_config.environment_variables.host_env_keys[2]: the variable \"B\" is set twice",
        ],
    );
    wasm_config(
        "vm_config: {code: {local: {inline_bytes: \"?\", inline_string: a}}}",
        &[
            ".vm_config.code.local.inline_bytes: only one of filename, inline_string, inline_bytes may be set; inline_string is, so leave inline_bytes out",
        ],
    );
}

#[test]
fn discovery() {
    let filter = |config: &str| format!("{{name: w, config_discovery: {{{config}}}}}, {ROUTER}");
    filters(
        &filter(
            "config_source: {api_config_source: {}}, type_urls: [], apply_default_config_without_warming: true",
        ),
        &[
            "9: HCM.http_filters[0].config_discovery.type_urls: must name the type of the filter",
            "9: HCM.http_filters[0].config_discovery.apply_default_config_without_warming: needs a default_config",
            "9: HCM.http_filters[0].config_discovery.config_source.api_config_source: is not supported: there is no xDS server; use path_config_source",
        ],
    );
    filters(
        &filter("config_source: {path: a, resource_api_version: AUTO}, type_urls: [x]"),
        &[
            &format!(
                "9: HCM.http_filters[0].config_discovery.type_urls[0]: \"x\" is not supported here; supported: {WASM}"
            ),
            "9: HCM.http_filters[0].config_discovery.config_source.path: is not supported: deprecated; use path_config_source: {path: …}",
            "9: HCM.http_filters[0].config_discovery.config_source.resource_api_version: \"AUTO\" is not supported here; supported: V3",
        ],
    );
    let valid = filter(&format!(
        "config_source: {{path_config_source: {{path: a}}}}, type_urls: [{WASM}]"
    ));
    let yaml = Parts {
        filters: &valid,
        ..Parts::default()
    }
    .yaml()
    .replace("node: {id: a, cluster: b}", "node: {id: a}");
    assert_eq!(
        problems(&yaml),
        [
            "1: node: config_discovery needs node.id and node.cluster in Envoy, here or by --service-node, --service-cluster"
        ]
    );
}

#[test]
fn routes() {
    route(
        "match: {prefix: /}",
        &["11: ROUTE: one of route, direct_response, redirect is required"]
            .map(|e| e.replace("ROUTE:", "HCM.route_config.virtual_hosts[0].routes[0]:"))
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    );
    route(
        "match: {prefix: /, path: /a}, route: {}",
        &[
            "11: ROUTE.match.path: only one of prefix, path, path_separated_prefix, safe_regex, connect_matcher may be set; prefix is, so leave path out",
            "11: ROUTE.route: one of cluster, cluster_header, weighted_clusters is required",
        ],
    );
    route(
        "match: {safe_regex: {regex: \"a(\"}}, route: {cluster: bleu}",
        &[
            "11: ROUTE.match.safe_regex.regex: not a regular expression: unclosed group",
            "11: ROUTE.route.cluster: there is no cluster \"bleu\"; the file has blue",
        ],
    );
    route(
        "match: {path_separated_prefix: /a/, headers: [{name: a, exact_match: b}, {name: b, string_match: {prefix: \"\"}}]}, redirect: {port_redirect: 1}",
        &[
            "11: ROUTE.match.headers[0].exact_match: is not supported: deprecated; use string_match",
            "11: ROUTE.match.headers[1].string_match.prefix: must not be empty",
            "11: ROUTE.match.path_separated_prefix: expected a path such as \"/v1\", without ?, # and a slash at its end, found \"/a/\"",
            "11: ROUTE.redirect.port_redirect: is not supported here; supported: host_redirect, https_redirect, path_redirect, response_code, scheme_redirect",
        ],
    );
    route(
        "match: {prefix: /}, direct_response: {status: 99, body: {filename: tests/config/none}}",
        &[
            "11: ROUTE.direct_response.status: expected an integer from 200 to 599, found the number 99",
            "11: ROUTE.direct_response.body: cannot read tests/config/none: No such file or directory (os error 2)",
        ],
    );
    let body = format!(
        "match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: {}}}}}",
        "a".repeat(4097)
    );
    route(
        &body,
        &["11: ROUTE.direct_response.body: is 4097 bytes long; Envoy allows 4096"],
    );
}

#[test]
fn targets() {
    route(
        "match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: blue, weight: 0}]}}",
        &[
            "11: ROUTE.route.weighted_clusters.clusters: the weights must add up to 1 to 4294967295, not 0",
        ],
    );
    route(
        "match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: blue}, {name: x, weight: -1}]}}",
        &[
            "11: ROUTE.route.weighted_clusters.clusters[0].weight: is required",
            "11: ROUTE.route.weighted_clusters.clusters[1].weight: expected an unsigned integer, found the number -1",
            "11: ROUTE.route.weighted_clusters.clusters[1].name: there is no cluster \"x\"; the file has blue",
        ],
    );
    route(
        "match: {prefix: /}, route: {cluster: blue, request_mirror_policies: [{cluster: x, runtime_fraction: {default_value: {numerator: 101}}}]}",
        &[
            "11: ROUTE.route.request_mirror_policies[0].runtime_fraction.default_value.numerator: expected an integer from 0 to 100, found the number 101",
            "11: ROUTE.route.request_mirror_policies[0].cluster: there is no cluster \"x\"; the file has blue",
        ],
    );
}

#[test]
fn retries() {
    let retry = |policy: &str| {
        format!("match: {{prefix: /}}, route: {{cluster: blue, retry_policy: {{{policy}}}}}")
    };
    // Envoy ignores conditions that it does not know.
    route(
        &retry("retry_on: \"5xx,http3-post-connect-failure\""),
        &[
            "11: ROUTE.route.retry_policy.retry_on: \"http3-post-connect-failure\" is not supported here; supported: 5xx, gateway-error, reset, reset-before-request, connect-failure, retriable-4xx, refused-stream, retriable-status-codes, cancelled, deadline-exceeded, resource-exhausted, internal, unavailable",
        ],
    );
    route(
        &retry("retry_on: 5xx, retry_back_off: {max_interval: 1s}"),
        &["11: ROUTE.route.retry_policy.retry_back_off.base_interval: is required"],
    );
    route(
        &retry("retry_on: 5xx, retry_back_off: {base_interval: 1s, max_interval: 0.5s}"),
        &[
            "11: ROUTE.route.retry_policy.retry_back_off.max_interval: must not be below base_interval",
        ],
    );
    route(
        &retry("retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts}]"),
        &["11: ROUTE.route.retry_policy.retry_host_predicate[0].typed_config: is required"],
    );
    route(
        &retry("rate_limited_retry_back_off: {max_interval: 1s}"),
        &["11: ROUTE.route.retry_policy.rate_limited_retry_back_off.reset_headers: is required"],
    );
    route(
        &retry("rate_limited_retry_back_off: {reset_headers: [], max_interval: 0s}"),
        &[
            "11: ROUTE.route.retry_policy.rate_limited_retry_back_off.max_interval: must be above 0s",
            "11: ROUTE.route.retry_policy.rate_limited_retry_back_off.reset_headers: expected at least one header, found an empty list",
        ],
    );
    route(
        &retry("rate_limited_retry_back_off: {reset_headers: [{format: MINUTES}, {name: a b}]}"),
        &[
            "11: ROUTE.route.retry_policy.rate_limited_retry_back_off.reset_headers[0].format: \"MINUTES\" is not supported here; supported: SECONDS, UNIX_TIMESTAMP",
            "11: ROUTE.route.retry_policy.rate_limited_retry_back_off.reset_headers[0].name: is required",
            "11: ROUTE.route.retry_policy.rate_limited_retry_back_off.reset_headers[1].name: expected a header's name, found \"a b\"",
        ],
    );
    // Served, with a warning.
    route(
        &retry(
            "rate_limited_retry_back_off: {reset_headers: [{name: retry-after}]}, retry_priority: {name: envoy.retry_priorities.previous_priorities, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 1}}",
        ),
        &[
            "11: ROUTE.route.retry_policy.rate_limited_retry_back_off: delays the retry with another priority, too: use it on routes without retry_priority",
        ],
    );
    route(
        &retry("retry_on: 5xx, retriable_status_codes: [429]"),
        &[
            "11: ROUTE.route.retry_policy.retriable_status_codes: has no effect without retriable-status-codes in retry_on",
        ],
    );
}

#[test]
fn header_edits() {
    let edit = |edit: &str| {
        format!(
            "match: {{prefix: /}}, route: {{cluster: blue}}, request_headers_to_add: [{{{edit}}}]"
        )
    };
    let at = "11: ROUTE.request_headers_to_add[0]";
    route(
        &edit("header: {key: Host, value: a}"),
        &[&format!(
            "{at}.header.key: \"Host\" may not be edited: pseudo-headers and host belong to the route"
        )],
    );
    route(
        &edit("header: {key: a, value: \"b\\nc\"}, append_action: REPLACE"),
        &[
            &format!(
                "{at}.append_action: \"REPLACE\" is not supported here; supported: APPEND_IF_EXISTS_OR_ADD, ADD_IF_ABSENT, OVERWRITE_IF_EXISTS_OR_ADD, OVERWRITE_IF_EXISTS"
            ),
            &format!(
                "{at}.header.value: expected a header's value, without line breaks and other control characters, found \"b\\nc\""
            ),
        ],
    );
    // Envoy takes it and drops the header.
    route(
        &edit("header: {key: a}"),
        &[&format!(
            "{at}.header: has an empty value, so Envoy drops it; set keep_empty_value: true, or leave the edit out"
        )],
    );
}

#[test]
fn virtual_hosts() {
    let host = "HCM.route_config.virtual_hosts[0]";
    refused(
        &Parts {
            domains: "[a.com, \"*\", A.com, \"a*b\"]",
            ..Parts::default()
        },
        &[
            &format!(
                "10: {host}.domains[2]: \"a.com\" is a domain of this table already (line 10)"
            ),
            &format!(
                "10: {host}.domains[3]: \"a*b\" has a * that is neither its first nor its last character only"
            ),
        ],
    );
    refused(
        &Parts {
            domains: "[]",
            ..Parts::default()
        },
        &[&format!(
            "10: {host}.domains: a virtual host needs a domain; [\"*\"] takes every host"
        )],
    );
}

#[test]
fn wrong_clusters() {
    clusters(
        CLUSTER,
        &["12: static_resources.clusters[1]: there is a cluster \"blue\" already"],
    );
    clusters("{name: a}", &["12: CLUSTER.load_assignment: is required"]);
    let endpoint = |address: &str| {
        format!(
            "{{name: a, load_assignment: {{cluster_name: a, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{{address}}}}}}}}}]}}]}}}}"
        )
    };
    let at = "12: CLUSTER.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address";
    clusters(
        &endpoint("address: localhost, port_value: 80"),
        &[&format!(
            "{at}: \"localhost\" is no IP address; a STATIC cluster needs one, STRICT_DNS takes names"
        )],
    );
    clusters(
        &endpoint("address: 127.0.0.1, port_value: 0"),
        &[&format!(
            "{at}.socket_address.port_value: expected an integer from 1 to 65535, found the number 0"
        )],
    );
    let aggregate = |leaves: &str| {
        format!(
            "{{name: a, lb_policy: CLUSTER_PROVIDED, cluster_type: {{name: x, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: {leaves}}}}}}}"
        )
    };
    clusters(
        &aggregate("[]"),
        &[
            "12: CLUSTER.cluster_type.typed_config.clusters: an aggregate needs at least one cluster",
        ],
    );
    // Envoy takes both: an unknown leaf may come by xDS, and an aggregate may hold aggregates.
    clusters(
        &aggregate("[blue, green]"),
        &[
            "12: CLUSTER.cluster_type.typed_config.clusters[1]: there is no cluster \"green\"; the file has a, blue",
        ],
    );
    clusters(
        &aggregate("[a]"),
        &[
            "12: CLUSTER.cluster_type.typed_config.clusters[0]: \"a\" is an aggregate itself; name its leaves",
        ],
    );
    clusters(
        &aggregate("[blue]").replace("lb_policy: CLUSTER_PROVIDED", "dns_refresh_rate: 1s"),
        &[
            "12: CLUSTER.lb_policy: an aggregate needs CLUSTER_PROVIDED",
            "12: CLUSTER.dns_refresh_rate: is not supported here; supported: circuit_breakers, cluster_type, connect_timeout, dns_lookup_family, health_checks, lb_policy, load_assignment, name, respect_dns_ttl, transport_socket, type, typed_extension_protocol_options",
        ],
    );
}

#[test]
fn upstream_options() {
    let options = |options: &str| {
        format!(
            "{{name: a, load_assignment: {{cluster_name: a}}, typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, {options}}}}}}}"
        )
    };
    let at = "12: CLUSTER.typed_extension_protocol_options[\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"]";
    clusters(
        &options(""),
        &[
            "12: CLUSTER.typed_extension_protocol_options[\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"]: one of explicit_http_config, auto_config is required",
        ],
    );
    clusters(
        &options("use_downstream_protocol_config: {}"),
        &[&format!(
            "{at}.use_downstream_protocol_config: is not supported: use explicit_http_config, or auto_config with TLS"
        )],
    );
    clusters(
        &options("auto_config: {}"),
        &["12: CLUSTER.transport_socket: auto_config needs TLS, which agrees on the protocol"],
    );
    let http2 = |http2: &str| {
        options(&format!(
            "explicit_http_config: {{http2_protocol_options: {{{http2}}}}}"
        ))
    };
    clusters(&http2("max_concurrent_streams: 7"), &[]);
    clusters(
        &http2(
            "initial_stream_window_size: 1, connection_keepalive: {timeout: 1s}, allow_metadata: true, allow_connect: true",
        ),
        &[
            &format!(
                "{at}.explicit_http_config.http2_protocol_options.allow_connect: is not supported: upgrades go to upstreams that speak HTTP/1.1"
            ),
            &format!(
                "{at}.explicit_http_config.http2_protocol_options.allow_metadata: only false, Envoy's default, is supported"
            ),
            &format!(
                "{at}.explicit_http_config.http2_protocol_options.initial_stream_window_size: expected an integer from 65535 to 2147483647, found the number 1"
            ),
            &format!(
                "{at}.explicit_http_config.http2_protocol_options.connection_keepalive.interval: is required"
            ),
        ],
    );
    clusters(
        &options(&format!(
            "explicit_http_config: {{http_protocol_options: {{}}}}, http_filters: [{ROUTER}]"
        )),
        &[&format!(
            "{at}.http_filters[0].typed_config[\"@type\"]: the type \"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router\" is not supported here; supported: {WASM}, type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"
        )],
    );
}

#[test]
fn tls_contexts() {
    let socket = |context: &str| {
        format!(
            "{{name: a, load_assignment: {{cluster_name: a}}, transport_socket: {{name: tls, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, {context}}}}}}}"
        )
    };
    let at = "12: CLUSTER.transport_socket.typed_config";
    clusters(
        &socket("common_tls_context: {validation_context: {trusted_ca: {filename: ca.pem}}}"),
        &[],
    );
    clusters(
        &socket(
            "common_tls_context: {tls_params: {tls_minimum_protocol_version: TLSv1_1, cipher_suites: []}, tls_certificates: [{private_key: {inline_string: x}}], validation_context: {match_typed_subject_alt_names: [{san_type: IP_ADDRESS, matcher: {prefix: \"10.\"}}], crl: {}}}",
        ),
        &[
            &format!(
                "{at}.common_tls_context.tls_params.cipher_suites: is not supported: rustls chooses among its own, all of them safe"
            ),
            &format!(
                "{at}.common_tls_context.tls_params.tls_minimum_protocol_version: \"TLSv1_1\" is not supported here; supported: TLS_AUTO, TLSv1_2, TLSv1_3"
            ),
            &format!("{at}.common_tls_context.tls_certificates[0].certificate_chain: is required"),
            &format!(
                "{at}.common_tls_context.validation_context.crl: is not supported: leave it out"
            ),
            &format!(
                "{at}.common_tls_context.validation_context.match_typed_subject_alt_names[0].matcher: an IP_ADDRESS is matched by exact, with an IP address"
            ),
            &format!(
                "{at}.common_tls_context.validation_context: match_typed_subject_alt_names needs a trusted_ca: without one anybody has any name"
            ),
        ],
    );
    clusters(
        &socket(
            "common_tls_context: {validation_context_sds_secret_config: {name: x}}, auto_sni_san_validation: true",
        ),
        &[
            &format!(
                "{at}.common_tls_context.validation_context_sds_secret_config.sds_config: is required"
            ),
            &format!("{at}.auto_sni_san_validation: needs a validation_context with trusted_ca"),
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
