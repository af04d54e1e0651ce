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
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use crate::config::cluster::Endpoint;
pub use head::{RequestHead, ResponseHead};
use tls::{Tls, UpstreamConnection};

/// What filters may leave in a stream, in bytes and in entries.
const MAX_FILTER_STATE: usize = 64 * 1024 * 1024;
const MAX_FILTER_STATES: usize = 1024;

/// A stream shared by the data path and the guest contexts.
pub type StreamCell = Rc<RefCell<Stream>>;

/// A direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the upstream.
    Request,
    /// To the client.
    Response,
}

/// A guest's context, told apart from all others of the process: filters of one stream may lie in several VMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The VM's serial number.
    pub vm: u64,
    /// The context's number there.
    pub context: u32,
}

/// A body, or the part of it that has come, which a filter has paused.
#[derive(Debug)]
struct Held {
    by: Member,
    direction: Direction,
    data: BytesMut,
}

/// What a request asks for that is no exchange of messages but of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tunnel {
    /// An upgrade such as a WebSocket.
    Upgrade,
    /// `CONNECT`, which the upstream answers.
    Connect,
    /// `CONNECT` that ends at the gateway: the upstream gets what it carries.
    Terminated,
}

/// The state of one exchange.
#[derive(Debug)]
pub struct Stream {
    /// The request's head; filters edit it in place.
    pub request: RequestHead,
    /// The response's head, from its arrival (or a local reply) on.
    pub response: Option<ResponseHead>,
    /// What `HTTP_REQUEST_BODY` shows during a request body callback; see [`Self::body`].
    pub request_body: BytesMut,
    /// What `HTTP_RESPONSE_BODY` shows during a response body callback; see [`Self::body`].
    pub response_body: BytesMut,
    /// Request trailers, once they have come.
    pub request_trailers: Option<HeaderMap>,
    /// Response trailers, once they have come.
    pub response_trailers: Option<HeaderMap>,
    /// All of the request has come.
    pub request_complete: bool,
    /// All of the request is on its way to the upstream.
    pub request_sent: bool,
    /// The request asks for a tunnel, and may have one.
    pub tunnel: Option<Tunnel>,
    /// What properties tell.
    pub info: StreamInfo,
    /// What filters left with `set_property`: few entries, so a list. Seen by both chains.
    pub filter_state: Vec<(Bytes, Bytes)>,
    /// Set by `send_local_response`, taken by the data path after the callback.
    pub local_reply: Option<LocalReply>,
    /// `close_stream` came: the exchange ends with a reset.
    pub closed: bool,
    /// The VM of a guest that filters it has failed, perhaps in a callback that was not about this stream.
    pub vm_failed: bool,
    /// Who called `continue_stream`, for which direction, and has not been let go yet. Most streams have none.
    resumed: Vec<(Member, Direction)>,
    /// Bodies that filters hold; most streams have none.
    held: Vec<Held>,
    /// Who waits for one of the above: the task of the request's way and that of the response's, which may be two.
    wakers: [Option<Waker>; 2],
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
    /// The peer of the client's connection: a proxy, perhaps, where [`Self::source`] is what it says.
    pub direct_source: SocketAddr,
    /// When it began, for durations.
    pub began: Instant,
    /// When the last of the request came.
    pub request_ended: Option<Instant>,
    /// When the first of the upstream's response came.
    pub response_began: Option<Instant>,
    /// Another attempt was due, and there had been as many as there may be.
    pub retry_limit_exceeded: bool,
    /// The protocol between the client and the gateway.
    pub protocol: Version,
    /// The client's connection, where it is secured.
    pub tls: Option<Arc<Tls>>,
    /// The current attempt's connection, once it has one.
    pub upstream_connection: UpstreamConnection,
    /// When the current attempt had its connection, and so began to send.
    pub upstream_began: Option<Instant>,
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
            request_complete: false,
            request_sent: false,
            tunnel: None,
            info,
            filter_state: Vec::new(),
            local_reply: None,
            closed: false,
            vm_failed: false,
            resumed: Vec::new(),
            held: Vec::new(),
            wakers: [None, None],
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

    /// Leaves `value` under `key`; false where there is no room.
    #[must_use]
    pub fn set_filter_state(&mut self, key: &[u8], value: &[u8]) -> bool {
        let (mut held, mut own) = (key.len() + value.len(), None);
        let entries = self.filter_state.len();
        for (name, old) in &mut self.filter_state {
            if name == key {
                own = Some(old);
            } else {
                held += name.len() + old.len();
            }
        }
        if held > MAX_FILTER_STATE || own.is_none() && entries >= MAX_FILTER_STATES {
            return false;
        }
        let value = Bytes::copy_from_slice(value);
        match own {
            Some(old) => *old = value,
            None => self.filter_state.push((Bytes::copy_from_slice(key), value)),
        }
        true
    }

    /// Lets the filter of that context go on, in that direction.
    pub fn resume(&mut self, member: Member, direction: Direction) {
        if !self.resumed.contains(&(member, direction)) {
            self.resumed.push((member, direction));
        }
        self.wake();
    }

    /// Whether the filter of that context has been let go since the last time; asking forgets it.
    pub fn take_resumed(&mut self, member: Member, direction: Direction) -> bool {
        let at = self
            .resumed
            .iter()
            .position(|resumed| *resumed == (member, direction));
        at.map(|at| self.resumed.swap_remove(at)).is_some()
    }

    /// Keeps a body for the filter that has paused it. Its guest reaches it there from any callback.
    pub fn hold(&mut self, by: Member, direction: Direction, data: BytesMut) {
        self.held.push(Held {
            by,
            direction,
            data,
        });
    }

    /// What [`Self::hold`] has kept, perhaps changed by the guest; empty where there is none.
    pub fn release(&mut self, by: Member, direction: Direction) -> BytesMut {
        let at = self.held.iter().position(|held| held.is(by, direction));
        at.map_or_else(BytesMut::new, |at| self.held.swap_remove(at).data)
    }

    /// Whether the filter of that context has paused a body.
    #[must_use]
    pub fn holds(&self, member: Member, direction: Direction) -> bool {
        self.held.iter().any(|held| held.is(member, direction))
    }

    /// The body as the guest of that context sees it: what its filter holds, or what its callback is about.
    #[must_use]
    pub fn body(&self, member: Member, direction: Direction) -> &BytesMut {
        let mut held = self.held.iter();
        match (held.find(|held| held.is(member, direction)), direction) {
            (Some(held), _) => &held.data,
            (None, Direction::Request) => &self.request_body,
            (None, Direction::Response) => &self.response_body,
        }
    }

    /// The same, to be changed.
    pub fn body_mut(&mut self, member: Member, direction: Direction) -> &mut BytesMut {
        let mut held = self.held.iter_mut();
        match (held.find(|held| held.is(member, direction)), direction) {
            (Some(held), _) => &mut held.data,
            (None, Direction::Request) => &mut self.request_body,
            (None, Direction::Response) => &mut self.response_body,
        }
    }

    /// Tells a task that waits on the way of that direction.
    pub fn wait(&mut self, direction: Direction, task: &Waker) {
        let [request, response] = &mut self.wakers;
        let waker = match direction {
            Direction::Request => request,
            Direction::Response => response,
        };
        match waker {
            Some(waker) => waker.clone_from(task),
            None => *waker = Some(task.clone()),
        }
    }

    /// Wakes the data path, which waits for a resume, a local reply or a close.
    pub fn wake(&mut self) {
        for waker in self.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}

// === impl Held ===

impl Held {
    fn is(&self, by: Member, direction: Direction) -> bool {
        self.by == by && self.direction == direction
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
            upstream_connection: UpstreamConnection::default(),
            upstream_began: None,
            transport_failure: Cow::Borrowed(""),
            connected_after: None,
            backend_latency: None,
            endpoints: None,
            flags: 0,
            direct_source: source,
            began: Instant::now(),
            request_ended: None,
            response_began: None,
            retry_limit_exceeded: false,
            protocol: Version::HTTP_11,
            request_bytes: 0,
            response_bytes: 0,
        }
    }

    /// The protocol as Envoy writes it.
    #[must_use]
    pub fn protocol_name(&self) -> &'static str {
        match self.protocol {
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
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
