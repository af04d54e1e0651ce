//! The response's body on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

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
    /// The gateway, or a filter of the listener's; `None` once it has been read.
    Local(Option<Bytes>),
}

/// A body behind the listener's filters.
pub struct Filtered {
    /// Those that want to see it.
    pub pump: Option<Pump>,
    /// Where it comes from.
    pub source: Source,
}

/// A body as it comes.
pub struct ResponseStream {
    // Fields are dropped in this order: the listener's filters end before the attempt's.
    exchange: Box<Exchange>,
    body: Filtered,
    /// What came before the head went out, to be given before anything else.
    first: Bytes,
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
            Self::Stream(stream) => stream.body.size_hint(),
        }
    }
}

// === impl Source ===

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, Stop>> {
        match self {
            Self::Attempt(attempt) => attempt.poll(cx),
            Self::Local(body) => match body.take() {
                Some(data) => Poll::Ready(Ok(Output {
                    data,
                    ending: Ending::End,
                })),
                // A filter holds all of it.
                None => Poll::Pending,
            },
        }
    }
}

// === impl Filtered ===

impl Filtered {
    /// The next part behind all filters.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, Stop>> {
        let source = &mut self.source;
        poll_through(&mut self.pump, cx, |cx| source.poll(cx))
    }

    /// Lets it flow to the filter at `at`, which holds the head, until that lets go.
    ///
    /// # Errors
    /// Where a filter answers in its place or stops it, or the upstream breaks off.
    pub async fn until(&mut self, at: usize) -> Result<(), Stop> {
        let Self { pump, source } = self;
        match pump {
            Some(pump) => {
                std::future::poll_fn(|cx| pump.poll_until(at, cx, |cx| source.poll(cx))).await
            }
            None => Ok(()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.pump, &self.source) {
            (None, Source::Attempt(attempt)) => attempt.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

// === impl ResponseStream ===

impl ResponseStream {
    /// The body of an attempt; one that is over already is [`DownstreamBody::Empty`].
    #[must_use]
    pub fn body(mut body: Filtered, exchange: Box<Exchange>) -> DownstreamBody {
        if let Source::Attempt(attempt) = &mut body.source
            && body.pump.is_none()
            && attempt.is_empty()
        {
            attempt.finish();
            return DownstreamBody::Empty;
        }
        DownstreamBody::Stream(Box::new(Self {
            exchange,
            body,
            first: Bytes::new(),
            ending: Ending::More,
            trailers: None,
        }))
    }

    /// The body of an answer of the gateway's own; where no filter holds it, it is there at once.
    ///
    /// # Errors
    /// Where a filter answers in its place or stops it.
    pub fn local(
        mut body: Filtered,
        exchange: Box<Exchange>,
    ) -> Result<DownstreamBody, (Box<Exchange>, Stop)> {
        let (first, ending) = match body.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Output {
                data,
                ending: Ending::End,
            })) => return Ok(DownstreamBody::full(data, exchange)),
            Poll::Ready(Ok(output)) => (output.data, output.ending),
            Poll::Ready(Err(stop)) => return Err((exchange, stop)),
            Poll::Pending => (Bytes::new(), Ending::More),
        };
        let mut stream = Self {
            exchange,
            body,
            first,
            ending,
            trailers: None,
        };
        stream.note_trailers();
        Ok(DownstreamBody::Stream(Box::new(stream)))
    }

    /// Whether everything has been given.
    fn over(&self) -> bool {
        self.ending.is_last() && self.trailers.is_none() && self.first.is_empty()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.exchange.poll_expired(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyError::Timeout)));
        }
        if !self.first.is_empty() {
            let data = std::mem::take(&mut self.first);
            return Poll::Ready(Some(Ok(self.data(data))));
        }
        while !self.ending.is_last() {
            let Output { data, ending } = match ready!(self.body.poll(cx)) {
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
