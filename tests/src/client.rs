//! A client that keeps its connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest time for one exchange.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(30);

/// One connection to a gateway, opened anew when it has closed.
pub struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
    connections: u32,
}

/// A request to be; [`Call::send`] sends it.
pub struct Call<'a> {
    client: &'a mut Client,
    request: Request<Full<Bytes>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

// === impl Client ===

impl Client {
    /// A client of this address; it connects with the first request.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
            connections: 0,
        }
    }

    /// A GET request.
    pub fn get(&mut self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// A POST request with a body.
    pub fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Call<'_> {
        let mut call = self.call(Method::POST, path);
        *call.request.body_mut() = Full::new(body.into());
        call
    }

    /// A request of any method.
    pub fn call(&mut self, method: Method, path: &str) -> Call<'_> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_static("gateway.test"));
        Call {
            client: self,
            request,
        }
    }

    /// How many connections it has opened.
    pub fn connections(&self) -> u32 {
        self.connections
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let mut connection = match self.connection.take() {
            // Ready once the last answer was read in full; an error means that the peer has closed.
            Some(mut kept) => match kept.ready().await {
                Ok(()) => kept,
                Err(_) => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let response = connection.send_request(request).await?;
        self.connection = Some(connection);
        Ok(response)
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, hyper::Error> {
        self.connections += 1;
        let stream = TcpStream::connect(self.address)
            .await
            .unwrap_or_else(|e| panic!("{}: {e}", self.address));
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

// === impl Call ===

impl Call<'_> {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        self.request
            .headers_mut()
            .append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
        self
    }

    /// Adds `authorization: Bearer` with this key.
    #[must_use]
    pub fn bearer(self, key: &str) -> Self {
        self.header("authorization", format!("Bearer {key}"))
    }

    /// Replaces the `host` header.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.request
            .headers_mut()
            .insert(HOST, HeaderValue::from_str(host).unwrap());
        self
    }

    /// Sends it and waits for the whole answer; an error where the connection broke off.
    pub async fn try_send(self) -> Result<Reply, hyper::Error> {
        let what = format!("{} {}", self.request.method(), self.request.uri());
        let exchange = async {
            let (parts, body) = self.client.exchange(self.request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Reply {
                status: parts.status,
                headers: parts.headers,
                body,
            })
        };
        let in_time = tokio::time::timeout(EXCHANGE_LIMIT, exchange).await;
        in_time.unwrap_or_else(|_| panic!("{what} was not answered within {EXCHANGE_LIMIT:?}"))
    }

    /// Sends it and waits for the whole answer.
    pub async fn send(self) -> Reply {
        let what = format!("{} {}", self.request.method(), self.request.uri());
        self.try_send()
            .await
            .unwrap_or_else(|e| panic!("{what} failed: {e:?}"))
    }

    /// Sends it and returns when the answer's headers have come.
    pub async fn open(self) -> Response<Incoming> {
        let exchange = self.client.exchange(self.request);
        tokio::time::timeout(EXCHANGE_LIMIT, exchange)
            .await
            .expect("an answer in time")
            .unwrap()
    }
}

// === impl Reply ===

impl Reply {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// A header's only value as text; an empty string where it is absent.
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map_or("", |v| v.to_str().unwrap());
        assert!(
            values.next().is_none(),
            "more than one {name}: {:?}",
            self.headers
        );
        value
    }
}
