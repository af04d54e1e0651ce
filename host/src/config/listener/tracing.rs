//! Reading `tracing` of the connection manager: spans for OpenTelemetry, by OTLP over HTTP.

use http::{HeaderName, HeaderValue, Uri};

use super::{TraceExporter, Tracing};
use crate::config::cluster::cluster_name;
use crate::config::common;
use crate::config::reader::{Field, Object};
use crate::config::route::{self, HeaderEdit};

const OPENTELEMETRY_URL: &str = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig";
/// Envoy's default of `max_path_tag_length`.
const MAX_PATH: u32 = 256;
/// Envoy's default of `service_name`.
const SERVICE_NAME: &str = "unknown_service:envoy";

/// Reads `HttpConnectionManager.Tracing`.
pub(super) fn tracing(o: &Object<'_>) -> Option<Tracing> {
    o.refuse(
        &["custom_tags", "operation", "upstream_operation"],
        "spans have the tags and the name that Envoy gives them by itself",
    );
    o.only_bool("spawn_upstream_span", false);
    o.only_bool("verbose", false);
    let provider = o.required("provider").and_then(|provider| {
        common::extension(&provider, OPENTELEMETRY_URL, |o| {
            let service_name = match o.text("service_name").as_str() {
                "" => SERVICE_NAME.to_owned(),
                name => name.to_owned(),
            };
            (service_name, exporter(o))
        })
    });
    let max_path = o.get("max_path_tag_length");
    let max_path = max_path
        .and_then(|f| f.uint(0, u32::MAX))
        .unwrap_or(MAX_PATH);
    let client_sampling = sampling(o, "client_sampling");
    let random_sampling = sampling(o, "random_sampling");
    let overall_sampling = sampling(o, "overall_sampling");
    let (service_name, exporter) = provider?;
    Some(Tracing {
        client_sampling,
        random_sampling,
        overall_sampling,
        max_path: usize::try_from(max_path).unwrap_or(usize::MAX),
        service_name,
        exporter: exporter?,
    })
}

/// A `Percent` in hundredths; everything where it is left out.
fn sampling(o: &Object<'_>, name: &'static str) -> u32 {
    let field = o.get(name);
    let value = |o: &Object<'_>| match o.get("value") {
        Some(value) => value.percent(),
        None => Some(0),
    };
    let read = field.and_then(|field| field.object(value).flatten());
    read.unwrap_or(100 * 100)
}

fn exporter(o: &Object<'_>) -> Option<TraceExporter> {
    o.refuse(
        &["grpc_service"],
        "spans go by OTLP over HTTP: use http_service",
    );
    o.refuse(
        &["resource_detectors", "sampler"],
        "the resource is the service's name, and sampling is the connection manager's",
    );
    o.required_one_of(&["http_service"])?.1.object(|o| {
        o.refuse(&["formatters"], "headers are sent as they are written");
        let added = o.list("request_headers_to_add");
        let headers = added.iter().filter_map(header).collect();
        let uri = o.required("http_uri")?.object(|o| {
            o.refuse(
                &["http_upstream_type"],
                "the cluster says which protocol is spoken",
            );
            let cluster = o.required_one_of(&["cluster"]);
            let cluster = cluster.and_then(|(_, f)| Some(cluster_name(&f, false)?.to_owned()));
            let timeout = o.required("timeout").and_then(|f| f.duration());
            let uri = o.required("uri").and_then(|f| target(&f));
            Some((cluster?, timeout?, uri?))
        });
        let (cluster, timeout, (authority, path)) = uri??;
        Some(TraceExporter {
            cluster,
            authority,
            path,
            timeout,
            headers,
        })
    })?
}

/// A header for the collector: a token, as likely as not, so its value is not shown.
fn header(field: &Field<'_>) -> Option<(HeaderName, HeaderValue)> {
    let (name, mut value) = match route::read_header_value(field, true)? {
        HeaderEdit::Append(name, value)
        | HeaderEdit::AddIfAbsent(name, value)
        | HeaderEdit::Overwrite(name, value)
        | HeaderEdit::OverwriteIfPresent(name, value) => (name, value),
        HeaderEdit::Remove(_) => return None,
    };
    value.set_sensitive(true);
    Some((name, value))
}

/// The authority and the path of a URI.
fn target(field: &Field<'_>) -> Option<(HeaderValue, http::uri::PathAndQuery)> {
    let uri: Option<Uri> = field.name()?.parse().ok();
    let parts = uri.map(Uri::into_parts);
    let found = parts.and_then(|parts| {
        let authority = HeaderValue::from_str(parts.authority?.as_str()).ok()?;
        Some((authority, parts.path_and_query?))
    });
    if found.is_none() {
        field.expected("a URI such as \"http://collector:4318/v1/traces\"");
    }
    found
}
