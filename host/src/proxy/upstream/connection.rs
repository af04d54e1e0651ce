//! One keep-alive connection to an upstream host.
//!
//! The task of the exchange drives the connection itself instead of a task beside it, which saves two
//! hand-overs between tasks for each request. An idle connection is driven by nobody; whether it still
//! lives is asked when it is taken.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::proxy::body::UpstreamRequestBody;
use crate::stats::Counter;

/// An HTTP/1.1 connection.
pub struct Connection {
    sender: http1::SendRequest<UpstreamRequestBody>,
    driver: Pin<Box<http1::Connection<TokioIo<TcpStream>, UpstreamRequestBody>>>,
    address: SocketAddr,
    uses: u32,
    last_used: Instant,
    /// The driver has ended and must not be polled again.
    closed: bool,
}

/// Why an attempt got no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// No connection.
    #[error("connection refused or unreachable")]
    Connect,
    /// No connection within `connect_timeout`.
    #[error("connection timed out")]
    ConnectTimeout,
    /// The connection broke before the whole request's head was sent.
    #[error("connection closed before the request was sent")]
    ResetBeforeRequest,
    /// The connection broke before the response's head.
    #[error("connection closed before a response came")]
    Reset,
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
    /// Connects.
    ///
    /// # Errors
    /// [`AttemptError::Connect`] or [`AttemptError::ConnectTimeout`].
    pub async fn open(address: SocketAddr, timeout: Duration) -> Result<Self, AttemptError> {
        let stream = socket(address, timeout).await?;
        let (sender, driver) = http1::Builder::new()
            // as downstream: one piece costs the kernel less than a list of pieces
            .writev(false)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| AttemptError::Connect)?;
        Ok(Self {
            sender,
            driver: Box::pin(driver),
            address,
            uses: 0,
            last_used: Instant::now(),
            closed: false,
        })
    }

    /// Where it goes.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it has carried.
    #[must_use]
    pub fn uses(&self) -> u32 {
        self.uses
    }

    /// Since when it is idle.
    #[must_use]
    pub fn idle_for(&self) -> Duration {
        self.last_used.elapsed()
    }

    /// Whether it can take a request now.
    pub fn alive(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.closed && self.sender.is_ready()
    }

    /// Lets the connection read and write what it can.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed && self.driver.as_mut().poll(cx).is_ready() {
            self.closed = true;
        }
    }

    /// Sends a request and waits for the response's head.
    ///
    /// # Errors
    /// Where the connection breaks first, or the response is no HTTP.
    pub async fn send(
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
    #[must_use]
    pub fn into_socket(self) -> (TcpStream, bytes::Bytes) {
        let parts = Pin::into_inner(self.driver).into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }

    /// Marks the end of an exchange; whether the connection can be kept.
    pub fn finish(&mut self) -> bool {
        self.last_used = Instant::now();
        self.alive()
    }
}

/// Opens a plain socket.
///
/// # Errors
/// [`AttemptError::Connect`] or [`AttemptError::ConnectTimeout`].
pub async fn socket(address: SocketAddr, timeout: Duration) -> Result<TcpStream, AttemptError> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| AttemptError::ConnectTimeout)?
        .map_err(|_| AttemptError::Connect)?;
    // Requests go out at once; a socket that cannot be set so still works.
    let _ = stream.set_nodelay(true);
    Ok(stream)
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

/// Opens a connection and counts it.
///
/// # Errors
/// As [`Connection::open`].
pub async fn open(
    address: SocketAddr,
    timeout: Duration,
    total: &Counter,
    failed: &Counter,
) -> Result<Connection, AttemptError> {
    total.increment();
    let connection = Connection::open(address, timeout).await;
    if connection.is_err() {
        failed.increment();
    }
    connection
}
