//! The response's body on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::attempt::AttemptBody;
use super::body::BodyError;
use super::exchange::Exchange;
use super::pump::{Ending, Output, Pump, Stop, poll_through};

/// What a client reads.
pub enum DownstreamBody {
    /// Nothing (more).
    Empty,
    /// All at once.
    Full(Bytes),
    /// As it comes.
    Stream(Box<ResponseStream>),
}

/// Where a body comes from.
pub enum Source {
    /// An upstream.
    Attempt(Box<AttemptBody>),
    /// The gateway, or a filter of the listener's.
    Local(Bytes),
}

/// A body as it comes.
pub struct ResponseStream {
    // Fields are dropped in this order: the listener's filters end before the attempt's.
    exchange: Box<Exchange>,
    pump: Option<Pump>,
    source: Source,
    ending: Ending,
    trailers: Option<http::HeaderMap>,
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
                    // Ends the exchange before the last bytes are written.
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
            Self::Stream(stream) => match (&stream.pump, &stream.source) {
                (None, Source::Attempt(attempt)) => attempt.size_hint(),
                _ => SizeHint::default(),
            },
        }
    }
}

// === impl ResponseStream ===

impl ResponseStream {
    /// The body of an attempt; one that is over already is [`DownstreamBody::Empty`].
    #[must_use]
    pub fn body(
        mut attempt: AttemptBody,
        pump: Option<Pump>,
        exchange: Box<Exchange>,
    ) -> DownstreamBody {
        if attempt.is_empty() {
            attempt.finish();
            return DownstreamBody::Empty;
        }
        DownstreamBody::Stream(Box::new(Self {
            exchange,
            pump,
            source: Source::Attempt(Box::new(attempt)),
            ending: Ending::More,
            trailers: None,
        }))
    }

    /// The body of an answer of the gateway's own; where no filter holds it, it is there at once.
    ///
    /// # Errors
    /// Where a filter answers in its place or stops it.
    pub fn local(
        body: Bytes,
        pump: Option<Pump>,
        exchange: Box<Exchange>,
    ) -> Result<DownstreamBody, (Box<Exchange>, Stop)> {
        let Some(mut pump) = pump else {
            return Ok(DownstreamBody::full(body, exchange));
        };
        match pump.push(0, pump.stages(), body, Ending::End) {
            Ok(Some(Output {
                data,
                ending: Ending::End,
            })) => Ok(DownstreamBody::full(data, exchange)),
            Ok(output) => {
                let (body, ending) = match output {
                    Some(output) => (output.data, output.ending),
                    None => (Bytes::new(), Ending::More),
                };
                let mut stream = Self {
                    exchange,
                    pump: Some(pump),
                    source: Source::Local(body),
                    ending,
                    trailers: None,
                };
                stream.note_trailers();
                Ok(DownstreamBody::Stream(Box::new(stream)))
            }
            Err(stop) => Err((exchange, stop)),
        }
    }

    /// Whether everything has been given.
    fn over(&self) -> bool {
        self.ending.is_last() && self.trailers.is_none() && self.rest().is_empty()
    }

    /// What is to be given before anything else.
    fn rest(&self) -> &[u8] {
        match &self.source {
            Source::Local(rest) => rest,
            Source::Attempt(_) => &[],
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.exchange.poll_expired(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyError::Timeout)));
        }
        if let Source::Local(rest) = &mut self.source
            && !rest.is_empty()
        {
            let data = std::mem::take(rest);
            return Poll::Ready(Some(Ok(self.data(data))));
        }
        while !self.ending.is_last() {
            let Output { data, ending } = match ready!(self.poll_part(cx)) {
                Ok(output) => output,
                Err(stop) => return Poll::Ready(Some(Err(broken(stop)))),
            };
            self.ending = ending;
            self.note_trailers();
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(self.data(data))));
            }
        }
        let trailers = self.trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// The next part behind all filters.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, Stop>> {
        let source = &mut self.source;
        poll_through(&mut self.pump, cx, |cx| match source {
            Source::Attempt(attempt) => attempt.poll(cx),
            // A filter holds all of it.
            Source::Local(_) => Poll::Pending,
        })
    }

    fn data(&self, data: Bytes) -> Frame<Bytes> {
        self.exchange.cell.borrow_mut().info.response_bytes += data.len() as u64;
        Frame::data(data)
    }

    /// Takes the trailers over when everything before them has come.
    fn note_trailers(&mut self) {
        if self.ending == Ending::Trailers && self.exchange.takes_trailers() {
            self.trailers = self.exchange.cell.borrow().response_trailers.clone();
        }
    }
}

/// The head has gone out, so a filter's answer can only break the body off.
fn broken(stop: Stop) -> BodyError {
    match stop {
        Stop::Body(error) => error,
        Stop::Reply(_) | Stop::Reset => BodyError::Stopped,
    }
}
