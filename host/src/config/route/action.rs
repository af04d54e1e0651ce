//! Reading what a route does.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::{DirectResponse, Forward, GrpcTimeout, Mirror, Redirect, RouteUpgrade, Target, retry};
use crate::config::cluster::cluster_name;
use crate::config::common::{self, Data};
use crate::config::reader::{Field, Object};

/// Envoy's default of a route's `timeout`.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Envoy's default of `max_direct_response_body_size_bytes`.
const MAX_DIRECT_BODY: usize = 4096;

/// Reads a `RouteAction`.
pub(super) fn forward(field: &Field<'_>) -> Option<Forward> {
    field.object(|o| {
        o.refuse(
            &[
                "cluster_specifier_plugin",
                "inline_cluster_specifier_plugin",
            ],
            "use cluster or weighted_clusters",
        );
        o.refuse(
            &["hash_policy"],
            "stickiness is the rollout document's: sticky",
        );
        o.refuse(
            &["regex_rewrite", "path_rewrite_policy"],
            "use prefix_rewrite",
        );
        o.refuse(
            &[
                "auto_host_rewrite",
                "host_rewrite_header",
                "host_rewrite_path_regex",
            ],
            "use host_rewrite_literal",
        );
        let target = o.required_one_of(&["cluster", "cluster_header", "weighted_clusters"]);
        let (max_stream_duration, grpc_timeout) = o
            .get("max_stream_duration")
            .and_then(|f| f.object(max_stream))
            .unwrap_or_default();
        let host_rewrite = o.get("host_rewrite_literal").and_then(|f| {
            let value = HeaderValue::from_str(f.name()?).ok();
            if value.is_none() {
                f.expected("a host's name");
            }
            value
        });
        Some(Forward {
            timeout: o.duration("timeout", TIMEOUT),
            idle_timeout: o.get("idle_timeout").and_then(|f| f.duration()),
            max_stream_duration,
            grpc_timeout,
            prefix_rewrite: Some(o.text("prefix_rewrite")).filter(|p| !p.is_empty()),
            host_rewrite,
            retry: o.get("retry_policy").and_then(|f| retry::retry_policy(&f)),
            mirrors: o
                .list("request_mirror_policies")
                .iter()
                .filter_map(mirror)
                .collect(),
            upgrades: o
                .list("upgrade_configs")
                .iter()
                .filter_map(upgrade)
                .collect(),
            target: self::target(target?)?,
        })
    })?
}

fn target((name, field): (&'static str, Field<'_>)) -> Option<Target> {
    match name {
        "cluster" => cluster_name(&field, false).map(|name| Target::Cluster(name.to_owned())),
        "cluster_header" => {
            let header = field.name()?.parse().ok();
            if header.is_none() {
                field.expected("a header's name");
            }
            header.map(Target::ClusterHeader)
        }
        _ => field.object(weighted).flatten().map(Target::Weighted),
    }
}

fn weighted(o: &Object<'_>) -> Option<Vec<(String, u32)>> {
    o.refuse(
        &["total_weight"],
        "deprecated; the total is the sum of the weights",
    );
    let list = o.required("clusters")?;
    let entry = |f: &Field<'_>| {
        f.object(|o| {
            o.refuse(&["cluster_header"], "use name");
            let weight = o.required("weight").and_then(|f| f.uint(0, u32::MAX));
            Some((
                cluster_name(&o.required("name")?, false)?.to_owned(),
                weight?,
            ))
        })?
    };
    let items = list.items();
    let clusters: Vec<_> = items.iter().filter_map(entry).collect();
    let sum: u64 = clusters.iter().map(|(_, weight)| u64::from(*weight)).sum();
    if clusters.len() == items.len() && !(1..=u64::from(u32::MAX)).contains(&sum) {
        list.error(format!(
            "the weights must add up to 1 to {}, not {sum}",
            u32::MAX
        ));
    }
    Some(clusters)
}

/// Reads a `MaxStreamDuration`.
fn max_stream(o: &Object<'_>) -> (Option<Duration>, Option<GrpcTimeout>) {
    let max = o.get("grpc_timeout_header_max").and_then(|f| f.duration());
    let offset = o.get("grpc_timeout_header_offset");
    if let (None, Some(offset)) = (max, &offset) {
        offset.warning("has no effect without grpc_timeout_header_max");
    }
    let offset = offset.and_then(|f| f.duration());
    let duration = o.get("max_stream_duration").and_then(|f| f.duration());
    (duration, max.map(|max| GrpcTimeout { max, offset }))
}

fn upgrade(field: &Field<'_>) -> Option<RouteUpgrade> {
    field.object(|o| {
        let kind = o.required_name("upgrade_type").to_ascii_lowercase();
        let connect = o.get("connect_config");
        if let Some(connect) = &connect {
            connect.object(|o| {
                o.refuse(
                    &["proxy_protocol_config"],
                    "there is no PROXY protocol here",
                );
                o.only_bool("allow_post", false);
            });
            if kind != "connect" {
                connect.error("is for the upgrade_type CONNECT only");
            }
        }
        RouteUpgrade {
            kind,
            enabled: o.bool("enabled", true),
            terminate: connect.is_some(),
        }
    })
}

fn mirror(field: &Field<'_>) -> Option<Mirror> {
    field.object(|o| {
        o.refuse(&["cluster_header"], "use cluster");
        let cluster = o
            .required("cluster")
            .and_then(|f| Some(cluster_name(&f, false)?.to_owned()));
        let share = o
            .get("runtime_fraction")
            .map(|f| f.object(fraction).flatten());
        Some(Mirror {
            cluster: cluster?,
            per_million: share.unwrap_or(Some(1_000_000))?,
        })
    })?
}

/// Reads a `RuntimeFractionalPercent`'s default, in millionths.
fn fraction(o: &Object<'_>) -> Option<u32> {
    o.refuse(
        &["runtime_key"],
        "there is no runtime; default_value is the share",
    );
    o.required("default_value")?.object(|o| {
        let denominator = o.get("denominator").map(|f| {
            f.choice(&[
                ("HUNDRED", 100),
                ("TEN_THOUSAND", 10_000),
                ("MILLION", 1_000_000),
            ])
        });
        let numerator = o.get("numerator");
        let denominator = denominator.unwrap_or(Some(100))?;
        let numerator = match numerator {
            Some(field) => field.uint(0, denominator)?,
            None => 0,
        };
        Some(numerator * (1_000_000 / denominator))
    })?
}

/// Reads a `DirectResponseAction`.
pub(super) fn direct(field: &Field<'_>) -> Option<DirectResponse> {
    field.object(|o| {
        o.refuse(&["body_format"], "use body");
        let status = o.required("status").and_then(|f| f.uint(200, 599));
        let body = o.get("body").map(|f| body(&f));
        let status = StatusCode::from_u16(u16::try_from(status?).ok()?).ok()?;
        Some(DirectResponse {
            status,
            body: body.unwrap_or_else(|| Some(Bytes::new()))?,
        })
    })?
}

fn body(field: &Field<'_>) -> Option<Bytes> {
    let body = match common::data_source(field)? {
        Data::Inline(bytes) => bytes,
        Data::File(path) => file(field, &path)?,
    };
    if body.len() > MAX_DIRECT_BODY {
        field.error(format!(
            "is {} bytes long; Envoy allows {MAX_DIRECT_BODY}",
            body.len()
        ));
        return None;
    }
    Some(body)
}

fn file(field: &Field<'_>, path: &Path) -> Option<Bytes> {
    match std::fs::read(path) {
        Ok(bytes) => Some(bytes.into()),
        Err(e) => {
            field.error(format!("cannot read {}: {e}", path.display()));
            None
        }
    }
}

/// Reads a `RedirectAction`.
pub(super) fn redirect(field: &Field<'_>) -> Option<Redirect> {
    field.object(|o| {
        o.refuse(&["prefix_rewrite", "regex_rewrite"], "use path_redirect");
        let codes = [
            ("MOVED_PERMANENTLY", StatusCode::MOVED_PERMANENTLY),
            ("FOUND", StatusCode::FOUND),
            ("SEE_OTHER", StatusCode::SEE_OTHER),
            ("TEMPORARY_REDIRECT", StatusCode::TEMPORARY_REDIRECT),
            ("PERMANENT_REDIRECT", StatusCode::PERMANENT_REDIRECT),
        ];
        let scheme = match o.one_of(&["https_redirect", "scheme_redirect"]) {
            Some(("https_redirect", f)) => {
                f.bool().filter(|https| *https).map(|_| "https".to_owned())
            }
            Some((_, f)) => f.name().map(str::to_owned),
            None => None,
        };
        let name = |name| o.get(name).and_then(|f| f.name()).map(str::to_owned);
        Redirect {
            status: o
                .get("response_code")
                .and_then(|f| f.choice(&codes))
                .unwrap_or(StatusCode::MOVED_PERMANENTLY),
            scheme,
            host: name("host_redirect"),
            path: name("path_redirect"),
        }
    })
}
