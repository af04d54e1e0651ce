//! A client that keeps its connection, for the load and for what the story asks.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest time for one exchange.
const LIMIT: Duration = Duration::from_secs(30);

/// One connection, opened anew when it has closed.
pub(super) struct Client {
    address: SocketAddr,
    host: HeaderValue,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Which upstream gave it, by `x-upstream`.
    pub(super) upstream: Option<HeaderValue>,
    pub(super) body: Bytes,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum Failure {
    /// The response had not begun.
    None(String),
    /// It had, and broke off.
    BrokeOff(String),
}

// === impl Client ===

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            host: HeaderValue::from_static("api.example.com"),
            connection: None,
        }
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let exchange = self.exchange(request);
        let in_time = tokio::time::timeout(LIMIT, exchange).await;
        in_time.unwrap_or_else(|_| Err(Failure::None(format!("no answer within {LIMIT:?}"))))
    }

    async fn exchange(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        request.headers_mut().insert(HOST, self.host.clone());
        let mut connection = match self.ready().await {
            Some(connection) => connection,
            None => self.connect().await.map_err(Failure::None)?,
        };
        let response = connection.send_request(request).await;
        let response = response.map_err(|e| Failure::None(e.to_string()))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await;
        let body = body.map_err(|e| Failure::BrokeOff(e.to_string()))?;
        self.connection = Some(connection);
        Ok(Answer {
            status: parts.status,
            upstream: parts.headers.get("x-upstream").cloned(),
            body: body.to_bytes(),
        })
    }

    /// The connection, if it can take another request.
    async fn ready(&mut self) -> Option<SendRequest<Full<Bytes>>> {
        let mut kept = self.connection.take()?;
        kept.ready().await.ok().map(|()| kept)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect(self.address).await;
        let stream = stream.map_err(|e| format!("{}: {e}", self.address))?;
        // A socket that cannot be set so still works.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        // Its errors show where its requests are waited for.
        tokio::spawn(connection);
        Ok(sender)
    }
}
