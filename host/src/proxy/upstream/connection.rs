//! A request's connection to an upstream host, of either kind.

use std::task::Context;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use strum::{EnumMessage, VariantArray};

use super::http1::Http1;
use super::http2::{Failed, Http2};
use crate::proxy::body::UpstreamRequestBody;
use crate::proxy::socket::Socket;
use crate::stream::tls::UpstreamConnection;

/// What carries one exchange.
pub enum Connection {
    /// A connection of its own.
    Http1(Http1),
    /// A stream among others.
    Http2(Http2),
}

/// Why an attempt got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumMessage, VariantArray, thiserror::Error)]
pub enum AttemptError {
    /// The upstream's address answers nothing.
    #[error("connection refused or unreachable")]
    Connect,
    /// No connection within `connect_timeout`.
    #[error("connection timed out")]
    ConnectTimeout,
    /// `trusted_ca` lacks the issuer of the upstream's certificate, or the certificate is for another name.
    #[error("the upstream's certificate is not trusted")]
    Untrusted,
    /// The TLS handshake failed otherwise.
    #[error("the TLS handshake failed")]
    Handshake,
    /// The connection broke before the whole request's head was sent.
    #[error("connection closed before the request was sent")]
    ResetBeforeRequest,
    /// The connection broke before the response's head.
    #[error("connection closed before a response came")]
    Reset,
    /// The upstream reset the stream before the response's head (HTTP/2).
    #[error("the upstream reset the stream before a response came")]
    RemoteReset,
    /// The upstream did not take the request at all (HTTP/2).
    #[error("the upstream refused the stream")]
    RefusedStream,
    /// The response's head was no HTTP.
    #[error("the upstream's response is not valid HTTP")]
    Protocol,
    /// The request's own body failed: the client went away.
    #[error("the request's body broke off")]
    RequestBody,
    /// `per_try_timeout` passed.
    #[error("the attempt timed out")]
    PerTryTimeout,
}

impl Connection {
    /// What is told of it.
    #[must_use]
    pub fn facts(&self) -> Option<&UpstreamConnection> {
        match self {
            Self::Http1(connection) => Some(connection.facts()),
            Self::Http2(stream) => stream.facts(),
        }
    }

    /// Lets a connection that has no task of its own read and write what it can.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Http1(connection) => connection.drive(cx),
            Self::Http2(_) => {}
        }
    }

    /// Whether [`Self::drive`] wakes the task for everything that comes on it.
    #[must_use]
    pub fn is_driven_here(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// The socket of a connection that has been upgraded, and what was read of it already; `None` for a stream among
    /// others.
    #[must_use]
    pub fn into_socket(self) -> Option<(Socket, Bytes)> {
        match self {
            Self::Http1(connection) => Some(connection.into_socket()),
            Self::Http2(_) => None,
        }
    }

    /// Sends a request and waits for the response's head.
    pub(super) async fn send(
        &mut self,
        request: Request<UpstreamRequestBody>,
    ) -> Result<Response<Incoming>, Failed> {
        match self {
            Self::Http1(connection) => connection.send(request).await.map_err(Failed::Error),
            Self::Http2(stream) => stream.send(request).await,
        }
    }
}
