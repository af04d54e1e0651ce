//! Listeners and the HTTP connection manager.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use super::access_log::AccessLog;
use super::plugin::WasmPlugin;
use super::protocol::{Http1Options, Http2Options};
use super::route::{HeaderEdit, RouteConfiguration};
use super::tls::DownstreamTls;

mod forwarding;
mod manager;
mod read;
mod tracing;

pub(super) use read::{http_filters, listener as read};

/// `envoy.config.listener.v3.Listener` with one filter chain of one HTTP connection manager.
#[derive(Debug, Clone)]
pub struct Listener {
    /// The listener's name; the address where the file has none.
    pub name: String,
    /// Where it listens; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// `per_connection_buffer_limit_bytes`: how much of a body a filter may hold back, and how much is kept for a retry;
    /// Envoy's default is 1 MiB, 0 is no limit.
    pub buffer_limit: u32,
    /// `listener_filters` has a `TlsInspector`: filters and logs are told the client's SNI, as in Envoy only then.
    pub tls_inspector: bool,
    /// Its `transport_socket`; `None` for cleartext.
    pub tls: Option<DownstreamTls>,
    /// Its `envoy.filters.network.connection_limit`, if it has one.
    pub connection_limit: Option<ConnectionLimit>,
    /// Its HTTP connection manager.
    pub http: HttpConnectionManager,
}

/// `envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// `stat_prefix`, required.
    pub stat_prefix: String,
    /// `max_connections`, at least 1: those beyond are closed.
    pub max_connections: u32,
    /// `delay` before they are closed; none by default.
    pub delay: Duration,
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`.
#[derive(Debug, Clone)]
pub struct HttpConnectionManager {
    /// `stat_prefix`, required.
    pub stat_prefix: String,
    /// `codec_type`; Envoy's default is AUTO.
    pub codec: Codec,
    /// `http_protocol_options`.
    pub http1: Http1Options,
    /// `http2_protocol_options`.
    pub http2: Http2Options,
    /// `generate_request_id`; Envoy's default is true.
    pub generate_request_id: bool,
    /// `use_remote_address`; Envoy's default is false.
    pub use_remote_address: bool,
    /// `max_request_headers_kb`; Envoy's default is 60. Above: 431.
    pub max_request_headers_kb: u32,
    /// `stream_idle_timeout`; Envoy's default is 5 minutes, 0 is off.
    pub stream_idle_timeout: Duration,
    /// `request_timeout`; off (0) by default.
    pub request_timeout: Duration,
    /// `request_headers_timeout`; off (0) by default.
    pub request_headers_timeout: Duration,
    /// `common_http_protocol_options`.
    pub common: CommonOptions,
    /// `drain_timeout`; Envoy's default is 5 s.
    pub drain_timeout: Duration,
    /// `server_name` for the `server` header; "envoy" by default.
    pub server_name: String,
    /// `access_log`.
    pub access_logs: Vec<AccessLog>,
    /// `tracing`; without it requests have no spans.
    pub tracing: Option<Arc<Tracing>>,
    /// What is said to upstreams of where requests come from.
    pub forwarding: Forwarding,
    /// `server_header_transformation`.
    pub server_header: ServerHeader,
    /// `always_set_request_id_in_response`.
    pub request_id_in_response: bool,
    /// `upgrade_configs`: (`upgrade_type` in lower case, `enabled`).
    pub upgrades: Vec<(String, bool)>,
    /// `http_filters` in order; the last is the router.
    pub http_filters: Vec<HttpFilter>,
    /// `route_config`.
    pub routes: RouteConfiguration,
}

/// `HttpConnectionManager.Tracing` with the provider `envoy.tracers.opentelemetry`.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// `client_sampling` in hundredths of a percent: of requests with `x-client-trace-id`.
    pub client_sampling: u32,
    /// `random_sampling` in hundredths of a percent.
    pub random_sampling: u32,
    /// `overall_sampling` in hundredths of a percent: of those that the other two would trace.
    pub overall_sampling: u32,
    /// `max_path_tag_length`, in bytes; Envoy's default is 256.
    pub max_path: usize,
    /// `service_name`.
    pub service_name: String,
    /// `http_service`.
    pub exporter: TraceExporter,
}

/// Where spans go: `envoy.config.core.v3.HttpService`.
#[derive(Debug, Clone)]
pub struct TraceExporter {
    /// `http_uri.cluster`.
    pub cluster: String,
    /// The authority of `http_uri.uri`.
    pub authority: HeaderValue,
    /// The path of `http_uri.uri`.
    pub path: PathAndQuery,
    /// `http_uri.timeout`.
    pub timeout: Duration,
    /// `request_headers_to_add`, which may hold a token.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// `envoy.config.core.v3.HttpProtocolOptions` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonOptions {
    /// `idle_timeout` of a connection; Envoy's default is 1 hour, 0 is off.
    pub idle_timeout: Duration,
    /// `max_connection_duration`; off (0) by default.
    pub max_connection_duration: Duration,
    /// `max_stream_duration`; off (0) by default.
    pub max_stream_duration: Duration,
    /// `max_headers_count`; Envoy's default is 100. Above: 431.
    pub max_headers_count: u32,
    /// `max_requests_per_connection`; 0, the default, is no limit.
    pub max_requests_per_connection: u32,
    /// `headers_with_underscores_action`.
    pub underscores: Underscores,
}

/// Fields of the connection manager on where requests come from and how their targets are written.
#[derive(Debug, Clone, Default)]
pub struct Forwarding {
    /// `xff_num_trusted_hops`; 0 by default.
    pub trusted_hops: u32,
    /// `skip_xff_append`.
    pub skip_append: bool,
    /// `internal_address_config.cidr_ranges`; none by default, as in Envoy.
    pub internal: Vec<CidrRange>,
    /// `preserve_external_request_id`.
    pub preserve_external_request_id: bool,
    /// `forward_client_cert_details` is `ALWAYS_FORWARD_ONLY`; else `x-forwarded-client-cert` is removed.
    pub forward_client_cert: bool,
    /// `via`.
    pub via: Option<HeaderValue>,
    /// `strip_any_host_port` or `strip_matching_host_port`.
    pub strip_port: Option<StripPort>,
    /// `normalize_path`.
    pub normalize_path: bool,
    /// `merge_slashes`.
    pub merge_slashes: bool,
    /// `path_with_escaped_slashes_action`.
    pub escaped_slashes: EscapedSlashes,
}

/// `CidrRange`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CidrRange {
    /// `address_prefix`.
    pub address: IpAddr,
    /// `prefix_len`, within the address's bits.
    pub length: u8,
}

/// Which port of `host` is taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripPort {
    /// Any.
    Any,
    /// The listener's.
    Matching,
}

/// `PathWithEscapedSlashesAction`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// `KEEP_UNCHANGED`, the default.
    #[default]
    Keep,
    /// `REJECT_REQUEST`: 400.
    Reject,
    /// `UNESCAPE_AND_FORWARD`.
    Forward,
}

/// `ServerHeaderTransformation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerHeader {
    /// `OVERWRITE`, the default.
    Overwrite,
    /// `APPEND_IF_ABSENT`.
    IfAbsent,
    /// `PASS_THROUGH`.
    PassThrough,
}

/// `HeadersWithUnderscoresAction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// Headers whose names have underscores pass; Envoy's default.
    Allow,
    /// Their requests are refused.
    Reject,
    /// They are removed.
    Drop,
}

/// `HttpConnectionManager.CodecType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// What the client's first bytes say, or ALPN.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// One HTTP filter of a listener or of a cluster (upstream filter).
#[derive(Debug, Clone)]
pub struct HttpFilter {
    /// The filter's name in the chain; with `config_discovery`, the resource's name.
    pub name: String,
    /// What it does.
    pub kind: HttpFilterKind,
}

/// The kinds of HTTP filter that the host runs.
#[derive(Debug, Clone)]
pub enum HttpFilterKind {
    /// `envoy.extensions.filters.http.wasm.v3.Wasm`, inline.
    Wasm(Box<WasmPlugin>),
    /// The same by file-based extension discovery.
    Discovered(Box<Discovery>),
    /// `envoy.extensions.filters.http.header_mutation.v3.HeaderMutation`.
    HeaderMutation(HeaderMutation),
    /// `envoy.extensions.filters.http.router.v3.Router` (or `upstream_codec` among upstream filters); always last.
    Terminal,
}

/// `config_discovery` with `path_config_source`.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// `path_config_source.path`: the document; JSON or YAML.
    pub path: PathBuf,
    /// `path_config_source.watched_directory.path`: the directory whose moves are watched instead of the file's own.
    pub watched_directory: Option<PathBuf>,
    /// `default_config`: serves until the first document is accepted.
    pub default: Option<WasmPlugin>,
    /// `config_source.initial_fetch_timeout`; Envoy's default is 15 s.
    pub initial_fetch_timeout: Duration,
}

impl Listener {
    /// How many bytes of a body are held at most.
    #[must_use]
    pub fn body_limit(&self) -> usize {
        match usize::try_from(self.buffer_limit) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(limit) => limit,
        }
    }
}

impl CidrRange {
    /// Whether an address is within.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let length = u32::from(self.length);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                u32::from(own) & mask == u32::from(other) & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
                u128::from(own) & mask == u128::from(other) & mask
            }
            _ => false,
        }
    }
}

impl HttpConnectionManager {
    /// How long a request's head may be, in bytes.
    #[must_use]
    pub fn max_head(&self) -> usize {
        usize::try_from(self.max_request_headers_kb)
            .unwrap_or(usize::MAX)
            .saturating_mul(1024)
    }
}

/// Header edits without a guest.
#[derive(Debug, Clone, Default)]
pub struct HeaderMutation {
    /// `mutations.request_mutations`.
    pub request: Vec<HeaderEdit>,
    /// `mutations.response_mutations`.
    pub response: Vec<HeaderEdit>,
}

#[cfg(test)]
impl Tracing {
    /// One that samples everything and reaches nobody.
    pub(crate) fn for_tests() -> Self {
        Self {
            client_sampling: 10_000,
            random_sampling: 10_000,
            overall_sampling: 10_000,
            max_path: 256,
            service_name: "test".to_owned(),
            exporter: TraceExporter {
                cluster: "none".to_owned(),
                authority: HeaderValue::from_static("none"),
                path: PathAndQuery::from_static("/v1/traces"),
                timeout: Duration::ZERO,
                headers: Vec::new(),
            },
        }
    }
}
