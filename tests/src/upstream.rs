//! Real servers inside a test: they record what they got.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A body that an upstream sends; an error breaks the connection off.
pub type Body = BoxBody<Bytes, io::Error>;

/// What an upstream got.
pub type Seen = Request<Bytes>;

/// So many requests are kept; what comes after is only counted.
const KEPT: usize = 4096;

type Handler = dyn Fn(Seen) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync;

/// A server on a port of the kernel's choice, until dropped: HTTP/1.1 in clear, unless [`Wire`] says otherwise.
///
/// A panic in its closure fails the test when the upstream is dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What a gateway showed in its TLS handshake: an extension of each request that came so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The server that it asked for (SNI).
    pub server_name: Option<String>,
    /// Its certificate, in DER.
    pub certificate: Option<Vec<u8>>,
}

/// What an upstream speaks.
#[derive(Clone, Default)]
pub struct Wire {
    /// TLS; ALPN then says which HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// HTTP/2 without asking.
    pub http2: bool,
    /// So many streams at a time on one connection of HTTP/2.
    pub max_streams: Option<u32>,
}

struct Shared {
    wire: Wire,
    handler: Box<Handler>,
    seen: Mutex<Vec<Seen>>,
    count: AtomicU64,
    connections: AtomicU64,
    panics: Mutex<Vec<String>>,
}

// === impl Upstream ===

impl Upstream {
    /// Serves every request by a closure. The request's body has arrived in full by then.
    pub async fn start<F, R>(handler: F) -> Self
    where
        F: Fn(Seen) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::speaking(Wire::default(), handler).await
    }

    /// The same over another wire.
    pub async fn speaking<F, R>(wire: Wire, handler: F) -> Self
    where
        F: Fn(Seen) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::speaking_at(([127, 0, 0, 1], 0).into(), wire, handler).await
    }

    /// The same at an address: that of an upstream that was dropped, mostly.
    pub async fn speaking_at<F, R>(address: SocketAddr, wire: Wire, handler: F) -> Self
    where
        F: Fn(Seen) -> R + Send + Sync + 'static,
        R: Future<Output = Response<Body>> + Send + 'static,
    {
        let bound = || {
            // The connections of the one before linger, and so may its listener.
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address).and_then(|()| socket.listen(1024))
        };
        let mut listener = bound();
        crate::assert_eventually!(
            listener.is_ok() || {
                listener = bound();
                false
            },
            "{address} is still taken"
        );
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            wire,
            handler: Box::new(move |request| Box::pin(handler(request))),
            seen: Mutex::default(),
            count: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            panics: Mutex::default(),
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            server,
        }
    }

    /// Answers every request with 200 and its name as the body.
    pub async fn named(name: &'static str) -> Self {
        Self::start(move |_| async move { text(StatusCode::OK, name) }).await
    }

    /// Answers every request with this status and its name as the body.
    pub async fn failing(name: &'static str, status: StatusCode) -> Self {
        Self::start(move |_| async move { text(status, name) }).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests it got so far, the first few thousand of them.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The only request it got.
    pub fn request(&self) -> Seen {
        let mut seen = self.requests();
        assert_eq!(seen.len(), 1, "one request was expected, not {seen:?}");
        seen.remove(0)
    }

    /// The number of requests it got.
    pub fn count(&self) -> u64 {
        self.shared.count.load(Ordering::SeqCst)
    }

    /// The number of connections it accepted.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
        self.shared.count.store(0, Ordering::SeqCst);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
        let panics = std::mem::take(&mut *self.shared.panics.lock().unwrap());
        if !std::thread::panicking() {
            assert!(
                panics.is_empty(),
                "the upstream {} panicked: {panics:?}",
                self.address
            );
        }
    }
}

/// An address on which nothing listens: connections are refused.
///
/// The socket that reserves it is bound and never listens, so that nobody else gets the port meanwhile.
pub fn refusing() -> (SocketAddr, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    (socket.local_addr().unwrap(), socket)
}

/// An address that takes no connection and refuses none, as long as the sockets live: its backlog is full.
pub async fn full_backlog() -> (SocketAddr, (TcpListener, TcpStream)) {
    let (address, socket) = refusing();
    // Linux queues one connection more than it is told to.
    let listener = socket.listen(0).unwrap();
    let queued = TcpStream::connect(address).await.unwrap();
    (address, (listener, queued))
}

/// A plain answer.
pub fn text(status: StatusCode, body: &str) -> Response<Body> {
    let mut response = Response::new(full(body.to_owned()));
    *response.status_mut() = status;
    response
}

/// A body that is there in full.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A body that sends each chunk as it comes, until the other half is dropped.
pub fn chunks(receiver: tokio::sync::mpsc::Receiver<&'static str>) -> Body {
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        let chunk = receiver.recv().await?;
        Some((
            Ok(Frame::data(Bytes::from_static(chunk.as_bytes()))),
            receiver,
        ))
    });
    StreamBody::new(frames).boxed()
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this future: all connections close with the upstream.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(connection(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let answering = shared.clone();
    let service = move |handshake: Option<Handshake>| {
        move |mut request: Request<Incoming>| {
            let shared = answering.clone();
            if let Some(handshake) = &handshake {
                request.extensions_mut().insert(handshake.clone());
            }
            async move { Ok::<_, Infallible>(shared.answer(request).await) }
        }
    };
    // A gateway that breaks off, or does not trust it, is a case's own business.
    let wire = &shared.wire;
    let Some(tls) = &wire.tls else {
        return serve_http(stream, wire.http2, wire, service(None)).await;
    };
    let Ok(stream) = TlsAcceptor::from(tls.clone()).accept(stream).await else {
        return;
    };
    let session = stream.get_ref().1;
    let http2 = wire.http2 || session.alpn_protocol() == Some(b"h2");
    let handshake = Handshake {
        server_name: session.server_name().map(str::to_owned),
        certificate: session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|certificate| certificate.to_vec()),
    };
    serve_http(stream, http2, wire, service(Some(handshake))).await;
}

async fn serve_http<S, F, R>(stream: S, http2: bool, wire: &Wire, service: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R + Send + Sync + Clone + 'static,
    R: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
{
    let (io, service) = (TokioIo::new(stream), service_fn(service));
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_concurrent_streams(wire.max_streams);
        let _ = builder.serve_connection(io, service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(io, service).await;
    }
}

// === impl Shared ===

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return text(StatusCode::BAD_REQUEST, "the request's body broke off");
        };
        let request = Request::from_parts(parts, body.to_bytes());
        self.count.fetch_add(1, Ordering::SeqCst);
        {
            let mut seen = self.seen.lock().unwrap();
            if seen.len() < KEPT {
                seen.push(request.clone());
            }
        }
        let answer = AssertUnwindSafe(async { (self.handler)(request).await })
            .catch_unwind()
            .await;
        answer.unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            self.panics
                .lock()
                .unwrap()
                .push(message.unwrap_or_default());
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the test's upstream panicked",
            )
        })
    }
}
