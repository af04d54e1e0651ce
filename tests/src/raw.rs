//! Bytes of one's own over a plain socket, for what no client would send.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::PATIENCE;

/// A plain connection.
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// Takes the next connection.
    pub async fn accept(listener: &TcpListener) -> Self {
        let accepted = tokio::time::timeout(PATIENCE, listener.accept()).await;
        Self::over(accepted.expect("a connection in time").unwrap().0)
    }

    /// Takes the next connection, however late it comes.
    pub async fn accept_whenever(listener: &TcpListener) -> Self {
        Self::over(listener.accept().await.unwrap().0)
    }

    fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Writes bytes; that the peer has closed already shows when its answer is read.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads until this text has come, and returns all up to its end.
    pub async fn read_until(&mut self, text: &str) -> String {
        let read = tokio::time::timeout(PATIENCE, self.try_read_until(text)).await;
        let read = read.unwrap_or_else(|_| panic!("{text:?} did not come"));
        read.unwrap_or_else(|| {
            panic!(
                "closed before {text:?}: {:?}",
                String::from_utf8_lossy(&self.read)
            )
        })
    }

    /// Reads until this text has come, however late, and returns all up to its end; `None` where the peer closes first.
    pub async fn try_read_until(&mut self, text: &str) -> Option<String> {
        loop {
            let found = self
                .read
                .windows(text.len())
                .position(|w| w == text.as_bytes());
            if let Some(at) = found {
                return Some(self.taken(at + text.len()));
            }
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Reads so many bytes, however late they come; `None` where the peer closes first.
    pub async fn try_read(&mut self, bytes: usize) -> Option<String> {
        while self.read.len() < bytes {
            if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                return None;
            }
        }
        Some(self.taken(bytes))
    }

    /// Takes the first bytes of what was read.
    fn taken(&mut self, bytes: usize) -> String {
        let rest = self.read.split_off(bytes);
        let taken = std::mem::replace(&mut self.read, rest);
        String::from_utf8_lossy(&taken).into_owned()
    }

    /// Reads until the peer closes, and returns all of it.
    pub async fn read_to_end(&mut self) -> String {
        let (read, closed) = self.read_for(PATIENCE).await;
        assert!(closed, "not closed after {read:?}");
        read
    }

    /// Reads until the peer closes or the time is over; returns what came, and whether the peer has closed.
    pub async fn read_for(&mut self, time: Duration) -> (String, bool) {
        let reading =
            async { while self.stream.read_buf(&mut self.read).await.unwrap_or(0) > 0 {} };
        let closed = tokio::time::timeout(time, reading).await.is_ok();
        (String::from_utf8_lossy(&self.read).into_owned(), closed)
    }
}

/// Sends these bytes on a connection of its own and returns the status of the answer, or 0 where there is none.
pub async fn status(address: SocketAddr, bytes: impl AsRef<[u8]>) -> u16 {
    let mut raw = Raw::connect(address).await;
    raw.write(bytes).await;
    let mut head = [0; 12];
    let read = tokio::time::timeout(PATIENCE, raw.stream.read_exact(&mut head))
        .await
        .expect("an answer or the end");
    if read.is_err() {
        return 0;
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.strip_prefix("HTTP/1.").and_then(|s| s.get(2..));
    status
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| panic!("no status line: {head:?}"))
}

/// An upstream that answers each request with the same bytes, whatever they are, and closes.
pub struct RawUpstream {
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

// === impl RawUpstream ===

impl RawUpstream {
    /// Listens on a port of the kernel's choice.
    pub async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut raw = Raw::over(stream);
                    raw.read_until("\r\n\r\n").await;
                    raw.write(answer).await;
                });
            }
        });
        Self { address, server }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}
