//! Clusters, their protocol options and TLS.

use super::*;

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
