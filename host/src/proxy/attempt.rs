//! One attempt: a host, its cluster's upstream filters, a connection, a response's head.

mod body;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use super::body::{RequestSource, UpstreamRequestBody};
use super::deadline;
use super::filters::{Active, Direction, Step};
use super::pump::{Output, Pump, Stop};
use super::reply::{GatewayError, gateway};
use super::socket::Socket;
use super::upstream::balancer::Choice;
use super::upstream::connection::{AttemptError, Connection};
use super::worker::WorkerCluster;
use crate::config::cluster::Protocol;
use crate::stream::head::{Removed, RequestHead, Target};
use crate::stream::tls::UpstreamConnection;
use crate::stream::{LocalReply, ResponseHead, Stream, StreamCell, Tunnel};
use crate::vm::grpc::Outbox;
use body::Wire;
pub use body::{AttemptBody, Upgraded};

/// What a filter of a cluster's may hold of a body, in bytes: Envoy's default of `per_connection_buffer_limit_bytes`.
const BUFFER_LIMIT: usize = 1 << 20;

/// Why there is no response.
#[derive(Debug)]
pub enum AttemptFailure {
    /// No response.
    Error(AttemptError),
    /// An upstream filter, or the gateway, answers.
    Reply(LocalReply),
    /// The request's own body broke off, or a filter of the listener's stopped it. Nobody holds that against the host: the
    /// attempt's filters end with this, after the listener's, as in Envoy.
    Body(Filters),
}

impl From<AttemptError> for AttemptFailure {
    fn from(error: AttemptError) -> Self {
        Self::Error(error)
    }
}

impl From<Stop> for AttemptFailure {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Reply(reply) => Self::Reply(reply),
            Stop::Reset | Stop::Body(_) => Self::Error(AttemptError::Reset),
        }
    }
}

/// What an attempt sends.
pub enum Outgoing<'a> {
    /// The client's body.
    Source(&'a Rc<RefCell<RequestSource>>),
    /// This body.
    Whole(Bytes),
    /// These messages.
    Messages(Rc<Outbox>),
}

impl Outgoing<'_> {
    fn source(&self) -> Option<Rc<RefCell<RequestSource>>> {
        match self {
            Self::Source(source) => Some(Rc::clone(source)),
            Self::Whole(_) | Self::Messages(_) => None,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Source(source) => source.borrow().is_empty(),
            Self::Whole(body) => body.is_empty(),
            Self::Messages(_) => false,
        }
    }
}

/// Runs one attempt of the stream's request against the chosen host. The response's head is in the stream then, and has
/// passed the upstream filters.
///
/// # Errors
/// Where no response comes, or a filter answers.
pub async fn run(
    cluster: &WorkerCluster,
    choice: Choice,
    cell: &StreamCell,
    outgoing: Outgoing<'_>,
    per_try_timeout: Option<Duration>,
) -> Result<AttemptBody, AttemptFailure> {
    {
        let mut stream = cell.borrow_mut();
        stream.info.upstream = Some(choice.host.clone());
        stream.info.attempts += 1;
        stream.info.upstream_connection = UpstreamConnection::default();
        stream.info.upstream_began = None;
        stream.info.connected_after = None;
        stream.response = None;
    }
    let stats = &cluster.upstream.shared.stats;
    stats.rq_total.increment();
    if cluster.upstream.is_aggregate() {
        choice.leaf.shared.stats.rq_total.increment();
    }
    let filters = Filters::begin(cluster, cell);
    // A tunnel has no end yet.
    let end = outgoing.is_empty() && cell.borrow().tunnel.is_none();
    filters.request(end).await?;
    let source = outgoing.source();
    let sent = || match &source {
        Some(source) => source.borrow().is_read(),
        None => true,
    };
    let pump = filters.pump(Direction::Request);
    let exchange = exchange(&choice, cell, outgoing, pump);
    let outcome = deadline::per_try(per_try_timeout, sent, exchange)
        .await
        .unwrap_or_else(|_| {
            stats.rq_per_try_timeout.increment();
            Err(AttemptError::PerTryTimeout.into())
        });
    let sent = match outcome {
        Err(AttemptFailure::Error(AttemptError::RequestBody)) => {
            return Err(AttemptFailure::Body(filters));
        }
        outcome => outcome?,
    };
    let (head, wire) = match sent {
        Sent::Message(response, connection) => {
            stats.response(response.status());
            let (parts, incoming) = response.into_parts();
            let head = ResponseHead::new(parts.status, parts.headers);
            let wire = match accepts_tunnel(&cell.borrow(), head.status) {
                true => {
                    let (socket, read) = connection.into_socket().ok_or(AttemptError::Protocol)?;
                    Wire::Socket(socket, read)
                }
                false => Wire::message(incoming, connection, choice.leaf),
            };
            (head, wire)
        }
        Sent::Socket(socket) => (
            ResponseHead::new(StatusCode::OK, HeaderMap::new()),
            Wire::Socket(socket, Bytes::new()),
        ),
    };
    {
        let mut stream = cell.borrow_mut();
        stream.response = Some(head);
        stream.info.response_began = Some(Instant::now());
    }
    let mut body = AttemptBody::new(cell.clone(), wire, filters);
    body.pass_head().await?;
    Ok(body)
}

/// Whether a response begins the tunnel that its request asks for.
fn accepts_tunnel(stream: &Stream, status: StatusCode) -> bool {
    match stream.tunnel {
        None => false,
        Some(Tunnel::Upgrade) => status == StatusCode::SWITCHING_PROTOCOLS,
        Some(Tunnel::Connect | Tunnel::Terminated) => status.is_success(),
    }
}

/// What an upstream has answered with.
#[allow(
    clippy::large_enum_variant,
    reason = "one for each attempt, taken apart at once"
)]
enum Sent {
    /// A response.
    Message(Response<Incoming>, Connection),
    /// A connection, which is all that was asked for.
    Socket(Socket),
}

/// Sends the stream's request as it stands and waits for the response's head.
async fn exchange(
    choice: &Choice,
    cell: &StreamCell,
    outgoing: Outgoing<'_>,
    pump: Option<Pump>,
) -> Result<Sent, AttemptFailure> {
    if cell.borrow().tunnel == Some(Tunnel::Terminated) {
        let socket = choice.leaf.socket(&choice.host).await?;
        return Ok(Sent::Socket(socket));
    }
    let body = match outgoing {
        Outgoing::Source(source) => UpstreamRequestBody::replay(source, pump),
        Outgoing::Whole(bytes) if bytes.is_empty() && cell.borrow().request_trailers.is_none() => {
            UpstreamRequestBody::Empty
        }
        Outgoing::Whole(bytes) => UpstreamRequestBody::whole(bytes, pump, cell),
        Outgoing::Messages(outbox) => UpstreamRequestBody::Messages(outbox),
    };
    let protocol = &choice.leaf.shared.config.protocol;
    let tunnel = cell.borrow().tunnel.is_some();
    if tunnel && !matches!(protocol, Protocol::Http1(_)) {
        // An upgrade is one of HTTP/1's.
        return Err(AttemptFailure::Reply(gateway(GatewayError::Upgrade)));
    }
    let request =
        outgoing_request(&cell.borrow().request, body, protocol).map_err(AttemptFailure::Reply)?;
    let began = Instant::now();
    let connected = |connection: &Connection| {
        let info = &mut cell.borrow_mut().info;
        let now = Instant::now();
        info.upstream_connection = connection.facts().cloned().unwrap_or_default();
        info.upstream_began = Some(now);
        info.connected_after = Some(now.duration_since(began));
    };
    let sent = choice.leaf.send(&choice.host, request, connected);
    let (response, connection) = sent.await?;
    Ok(Sent::Message(response, connection))
}

/// The request for the wire. Its headers are copied: another attempt, the access log and the filters'
/// response callbacks still need them.
fn outgoing_request(
    head: &RequestHead,
    body: UpstreamRequestBody,
    protocol: &Protocol,
) -> Result<Request<UpstreamRequestBody>, LocalReply> {
    for (pseudo, error) in [
        (Removed::METHOD, GatewayError::RemovedMethod),
        (Removed::PATH, GatewayError::RemovedPath),
    ] {
        if head.removed.has(pseudo) {
            return Err(gateway(error));
        }
    }
    let Target::Valid(path) = &head.path else {
        return Err(gateway(GatewayError::FilteredPath));
    };
    let host = head.headers.get(http::header::HOST);
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    match protocol {
        Protocol::Http1(_) => {
            let authority = || Authority::try_from(host?.as_bytes()).ok();
            *request.uri_mut() = match head.method {
                Method::CONNECT => authority().map_or_else(|| Uri::from(path.clone()), Uri::from),
                _ => Uri::from(path.clone()),
            };
            *request.version_mut() = Version::HTTP_11;
        }
        Protocol::Http2(_) | Protocol::Auto(_) => {
            let uri = host.and_then(|host| absolute(&head.scheme, host, path.clone()));
            *request.uri_mut() = uri.ok_or_else(|| gateway(GatewayError::FilteredAuthority))?;
            *request.version_mut() = Version::HTTP_2;
        }
    }
    Ok(request)
}

/// The target that HTTP/2 writes as `:scheme`, `:authority` and `:path`.
pub(super) fn absolute(
    scheme: &HeaderValue,
    host: &HeaderValue,
    path: PathAndQuery,
) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::try_from(scheme.as_bytes()).unwrap_or(Scheme::HTTP));
    parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).ok()
}

/// The cluster's own filters on one attempt; their contexts end with it.
pub struct Filters(Option<Rc<Active>>);

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filters")
    }
}

impl Filters {
    fn begin(cluster: &WorkerCluster, cell: &StreamCell) -> Self {
        Self((!cluster.filters.is_empty()).then(|| Rc::new(cluster.filters.activate(cell))))
    }

    /// Those of them that want to see the body of that direction.
    fn pump(&self, direction: Direction) -> Option<Pump> {
        let active = self.0.as_ref()?;
        Pump::new(active, direction, BUFFER_LIMIT)
    }

    async fn request(&self, end_of_stream: bool) -> Result<(), AttemptFailure> {
        let Some(active) = &self.0 else { return Ok(()) };
        for at in 0..active.len() {
            let mut step = active.request_headers(at, end_of_stream);
            while matches!(step, Step::Pause) {
                step = active.resumed(at, Direction::Request).await;
            }
            pass(step)?;
        }
        Ok(())
    }

    /// The response's head comes to them; to one that holds it the body from `next` flows through `pump`, where its
    /// configuration says so.
    async fn response(
        &self,
        end_of_stream: bool,
        pump: &mut Option<Pump>,
        next: &mut impl FnMut(&mut Context<'_>) -> Poll<Result<Output, Stop>>,
    ) -> Result<(), AttemptFailure> {
        let Some(active) = &self.0 else { return Ok(()) };
        let direction = Direction::Response;
        for at in (0..active.len()).rev() {
            let mut step = active.response_headers(at, end_of_stream);
            if matches!(step, Step::Pause)
                && active.takes_body_while_paused(at, direction)
                && let Some(pump) = pump
            {
                std::future::poll_fn(|cx| pump.poll_until(at, cx, &mut *next)).await?;
                continue;
            }
            while matches!(step, Step::Pause) {
                step = active.resumed(at, direction).await;
            }
            pass(step)?;
        }
        Ok(())
    }
}

impl Drop for Filters {
    fn drop(&mut self) {
        if let Some(active) = &self.0 {
            active.end(false);
        }
    }
}

fn pass(step: Step) -> Result<(), AttemptFailure> {
    match step {
        Step::Continue | Step::Pause => Ok(()),
        Step::Reply(reply) => Err(AttemptFailure::Reply(reply)),
        Step::Reset => Err(AttemptFailure::Error(AttemptError::Reset)),
    }
}

/// Headers that belong to one connection and never pass on. Source: RFC 9110, section 7.6.1.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
    if let Some(named) = headers.remove(CONNECTION) {
        // What `connection` names is hop-by-hop too; `close` and `keep-alive` name nothing.
        for name in named.as_bytes().split(|byte| *byte == b',') {
            let name = name.trim_ascii();
            if !name.eq_ignore_ascii_case(b"close")
                && !PROTECTED.iter().any(|kept| name.eq_ignore_ascii_case(kept))
                && let Ok(name) = std::str::from_utf8(name)
            {
                headers.remove(name);
            }
        }
    }
    if headers
        .get(TE)
        .is_some_and(|value| value.as_bytes() != b"trailers")
    {
        headers.remove(TE);
    }
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// What a client may not have removed by naming it in `connection`.
const PROTECTED: [&[u8]; 6] = [
    b"host",
    b"content-length",
    b"authorization",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-request-id",
];
