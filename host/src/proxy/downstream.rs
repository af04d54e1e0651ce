//! A client's connection.

mod http1;
mod http2;
mod socket;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;

use super::tunnel::HandOver;
use super::worker::WorkerListener;
use crate::config::listener::Codec;
use socket::Rewound;

/// How an HTTP/2 client begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// So much is read at most before the protocol is known, in bytes.
const FIRST_READ: usize = 8192;

/// One client connection's state.
pub struct Client {
    /// Its listener on this worker.
    pub listener: Rc<WorkerListener>,
    /// The client's address.
    pub remote: SocketAddr,
    /// The address it reached.
    pub local: SocketAddr,
    /// A number of its own in this process.
    pub id: u64,
    /// Requests in progress.
    active: Cell<u32>,
    last_active: Cell<Instant>,
    closing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// The head read last had two lengths.
    ambiguous: Cell<bool>,
    /// The tunnel that an HTTP/1 connection becomes.
    pub(super) tunnel: HandOver,
}

// === impl Client ===

impl Client {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(
        listener: Rc<WorkerListener>,
        remote: SocketAddr,
        local: SocketAddr,
        id: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            listener,
            remote,
            local,
            id,
            active: Cell::new(0),
            last_active: Cell::new(Instant::now()),
            closing: Cell::new(false),
            waker: RefCell::new(None),
            ambiguous: Cell::new(false),
            tunnel: HandOver::default(),
        })
    }

    /// Whether the head read last had two lengths; asked once for each.
    pub fn ambiguous(&self) -> bool {
        self.ambiguous.take()
    }

    /// Closes the connection when the request in progress, if any, is done.
    pub fn close(&self) {
        self.closing.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// How long it has had no request; `None` while it has one.
    #[must_use]
    pub fn idle_for(&self) -> Option<Duration> {
        (self.active.get() == 0).then(|| self.last_active.get().elapsed())
    }

    /// A request is in progress.
    pub(super) fn begin(&self) {
        self.active.set(self.active.get() + 1);
    }

    /// It is over.
    pub(super) fn end(&self) {
        self.active.set(self.active.get().saturating_sub(1));
        self.last_active.set(Instant::now());
    }

    /// Runs `future` until it ends or the connection is to be closed.
    async fn unless_closed<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            if self.closing.get() {
                return Poll::Ready(None);
            }
            let result = future.as_mut().poll(cx);
            if result.is_pending() {
                remember(&self.waker, cx.waker());
            }
            result.map(Some)
        })
        .await
    }

    /// Runs a connection of either protocol to its end, and tells whether that was in order; `shut_down` tells it to end
    /// when nothing is in progress.
    async fn drive<C>(&self, mut connection: Pin<&mut C>, shut_down: impl Fn(Pin<&mut C>)) -> bool
    where
        C: Future<Output = Result<(), hyper::Error>>,
    {
        let mut closing = false;
        let ended = std::future::poll_fn(|cx| {
            if self.closing.get() && !closing {
                closing = true;
                shut_down(connection.as_mut());
            }
            let result = connection.as_mut().poll(cx);
            if result.is_pending() && !closing {
                remember(&self.waker, cx.waker());
            }
            result
        });
        let ended = ended.await;
        if let Err(error) = &ended {
            tracing::debug!(client = %self.remote, "connection ended: {error}");
        }
        ended.is_ok()
    }
}

/// Serves a connection until it ends.
pub async fn serve(stream: TcpStream, client: Rc<Client>) {
    // Answers go out at once; a socket that cannot be set so still works.
    let _ = stream.set_nodelay(true);
    speak(stream, client).await;
}

/// Speaks the protocol that the file names, or that the client begins with.
async fn speak<S>(mut stream: S, client: Rc<Client>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (codec, read) = match client.listener.config.http.codec {
        Codec::Auto => {
            // What is read to tell the protocols apart is given to its reader: the look costs no system call.
            match client.unless_closed(sniff(&mut stream)).await {
                Some(Ok(Some(found))) => found,
                _ => return,
            }
        }
        codec => (codec, Bytes::new()),
    };
    let stream = Rewound::new(stream, read);
    match codec {
        Codec::Http2 => http2::serve(stream, client).await,
        Codec::Auto | Codec::Http1 => http1::serve(stream, client).await,
    }
}

/// Reads until it is clear which protocol the client speaks; `None` where it leaves before. Source: RFC 9113, section 3.4.
async fn sniff<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<(Codec, Bytes)>> {
    let mut read = BytesMut::with_capacity(FIRST_READ);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
        if read.starts_with(PREFACE) {
            return Ok(Some((Codec::Http2, read.freeze())));
        }
        if !PREFACE.starts_with(&read) {
            return Ok(Some((Codec::Http1, read.freeze())));
        }
    }
}

fn remember(kept: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut kept = kept.borrow_mut();
    match kept.as_mut() {
        Some(known) => known.clone_from(waker),
        None => *kept = Some(waker.clone()),
    }
}
