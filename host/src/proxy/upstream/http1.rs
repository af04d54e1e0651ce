//! One keep-alive connection that carries one request at a time.
//!
//! The task of the exchange drives the connection itself instead of a task beside it, which saves two
//! hand-overs between tasks for each request. An idle connection is driven by nobody; whether it still
//! lives is asked when it is taken.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::connection::AttemptError;
use crate::proxy::body::UpstreamRequestBody;
use crate::proxy::socket::Socket;
use crate::stream::tls::UpstreamConnection;

/// An HTTP/1.1 connection.
pub struct Http1 {
    sender: http1::SendRequest<UpstreamRequestBody>,
    driver: Pin<Box<http1::Connection<TokioIo<Socket>, UpstreamRequestBody>>>,
    address: SocketAddr,
    facts: UpstreamConnection,
    uses: u32,
    last_used: Instant,
    /// The driver has ended and must not be polled again.
    closed: bool,
}

impl Http1 {
    /// Speaks HTTP/1.1 on a socket.
    ///
    /// # Errors
    /// [`AttemptError::Connect`].
    pub(super) async fn open(socket: Socket, address: SocketAddr) -> Result<Self, AttemptError> {
        let facts = socket.facts();
        let (sender, driver) = http1::Builder::new()
            // as downstream: one piece costs the kernel less than a list of pieces
            .writev(false)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|_| AttemptError::Connect)?;
        Ok(Self {
            sender,
            driver: Box::pin(driver),
            address,
            facts,
            uses: 0,
            last_used: Instant::now(),
            closed: false,
        })
    }

    /// Where it goes.
    #[must_use]
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is told of it.
    pub(super) fn facts(&self) -> &UpstreamConnection {
        &self.facts
    }

    /// How many requests it has carried.
    #[must_use]
    pub(super) fn uses(&self) -> u32 {
        self.uses
    }

    /// Since when it is idle.
    #[must_use]
    pub(super) fn idle_for(&self) -> Duration {
        self.last_used.elapsed()
    }

    /// Whether it can take a request now.
    pub(super) fn alive(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.sender.is_ready()
    }

    /// Lets the connection read and write what it can.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed && self.driver.as_mut().poll(cx).is_ready() {
            self.closed = true;
        }
    }

    /// Sends a request and waits for the response's head.
    ///
    /// # Errors
    /// Where the connection breaks first, or the response is no HTTP.
    pub(super) async fn send(
        &mut self,
        request: Request<UpstreamRequestBody>,
    ) -> Result<Response<Incoming>, AttemptError> {
        self.uses += 1;
        let response = self.sender.try_send_request(request);
        tokio::pin!(response);
        std::future::poll_fn(|cx| {
            if !self.closed && self.driver.as_mut().poll(cx).is_ready() {
                self.closed = true;
            }
            // The driver above wakes this task; the response's own channel need not.
            response
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        })
        .await
        .map_err(|mut failed| {
            if failed.take_message().is_some() {
                return AttemptError::ResetBeforeRequest;
            }
            classify(failed.error())
        })
    }

    /// The socket of a connection that has been upgraded, and what was read of it already.
    pub(super) fn into_socket(self) -> (Socket, Bytes) {
        let parts = Pin::into_inner(self.driver).into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }

    /// Marks the end of an exchange; whether the connection can be kept.
    pub(super) fn finish(&mut self) -> bool {
        self.last_used = Instant::now();
        self.alive()
    }
}

fn classify(error: &hyper::Error) -> AttemptError {
    if error.is_parse() || error.is_parse_status() {
        AttemptError::Protocol
    } else if error.is_user() {
        AttemptError::RequestBody
    } else {
        AttemptError::Reset
    }
}
