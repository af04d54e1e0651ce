//! Failures as answers: one function from each failure to what the client gets, in Envoy's words.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::attempt::AttemptFailure;
use super::grpc::code;
use super::upstream::connection::AttemptError;
use crate::stream::LocalReply;

/// How the answers begin where a filter took a header away that a message needs.
const MISSING: &str = "missing required header:";

/// How the answers begin where an upstream sent none.
const RESET: &str = "upstream connect error or disconnect/reset before headers.";

/// Tells a client that the answer is for want of capacity.
static OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// Why the gateway itself answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayError {
    /// No `host`.
    MissingHost,
    /// More headers than `max_headers_count`.
    TooManyHeaders,
    /// A header's name with an underscore, where the file refuses those.
    Underscore,
    /// Both lengths, or two: a request that two servers may read differently.
    AmbiguousLength,
    /// A method that is none of HTTP's.
    Method,
    /// A target that is neither a path nor an `http` or `https` URL (nor `*` for `OPTIONS`).
    Target,
    /// HTTP/1.0.
    Version,
    /// An upgrade, which no route allows.
    Upgrade,
    /// No route matches.
    NoRoute,
    /// The route names a cluster that is not there.
    NoCluster,
    /// The cluster has no host.
    NoHost,
    /// Too many requests in flight.
    Overflow,
    /// The route's time is up.
    Timeout,
    /// The time for the request is up.
    RequestTimeout,
    /// Nothing has happened for too long.
    Idle {
        /// The request has come in full.
        complete: bool,
    },
    /// The exchange has taken too long.
    MaxDuration {
        /// The request has come in full.
        complete: bool,
    },
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
        GatewayError::Idle { complete } => {
            (late(complete), "stream timeout", "stream_idle_timeout")
        }
        GatewayError::MaxDuration { complete } => {
            let text = "downstream duration timeout";
            let mut reply = LocalReply::text(late(complete), text, "max_duration_timeout");
            reply.grpc_status = u8::try_from(code::DEADLINE_EXCEEDED).ok();
            return reply;
        }
    };
    LocalReply::text(status, body, details)
}

/// Who is late: the upstream, or the client, whose request has not come in full.
fn late(complete: bool) -> StatusCode {
    match complete {
        true => StatusCode::GATEWAY_TIMEOUT,
        false => StatusCode::REQUEST_TIMEOUT,
    }
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
#[must_use]
pub fn missing(status: StatusCode, pseudo_header: &str, details: &'static str) -> LocalReply {
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
