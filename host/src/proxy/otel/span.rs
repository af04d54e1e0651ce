//! A request's span, with the tags that Envoy gives it.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, header};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{
    Span, SpanFlags, Status, span::SpanKind, status::StatusCode,
};

use super::context::CLIENT_TRACE_ID;
use super::{Started, nanos};
use crate::proxy::access_log::flags;
use crate::stream::Stream;

/// What Envoy calls a span of a listener without a direction.
const NAME: &str = "ingress";
/// What Envoy writes where there is nothing.
const NOTHING: &str = "-";

/// The span of a request that has ended.
pub(super) fn of(started: &Started, stream: &Stream, node: &str, max_path: usize) -> Span {
    let Started {
        context,
        parent,
        state,
    } = started;
    let status = stream.response.as_ref().map(|head| head.status);
    let fails = status.is_none_or(|status| status.is_server_error());
    let mut flags = SpanFlags::ContextHasIsRemoteMask as u32 | u32::from(context.sampled);
    if parent.is_some() {
        flags |= SpanFlags::ContextIsRemoteMask as u32;
    }
    Span {
        trace_id: context.trace.to_be_bytes().to_vec(),
        span_id: context.span.to_be_bytes().to_vec(),
        trace_state: state.clone(),
        parent_span_id: parent.map_or_else(Vec::new, |parent| parent.to_be_bytes().to_vec()),
        flags,
        name: NAME.to_owned(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: nanos(stream.info.start),
        end_time_unix_nano: nanos(SystemTime::now()),
        attributes: tags(stream, node, max_path, fails),
        status: Some(Status {
            // As Envoy: a request without an answer is an `error`, and its status stays open.
            code: match status {
                Some(_) if fails => StatusCode::Error.into(),
                _ => StatusCode::Unset.into(),
            },
            ..Status::default()
        }),
        ..Span::default()
    }
}

fn tags(stream: &Stream, node: &str, max_path: usize, fails: bool) -> Vec<KeyValue> {
    let (info, request) = (&stream.info, &stream.request);
    let status = stream
        .response
        .as_ref()
        .map_or(0, |head| head.status.as_u16());
    let flags: Vec<_> = flags(stream).iter().map(|(short, _)| *short).collect();
    let own = |name| text(&request.headers, name).unwrap_or_else(|| NOTHING.to_owned());
    let mut tags = vec![
        tag("node_id", node),
        tag("zone", ""),
        tag(
            "guid:x-request-id",
            own(&HeaderName::from_static("x-request-id")),
        ),
        tag("http.url", url(stream, max_path)),
        tag("http.method", request.method.as_str()),
        tag(
            "downstream_cluster",
            own(&HeaderName::from_static(
                "x-envoy-downstream-service-cluster",
            )),
        ),
        tag("user_agent", own(&header::USER_AGENT)),
        tag(
            "http.protocol",
            format!("{:?}", info.protocol).replace(".0", ""),
        ),
        tag("peer.address", info.direct_source.ip().to_string()),
        tag("request_size", info.request_bytes.to_string()),
        tag("response_size", info.response_bytes.to_string()),
        tag("component", "proxy"),
        tag("http.status_code", status.to_string()),
        tag(
            "response_flags",
            if flags.is_empty() {
                NOTHING.to_owned()
            } else {
                flags.join(",")
            },
        ),
    ];
    if let Some(cluster) = &info.cluster {
        tags.push(tag("upstream_cluster", &**cluster));
        tags.push(tag("upstream_cluster.name", &**cluster));
    }
    tags.extend(
        text(&request.headers, &CLIENT_TRACE_ID).map(|id| tag("guid:x-client-trace-id", id)),
    );
    if fails {
        tags.push(tag("error", "true"));
    }
    tags
}

/// The request's URL, its path cut as the file says.
fn url(stream: &Stream, max_path: usize) -> String {
    let request = &stream.request;
    let path = request.path.as_bytes();
    let path = path.get(..max_path).unwrap_or(path);
    let scheme = String::from_utf8_lossy(request.scheme.as_bytes());
    let host = text(&request.headers, &header::HOST).unwrap_or_default();
    format!("{scheme}://{host}{}", String::from_utf8_lossy(path))
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// One attribute; Envoy's are all text.
pub(super) fn tag(name: &str, value: impl Into<String>) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.into())),
        }),
        ..KeyValue::default()
    }
}
