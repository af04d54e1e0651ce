//! Reading clusters.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{
    CircuitBreakers, Cluster, ClusterKind, DnsFamily, Endpoint, HealthCheck, LbPolicy, Protocol,
    protocol,
};
use crate::config::common;
use crate::config::facts::ClusterUse;
use crate::config::node::{Node, Value};
use crate::config::reader::{Field, Object};
use crate::config::tls::{self, UpstreamTls};

const AGGREGATE_URL: &str =
    "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig";
/// Envoy's default of `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Envoy's default of `dns_refresh_rate`.
const DNS_REFRESH_RATE: Duration = Duration::from_secs(5);
/// Envoy's bound of `priority`.
const MAX_PRIORITY: u32 = 128;

/// Reads a `Cluster`; `None` after an error in it.
pub(in crate::config) fn cluster(field: &Field<'_>) -> Option<Cluster> {
    field.object(|o| {
        refuse(o);
        let name = o.required_name("name");
        let options = o.get("typed_extension_protocol_options");
        let options = options
            .and_then(|f| protocol::read(&f, &name))
            .unwrap_or_default();
        let kind = kind(o);
        Some(Cluster {
            lb_policy: lb_policy(o, kind.as_ref()),
            dns_family: dns_family(o),
            connect_timeout: o
                .get("connect_timeout")
                .and_then(|f| f.positive_duration())
                .unwrap_or(CONNECT_TIMEOUT),
            limits: o
                .get("circuit_breakers")
                .and_then(|f| circuit_breakers(&f))
                .unwrap_or_default(),
            health_check: health_checks(o),
            upstream_filters: options.filters,
            idle_timeout: options.idle_timeout,
            max_requests_per_connection: options.max_requests_per_connection,
            tls: transport_socket(o, kind.as_ref(), options.protocol),
            protocol: options.protocol,
            name,
            kind: kind?,
        })
    })?
}

fn refuse(o: &Object<'_>) {
    o.refuse(
        &["transport_socket_matches"],
        "a cluster has one transport_socket",
    );
    o.refuse(
        &[
            "http_protocol_options",
            "http2_protocol_options",
            "common_http_protocol_options",
            "max_requests_per_connection",
        ],
        "deprecated; use typed_extension_protocol_options with HttpProtocolOptions",
    );
    o.refuse(
        &["eds_cluster_config"],
        "there is no xDS; use type STATIC or STRICT_DNS with load_assignment",
    );
    o.refuse(&["hosts"], "use load_assignment");
    o.only_bool("respect_dns_ttl", false);
}

fn transport_socket(
    o: &Object<'_>,
    kind: Option<&ClusterKind>,
    protocol: Protocol,
) -> Option<UpstreamTls> {
    let Some(field) = o.get("transport_socket") else {
        if matches!(protocol, Protocol::Auto(_)) {
            o.missing(
                "transport_socket",
                "auto_config needs TLS, which agrees on the protocol",
            );
        }
        return None;
    };
    if matches!(kind, Some(ClusterKind::Aggregate(_))) {
        field.error("an aggregate has no connections of its own; its leaves have");
    }
    tls::read_upstream(&field)
}

fn kind(o: &Object<'_>) -> Option<ClusterKind> {
    match o.one_of(&["type", "cluster_type"]) {
        Some(("cluster_type", field)) => {
            let leaves = common::extension(&field, AGGREGATE_URL, leaves);
            if let Some(field) = o.get("load_assignment") {
                field.error("an aggregate has no endpoints of its own; its leaves have");
            }
            leaves.map(ClusterKind::Aggregate)
        }
        kind => {
            let dns = kind
                .and_then(|(_, f)| f.choice(&[("STATIC", false), ("STRICT_DNS", true)]))
                .unwrap_or(false);
            let refresh = o.get("dns_refresh_rate").and_then(|f| {
                let rate = f.duration()?;
                if rate <= Duration::from_millis(1) {
                    f.error("must be above 0.001s");
                }
                Some(rate)
            });
            let priorities = o
                .required("load_assignment")
                .and_then(|f| load_assignment(&f, dns));
            Some(ClusterKind::Leaf {
                dns,
                dns_refresh_rate: refresh.unwrap_or(DNS_REFRESH_RATE),
                priorities: priorities.unwrap_or_default(),
            })
        }
    }
}

fn leaves(o: &Object<'_>) -> Vec<String> {
    let Some(list) = o.required("clusters") else {
        return Vec::new();
    };
    let leaves: Vec<_> = list
        .items()
        .iter()
        .filter_map(|f| Some(cluster_name(f, true)?.to_owned()))
        .collect();
    if leaves.is_empty() && matches!(list.node().value, Value::List(_)) {
        list.error("an aggregate needs at least one cluster");
    }
    leaves
}

/// Reads a cluster's name and notes that it must exist, as a leaf or as either kind.
pub(in crate::config) fn cluster_name<'a>(field: &Field<'a>, leaf: bool) -> Option<&'a str> {
    let name = field.name()?;
    let mention = ClusterUse {
        name: name.to_owned(),
        place: field.place(),
        leaf,
    };
    field
        .context()
        .facts
        .cluster_uses
        .borrow_mut()
        .push(mention);
    Some(name)
}

fn lb_policy(o: &Object<'_>, kind: Option<&ClusterKind>) -> LbPolicy {
    let field = o.get("lb_policy");
    match kind {
        None => LbPolicy::RoundRobin,
        Some(ClusterKind::Aggregate(_)) => {
            match field {
                Some(field) => field
                    .choice(&[("CLUSTER_PROVIDED", ())])
                    .unwrap_or_default(),
                None => o.missing("lb_policy", "an aggregate needs CLUSTER_PROVIDED"),
            }
            LbPolicy::RoundRobin
        }
        Some(ClusterKind::Leaf { .. }) => field
            .and_then(|f| {
                f.choice(&[
                    ("ROUND_ROBIN", LbPolicy::RoundRobin),
                    ("RANDOM", LbPolicy::Random),
                    ("LEAST_REQUEST", LbPolicy::LeastRequest),
                ])
            })
            .unwrap_or(LbPolicy::RoundRobin),
    }
}

fn dns_family(o: &Object<'_>) -> DnsFamily {
    let names = [
        ("AUTO", DnsFamily::Auto),
        ("V4_ONLY", DnsFamily::V4Only),
        ("V6_ONLY", DnsFamily::V6Only),
        ("V4_PREFERRED", DnsFamily::V4Preferred),
        ("ALL", DnsFamily::All),
    ];
    o.get("dns_lookup_family")
        .and_then(|f| f.choice(&names))
        .unwrap_or(DnsFamily::Auto)
}

fn load_assignment(field: &Field<'_>, dns: bool) -> Option<Vec<Vec<Endpoint>>> {
    field.object(|o| {
        o.required_name("cluster_name");
        let mut priorities: Vec<Vec<Endpoint>> = Vec::new();
        for group in o.list("endpoints") {
            group.object(|o| {
                o.refuse(
                    &["locality", "load_balancing_weight"],
                    "localities are not weighed; use priority",
                );
                let priority = o
                    .get("priority")
                    .and_then(|f| f.uint(0, MAX_PRIORITY))
                    .unwrap_or(0);
                let level = usize::try_from(priority).unwrap_or(0);
                if priorities.len() <= level {
                    priorities.resize_with(level + 1, Vec::new);
                }
                let endpoints = o.list("lb_endpoints");
                if let Some(at) = priorities.get_mut(level) {
                    at.extend(endpoints.iter().filter_map(|f| endpoint(f, dns)));
                }
            });
        }
        priorities
    })
}

fn endpoint(field: &Field<'_>, dns: bool) -> Option<Endpoint> {
    field.object(|o| {
        let address = o
            .required("endpoint")
            .and_then(|f| f.object(|o| o.required("address"))?);
        let metadata = o.get("metadata").and_then(|f| metadata(&f));
        let weight = o
            .get("load_balancing_weight")
            .and_then(|f| f.uint(1, u32::MAX));
        let (host, port) = common::host_port(address.as_ref()?, 1)?;
        if !dns && !host.is_empty() && host.parse::<IpAddr>().is_err() {
            address?.error(format!(
                "{host:?} is no IP address; a STATIC cluster needs one, STRICT_DNS takes names"
            ));
        }
        Some(Endpoint {
            host,
            port,
            metadata: metadata.unwrap_or_default(),
            weight: weight.unwrap_or(1),
        })
    })?
}

fn metadata(field: &Field<'_>) -> Option<BTreeMap<String, serde_json::Value>> {
    field.object(|o| {
        let namespaces = o
            .get("filter_metadata")
            .map(|f| f.entries())
            .unwrap_or_default();
        namespaces
            .iter()
            .map(|(name, f)| ((*name).to_owned(), json(f.node())))
            .collect()
    })
}

/// A `google.protobuf.Struct`'s value; numbers are doubles there, so whole ones are integers here.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => format!("{n}")
            .parse()
            .map_or(serde_json::Value::Null, serde_json::Value::Number),
        Value::Text { text, .. } => text.clone().into(),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.clone(), json(node)))
            .collect(),
    }
}

fn circuit_breakers(field: &Field<'_>) -> Option<CircuitBreakers> {
    field.object(|o| {
        let mut limits = None;
        for threshold in o.list("thresholds") {
            if limits.is_some() {
                threshold.error("only one entry, of priority DEFAULT, is supported");
            }
            limits = threshold.object(|o| {
                if let Some(priority) = o.get("priority") {
                    priority.choice(&[("DEFAULT", ())]);
                }
                let default = CircuitBreakers::default();
                CircuitBreakers {
                    max_connections: o.uint("max_connections", default.max_connections),
                    max_pending_requests: o
                        .uint("max_pending_requests", default.max_pending_requests),
                    max_requests: o.uint("max_requests", default.max_requests),
                    max_retries: o.uint("max_retries", default.max_retries),
                }
            });
        }
        limits.unwrap_or_default()
    })
}

/// The only entry of `health_checks`.
fn health_checks(o: &Object<'_>) -> Option<HealthCheck> {
    let list = o.list("health_checks");
    for second in list.iter().skip(1) {
        second.error("only one health check is supported");
    }
    list.first().and_then(health_check)
}

fn health_check(field: &Field<'_>) -> Option<HealthCheck> {
    field.object(|o| {
        o.refuse(
            &[
                "tcp_health_check",
                "grpc_health_check",
                "custom_health_check",
            ],
            "use http_health_check",
        );
        let timeout = o.required("timeout").and_then(|f| f.positive_duration());
        let interval = o.required("interval").and_then(|f| f.positive_duration());
        let unhealthy = o
            .required("unhealthy_threshold")
            .and_then(|f| f.uint(0, u32::MAX));
        let healthy = o
            .required("healthy_threshold")
            .and_then(|f| f.uint(0, u32::MAX));
        let (_, http) = o.required_one_of(&["http_health_check"])?;
        http.object(|o| {
            let path = o.required_name("path");
            if let Some(field) = o.get("path").filter(|_| !path.is_empty())
                && (!path.starts_with('/') || path.parse::<http::Uri>().is_err())
            {
                field.error("must be the path of a URL, as in /health");
            }
            let host = o.get("host").and_then(|f| f.name()).map(str::to_owned);
            let codecs = [("HTTP1", false), ("HTTP2", true)];
            let http2 = o.get("codec_client_type").and_then(|f| f.choice(&codecs));
            Some(HealthCheck {
                timeout: timeout?,
                interval: interval?,
                unhealthy_threshold: unhealthy?,
                healthy_threshold: healthy?,
                path,
                host,
                http2: http2.unwrap_or(false),
            })
        })?
    })?
}

// === impl CircuitBreakers ===

impl Default for CircuitBreakers {
    /// Envoy's.
    fn default() -> Self {
        CircuitBreakers {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
        }
    }
}
