//! Failures as answers: one function from each failure to what the client gets, in Envoy's words.

mod flags;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use strum::{EnumMessage, VariantArray};

use super::attempt::AttemptFailure;
use super::grpc::code;
use super::upstream::connection::AttemptError;
use crate::stream::LocalReply;
pub use flags::{FLAGS, Flag, RETRY_LIMIT, flag};

/// How the answers begin where a filter took a header away that a message needs.
const MISSING: &str = "missing required header:";

/// Their details.
const REQUEST_HEADERS: &str = "filter_removed_required_request_headers";
const RESPONSE_HEADERS: &str = "filter_removed_required_response_headers";

/// How the answers begin where an upstream sent none.
const RESET: &str = "upstream connect error or disconnect/reset before headers.";

/// Tells a client that the answer is for want of capacity.
static OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// Why the gateway itself answers. What is said of each stands in `host/ERRORS.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumMessage, VariantArray)]
pub enum GatewayError {
    /// The request has no `host`.
    MissingHost,
    /// It has more headers than `max_headers_count`.
    TooManyHeaders,
    /// A header's name has an underscore, and `headers_with_underscores_action` refuses those.
    Underscore,
    /// It has `content-length` and `transfer-encoding`, or two lengths: two servers may read it differently.
    AmbiguousLength,
    /// Its method is none of HTTP's.
    Method,
    /// Its target is neither a path nor an `http` or `https` URL (nor `*` for `OPTIONS`).
    Target,
    /// It is HTTP/1.0.
    Version,
    /// It asks for an upgrade, which its route does not allow.
    Upgrade,
    /// No route matches it.
    NoRoute,
    /// The route names a cluster that is not there.
    NoCluster,
    /// The cluster has no host that is healthy; with failover, no environment has.
    NoHost,
    /// The cluster's `circuit_breakers` allow no more requests at a time.
    Overflow,
    /// The route's `timeout` is up.
    Timeout,
    /// `request_timeout` is up: the client has not sent the request in full.
    RequestTimeout,
    /// Nothing has come from the client for `stream_idle_timeout`.
    RequestIdle,
    /// Nothing has come from the upstream for `stream_idle_timeout`, or the route's `idle_timeout`.
    ResponseIdle,
    /// `max_stream_duration` is up, and the client has not sent the request in full.
    RequestDuration,
    /// `max_stream_duration` is up.
    ResponseDuration,
    /// A filter has no configuration yet: its document has not come.
    FilterUnconfigured,
    /// A filter's VM has failed and is not back; the log says where it trapped.
    FilterUnready,
    /// A filter trapped during this request; the log says where.
    FilterFailed,
    /// A filter holds back more of the request's body than `per_connection_buffer_limit_bytes`.
    RequestTooLarge,
    /// A filter holds back more of the response's body than `per_connection_buffer_limit_bytes`.
    ResponseTooLarge,
    /// A filter has given the request a `:path` that is none.
    FilteredPath,
    /// A filter has given the request a `host` that HTTP/2 cannot write as `:authority`.
    FilteredAuthority,
    /// A filter has removed the request's `:method`.
    RemovedMethod,
    /// A filter has removed the request's `:path`.
    RemovedPath,
    /// A filter has removed the response's `:status`.
    RemovedStatus,
}

/// The answer to a failure of the gateway's own.
#[must_use]
pub fn gateway(error: GatewayError) -> LocalReply {
    use StatusCode as S;
    let (status, body, details) = match error {
        GatewayError::MissingHost => (S::BAD_REQUEST, "", "missing_host_header"),
        GatewayError::TooManyHeaders => (
            S::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Request Header Fields Too Large",
            "http1.too_many_headers",
        ),
        GatewayError::Underscore => (S::BAD_REQUEST, "Bad Request", "http1.unexpected_underscore"),
        GatewayError::AmbiguousLength => (
            S::BAD_REQUEST,
            "Bad Request",
            "http1.content_length_and_chunked_not_allowed",
        ),
        GatewayError::Method => (S::BAD_REQUEST, "Bad Request", "http1.codec_error"),
        GatewayError::Target => (S::BAD_REQUEST, "Bad Request", "http1.invalid_url"),
        GatewayError::Version => (S::UPGRADE_REQUIRED, "Upgrade Required", "low_version"),
        GatewayError::Upgrade => (S::FORBIDDEN, "", "upgrade_failed"),
        GatewayError::NoRoute => (S::NOT_FOUND, "", "route_not_found"),
        GatewayError::NoCluster => (S::SERVICE_UNAVAILABLE, "", "cluster_not_found"),
        GatewayError::NoHost => (
            S::SERVICE_UNAVAILABLE,
            "no healthy upstream",
            "no_healthy_upstream",
        ),
        GatewayError::Overflow => {
            let mut reply = reset(
                S::SERVICE_UNAVAILABLE,
                "overflow",
                "upstream_reset_before_response_started{overflow}",
                false,
            );
            reply
                .headers
                .push((OVERLOADED.clone(), HeaderValue::from_static("true")));
            return reply;
        }
        GatewayError::Timeout => (
            S::GATEWAY_TIMEOUT,
            "upstream request timeout",
            "response_timeout",
        ),
        GatewayError::RequestTimeout => (
            S::REQUEST_TIMEOUT,
            "request timeout",
            "request_overall_timeout",
        ),
        GatewayError::RequestIdle => (S::REQUEST_TIMEOUT, "stream timeout", "stream_idle_timeout"),
        GatewayError::ResponseIdle => (S::GATEWAY_TIMEOUT, "stream timeout", "stream_idle_timeout"),
        GatewayError::RequestDuration => return too_long(S::REQUEST_TIMEOUT),
        GatewayError::ResponseDuration => return too_long(S::GATEWAY_TIMEOUT),
        GatewayError::FilterUnconfigured => (S::INTERNAL_SERVER_ERROR, "", "filter_unready"),
        GatewayError::FilterUnready => (S::SERVICE_UNAVAILABLE, "", "filter_unready"),
        GatewayError::FilterFailed => (S::SERVICE_UNAVAILABLE, "", "wasm_fail_stream"),
        GatewayError::RequestTooLarge => {
            (S::PAYLOAD_TOO_LARGE, "Payload Too Large", "buffer_limit")
        }
        GatewayError::ResponseTooLarge => (
            S::INTERNAL_SERVER_ERROR,
            "Internal Server Error",
            "buffer_limit",
        ),
        GatewayError::FilteredPath => (S::BAD_REQUEST, "", "invalid_path"),
        GatewayError::FilteredAuthority => (S::BAD_REQUEST, "", "invalid_authority"),
        GatewayError::RemovedMethod => {
            return missing(S::SERVICE_UNAVAILABLE, ":method", REQUEST_HEADERS);
        }
        GatewayError::RemovedPath => {
            return missing(S::SERVICE_UNAVAILABLE, ":path", REQUEST_HEADERS);
        }
        GatewayError::RemovedStatus => {
            return missing(S::BAD_GATEWAY, ":status", RESPONSE_HEADERS);
        }
    };
    LocalReply::text(status, body, details)
}

/// The answer where an exchange has taken too long.
fn too_long(status: StatusCode) -> LocalReply {
    let text = "downstream duration timeout";
    let mut reply = LocalReply::text(status, text, "max_duration_timeout");
    reply.grpc_status = u8::try_from(code::DEADLINE_EXCEEDED).ok();
    reply
}

/// The answer to an attempt that failed and is not followed by another; `retried` where one came before it.
#[must_use]
pub fn attempt(failure: &AttemptFailure, retried: bool) -> LocalReply {
    use StatusCode as S;
    let error = match failure {
        AttemptFailure::Reply(reply) => return reply.clone(),
        AttemptFailure::Error(error) => *error,
        AttemptFailure::Body(_) => AttemptError::RequestBody,
    };
    let (status, reason, details) = match error {
        AttemptError::Connect => (
            S::SERVICE_UNAVAILABLE,
            "remote connection failure",
            "upstream_reset_before_response_started{remote_connection_failure}",
        ),
        AttemptError::Untrusted => (
            S::SERVICE_UNAVAILABLE,
            "remote connection failure",
            "upstream_reset_before_response_started{remote_connection_failure|TLS_error:certificate_verify_failed}",
        ),
        AttemptError::Handshake => (
            S::SERVICE_UNAVAILABLE,
            "remote connection failure",
            "upstream_reset_before_response_started{remote_connection_failure|TLS_error:handshake_failed}",
        ),
        AttemptError::RemoteReset => (
            S::SERVICE_UNAVAILABLE,
            "remote reset",
            "upstream_reset_before_response_started{remote_reset}",
        ),
        AttemptError::RefusedStream => (
            S::SERVICE_UNAVAILABLE,
            "remote refused stream reset",
            "upstream_reset_before_response_started{remote_refused_stream_reset}",
        ),
        AttemptError::ConnectTimeout => (
            S::SERVICE_UNAVAILABLE,
            "connection timeout",
            "upstream_reset_before_response_started{connection_timeout}",
        ),
        AttemptError::ResetBeforeRequest | AttemptError::Reset => (
            S::SERVICE_UNAVAILABLE,
            "connection termination",
            "upstream_reset_before_response_started{connection_termination}",
        ),
        AttemptError::Protocol => (
            S::BAD_GATEWAY,
            "protocol error",
            "upstream_reset_before_response_started{protocol_error}",
        ),
        AttemptError::RequestBody => {
            return LocalReply::text(S::BAD_REQUEST, "", "downstream_remote_disconnect");
        }
        AttemptError::PerTryTimeout => {
            return LocalReply::text(
                S::GATEWAY_TIMEOUT,
                "upstream request timeout",
                "upstream_per_try_timeout",
            );
        }
    };
    reset(status, reason, details, retried)
}

/// The answer to a request or response from which a filter has taken a pseudo header that HTTP needs.
fn missing(status: StatusCode, pseudo_header: &str, details: &'static str) -> LocalReply {
    let mut reply = LocalReply::text(status, MISSING, details);
    reply.body = Bytes::from(format!("{MISSING} {pseudo_header}"));
    reply
}

/// The answer where no response's head came.
fn reset(status: StatusCode, reason: &str, details: &'static str, retried: bool) -> LocalReply {
    let again = if retried {
        "retried and the latest "
    } else {
        ""
    };
    let mut reply = LocalReply::text(status, RESET, details);
    reply.body = Bytes::from(format!("{RESET} {again}reset reason: {reason}"));
    reply
}
