//! Sockets: with bytes that were read already, and with an eye on HTTP/1 heads.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Client;

/// A socket some of whose bytes were read already.
pub(super) struct Rewound<S> {
    stream: S,
    read: Bytes,
}

/// A socket that looks at request heads as they come, for what hyper quietly repairs: a request with two lengths
/// must be refused, since another server may read it differently.
pub(super) struct Guarded<S> {
    stream: Rewound<S>,
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

// === impl Rewound ===

impl<S> Rewound<S> {
    /// Gives `read` first, then what comes from `stream`.
    pub(super) fn new(stream: S, read: Bytes) -> Self {
        Self { stream, read }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let size = self.read.len().min(buf.remaining());
        buf.put_slice(self.read.get(..size).unwrap_or_default());
        self.read.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
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
// === impl Guarded ===

impl<S> Guarded<S> {
    /// Looks at the heads of requests on `stream` for `client`.
    pub(super) fn new(stream: Rewound<S>, client: Rc<Client>) -> Self {
        Self {
            stream,
            client,
            head: HeadScan::default(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
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
        {
            if self.head.ambiguous(new) {
                self.client.ambiguous.set(true);
            }
            let in_progress = !self.head.partial.is_empty();
            self.client.head_in_progress(in_progress);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
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
