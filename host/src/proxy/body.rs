//! Bodies: the request's on its way to an attempt (and perhaps a second), the response's on its way back.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pump::{Ending, Output, Pump, Stop, poll_through};
use super::reply;
use super::upstream::connection::AttemptError;
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
    client: ClientBody,
    pump: Option<Pump>,
    cell: StreamCell,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// No more is kept, in bytes.
    limit: usize,
    keep: bool,
    /// Something was sent that is not kept.
    lost: bool,
    ended: bool,
    /// The task of the exchange, which measures time from the end, where another task reads the body.
    watcher: Option<Waker>,
}

/// What the client sends.
struct ClientBody {
    incoming: Option<Incoming>,
    cell: StreamCell,
    /// Trailers go on; HTTP/1's do only where the file says so.
    trailers: bool,
    /// The client went away before the end.
    left: bool,
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

/// One reading of a [`RequestSource`], through the attempt's own filters.
pub struct Replay {
    source: Rc<RefCell<RequestSource>>,
    at: usize,
    /// All of the source has been read.
    read: bool,
    pump: Option<Pump>,
    progress: Progress,
}

/// How far a reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Data,
    Trailers,
    Over,
}

// === impl ClientBody ===

impl ClientBody {
    /// The next part, and what follows it; trailers are in the stream then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, BodyError>> {
        let part = self.poll_wire(cx);
        if let Poll::Ready(Ok(part)) = &part
            && part.ending.is_last()
        {
            let mut stream = self.cell.borrow_mut();
            stream.request_complete = true;
            stream.info.request_ended = Some(Instant::now());
        }
        part
    }

    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, BodyError>> {
        let nothing = |ending| {
            Poll::Ready(Ok(Output {
                data: Bytes::new(),
                ending,
            }))
        };
        let Some(incoming) = &mut self.incoming else {
            return nothing(Ending::End);
        };
        if incoming.is_end_stream() {
            self.incoming = None;
            return nothing(Ending::End);
        }
        let frame = match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            None => {
                self.incoming = None;
                return nothing(Ending::End);
            }
            Some(Err(error)) => {
                self.left = is_disconnect(&error);
                return Poll::Ready(Err(BodyError::Broken));
            }
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) => {
                self.cell.borrow_mut().info.request_bytes += data.len() as u64;
                let ending = if incoming.is_end_stream() {
                    Ending::End
                } else {
                    Ending::More
                };
                Poll::Ready(Ok(Output { data, ending }))
            }
            Err(frame) => {
                self.incoming = None;
                match frame.into_trailers() {
                    Ok(trailers) if self.trailers => {
                        self.cell.borrow_mut().request_trailers = Some(trailers);
                        nothing(Ending::Trailers)
                    }
                    _ => nothing(Ending::End),
                }
            }
        }
    }
}

// === impl RequestSource ===

impl RequestSource {
    /// Reads `incoming`, through `pump` if there is one, and keeps at most `limit` bytes for another attempt. Its
    /// trailers go on where `trailers` says so.
    #[must_use]
    pub fn new(
        incoming: Incoming,
        trailers: bool,
        pump: Option<Pump>,
        cell: StreamCell,
        limit: usize,
    ) -> Self {
        let ended = incoming.is_end_stream() && pump.is_none();
        Self {
            client: ClientBody {
                incoming: Some(incoming),
                cell: cell.clone(),
                trailers,
                left: false,
            },
            pump,
            cell,
            kept: Vec::new(),
            kept_bytes: 0,
            limit,
            keep: false,
            lost: false,
            ended,
            watcher: None,
        }
    }

    /// One that has been read already.
    fn whole_of(bytes: Bytes, cell: &StreamCell) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            client: ClientBody {
                incoming: None,
                cell: cell.clone(),
                trailers: false,
                left: false,
            },
            pump: None,
            cell: cell.clone(),
            kept_bytes: bytes.len(),
            kept: vec![bytes],
            limit: usize::MAX,
            keep: true,
            lost: false,
            ended: true,
            watcher: None,
        }))
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
        self.client.left
    }

    /// Tells this task when all of it has been read.
    pub fn watch(&mut self, task: &Waker) {
        if !self.ended {
            self.watcher = Some(task.clone());
        }
    }

    /// Whether all of it has passed the filters.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.ended
    }

    /// Whether all of it is known and nothing comes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ended && self.kept.is_empty() && self.cell.borrow().request_trailers.is_none()
    }

    /// All of it, if it has been read to its end and kept.
    #[must_use]
    pub fn whole(&self) -> Option<Bytes> {
        (self.ended && !self.lost).then(|| self.kept.concat().into())
    }

    /// Lets the body flow to the filter at `at`, which holds its head, until it lets go.
    ///
    /// # Errors
    /// Where the client goes away, or a filter stops it.
    pub fn poll_until(&mut self, at: usize, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let Self { client, pump, .. } = self;
        match pump {
            Some(pump) => pump.poll_until(at, cx, |cx| client.poll(cx).map_err(Stop::Body)),
            None => Poll::Ready(Ok(())),
        }
    }

    /// The next part behind all filters.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, Stop>> {
        let client = &mut self.client;
        poll_through(&mut self.pump, cx, |cx| client.poll(cx).map_err(Stop::Body))
    }

    /// The part at a position, kept or read now, and whether it is the last; `None` behind that.
    fn poll_at(
        &mut self,
        at: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Bytes, bool), BodyError>>> {
        if let Some(part) = self.kept.get(at) {
            let last = self.ended && at + 1 == self.kept.len();
            return Poll::Ready(Some(Ok((part.clone(), last))));
        }
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let Output { data, ending } = match ready!(self.poll_part(cx)) {
                Ok(output) => output,
                Err(stop) => return Poll::Ready(Some(Err(stopped(&self.cell, stop)))),
            };
            self.ended = ending.is_last();
            self.cell.borrow_mut().request_sent = self.ended;
            if self.ended
                && let Some(watcher) = self.watcher.take()
                && !watcher.will_wake(cx.waker())
            {
                watcher.wake();
            }
            if !data.is_empty() {
                self.remember(&data);
                return Poll::Ready(Some(Ok((data, self.ended))));
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

/// Leaves in the stream what a filter wants instead, where the exchange finds it.
fn stopped(cell: &StreamCell, stop: Stop) -> BodyError {
    let mut stream = cell.borrow_mut();
    match stop {
        Stop::Body(error) => return error,
        Stop::Reply(reply) => stream.local_reply = Some(reply),
        Stop::Reset => stream.closed = true,
    }
    BodyError::Stopped
}

/// The same for the filters of an attempt: to break off is theirs to do for the attempt alone.
fn broken_off(cell: &StreamCell, stop: Stop) -> BodyError {
    let stop = match stop {
        Stop::Reset => Stop::Reply(reply::attempt(&AttemptError::Reset.into(), false)),
        stop => stop,
    };
    stopped(cell, stop)
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
    /// All of it, through the filters of an attempt.
    #[must_use]
    pub fn whole(bytes: Bytes, pump: Option<Pump>, cell: &StreamCell) -> Self {
        match pump {
            None if cell.borrow().request_trailers.is_none() => Self::Full(Some(bytes)),
            _ => Self::replay(&RequestSource::whole_of(bytes, cell), pump),
        }
    }

    /// A reading of `source` from the start, through the filters of an attempt.
    #[must_use]
    pub fn replay(source: &Rc<RefCell<RequestSource>>, pump: Option<Pump>) -> Self {
        if source.borrow().is_empty() {
            return Self::Empty;
        }
        Self::Replay(Replay {
            source: source.clone(),
            at: 0,
            read: false,
            pump,
            progress: Progress::Data,
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
        while self.progress == Progress::Data {
            let (at, read) = (&mut self.at, &mut self.read);
            let part = poll_through(&mut self.pump, cx, |cx| {
                next_part(&mut source, at, read, cx).map_err(Stop::Body)
            });
            let Output { data, ending } = match ready!(part) {
                Ok(output) => output,
                Err(stop) => return Poll::Ready(Some(Err(broken_off(&source.cell, stop)))),
            };
            self.progress = match ending {
                Ending::More => Progress::Data,
                Ending::End => Progress::Over,
                Ending::Trailers => Progress::Trailers,
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        if self.progress == Progress::Over {
            return Poll::Ready(None);
        }
        self.progress = Progress::Over;
        let trailers = source.cell.borrow().request_trailers.clone();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

/// The part of `source` at a position, which moves on.
fn next_part(
    source: &mut RequestSource,
    at: &mut usize,
    read: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Result<Output, BodyError>> {
    let (data, last) = match *read {
        true => (Bytes::new(), true),
        false => match ready!(source.poll_at(*at, cx)) {
            Some(part) => part?,
            None => (Bytes::new(), true),
        },
    };
    *at += 1;
    *read = last;
    let ending = match last {
        false => Ending::More,
        true if source.cell.borrow().request_trailers.is_some() => Ending::Trailers,
        true => Ending::End,
    };
    Poll::Ready(Ok(Output { data, ending }))
}
