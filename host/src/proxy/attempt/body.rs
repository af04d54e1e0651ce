//! The body of an attempt's response.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Body as _, SizeHint};
use hyper::body::Incoming;

use super::{AttemptFailure, Filters};
use crate::config::cluster::Protocol;
use crate::proxy::body::BodyError;
use crate::proxy::pump::{Ending, Output, Pump, Stop, poll_through};
use crate::proxy::socket::Socket;
use crate::proxy::upstream::Leaf;
use crate::proxy::upstream::connection::Connection;
use crate::stream::{Direction, StreamCell};

/// A body as it comes from an upstream, behind the filters of its cluster.
pub struct AttemptBody {
    cell: StreamCell,
    wire: Wire,
    pump: Option<Pump>,
    ended: bool,
    /// They end with the body.
    filters: Option<Filters>,
}

/// What the upstream sends.
pub(super) enum Wire {
    /// A message.
    Message(Message),
    /// The bytes of a tunnel: those read already, then those of the socket.
    Socket(Socket, Bytes),
}

/// A message's body.
pub(super) struct Message {
    incoming: Incoming,
    /// Read until the body's end, then kept or dropped.
    connection: Option<Connection>,
    leaf: Rc<Leaf>,
    /// Its trailers go on; HTTP/1's do only where the file says so.
    trailers: bool,
}

/// The upstream's end of a tunnel, and the cluster's filters on it.
pub struct Upgraded {
    /// The socket.
    pub socket: Socket,
    /// What was read of it already.
    pub read: Bytes,
    /// The filters' view of what goes to the upstream.
    pub request: Option<Pump>,
    /// The filters' view of what comes from it.
    pub response: Option<Pump>,
    /// They end with the tunnel.
    pub filters: Option<Filters>,
}

// === impl AttemptBody ===

impl AttemptBody {
    /// The body on `wire` of the response whose head is in the stream.
    pub(super) fn new(cell: StreamCell, wire: Wire, filters: Filters) -> Self {
        Self {
            cell,
            wire,
            pump: None,
            ended: false,
            filters: Some(filters),
        }
    }

    /// Sends the head through the filters, which see the body from then on.
    ///
    /// # Errors
    /// Where a filter answers or breaks off.
    pub(super) async fn pass_head(&mut self) -> Result<(), AttemptFailure> {
        let Some(filters) = &self.filters else {
            return Ok(());
        };
        let empty = self.wire.is_empty();
        if !empty {
            self.pump = filters.pump(Direction::Response);
        }
        let (wire, cell) = (&mut self.wire, &self.cell);
        let mut next = |cx: &mut Context<'_>| wire.poll(cell, cx).map_err(Stop::Body);
        filters.response(empty, &mut self.pump, &mut next).await
    }

    /// Whether it is a tunnel, of which [`Self::into_upgraded`] is all that can be had.
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        matches!(self.wire, Wire::Socket(..))
    }

    /// The upstream's end of a tunnel; `None` where it is none.
    #[must_use]
    pub fn into_upgraded(self) -> Option<Upgraded> {
        let Wire::Socket(socket, read) = self.wire else {
            return None;
        };
        let request = self
            .filters
            .as_ref()
            .and_then(|filters| filters.pump(Direction::Request));
        Some(Upgraded {
            socket,
            read,
            request,
            response: self.pump,
            filters: self.filters,
        })
    }

    /// The next part and what follows it. Behind the last there is nothing to ask for.
    ///
    /// # Errors
    /// Where the upstream breaks off, or a filter stops the body.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, Stop>> {
        let (wire, cell) = (&mut self.wire, &self.cell);
        let part = poll_through(&mut self.pump, cx, |cx| {
            wire.poll(cell, cx).map_err(Stop::Body)
        });
        if let Poll::Ready(Ok(output)) = &part
            && output.ending.is_last()
        {
            self.end();
        }
        part
    }

    /// Whether there is nothing to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ended || (self.pump.is_none() && self.wire.is_empty())
    }

    /// How much is to come.
    #[must_use]
    pub fn size_hint(&self) -> SizeHint {
        match (&self.pump, &self.wire) {
            (None, Wire::Message(message)) => message.incoming.size_hint(),
            _ => SizeHint::default(),
        }
    }

    /// Frees the connection of a body that is empty.
    pub fn finish(&mut self) {
        self.wire.finish();
        self.end();
    }

    fn end(&mut self) {
        self.ended = true;
        {
            let info = &mut self.cell.borrow_mut().info;
            info.backend_latency = info.upstream_began.map(|began| began.elapsed());
        }
        self.filters = None;
    }

    /// Lets it go unread; its connection is kept only where all of it has come already.
    pub fn discard(mut self) {
        let mut quiet = Context::from_waker(Waker::noop());
        while !self.wire.is_empty() {
            match self.wire.poll(&self.cell, &mut quiet) {
                Poll::Ready(Ok(output)) if output.ending.is_last() => return,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
        }
        self.wire.finish();
    }

    /// Reads all of it, but no more than `limit` bytes; the trailers are in the stream then. `None` where it breaks off
    /// or is longer.
    pub async fn collect(mut self, limit: usize) -> Option<Bytes> {
        let mut whole = Vec::new();
        loop {
            let part = std::future::poll_fn(|cx| self.poll(cx)).await.ok()?;
            if whole.len() + part.data.len() > limit {
                return None;
            }
            whole.extend_from_slice(&part.data);
            if part.ending.is_last() {
                return Some(Bytes::from(whole));
            }
        }
    }
}

// === impl Wire ===

impl Wire {
    /// A message's body, which `connection` brings.
    pub(super) fn message(incoming: Incoming, connection: Connection, leaf: Rc<Leaf>) -> Self {
        let trailers = match &leaf.shared.config.protocol {
            Protocol::Http1(options) => options.enable_trailers,
            Protocol::Http2(_) | Protocol::Auto(_) => !connection.is_driven_here(),
        };
        Self::Message(Message {
            incoming,
            connection: Some(connection),
            leaf,
            trailers,
        })
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Message(message) => message.incoming.is_end_stream(),
            Self::Socket(..) => false,
        }
    }

    fn poll(&mut self, cell: &StreamCell, cx: &mut Context<'_>) -> Poll<Result<Output, BodyError>> {
        match self {
            Self::Message(message) => message.poll(cell, cx),
            Self::Socket(..) => Poll::Ready(Err(BodyError::Broken)),
        }
    }

    fn finish(&mut self) {
        if let Self::Message(message) = self {
            message.finish();
        }
    }
}

// === impl Message ===

impl Message {
    fn poll(&mut self, cell: &StreamCell, cx: &mut Context<'_>) -> Poll<Result<Output, BodyError>> {
        let (data, ending) = match ready!(self.poll_frame(cx)) {
            None => (Bytes::new(), Ending::End),
            Some(Err(_)) => return Poll::Ready(Err(BodyError::Broken)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if self.incoming.is_end_stream() => (data, Ending::End),
                Ok(data) => (data, Ending::More),
                Err(frame) => match frame.into_trailers() {
                    Ok(trailers) if self.trailers => {
                        cell.borrow_mut().response_trailers = Some(trailers);
                        (Bytes::new(), Ending::Trailers)
                    }
                    Ok(_) => (Bytes::new(), Ending::End),
                    Err(_) => (Bytes::new(), Ending::More),
                },
            },
        };
        if ending.is_last() {
            self.finish();
        }
        Poll::Ready(Ok(Output { data, ending }))
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, hyper::Error>>> {
        match &mut self.connection {
            Some(connection) if connection.is_driven_here() => {
                connection.drive(cx);
                // The connection's own wakers tell this task; the channel behind `incoming` need not.
                let mut quiet = Context::from_waker(Waker::noop());
                let frame = Pin::new(&mut self.incoming).poll_frame(&mut quiet);
                if frame.is_ready() {
                    return frame;
                }
                // Asking for data may let the connection read on.
                connection.drive(cx);
                Pin::new(&mut self.incoming).poll_frame(&mut quiet)
            }
            _ => Pin::new(&mut self.incoming).poll_frame(cx),
        }
    }

    /// The upstream has said all; its connection is free.
    fn finish(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.leaf.give_back(connection);
        }
    }
}
