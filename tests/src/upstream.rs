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
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A body that an upstream sends; an error breaks the connection off.
pub type Body = BoxBody<Bytes, io::Error>;

/// What an upstream got.
pub type Seen = Request<Bytes>;

/// So many requests are kept; what comes after is only counted.
const KEPT: usize = 4096;

type Handler = dyn Fn(Seen) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync;

/// An HTTP/1.1 server on a port of the kernel's choice, until dropped.
///
/// A panic in its closure fails the test when the upstream is dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
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
pub fn refusing() -> (SocketAddr, tokio::net::TcpSocket) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
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
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    // A gateway that breaks off is a case's own business.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
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
