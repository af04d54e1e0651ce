//! Bodies: the request's on its way to an attempt (and perhaps a second), the response's on its way back.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::deadline::Received;
use super::filters::{Active, Direction, Step};
use super::pump::{Pump, Stop};
use crate::stream::StreamCell;
use crate::vm::grpc::Outbox;

/// Why a body broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The sender went away or sent no valid body.
    #[error("the body broke off")]
    Broken,
    /// A filter stopped it.
    #[error("a filter stopped the body")]
    Stopped,
    /// The time was up.
    #[error("timed out")]
    Timeout,
}

/// The client's body, read once, kept for replays where a retry may come.
pub struct RequestSource {
    incoming: Option<Incoming>,
    pump: Option<Pump>,
    /// What a filter let go while it held the head: (stage it goes on from, data, whether it is the end).
    prefetched: Option<(usize, Bytes, bool)>,
    cell: StreamCell,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// No more is kept, in bytes.
    limit: usize,
    keep: bool,
    /// Something was sent that is not kept.
    lost: bool,
    ended: bool,
    /// The client went away before the end.
    left: bool,
    trailers: Option<HeaderMap>,
    /// Who measures how far it has come, which is another task where hyper reads the body in one of its own.
    watcher: Option<Waker>,
}

/// A request's body as one attempt reads it.
pub enum UpstreamRequestBody {
    /// None.
    Empty,
    /// All of it.
    Full(Option<Bytes>),
    /// From the client, from the start.
    Replay(Replay),
    /// Messages of a guest's.
    Messages(Rc<Outbox>),
}

/// One reading of a [`RequestSource`].
pub struct Replay {
    source: Rc<RefCell<RequestSource>>,
    at: usize,
    trailers_given: bool,
}

// === impl RequestSource ===

impl RequestSource {
    /// Reads `incoming`, through `pump` if there is one, and keeps at most `limit` bytes for another attempt.
    #[must_use]
    pub fn new(incoming: Incoming, pump: Option<Pump>, cell: StreamCell, limit: usize) -> Self {
        let ended = incoming.is_end_stream() && pump.is_none();
        Self {
            incoming: Some(incoming),
            pump,
            prefetched: None,
            cell,
            kept: Vec::new(),
            kept_bytes: 0,
            limit,
            keep: false,
            lost: false,
            ended,
            left: false,
            trailers: None,
            watcher: None,
        }
    }

    /// Keeps what is read for another attempt.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// Whether another attempt can read it from the start.
    #[must_use]
    pub fn replayable(&self) -> bool {
        !self.lost
    }

    /// Whether the client went away before its end: there is nobody to answer.
    #[must_use]
    pub fn client_left(&self) -> bool {
        self.left
    }

    /// How far it has come; the task is told when it comes further.
    pub(super) fn received(&mut self, cx: &Context<'_>) -> Received {
        if self.ended {
            return Received::All;
        }
        match &mut self.watcher {
            Some(watcher) => watcher.clone_from(cx.waker()),
            None => self.watcher = Some(cx.waker().clone()),
        }
        Received::Part(self.cell.borrow().info.request_bytes)
    }

    /// Tells another task that measures.
    fn progressed(&mut self, cx: &Context<'_>) {
        if let Some(watcher) = &self.watcher
            && !watcher.will_wake(cx.waker())
        {
            watcher.wake_by_ref();
        }
    }

    /// Whether all of it is known and nothing comes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ended && self.kept.is_empty() && self.trailers.is_none()
    }

    /// All of it, if it has been read to its end and kept.
    #[must_use]
    pub fn whole(&self) -> Option<Bytes> {
        (self.ended && !self.lost).then(|| self.kept.concat().into())
    }

    /// Reads parts into the pump until the filter at `at`, which holds its head, lets go; what it has seen then
    /// waits behind it.
    ///
    /// # Errors
    /// Where the client goes away, or a filter stops it.
    pub fn poll_until(
        &mut self,
        at: usize,
        active: &Active,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stop>> {
        let Some(until) = self.pump.as_ref().map(|pump| pump.behind(at)) else {
            return Poll::Ready(Ok(()));
        };
        loop {
            match active.poll_resumed(Direction::Request, cx.waker()) {
                None | Some(Step::Pause) => {}
                Some(Step::Reply(reply)) => return Poll::Ready(Err(Stop::Reply(reply))),
                Some(Step::Reset) => return Poll::Ready(Err(Stop::Reset)),
                Some(Step::Continue) => {
                    let Some(pump) = &mut self.pump else {
                        return Poll::Ready(Ok(()));
                    };
                    let output = pump.release(until.saturating_sub(1));
                    self.prefetched = Some((until, output.data, output.end));
                    return Poll::Ready(Ok(()));
                }
            }
            if self.pump.as_ref().is_some_and(Pump::waits_for_resume) {
                return Poll::Pending;
            }
            let (data, end) = match self.poll_incoming(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::Reset)),
                Poll::Ready(Ok(part)) => part,
            };
            let Some(pump) = &mut self.pump else {
                return Poll::Ready(Ok(()));
            };
            if let Some(output) = pump.push(0, until, data, end)? {
                self.prefetched = Some((until, output.data, output.end));
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The next part from the client, and whether it is the last.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, bool), BodyError>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(Ok((Bytes::new(), true)));
        };
        if incoming.is_end_stream() {
            self.incoming = None;
            return Poll::Ready(Ok((Bytes::new(), true)));
        }
        let frame = match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => {
                self.incoming = None;
                return Poll::Ready(Ok((Bytes::new(), true)));
            }
            Poll::Ready(Some(Err(error))) => {
                self.left = is_disconnect(&error);
                return Poll::Ready(Err(BodyError::Broken));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        match frame.into_data() {
            Ok(data) => {
                self.cell.borrow_mut().info.request_bytes += data.len() as u64;
                let end = incoming.is_end_stream();
                Poll::Ready(Ok((data, end)))
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.cell.borrow_mut().request_trailers = Some(trailers);
                }
                self.incoming = None;
                Poll::Ready(Ok((Bytes::new(), true)))
            }
        }
    }

    /// The next part behind all filters.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, bool), BodyError>> {
        let Some(pump) = &mut self.pump else {
            return self.poll_incoming(cx);
        };
        let stages = pump.stages();
        let outcome = if let Some((from, data, end)) = self.prefetched.take() {
            pump.push(from, stages, data, end)
        } else if pump.waits_for_resume() {
            match pump.poll_resumed(cx.waker()) {
                Ok(None) => return Poll::Pending,
                other => other,
            }
        } else {
            let (data, end) = match self.poll_incoming(cx) {
                Poll::Pending => return self.poll_released(cx),
                Poll::Ready(part) => part?,
            };
            let trailers = self.cell.borrow().request_trailers.is_some();
            let Some(pump) = &mut self.pump else {
                return Poll::Ready(Ok((data, end)));
            };
            if end && trailers {
                return Poll::Ready(
                    pump.trailers()
                        .map(|data| (data, true))
                        .map_err(|stop| self.stop(stop)),
                );
            }
            pump.push(0, stages, data, end)
        };
        match outcome {
            Ok(Some(output)) => Poll::Ready(Ok((output.data, output.end))),
            // Held: ask for the next part.
            Ok(None) => Poll::Ready(Ok((Bytes::new(), false))),
            Err(stop) => Poll::Ready(Err(self.stop(stop))),
        }
    }

    /// While the client is silent, a paused filter may still be resumed.
    fn poll_released(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, bool), BodyError>> {
        let Some(pump) = &mut self.pump else {
            return Poll::Pending;
        };
        match pump.poll_resumed(cx.waker()) {
            Ok(Some(output)) => Poll::Ready(Ok((output.data, output.end))),
            Ok(None) => Poll::Pending,
            Err(stop) => Poll::Ready(Err(self.stop(stop))),
        }
    }

    /// Leaves a filter's answer where the exchange finds it when the attempt fails.
    fn stop(&mut self, stop: Stop) -> BodyError {
        if let Stop::Reply(reply) = stop {
            self.cell.borrow_mut().local_reply = Some(reply);
        }
        BodyError::Stopped
    }

    /// The part at a position: kept, or read now. `None` at the end.
    fn poll_at(
        &mut self,
        at: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(part) = self.kept.get(at) {
            return Poll::Ready(Some(Ok(part.clone())));
        }
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let (data, end) = match self.poll_part(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Ok(part)) => part,
            };
            self.ended = end;
            self.progressed(cx);
            if end {
                self.trailers = self.cell.borrow_mut().request_trailers.take();
            }
            if !data.is_empty() {
                self.remember(&data);
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }

    fn remember(&mut self, data: &Bytes) {
        self.kept_bytes += data.len();
        if self.keep && !self.lost && self.kept_bytes <= self.limit {
            self.kept.push(data.clone());
        } else {
            self.lost = true;
            self.kept = Vec::new();
        }
    }
}

/// Whether a body broke off with its connection; else it is not valid.
fn is_disconnect(error: &hyper::Error) -> bool {
    use std::io::ErrorKind;
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<std::io::Error>());
    source.is_some_and(|error| {
        matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        )
    })
}

// === impl UpstreamRequestBody ===

impl UpstreamRequestBody {
    /// A reading of `source` from the start.
    #[must_use]
    pub fn replay(source: &Rc<RefCell<RequestSource>>) -> Self {
        if source.borrow().is_empty() {
            return Self::Empty;
        }
        Self::Replay(Replay {
            source: source.clone(),
            at: 0,
            trailers_given: false,
        })
    }
}

impl Body for UpstreamRequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Replay(replay) => replay.poll(cx),
            Self::Messages(outbox) => outbox.poll(cx).map(|next| next.map(|m| Ok(Frame::data(m)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Replay(_) | Self::Messages(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Replay(_) | Self::Messages(_) => SizeHint::default(),
        }
    }
}

impl Replay {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut source = self.source.borrow_mut();
        match source.poll_at(self.at, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(part)) => {
                self.at += 1;
                Poll::Ready(Some(part.map(Frame::data)))
            }
            Poll::Ready(None) if !self.trailers_given => {
                self.trailers_given = true;
                Poll::Ready(
                    source
                        .trailers
                        .clone()
                        .map(|trailers| Ok(Frame::trailers(trailers))),
                )
            }
            Poll::Ready(None) => Poll::Ready(None),
        }
    }
}
