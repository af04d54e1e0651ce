//! Reading `HttpProtocolOptions`.

use std::time::Duration;

use super::Protocol;
use crate::config::facts::Chain;
use crate::config::listener::{HttpFilter, http_filters};
use crate::config::node::Value;
use crate::config::protocol::{Http1Options, Http2Options, http1, upstream_http2};
use crate::config::reader::{Field, Object};

const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const PROTOCOL_OPTIONS_URL: &str =
    "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const UPSTREAM_CODEC_URL: &str =
    "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";

/// Envoy's default idle timeout of an upstream connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// `HttpProtocolOptions`, as far as it is supported.
pub(super) struct Options {
    pub(super) protocol: Protocol,
    pub(super) filters: Vec<HttpFilter>,
    pub(super) idle_timeout: Duration,
    pub(super) max_requests_per_connection: Option<u32>,
}

/// Reads `typed_extension_protocol_options`.
pub(super) fn read(field: &Field<'_>, cluster: &str) -> Option<Options> {
    field.object(|o| {
        let read = |o: &Object<'_>| {
            o.refuse(
                &["upstream_http_protocol_options"],
                "use sni, or auto_host_sni and auto_sni_san_validation, of UpstreamTlsContext",
            );
            Options {
                protocol: protocol(o),
                filters: upstream_filters(o, cluster),
                ..Options::default()
            }
            .with_common(o)
        };
        o.get(PROTOCOL_OPTIONS)?.any(PROTOCOL_OPTIONS_URL, read)
    })?
}

fn protocol(o: &Object<'_>) -> Protocol {
    o.refuse(
        &["use_downstream_protocol_config"],
        "use explicit_http_config, or auto_config with TLS",
    );
    match o.required_one_of(&["explicit_http_config", "auto_config"]) {
        Some(("explicit_http_config", field)) => field.object(explicit).flatten(),
        Some((_, field)) => field.object(auto),
        None => None,
    }
    .unwrap_or(Protocol::Http1(Http1Options::default()))
}

fn explicit(o: &Object<'_>) -> Option<Protocol> {
    o.refuse(
        &["http3_protocol_options"],
        "use http_protocol_options or http2_protocol_options",
    );
    match o.required_one_of(&["http_protocol_options", "http2_protocol_options"])? {
        ("http_protocol_options", field) => field.object(http1).map(Protocol::Http1),
        (_, field) => field.object(upstream_http2).map(Protocol::Http2),
    }
}

fn auto(o: &Object<'_>) -> Protocol {
    o.refuse(
        &[
            "http3_protocol_options",
            "alternate_protocols_cache_options",
        ],
        "there is no HTTP/3",
    );
    if let Some(field) = o.get("http_protocol_options") {
        field.object(|_| ());
    }
    let http2 = o
        .get("http2_protocol_options")
        .and_then(|f| f.object(upstream_http2));
    Protocol::Auto(http2.unwrap_or_else(Http2Options::upstream))
}

fn upstream_filters(o: &Object<'_>, cluster: &str) -> Vec<HttpFilter> {
    match o.get("http_filters") {
        Some(list) if matches!(&list.node().value, Value::List(items) if items.is_empty()) => {
            Vec::new()
        }
        Some(list) => http_filters(
            &list,
            &Chain::Cluster(cluster.to_owned()),
            UPSTREAM_CODEC_URL,
        ),
        None => Vec::new(),
    }
}

// === impl Options ===

impl Options {
    fn with_common(mut self, o: &Object<'_>) -> Self {
        if let Some(common) = o.get("common_http_protocol_options") {
            common.object(|o| {
                self.idle_timeout = o.duration("idle_timeout", IDLE_TIMEOUT);
                self.max_requests_per_connection = o
                    .get("max_requests_per_connection")
                    .and_then(|f| f.uint(0, u32::MAX))
                    .filter(|n| *n > 0);
            });
        }
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocol: Protocol::Http1(Http1Options::default()),
            filters: Vec::new(),
            idle_timeout: IDLE_TIMEOUT,
            max_requests_per_connection: None,
        }
    }
}
