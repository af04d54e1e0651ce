//! The response's body on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::attempt::Attempt;
use super::body::BodyError;
use super::exchange::Exchange;
use super::pump::{Output, Pump, Stop};
use super::upstream::Leaf;
use super::upstream::connection::Connection;

/// What a client reads.
pub enum DownstreamBody {
    /// Nothing (more).
    Empty,
    /// All at once.
    Full(Bytes),
    /// From an upstream.
    Stream(Box<ResponseStream>),
}

/// A body as it comes from an upstream.
pub struct ResponseStream {
    incoming: Incoming,
    /// Read until the body's end, then kept or dropped.
    connection: Option<Connection>,
    leaf: std::rc::Rc<Leaf>,
    /// The route's time, which covers the body too, as in Envoy.
    timeout: Option<Pin<Box<Sleep>>>,
    pump: Option<Pump>,
    ended: bool,
    trailers: Option<http::HeaderMap>,
    exchange: Box<Exchange>,
}

// === impl DownstreamBody ===

impl DownstreamBody {
    /// A body of the gateway's own; the exchange is over.
    #[must_use]
    pub fn full(bytes: Bytes, exchange: Box<Exchange>) -> Self {
        exchange.cell.borrow_mut().info.response_bytes += bytes.len() as u64;
        drop(exchange);
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Full(bytes)
        }
    }
}

impl Body for DownstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(_) => match std::mem::replace(&mut *self, Self::Empty) {
                Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
            Self::Stream(stream) => {
                let result = stream.poll(cx);
                let over = match &result {
                    Poll::Ready(None | Some(Err(_))) => true,
                    Poll::Ready(Some(Ok(_))) => stream.over(),
                    Poll::Pending => false,
                };
                if over {
                    // Frees the connection and ends the exchange before the last bytes are written.
                    *self = Self::Empty;
                }
                result
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) if stream.pump.is_none() => stream.incoming.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

// === impl ResponseStream ===

impl ResponseStream {
    /// The body of an attempt; one that is over already is [`DownstreamBody::Empty`].
    #[must_use]
    pub fn body(
        attempt: Attempt,
        timeout: Option<Pin<Box<Sleep>>>,
        pump: Option<Pump>,
        exchange: Box<Exchange>,
    ) -> DownstreamBody {
        let mut stream = Box::new(Self {
            incoming: attempt.body,
            connection: Some(attempt.connection),
            leaf: attempt.leaf,
            timeout,
            pump,
            ended: false,
            trailers: None,
            exchange,
        });
        if stream.incoming.is_end_stream() && stream.pump.is_none() {
            stream.finish();
            return DownstreamBody::Empty;
        }
        DownstreamBody::Stream(stream)
    }

    /// Whether everything has been given.
    fn over(&self) -> bool {
        self.ended
            && self.trailers.is_none()
            && self
                .pump
                .as_ref()
                .is_none_or(|pump| !pump.waits_for_resume())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(timeout) = &mut self.timeout
                && timeout.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Some(Err(BodyError::Timeout)));
            }
            if self.ended {
                return self.poll_end(cx);
            }
            let part = match self.poll_incoming(cx) {
                Poll::Pending => match self.poll_resumed(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(part) => part,
                },
                Poll::Ready(part) => part.and_then(|(data, end)| self.filter(data, end)),
            };
            match part {
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(self.data(data)))),
            }
        }
    }

    fn data(&self, data: Bytes) -> Frame<Bytes> {
        self.exchange.cell.borrow_mut().info.response_bytes += data.len() as u64;
        Frame::data(data)
    }

    /// Behind the last part: what a filter still holds, then trailers.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.pump.as_ref().is_some_and(Pump::waits_for_resume) {
            match self.poll_resumed(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Ok(data)) if !data.is_empty() => {
                    return Poll::Ready(Some(Ok(self.data(data))));
                }
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Ready(
            self.trailers
                .take()
                .map(|trailers| Ok(Frame::trailers(trailers))),
        )
    }

    /// The next part from the upstream, and whether it is the last.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, bool), BodyError>> {
        let frame = match &mut self.connection {
            Some(connection) if connection.is_driven_here() => {
                connection.drive(cx);
                // The connection's own wakers tell this task; the channel behind `incoming` need not.
                let mut quiet = Context::from_waker(Waker::noop());
                let mut frame = Pin::new(&mut self.incoming).poll_frame(&mut quiet);
                if frame.is_pending() {
                    // Asking for data may let the connection read on.
                    connection.drive(cx);
                    frame = Pin::new(&mut self.incoming).poll_frame(&mut quiet);
                }
                frame
            }
            _ => Pin::new(&mut self.incoming).poll_frame(cx),
        };
        match frame {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Err(_))) => Poll::Ready(Err(BodyError::Broken)),
            Poll::Ready(None) => Poll::Ready(Ok((Bytes::new(), self.finish()))),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    let end = self.incoming.is_end_stream() && self.finish();
                    Poll::Ready(Ok((data, end)))
                }
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    Poll::Ready(Ok((Bytes::new(), self.finish())))
                }
            },
        }
    }

    /// The upstream has said all; its connection is free.
    fn finish(&mut self) -> bool {
        self.ended = true;
        if let Some(connection) = self.connection.take() {
            self.leaf.give_back(connection);
        }
        true
    }

    fn filter(&mut self, data: Bytes, end: bool) -> Result<Bytes, BodyError> {
        let Some(pump) = &mut self.pump else {
            return Ok(data);
        };
        if end && let Some(trailers) = self.trailers.take() {
            let cell = self.exchange.cell.clone();
            cell.borrow_mut().response_trailers = Some(trailers);
            let data = pump.trailers().map_err(|_| BodyError::Stopped)?;
            self.trailers = cell.borrow_mut().response_trailers.take();
            return Ok(data);
        }
        let stages = pump.stages();
        flatten(pump.push(0, stages, data, end))
    }

    fn poll_resumed(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, BodyError>> {
        let Some(pump) = &mut self.pump else {
            return Poll::Pending;
        };
        match pump.poll_resumed(cx.waker()) {
            Ok(None) => Poll::Pending,
            other => Poll::Ready(flatten(other)),
        }
    }
}

/// Held data is no data yet. The head has gone out, so a filter's answer can only break the body off.
fn flatten(output: Result<Option<Output>, Stop>) -> Result<Bytes, BodyError> {
    match output {
        Ok(output) => Ok(output.map(|output| output.data).unwrap_or_default()),
        Err(Stop::Reply(_) | Stop::Reset) => Err(BodyError::Stopped),
    }
}
