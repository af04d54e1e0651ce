//! Upgraded connections: bytes both ways, which the filters see as bodies, until one side ends.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::Instant;

use super::attempt::Upgraded;
use super::body::BodyError;
use super::exchange::Exchange;
use super::pump::{Ending, Output, Pump, Stop, poll_through};

/// So much is read at once, in bytes.
const PIECE: usize = 16 * 1024;

/// A tunnel between a client and an upstream.
pub struct Tunnel {
    /// Ends, and is logged, with the tunnel.
    exchange: Box<Exchange>,
    request: Option<Pump>,
    response: Option<Pump>,
    upstream: Upgraded,
    /// The client may end its side and still listen: HTTP/2's streams can, HTTP/1's connections cannot.
    half_close: bool,
    /// No byte either way for so long ends it; zero is no limit.
    idle_timeout: Duration,
}

/// One direction's source.
struct Reader<R> {
    stream: R,
    read: Bytes,
    buffer: Box<[u8]>,
}

/// How one direction ended.
enum Carried {
    /// Its source had no more.
    Ended,
    /// It broke.
    Broken,
}

// === impl Tunnel ===

impl Tunnel {
    /// A tunnel of `exchange` through the listener's filters.
    pub(super) fn new(
        exchange: Box<Exchange>,
        [request, response]: [Option<Pump>; 2],
        upstream: Upgraded,
        half_close: bool,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            exchange,
            request,
            response,
            upstream,
            half_close,
            idle_timeout,
        }
    }

    /// Carries bytes until a side ends; `read` was read of the client already.
    pub(super) async fn run<S>(self, client: S, read: Bytes)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self {
            exchange,
            request,
            response,
            upstream,
            half_close,
            idle_timeout,
        } = self;
        let Upgraded {
            socket,
            read: answered,
            request: request_upstream,
            response: response_upstream,
            filters: _filters,
        } = upstream;
        let active = Cell::new(Instant::now());
        let (client_read, client_write) = tokio::io::split(client);
        let (upstream_read, upstream_write) = tokio::io::split(socket);
        let cell = &exchange.cell;
        let to_upstream = carry(
            Reader::new(client_read, read),
            upstream_write,
            [request, request_upstream],
            |size| {
                active.set(Instant::now());
                cell.borrow_mut().info.request_bytes += size;
            },
        );
        let to_client = carry(
            Reader::new(upstream_read, answered),
            client_write,
            [response_upstream, response],
            |size| {
                active.set(Instant::now());
                cell.borrow_mut().info.response_bytes += size;
            },
        );
        let (mut to_upstream, mut to_client) = (pin!(to_upstream), pin!(to_client));
        let mut quiet = pin!(idle(&active, idle_timeout));
        let mut client_ended = false;
        std::future::poll_fn(|cx| {
            if !client_ended && let Poll::Ready(ended) = to_upstream.as_mut().poll(cx) {
                client_ended = true;
                // As in Envoy, half of an upgraded HTTP/1 connection is no connection.
                if !half_close || matches!(ended, Carried::Broken) {
                    cell.borrow_mut().info.details = "downstream_remote_disconnect".into();
                    return Poll::Ready(());
                }
            }
            if to_client.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if quiet.as_mut().poll(cx).is_ready() {
                cell.borrow_mut().info.details = "stream_idle_timeout".into();
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Ends when nothing has been carried for so long.
async fn idle(active: &Cell<Instant>, limit: Duration) {
    if limit.is_zero() {
        return std::future::pending().await;
    }
    loop {
        let until = active.get() + limit;
        if until <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

/// Carries bytes one way, through the filters of one chain and then of the other.
async fn carry<R, W>(
    mut from: Reader<R>,
    mut to: W,
    [mut first, mut second]: [Option<Pump>; 2],
    note: impl Fn(u64),
) -> Carried
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let part = std::future::poll_fn(|cx| {
            poll_through(&mut second, cx, |cx| {
                poll_through(&mut first, cx, |cx| from.poll(cx))
            })
        });
        let Ok(Output { data, ending }) = part.await else {
            return Carried::Broken;
        };
        note(data.len() as u64);
        if to.write_all(&data).await.is_err() || to.flush().await.is_err() {
            return Carried::Broken;
        }
        if ending.is_last() {
            // The other side may have gone already.
            let _ = to.shutdown().await;
            return Carried::Ended;
        }
    }
}

// === impl Reader ===

impl<R: AsyncRead + Unpin> Reader<R> {
    fn new(stream: R, read: Bytes) -> Self {
        Self {
            stream,
            read,
            buffer: vec![0; PIECE].into_boxed_slice(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, Stop>> {
        let mut data = std::mem::take(&mut self.read);
        let mut ending = Ending::More;
        if data.is_empty() {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            read.map_err(|_| Stop::Body(BodyError::Broken))?;
            data = Bytes::copy_from_slice(buffer.filled());
            if data.is_empty() {
                ending = Ending::End;
            }
        }
        Poll::Ready(Ok(Output { data, ending }))
    }
}

/// A tunnel on its way from the exchange to the connection that it takes over.
#[derive(Default)]
pub(super) struct HandOver(RefCell<Option<Tunnel>>);

// === impl HandOver ===

impl HandOver {
    /// Leaves it for the connection.
    pub(super) fn leave(&self, tunnel: Tunnel) {
        *self.0.borrow_mut() = Some(tunnel);
    }

    /// Takes what was left.
    pub(super) fn take(&self) -> Option<Tunnel> {
        self.0.borrow_mut().take()
    }
}
