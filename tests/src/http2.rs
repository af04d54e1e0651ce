//! HTTP/2: a client that keeps one connection, and frames of one's own for what no client would send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{PATIENCE, Reply};

/// A body that a client sends.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// One connection to a gateway, over cleartext by prior knowledge or over a stream that is given.
#[derive(Clone)]
pub struct Http2 {
    sender: SendRequest<Body>,
}

/// An answer with its trailers.
#[derive(Debug)]
pub struct Answer {
    /// All but the trailers.
    pub reply: Reply,
    /// The trailers; none are as good as empty ones.
    pub trailers: HeaderMap,
}

/// A connection whose frames are written by hand.
pub struct Frames {
    stream: TcpStream,
    read: Vec<u8>,
}

/// How a peer refuses what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// GOAWAY with this error code.
    GoAway(u32),
    /// RST_STREAM with this error code.
    Reset(u32),
    /// An answer: HEADERS.
    Answer,
    /// Nothing but the end of the connection.
    Closed,
}

/// Frame types. Source: RFC 9113, section 6.
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// PRIORITY.
    pub const PRIORITY: u8 = 2;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PUSH_PROMISE.
    pub const PUSH_PROMISE: u8 = 5;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// Error codes. Source: RFC 9113, section 7.
pub mod code {
    /// PROTOCOL_ERROR.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// FLOW_CONTROL_ERROR.
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    /// STREAM_CLOSED.
    pub const STREAM_CLOSED: u32 = 5;
    /// FRAME_SIZE_ERROR.
    pub const FRAME_SIZE_ERROR: u32 = 6;
    /// REFUSED_STREAM.
    pub const REFUSED_STREAM: u32 = 7;
    /// COMPRESSION_ERROR.
    pub const COMPRESSION_ERROR: u32 = 9;
}

/// END_STREAM.
pub const END_STREAM: u8 = 1;
/// END_HEADERS.
pub const END_HEADERS: u8 = 4;

// === impl Http2 ===

impl Http2 {
    /// Connects by prior knowledge.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    /// Speaks HTTP/2 over this stream.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends a request and returns when the answer's headers have come.
    pub async fn open(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.sender.ready().await?;
        let answer = tokio::time::timeout(PATIENCE, self.sender.send_request(request)).await;
        answer.expect("an answer in time")
    }

    /// Sends a request and waits for the whole answer.
    pub async fn send(&mut self, request: Request<Body>) -> Answer {
        let (parts, body) = self.open(request).await.unwrap().into_parts();
        let body = tokio::time::timeout(PATIENCE, body.collect()).await;
        let body = body.expect("a body in time").unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        Answer {
            reply: Reply {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            },
            trailers,
        }
    }

    /// Whether the peer has said that it takes no more.
    pub fn closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// A request with a body of these parts and these trailers.
pub fn request(
    method: &str,
    path: &str,
    parts: &[&'static str],
    trailers: &[(&'static str, &'static str)],
) -> Request<Body> {
    let builder = Request::builder()
        .method(method)
        .uri(format!("http://gateway.test{path}"));
    if parts.is_empty() && trailers.is_empty() {
        let empty = Empty::new().map_err(|never| match never {}).boxed();
        return builder.body(empty).unwrap();
    }
    let mut frames: Vec<_> = parts
        .iter()
        .map(|part| Frame::data(Bytes::from_static(part.as_bytes())))
        .collect();
    if !trailers.is_empty() {
        let trailers = trailers
            .iter()
            .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
            .collect();
        frames.push(Frame::trailers(trailers));
    }
    let frames = futures_util::stream::iter(frames.into_iter().map(Ok));
    builder.body(StreamBody::new(frames).boxed()).unwrap()
}

// === impl Frames ===

impl Frames {
    /// Connects and sends the preface with empty settings.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut frames = Self::bare(address).await;
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(kind::SETTINGS, 0, 0, b"").await;
        frames
    }

    /// Connects and sends nothing.
    pub async fn bare(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Writes bytes; that the peer has closed already shows when its frames are read.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Writes a frame.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame(kind, flags, stream, payload)).await;
    }

    /// The next frame: its kind, stream and payload; `None` where the peer has closed.
    pub async fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let reading = async {
            loop {
                if let Some(header) = self.read.get(..9) {
                    let size = usize::from(header[0]) << 16
                        | usize::from(header[1]) << 8
                        | usize::from(header[2]);
                    if self.read.len() >= 9 + size {
                        let rest = self.read.split_off(9 + size);
                        let whole = std::mem::replace(&mut self.read, rest);
                        let stream = u32::from_be_bytes([whole[5], whole[6], whole[7], whole[8]]);
                        return Some((whole[3], stream, whole[9..].to_vec()));
                    }
                }
                if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("a frame or the end")
    }

    /// Reads until the peer refuses, or answers, what it was sent. It may tell the connection's end before it resets
    /// or closes: the first counts.
    pub async fn refusal(&mut self) -> Refusal {
        let code = |payload: &[u8], at: usize| {
            u32::from_be_bytes([
                payload[at],
                payload[at + 1],
                payload[at + 2],
                payload[at + 3],
            ])
        };
        loop {
            match self.next().await {
                None => return Refusal::Closed,
                Some((kind::GOAWAY, _, payload)) => return Refusal::GoAway(code(&payload, 4)),
                Some((kind::RST_STREAM, _, payload)) => return Refusal::Reset(code(&payload, 0)),
                Some((kind::HEADERS, ..)) => return Refusal::Answer,
                Some(_) => {}
            }
        }
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = size[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as HPACK literals, neither indexed nor compressed. Source: RFC 7541, section 6.2.2.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The fields of a plain GET request, and more.
pub fn get(more: &[(&str, &str)]) -> Vec<u8> {
    plain("GET", more)
}

/// The fields of a POST request, and more.
pub fn post(more: &[(&str, &str)]) -> Vec<u8> {
    plain("POST", more)
}

fn plain(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let plain = [
        (":method", method),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ];
    fields(&[&plain[..], more].concat())
}

/// An integer of seven bits or more. Source: RFC 7541, section 5.1.
fn length(mut length: usize, block: &mut Vec<u8>) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
        return;
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    block.push(u8::try_from(length).unwrap());
}
