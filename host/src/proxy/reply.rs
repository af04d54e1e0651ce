//! Failures as answers: one function from each failure to what the client gets, in Envoy's words.

use http::StatusCode;

use super::attempt::AttemptFailure;
use super::upstream::connection::AttemptError;
use crate::stream::LocalReply;

/// Why the gateway itself answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayError {
    /// No `host`.
    MissingHost,
    /// Both lengths, or two: a request that two servers may read differently.
    AmbiguousLength,
    /// `CONNECT`, which no route takes.
    Connect,
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
}

/// The answer to a failure of the gateway's own.
#[must_use]
pub fn gateway(error: GatewayError) -> LocalReply {
    use StatusCode as S;
    let (status, body, details) = match error {
        GatewayError::MissingHost => (S::BAD_REQUEST, "", "missing_host_header"),
        GatewayError::AmbiguousLength => (
            S::BAD_REQUEST,
            "Bad Request",
            "http1.content_length_and_chunked_not_allowed",
        ),
        GatewayError::Connect => (S::NOT_FOUND, "", "no_route"),
        GatewayError::Upgrade => (S::FORBIDDEN, "", "upgrade_failed"),
        GatewayError::NoRoute => (S::NOT_FOUND, "", "route_not_found"),
        GatewayError::NoCluster => (S::SERVICE_UNAVAILABLE, "", "cluster_not_found"),
        GatewayError::NoHost => (
            S::SERVICE_UNAVAILABLE,
            "no healthy upstream",
            "no_healthy_upstream",
        ),
        GatewayError::Overflow => (
            S::SERVICE_UNAVAILABLE,
            "upstream connect error or disconnect/reset before headers. reset reason: overflow",
            "upstream_reset_before_response_started{overflow}",
        ),
        GatewayError::Timeout => (
            S::GATEWAY_TIMEOUT,
            "upstream request timeout",
            "response_timeout",
        ),
    };
    LocalReply::text(status, body, details)
}

/// The answer to an attempt that failed and is not followed by another.
#[must_use]
pub fn attempt(failure: AttemptFailure) -> LocalReply {
    use StatusCode as S;
    let error = match failure {
        AttemptFailure::Reply(reply) => return reply,
        AttemptFailure::Error(error) => error,
    };
    let (status, body, details) = match error {
        AttemptError::Connect => (
            S::SERVICE_UNAVAILABLE,
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
            "upstream_reset_before_response_started{remote_connection_failure}",
        ),
        AttemptError::ConnectTimeout => (
            S::SERVICE_UNAVAILABLE,
            "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
            "upstream_reset_before_response_started{connection_timeout}",
        ),
        AttemptError::ResetBeforeRequest | AttemptError::Reset => (
            S::SERVICE_UNAVAILABLE,
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "upstream_reset_before_response_started{connection_termination}",
        ),
        AttemptError::Protocol => (
            S::BAD_GATEWAY,
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
            "upstream_reset_before_response_started{protocol_error}",
        ),
        AttemptError::RequestBody => (S::BAD_REQUEST, "", "downstream_remote_disconnect"),
        AttemptError::PerTryTimeout => (
            S::GATEWAY_TIMEOUT,
            "upstream request timeout",
            "response_timeout",
        ),
    };
    LocalReply::text(status, body, details)
}
