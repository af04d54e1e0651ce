//! A client's connection.

mod http1;
mod http2;
mod socket;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::tunnel::HandOver;
use super::worker::WorkerListener;
use crate::config::listener::Codec;
use crate::stream::tls::Tls;
use crate::tls;
use socket::Rewound;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// With all that was begun.
    InOrder,
    /// It broke off.
    Broken,
    /// The client has taken too long with a request's head.
    Late,
}

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
    began: Instant,
    /// Requests so far.
    requests: Cell<u32>,
    /// Since when a head has been coming.
    head_since: Cell<Option<Instant>>,
    late: Cell<bool>,
    /// Since when its next answer is its last.
    retiring: Cell<Option<Instant>>,
    /// It speaks HTTP/2.
    http2: Cell<bool>,
    closing: Cell<bool>,
    /// What is known of its TLS, when the handshake is done.
    tls: OnceCell<Arc<Tls>>,
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
            began: Instant::now(),
            requests: Cell::new(0),
            head_since: Cell::new(None),
            late: Cell::new(false),
            retiring: Cell::new(None),
            http2: Cell::new(false),
            closing: Cell::new(false),
            tls: OnceCell::new(),
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
        self.wake();
    }

    /// What is known of its TLS; `None` for cleartext.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.get()
    }

    /// Whether it ends with what is in progress.
    #[must_use]
    pub fn closing(&self) -> bool {
        self.closing.get() || self.retiring.get().is_some()
    }

    /// Looks at the connection's limits, and ends it where one has been passed.
    pub fn check(&self) {
        let http = &self.listener.config.http;
        let passed = |since: Duration, limit: Duration| !limit.is_zero() && since > limit;
        let idle = self.idle_for().unwrap_or_default();
        if passed(idle, http.common.idle_timeout) {
            self.close();
        }
        if passed(self.began.elapsed(), http.common.max_connection_duration) {
            self.retire();
        }
        let head = self
            .head_since
            .get()
            .map_or(Duration::ZERO, |since| since.elapsed());
        if [
            http.request_headers_timeout,
            http.request_timeout,
            http.stream_idle_timeout,
        ]
        .into_iter()
        .any(|limit| passed(head, limit))
        {
            self.late.set(true);
            self.wake();
        }
    }

    /// Ends it without cutting a request off: HTTP/2's client is told; HTTP/1's learns of it by its next answer, for which
    /// there is the time of a drain.
    fn retire(&self) {
        let since = self.retiring.get().unwrap_or_else(Instant::now);
        self.retiring.set(Some(since));
        if self.http2.get() || since.elapsed() >= self.listener.config.http.drain_timeout {
            self.close();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Notes whether a head has begun to come and is not complete.
    fn head_in_progress(&self, in_progress: bool) {
        if in_progress != self.head_since.get().is_some() {
            self.head_since.set(in_progress.then(Instant::now));
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
        self.requests.set(self.requests.get().saturating_add(1));
        let max = self.listener.config.http.common.max_requests_per_connection;
        if max > 0 && self.requests.get() >= max {
            self.close();
        }
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
            if self.closing.get() || self.late.get() {
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

    /// Runs a connection of either protocol to its end; `shut_down` tells it to end
    /// when nothing is in progress.
    async fn drive<C>(&self, mut connection: Pin<&mut C>, shut_down: impl Fn(Pin<&mut C>)) -> Ended
    where
        C: Future<Output = Result<(), hyper::Error>>,
    {
        let mut closing = false;
        let ended = std::future::poll_fn(|cx| {
            if self.late.get() {
                return Poll::Ready(Ok(Ended::Late));
            }
            if self.closing.get() && !closing {
                closing = true;
                shut_down(connection.as_mut());
            }
            let result = connection.as_mut().poll(cx);
            if result.is_pending() {
                remember(&self.waker, cx.waker());
            }
            result.map_ok(|()| Ended::InOrder)
        });
        ended.await.unwrap_or_else(|error| {
            tracing::debug!(client = %self.remote, "connection ended: {error}");
            Ended::Broken
        })
    }
}

/// Serves a connection until it ends.
pub async fn serve(stream: TcpStream, client: Rc<Client>) {
    // Answers go out at once; a socket that cannot be set so still works.
    let _ = stream.set_nodelay(true);
    let Some((tls, stats)) = &client.listener.tls else {
        return speak(stream, client, None).await;
    };
    let accepting = TlsAcceptor::from(tls.current()).accept(stream);
    match client.unless_closed(accepting).await {
        Some(Ok(stream)) => {
            let connection = stream.get_ref().1;
            stats.established(connection);
            let facts = tls::facts(connection, client.listener.config.tls_inspector);
            let agreed = match connection.alpn_protocol() {
                Some(b"h2") => Some(Codec::Http2),
                Some(_) => Some(Codec::Http1),
                None => None,
            };
            let _ = client.tls.set(Arc::new(facts));
            speak(stream, client, agreed).await;
        }
        Some(Err(error)) => {
            stats.failed(&error);
            tracing::debug!(client = %client.remote, "TLS handshake: {error}");
        }
        None => {}
    }
}

/// Speaks the protocol that the file names, or that TLS has agreed on, or that the client begins with.
async fn speak<S>(mut stream: S, client: Rc<Client>, agreed: Option<Codec>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let codec = match client.listener.config.http.codec {
        Codec::Auto => agreed.unwrap_or(Codec::Auto),
        codec => codec,
    };
    let (codec, read) = match codec {
        Codec::Auto => {
            // What is read to tell the protocols apart is given to its reader: the look costs no system call.
            match client.unless_closed(sniff(&mut stream, &client)).await {
                Some(Ok(Some(found))) => found,
                None if client.late.get() => return http1::too_late(stream, &client).await,
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
async fn sniff<S: AsyncRead + Unpin>(
    stream: &mut S,
    client: &Client,
) -> io::Result<Option<(Codec, Bytes)>> {
    let mut read = BytesMut::with_capacity(FIRST_READ);
    loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
        if read.starts_with(PREFACE) {
            client.head_in_progress(false);
            return Ok(Some((Codec::Http2, read.freeze())));
        }
        if !PREFACE.starts_with(&read) {
            return Ok(Some((Codec::Http1, read.freeze())));
        }
        client.head_in_progress(true);
    }
}

fn remember(kept: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut kept = kept.borrow_mut();
    match kept.as_mut() {
        Some(known) => known.clone_from(waker),
        None => *kept = Some(waker.clone()),
    }
}
