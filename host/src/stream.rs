//! One exchange (a request and its response) as the filters of both chains see it.
//!
//! The data path owns it through an `Rc`; each guest context of the exchange holds a clone, so that a
//! paused exchange can be changed from a callout's callback. Everything is single-threaded.

pub mod head;
pub mod intern;
pub mod tls;

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Waker;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::config::cluster::Endpoint;
pub use head::{RequestHead, ResponseHead};
use tls::Tls;

/// A stream shared by the data path and the guest contexts.
pub type StreamCell = Rc<RefCell<Stream>>;

/// The state of one exchange.
#[derive(Debug)]
pub struct Stream {
    /// The request's head; filters edit it in place.
    pub request: RequestHead,
    /// The response's head, from its arrival (or a local reply) on.
    pub response: Option<ResponseHead>,
    /// What `HTTP_REQUEST_BODY` shows during a request body callback.
    pub request_body: BytesMut,
    /// What `HTTP_RESPONSE_BODY` shows during a response body callback.
    pub response_body: BytesMut,
    /// Request trailers, once they have come.
    pub request_trailers: Option<HeaderMap>,
    /// Response trailers, once they have come.
    pub response_trailers: Option<HeaderMap>,
    /// What properties tell.
    pub info: StreamInfo,
    /// What filters left with `set_property`: few entries, so a list. Seen by both chains.
    pub filter_state: Vec<(Bytes, Bytes)>,
    /// Set by `send_local_response`, taken by the data path after the callback.
    pub local_reply: Option<LocalReply>,
    /// `continue_stream` for the request came.
    pub resume_request: bool,
    /// `continue_stream` for the response came.
    pub resume_response: bool,
    /// `close_stream` came: the exchange ends with a reset.
    pub closed: bool,
    /// The VM of a guest that filters it has failed, perhaps in a callback that was not about this stream.
    pub vm_failed: bool,
    /// Who waits for one of the above.
    pub waker: Option<Waker>,
}

/// Facts of an exchange that properties and the access log tell.
#[derive(Debug)]
pub struct StreamInfo {
    /// When the request's head was complete.
    pub start: SystemTime,
    /// The client's address.
    pub source: SocketAddr,
    /// The address it reached.
    pub destination: SocketAddr,
    /// A number of the downstream connection, unique in this process.
    pub connection_id: u64,
    /// The chosen route's `name`.
    pub route_name: Arc<str>,
    /// The chosen virtual host's name.
    pub virtual_host: Arc<str>,
    /// The chosen cluster's name (an aggregate's own, not its leaf's), once chosen.
    pub cluster: Option<Arc<str>>,
    /// The endpoint of the current attempt.
    pub upstream: Option<Arc<UpstreamHost>>,
    /// Attempts begun.
    pub attempts: u32,
    /// Why the response is what it is, in Envoy's words; empty while unknown.
    pub details: Cow<'static, str>,
    /// The client's connection, where it is secured.
    pub tls: Option<Arc<Tls>>,
    /// The current attempt's connection, where it is secured.
    pub upstream_tls: Option<Arc<Tls>>,
    /// The gateway's own end of the current attempt's connection.
    pub upstream_local: Option<SocketAddr>,
    /// Why the current attempt's connection failed, in Envoy's words; empty where it has not.
    pub transport_failure: Cow<'static, str>,
    /// How long the current attempt waited for its connection.
    pub connected_after: Option<Duration>,
    /// From the first byte sent to the upstream to the last one that came from it.
    pub backend_latency: Option<Duration>,
    /// Endpoints of the chosen cluster.
    pub endpoints: Option<u64>,
    /// Envoy's response flags, each a bit.
    pub flags: u64,
    /// Body bytes received from the client.
    pub request_bytes: u64,
    /// Body bytes sent to the client.
    pub response_bytes: u64,
}

/// An endpoint with its resolved address.
#[derive(Debug)]
pub struct UpstreamHost {
    /// The address connections go to.
    pub address: SocketAddr,
    /// The endpoint of the file.
    pub endpoint: Endpoint,
    /// The leaf cluster it belongs to.
    pub cluster: Arc<str>,
    /// Whether its health checks let it have traffic; always, where its cluster has none.
    pub healthy: AtomicBool,
}

/// An answer that a filter or the gateway gives itself.
#[derive(Debug, Clone)]
pub struct LocalReply {
    /// The status.
    pub status: StatusCode,
    /// Headers besides the length.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// Response code details: a filter's own, or in Envoy's words.
    pub details: Cow<'static, str>,
    /// A filter answers, not the router: the route's edits are not for it.
    pub of_filter: bool,
    /// gRPC's status, for a request that is gRPC's; `None` where the HTTP status says enough.
    pub grpc_status: Option<u8>,
}

// === impl Stream ===

impl Stream {
    /// A stream for a request that has just come.
    #[must_use]
    pub fn new(request: RequestHead, info: StreamInfo) -> Self {
        Self {
            request,
            response: None,
            request_body: BytesMut::new(),
            response_body: BytesMut::new(),
            request_trailers: None,
            response_trailers: None,
            info,
            filter_state: Vec::new(),
            local_reply: None,
            resume_request: false,
            resume_response: false,
            closed: false,
            vm_failed: false,
            waker: None,
        }
    }

    /// The value a filter left under `key`.
    #[must_use]
    pub fn filter_state(&self, key: &[u8]) -> Option<&Bytes> {
        self.filter_state
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v)
    }

    /// Leaves `value` under `key`.
    pub fn set_filter_state(&mut self, key: &[u8], value: &[u8]) {
        let value = Bytes::copy_from_slice(value);
        match self.filter_state.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.filter_state.push((Bytes::copy_from_slice(key), value)),
        }
    }

    /// Wakes the data path, which waits for a resume, a local reply or a close.
    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

// === impl StreamInfo ===

impl StreamInfo {
    /// Of an exchange of which nothing more is known; `unnamed` stands for the names to come.
    #[must_use]
    pub fn new(
        start: SystemTime,
        source: SocketAddr,
        destination: SocketAddr,
        unnamed: Arc<str>,
    ) -> Self {
        Self {
            start,
            source,
            destination,
            connection_id: 0,
            route_name: unnamed.clone(),
            virtual_host: unnamed,
            cluster: None,
            upstream: None,
            attempts: 0,
            details: Cow::Borrowed(""),
            tls: None,
            upstream_tls: None,
            upstream_local: None,
            transport_failure: Cow::Borrowed(""),
            connected_after: None,
            backend_latency: None,
            endpoints: None,
            flags: 0,
            request_bytes: 0,
            response_bytes: 0,
        }
    }

    /// The protocol as Envoy writes it.
    #[must_use]
    pub fn protocol_name(&self) -> &'static str {
        "HTTP/1.1"
    }
}

// === impl LocalReply ===

impl LocalReply {
    /// A reply of the gateway's own, as plain text.
    #[must_use]
    pub fn text(status: StatusCode, body: &'static str, details: &'static str) -> Self {
        let headers = if body.is_empty() {
            Vec::new()
        } else {
            vec![(
                http::header::CONTENT_TYPE,
                HeaderValue::from_static("text/plain"),
            )]
        };
        Self {
            status,
            headers,
            body: Bytes::from_static(body.as_bytes()),
            details: Cow::Borrowed(details),
            of_filter: false,
            grpc_status: None,
        }
    }
}
