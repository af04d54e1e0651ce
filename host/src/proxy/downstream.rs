//! A client's connection.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::exchange;
use super::worker::WorkerListener;

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
}

/// A socket that looks at request heads as they come, for what hyper quietly repairs: a request with two lengths
/// must be refused, since another server may read it differently.
struct Guarded {
    stream: TcpStream,
    client: Rc<Client>,
    head: HeadScan,
}

/// No more of a head is kept to be looked at.
const MAX_SCANNED: usize = 1024 * 1024;

/// What has been seen of a head.
#[derive(Default)]
struct HeadScan {
    /// A head that came in parts.
    partial: Vec<u8>,
}

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
}

/// Serves a connection until it ends.
pub async fn serve(stream: TcpStream, client: Rc<Client>) {
    let _ = stream.set_nodelay(true);
    let max_head = client
        .listener
        .config
        .http
        .max_request_headers_kb
        .saturating_mul(1024) as usize;
    let io = TokioIo::new(Guarded {
        stream,
        client: client.clone(),
        head: HeadScan::default(),
    });
    let service = {
        let client = client.clone();
        service_fn(move |request| exchange::serve(client.clone(), request))
    };
    let connection = http1::Builder::new()
        .max_header_size(max_head)
        .max_buf_size(max_head.max(8192) + 64 * 1024)
        .half_close(false)
        // heads and small bodies leave in one piece, which costs the kernel less than a list of pieces
        .writev(false)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let mut closing = false;
    let ended = std::future::poll_fn(|cx| {
        if client.closing.get() && !closing {
            closing = true;
            connection.as_mut().graceful_shutdown();
        }
        let result = connection.as_mut().poll(cx);
        if result.is_pending() && !closing {
            remember(&client.waker, cx.waker());
        }
        result
    });
    if let Err(error) = ended.await {
        tracing::debug!(client = %client.remote, "connection ended: {error}");
    }
}

fn remember(kept: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut kept = kept.borrow_mut();
    match kept.as_mut() {
        Some(known) => known.clone_from(waker),
        None => *kept = Some(waker.clone()),
    }
}

// === impl Guarded ===

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.client.active.get() == 0
            && let Some(new) = buf.filled().get(before..)
            && !new.is_empty()
            && self.head.ambiguous(new)
        {
            self.client.ambiguous.set(true);
        }
        result
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

// === impl HeadScan ===

impl HeadScan {
    /// Looks at bytes as they come; true when a head is complete and has two lengths.
    fn ambiguous(&mut self, new: &[u8]) -> bool {
        if self.partial.is_empty() && memchr::memmem::find(new, b"\r\n\r\n").is_some() {
            return two_lengths(new);
        }
        self.partial.extend_from_slice(new);
        if self.partial.len() > MAX_SCANNED {
            // No head is that long; hyper refuses it.
            self.partial = Vec::new();
        }
        if memchr::memmem::find(&self.partial, b"\r\n\r\n").is_some() {
            return two_lengths(&std::mem::take(&mut self.partial));
        }
        false
    }
}

/// Whether a head has more than one of `content-length` and `transfer-encoding`, of either kind together.
fn two_lengths(head: &[u8]) -> bool {
    let mut lengths = 0;
    let mut rest = head;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        rest = rest.get(at + 1..).unwrap_or_default();
        match rest.first() {
            // The end of the head: what follows is the body.
            None | Some(b'\r' | b'\n') => break,
            Some(b'c' | b'C') if names(rest, b"content-length") => lengths += 1,
            Some(b't' | b'T') if names(rest, b"transfer-encoding") => lengths += 1,
            Some(_) => {}
        }
    }
    lengths > 1
}

fn names(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
        && line.get(name.len()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lengths_are_seen_in_the_head_only() {
        assert!(two_lengths(
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        assert!(two_lengths(
            b"POST / HTTP/1.1\r\ncontent-length: 1\r\nCONTENT-LENGTH: 1\r\n\r\n"
        ));
        assert!(!two_lengths(
            b"POST / HTTP/1.1\r\ncontent-length: 99\r\n\r\na\ncontent-length: 1\r\n"
        ));
        assert!(!two_lengths(
            b"GET / HTTP/1.1\r\ncontent-type: content-length:\r\n\r\n"
        ));
    }

    #[test]
    fn a_head_in_parts_is_seen_whole() {
        let mut scan = HeadScan::default();
        assert!(!scan.ambiguous(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-En"));
        assert!(scan.ambiguous(b"coding: chunked\r\n\r\n"));
        assert!(
            !scan.ambiguous(b"GET / HTTP/1.1\r\n\r\n"),
            "the next head is looked at anew"
        );
    }
}
