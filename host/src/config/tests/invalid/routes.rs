//! Virtual hosts, routes, their targets, retries and edits of headers.

use super::*;

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
