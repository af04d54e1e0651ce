//! Reading the HTTP connection manager.

use std::sync::Arc;
use std::time::Duration;

use super::forwarding::{forwarding, server_header};
use super::read::http_filters;
use super::tracing::tracing;
use super::{Codec, CommonOptions, HttpConnectionManager, Underscores};
use crate::config::access_log;
use crate::config::facts::Chain;
use crate::config::protocol;
use crate::config::reader::{Field, Object};
use crate::config::route;

const ROUTER_URL: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
/// Envoy's default of `max_request_headers_kb`, and its bound.
const MAX_REQUEST_HEADERS_KB: (u32, u32) = (60, 8192);
/// Envoy's default of `stream_idle_timeout`.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Envoy's default idle timeout of a downstream connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Envoy's default of `max_headers_count`.
const MAX_HEADERS_COUNT: u32 = 100;
/// Envoy's default of `drain_timeout`.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the HTTP connection manager of the `index`th listener.
pub(super) fn connection_manager(o: &Object<'_>, index: usize) -> Option<HttpConnectionManager> {
    refuse_hcm(o);
    let (max_kb, bound) = MAX_REQUEST_HEADERS_KB;
    let filters = o.required("http_filters");
    let filters = filters.map(|f| http_filters(&f, &Chain::Listener(index), ROUTER_URL));
    let stat_prefix = o.required_name("stat_prefix");
    let routes = o
        .required_one_of(&["route_config"])
        .and_then(|(_, f)| route::read(&f));
    let common = o.get("common_http_protocol_options");
    Some(HttpConnectionManager {
        stat_prefix,
        codec: codec(o),
        http1: o
            .get("http_protocol_options")
            .and_then(|f| f.object(protocol::http1))
            .unwrap_or_default(),
        http2: o
            .get("http2_protocol_options")
            .and_then(|f| f.object(protocol::http2))
            .unwrap_or_default(),
        generate_request_id: o.bool("generate_request_id", true),
        use_remote_address: o.bool("use_remote_address", false),
        max_request_headers_kb: o
            .get("max_request_headers_kb")
            .and_then(|f| f.uint(1, bound))
            .unwrap_or(max_kb),
        stream_idle_timeout: o.duration("stream_idle_timeout", STREAM_IDLE_TIMEOUT),
        request_timeout: o.duration("request_timeout", Duration::ZERO),
        request_headers_timeout: o.duration("request_headers_timeout", Duration::ZERO),
        common: common
            .and_then(|f| f.object(common_options))
            .unwrap_or_default(),
        drain_timeout: o.duration("drain_timeout", DRAIN_TIMEOUT),
        server_name: server_name(o),
        access_logs: access_log::access_logs(o),
        tracing: match o.get("tracing") {
            Some(field) => Some(Arc::new(field.object(tracing).flatten()?)),
            None => None,
        },
        forwarding: forwarding(o),
        server_header: server_header(o),
        request_id_in_response: o.bool("always_set_request_id_in_response", false),
        upgrades: o
            .list("upgrade_configs")
            .iter()
            .filter_map(upgrade)
            .collect(),
        http_filters: filters?,
        routes: routes?,
    })
}

fn refuse_hcm(o: &Object<'_>) {
    o.refuse(
        &["access_log_options", "access_log_flush_interval"],
        "an exchange is logged at its end",
    );
    o.refuse(
        &["rds", "scoped_routes"],
        "there is no xDS for routes; use route_config",
    );
    o.refuse(&["http3_protocol_options"], "there is no HTTP/3 here");
}

fn common_options(o: &Object<'_>) -> CommonOptions {
    CommonOptions {
        idle_timeout: o.duration("idle_timeout", IDLE_TIMEOUT),
        max_connection_duration: o.duration("max_connection_duration", Duration::ZERO),
        max_stream_duration: o.duration("max_stream_duration", Duration::ZERO),
        max_headers_count: o
            .get("max_headers_count")
            .and_then(|f| f.uint(1, u32::MAX))
            .unwrap_or(MAX_HEADERS_COUNT),
        max_requests_per_connection: o.uint("max_requests_per_connection", 0),
        underscores: o
            .get("headers_with_underscores_action")
            .and_then(|f| {
                f.choice(&[
                    ("ALLOW", Underscores::Allow),
                    ("REJECT_REQUEST", Underscores::Reject),
                    ("DROP_HEADER", Underscores::Drop),
                ])
            })
            .unwrap_or(Underscores::Allow),
    }
}

impl Default for CommonOptions {
    /// Envoy's.
    fn default() -> Self {
        Self {
            idle_timeout: IDLE_TIMEOUT,
            max_connection_duration: Duration::ZERO,
            max_stream_duration: Duration::ZERO,
            max_headers_count: MAX_HEADERS_COUNT,
            max_requests_per_connection: 0,
            underscores: Underscores::Allow,
        }
    }
}

fn upgrade(field: &Field<'_>) -> Option<(String, bool)> {
    field.object(|o| {
        o.refuse(&["filters"], "upgrades pass the http_filters");
        let kind = o.required_name("upgrade_type").to_ascii_lowercase();
        (kind, o.bool("enabled", true))
    })
}

fn codec(o: &Object<'_>) -> Codec {
    o.get("codec_type")
        .and_then(|f| {
            f.choice(&[
                ("AUTO", Codec::Auto),
                ("HTTP1", Codec::Http1),
                ("HTTP2", Codec::Http2),
            ])
        })
        .unwrap_or(Codec::Auto)
}

fn server_name(o: &Object<'_>) -> String {
    let Some(field) = o.get("server_name") else {
        return "envoy".to_owned();
    };
    let name = field.text().filter(|n| !n.is_empty()).unwrap_or("envoy");
    if http::HeaderValue::from_str(name).is_err() {
        field.expected("text that may stand in a header");
    }
    name.to_owned()
}
