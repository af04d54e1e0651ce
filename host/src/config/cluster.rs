//! Clusters and their endpoints.

use std::collections::BTreeMap;
use std::time::Duration;

use super::listener::HttpFilter;
use super::protocol::{Http1Options, Http2Options};
use super::tls::UpstreamTls;

mod protocol;
mod read;

pub(super) use read::{cluster as read, cluster_name};

/// `envoy.config.cluster.v3.Cluster`.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// `name`.
    pub name: String,
    /// Leaf or aggregate.
    pub kind: ClusterKind,
    /// `dns_lookup_family`: which addresses of a name are taken.
    pub dns_family: DnsFamily,
    /// `connect_timeout`; Envoy's default is 5 s.
    pub connect_timeout: Duration,
    /// `circuit_breakers`, default priority.
    pub limits: CircuitBreakers,
    /// `lb_policy` of a leaf.
    pub lb_policy: LbPolicy,
    /// The only entry of `health_checks`, with `http_health_check`.
    pub health_check: Option<HealthCheck>,
    /// `typed_extension_protocol_options` … `HttpProtocolOptions.http_filters`; empty where there are none.
    /// The last is `upstream_codec`.
    pub upstream_filters: Vec<HttpFilter>,
    /// `HttpProtocolOptions.common_http_protocol_options.idle_timeout`; Envoy's default is 1 hour, 0 is off.
    pub idle_timeout: Duration,
    /// `common_http_protocol_options.max_requests_per_connection`.
    pub max_requests_per_connection: Option<u32>,
    /// `transport_socket`: connections are TLS.
    pub tls: Option<UpstreamTls>,
    /// `HttpProtocolOptions.explicit_http_config` or `auto_config`.
    pub protocol: Protocol,
}

/// What a cluster's hosts speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `explicit_http_config.http_protocol_options`: HTTP/1.1, the default.
    Http1(Http1Options),
    /// `explicit_http_config.http2_protocol_options`: HTTP/2, without asking.
    Http2(Http2Options),
    /// `auto_config`: what ALPN agrees on.
    Auto(Http2Options),
}

/// Where a cluster's hosts come from.
#[derive(Debug, Clone)]
pub enum ClusterKind {
    /// `type: STATIC` or `STRICT_DNS` with `load_assignment`; a STATIC address is an IP address.
    Leaf {
        /// STRICT_DNS: names are looked up.
        dns: bool,
        /// `dns_refresh_rate`; Envoy's default is 5 s.
        dns_refresh_rate: Duration,
        /// By priority, ascending from 0.
        priorities: Vec<Vec<Endpoint>>,
    },
    /// `envoy.clusters.aggregate` with `CLUSTER_PROVIDED`: the leaves in order, each a level of priority
    /// (its own priorities follow one another). Each exists in the file and is a leaf.
    Aggregate(Vec<String>),
}

/// `dns_lookup_family`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsFamily {
    /// `AUTO`, the default: IPv6, or IPv4 where there is none.
    Auto,
    /// `V4_ONLY`.
    V4Only,
    /// `V6_ONLY`.
    V6Only,
    /// `V4_PREFERRED`: IPv4, or IPv6 where there is none.
    V4Preferred,
    /// `ALL`: both.
    All,
}

/// `envoy.config.endpoint.v3.LbEndpoint`.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `metadata.filter_metadata`: by namespace.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// `load_balancing_weight`; 1 by default.
    pub weight: u32,
}

/// `envoy.config.cluster.v3.CircuitBreakers`: for each process, not for each worker. Envoy's defaults.
#[derive(Debug, Clone, Copy)]
pub struct CircuitBreakers {
    /// `max_connections`: 1024.
    pub max_connections: u32,
    /// `max_pending_requests`: 1024.
    pub max_pending_requests: u32,
    /// `max_requests`: 1024.
    pub max_requests: u32,
    /// `max_retries`: 3.
    pub max_retries: u32,
}

/// `lb_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LbPolicy {
    /// `ROUND_ROBIN`, the default.
    RoundRobin,
    /// `RANDOM`.
    Random,
    /// `LEAST_REQUEST`.
    LeastRequest,
}

/// `envoy.config.core.v3.HealthCheck` over HTTP. Only a 200 is a success.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// `timeout` of a whole check.
    pub timeout: Duration,
    /// `interval` from the end of a check to the next.
    pub interval: Duration,
    /// `unhealthy_threshold`: so many failures in a row make a host unhealthy; another status than 200 does at once.
    pub unhealthy_threshold: u32,
    /// `healthy_threshold`: so many successes in a row make it healthy; one does after the start.
    pub healthy_threshold: u32,
    /// `http_health_check.path`.
    pub path: String,
    /// `http_health_check.host`; the cluster's name by default.
    pub host: Option<String>,
    /// `http_health_check.codec_client_type` is `HTTP2`, whatever the cluster speaks; HTTP/1.1 by default.
    pub http2: bool,
}

// === impl Protocol ===

impl Protocol {
    /// What TLS offers where the file does not say, as in Envoy.
    #[must_use]
    pub fn alpn(&self) -> &'static [&'static [u8]] {
        match self {
            Self::Http1(_) => &[b"http/1.1"],
            Self::Http2(_) => &[b"h2"],
            Self::Auto(_) => &[b"h2", b"http/1.1"],
        }
    }
}
