//! Connections that carry many requests at a time: each is driven by a task of its own, and shared by all requests of a
//! worker until it is full, told to go away, or idle for too long.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::OnceCell;

use super::connection::AttemptError;
use crate::config::protocol::Http2Options;
use crate::proxy::body::{BodyError, UpstreamRequestBody};
use crate::proxy::socket::Socket;
use crate::stream::tls::UpstreamConnection;

/// What requests are given to.
struct Sender {
    requests: http2::SendRequest<Leashed>,
    /// How many streams the peer allows at a time, as the task that drives the connection last heard.
    allowed: Rc<Cell<u32>>,
    facts: UpstreamConnection,
}

/// A connection, or one that is being opened: whoever needs it first opens it, the others wait.
pub(super) struct Multiplexed {
    sender: OnceCell<Sender>,
    active: Cell<u32>,
    uses: Cell<u32>,
    last_used: Cell<Instant>,
}

/// One request's place on a connection.
pub struct Http2 {
    connection: Rc<Multiplexed>,
    leash: Rc<Leash>,
}

/// Ends a request's body with the request: hyper reads bodies in a task of its own, and nobody may read on for a request
/// that is over while another attempt reads the same body from the start.
#[derive(Default)]
struct Leash {
    over: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

/// A request's body on its leash.
struct Leashed {
    body: UpstreamRequestBody,
    leash: Rc<Leash>,
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone)]
struct Local;

/// Why there is no response.
pub(super) enum Failed {
    /// The connection took no more requests: this one may go on another.
    Unsent(Box<Request<UpstreamRequestBody>>),
    /// It did not go well.
    Error(AttemptError),
}

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

// === impl Multiplexed ===

impl Multiplexed {
    /// One that is not open yet.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            sender: OnceCell::new(),
            active: Cell::new(0),
            uses: Cell::new(0),
            last_used: Cell::new(Instant::now()),
        })
    }

    /// One that speaks on this socket.
    pub(super) async fn over(
        socket: Socket,
        options: &Http2Options,
    ) -> Result<Rc<Self>, AttemptError> {
        let connection = Self::new();
        let sender = open(socket, options).await?;
        // It is new: nobody else has set it.
        let _ = connection.sender.set(sender);
        Ok(connection)
    }

    /// Whether it takes another request: it lives, and there is room.
    pub(super) fn has_room(&self, options: &Http2Options, max_uses: Option<u32>) -> bool {
        let room = match self.sender.get() {
            Some(sender) => {
                let limit = sender.allowed.get().min(options.max_concurrent_streams);
                !sender.requests.is_closed() && self.active.get() < limit
            }
            None => self.active.get() < options.max_concurrent_streams,
        };
        room && max_uses.is_none_or(|max| self.uses.get() < max)
    }

    /// Whether to keep it: nobody would close it otherwise.
    pub(super) fn to_keep(&self, idle_timeout: Duration) -> bool {
        let open = self
            .sender
            .get()
            .is_none_or(|sender| !sender.requests.is_closed());
        let idle = self.active.get() == 0
            && (self.sender.get().is_none()
                || (!idle_timeout.is_zero() && self.last_used.get().elapsed() >= idle_timeout));
        open && !idle
    }

    /// A place for one request, which counts from now on.
    pub(super) fn take(self: &Rc<Self>) -> Http2 {
        self.active.set(self.active.get() + 1);
        self.uses.set(self.uses.get().saturating_add(1));
        Http2 {
            connection: self.clone(),
            leash: Rc::default(),
        }
    }
}

async fn open(socket: Socket, options: &Http2Options) -> Result<Sender, AttemptError> {
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .header_table_size(options.hpack_table);
    if let Some(keepalive) = options.keepalive {
        builder
            .keep_alive_interval(keepalive.interval)
            .keep_alive_timeout(keepalive.timeout)
            .keep_alive_while_idle(true);
    }
    let facts = socket.facts();
    let (requests, connection) = builder
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|_| AttemptError::Connect)?;
    let allowed = Rc::new(Cell::new(u32::MAX));
    let heard = allowed.clone();
    tokio::task::spawn_local(async move {
        let mut connection = std::pin::pin!(connection);
        let driven = std::future::poll_fn(|cx| {
            let end = connection.as_mut().poll(cx);
            let now = u32::try_from(connection.current_max_send_streams()).unwrap_or(u32::MAX);
            heard.set(now);
            end
        });
        if let Err(error) = driven.await {
            tracing::debug!("an upstream connection ended: {error}");
        }
    });
    Ok(Sender {
        requests,
        allowed,
        facts,
    })
}

// === impl Http2 ===

impl Http2 {
    /// Opens the connection if nobody has yet, or waits for who does.
    ///
    /// # Errors
    /// What `connect` says.
    pub(super) async fn opened(
        &self,
        options: &Http2Options,
        connect: impl AsyncFnOnce() -> Result<Socket, AttemptError>,
    ) -> Result<(), AttemptError> {
        let sender = &self.connection.sender;
        let open = async || open(connect().await?, options).await;
        sender.get_or_try_init(open).await.map(|_| ())
    }

    /// What is told of its connection, once that is open.
    pub(super) fn facts(&self) -> Option<&UpstreamConnection> {
        self.connection.sender.get().map(|sender| &sender.facts)
    }

    /// Sends a request and waits for the response's head.
    pub(super) async fn send(
        &mut self,
        request: Request<UpstreamRequestBody>,
    ) -> Result<Response<Incoming>, Failed> {
        let Some(sender) = self.connection.sender.get() else {
            return Err(Failed::Unsent(Box::new(request)));
        };
        let mut request = request.map(|body| Leashed {
            body,
            leash: self.leash.clone(),
        });
        // The target has it, as `:authority`.
        request.headers_mut().remove(header::HOST);
        let sent = sender.requests.clone().try_send_request(request);
        sent.await
            .map_err(|mut failed| match failed.take_message() {
                Some(request) => Failed::Unsent(Box::new(request.map(|leashed| leashed.body))),
                None => Failed::Error(classify(failed.error())),
            })
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection
            .active
            .set(connection.active.get().saturating_sub(1));
        connection.last_used.set(Instant::now());
        self.leash.over.set(true);
        if let Some(reader) = self.leash.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}

fn classify(error: &hyper::Error) -> AttemptError {
    let mut source = std::error::Error::source(error);
    let error = loop {
        match source {
            None => return AttemptError::Reset,
            Some(error) => match error.downcast_ref::<h2::Error>() {
                Some(error) => break error,
                None => source = error.source(),
            },
        }
    };
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => AttemptError::RefusedStream,
        // A stream above the last that the peer has taken: it says so itself.
        Some(_) if error.is_go_away() && error.is_remote() => AttemptError::RefusedStream,
        Some(_) if error.is_remote() => AttemptError::RemoteReset,
        Some(_) if error.is_library() => AttemptError::Protocol,
        Some(_) => AttemptError::RequestBody,
        None => AttemptError::Reset,
    }
}

// === impl Leashed ===

impl Body for Leashed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.leash.over.get() {
            return Poll::Ready(Some(Err(BodyError::Stopped)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_pending() {
            *self.leash.reader.borrow_mut() = Some(cx.waker().clone());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
