//! One attempt: a host, its cluster's upstream filters, a connection, a response's head.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use super::body::{RequestSource, UpstreamRequestBody};
use super::deadline::{self, Limits, Received};
use super::filters::{Active, Direction, Step};
use super::upstream::Leaf;
use super::upstream::balancer::Choice;
use super::upstream::connection::{AttemptError, Connection};
use super::worker::WorkerCluster;
use crate::config::cluster::Protocol;
use crate::stream::head::{RequestHead, Target};
use crate::stream::{LocalReply, ResponseHead, StreamCell};
use crate::vm::grpc::Outbox;

/// A response whose head has come and passed the upstream filters; the head is in the stream.
pub struct Attempt {
    /// The body.
    pub body: Incoming,
    /// The connection that brings it.
    pub connection: Connection,
    /// Where the connection goes when it is done.
    pub leaf: Rc<Leaf>,
}

/// Why there is none.
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

/// What an attempt sends.
pub enum Outgoing<'a> {
    /// The client's body.
    Source(&'a Rc<RefCell<RequestSource>>),
    /// This body.
    Whole(Bytes),
    /// These messages.
    Messages(Rc<Outbox>),
}

impl Attempt {
    /// Lets a response go unread. Its connection is kept only where the whole body has come already.
    pub fn discard(mut self) {
        use http_body::Body as _;
        let mut quiet = Context::from_waker(std::task::Waker::noop());
        while !self.body.is_end_stream() {
            match std::pin::Pin::new(&mut self.body).poll_frame(&mut quiet) {
                std::task::Poll::Ready(Some(Ok(_))) => {}
                std::task::Poll::Ready(None) => break,
                std::task::Poll::Ready(Some(Err(_))) | std::task::Poll::Pending => return,
            }
        }
        self.leaf.give_back(self.connection);
    }
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

/// Runs one attempt of the stream's request against the chosen host.
///
/// # Errors
/// Where no response comes, or a filter answers.
pub async fn run(
    cluster: &WorkerCluster,
    choice: Choice,
    cell: &StreamCell,
    outgoing: Outgoing<'_>,
    per_try_timeout: Option<Duration>,
) -> Result<Attempt, AttemptFailure> {
    {
        let mut stream = cell.borrow_mut();
        stream.info.upstream = Some(choice.host.clone());
        stream.info.attempts += 1;
        stream.response = None;
    }
    let stats = &cluster.upstream.shared.stats;
    stats.rq_total.increment();
    if cluster.upstream.is_aggregate() {
        choice.leaf.shared.stats.rq_total.increment();
    }
    let filters = Filters::begin(cluster, cell);
    filters.request(outgoing.is_empty()).await?;
    let source = outgoing.source();
    let received = |cx: &Context<'_>| {
        let source = source.as_ref();
        source.map_or(Received::All, |source| source.borrow_mut().received(cx))
    };
    let exchange = exchange(&choice, cell, outgoing);
    let limits = Limits {
        response: per_try_timeout.unwrap_or_default(),
        ..Limits::default()
    };
    let outcome = deadline::run(limits, &mut None, received, exchange)
        .await
        .unwrap_or_else(|_| {
            stats.rq_per_try_timeout.increment();
            Err(AttemptError::PerTryTimeout.into())
        });
    let (response, connection) = match outcome {
        Err(AttemptFailure::Error(AttemptError::RequestBody)) => {
            return Err(AttemptFailure::Body(filters));
        }
        outcome => outcome?,
    };
    stats.response(response.status());
    let (parts, body) = response.into_parts();
    cell.borrow_mut().response = Some(ResponseHead {
        status: parts.status,
        headers: parts.headers,
    });
    filters
        .response(http_body::Body::is_end_stream(&body))
        .await?;
    Ok(Attempt {
        body,
        connection,
        leaf: choice.leaf,
    })
}

/// Sends the stream's request as it stands and waits for the response's head.
async fn exchange(
    choice: &Choice,
    cell: &StreamCell,
    outgoing: Outgoing<'_>,
) -> Result<(Response<Incoming>, Connection), AttemptFailure> {
    let body = match outgoing {
        Outgoing::Source(source) => UpstreamRequestBody::replay(source),
        Outgoing::Whole(bytes) if bytes.is_empty() => UpstreamRequestBody::Empty,
        Outgoing::Whole(bytes) => UpstreamRequestBody::Full(Some(bytes)),
        Outgoing::Messages(outbox) => UpstreamRequestBody::Messages(outbox),
    };
    let protocol = &choice.leaf.shared.config.protocol;
    let request =
        outgoing_request(&cell.borrow().request, body, protocol).map_err(AttemptFailure::Reply)?;
    Ok(choice.leaf.send(&choice.host, request).await?)
}

/// The request for the wire. Its headers are copied: another attempt, the access log and the filters'
/// response callbacks still need them.
fn outgoing_request(
    head: &RequestHead,
    body: UpstreamRequestBody,
    protocol: &Protocol,
) -> Result<Request<UpstreamRequestBody>, LocalReply> {
    let Target::Valid(path) = &head.path else {
        return Err(LocalReply::text(
            StatusCode::BAD_REQUEST,
            "",
            "invalid_path",
        ));
    };
    let Some(host) = head.headers.get(http::header::HOST) else {
        return Err(LocalReply::text(
            StatusCode::BAD_REQUEST,
            "",
            "missing_host_header",
        ));
    };
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    match protocol {
        Protocol::Http1 => {
            *request.uri_mut() = Uri::from(path.clone());
            *request.version_mut() = Version::HTTP_11;
        }
        Protocol::Http2(_) | Protocol::Auto(_) => {
            let uri = absolute(&head.scheme, host, path.clone());
            *request.uri_mut() = uri.ok_or_else(|| {
                LocalReply::text(StatusCode::BAD_REQUEST, "", "invalid_authority")
            })?;
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
pub struct Filters(Option<Active>);

impl std::fmt::Debug for Filters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filters")
    }
}

impl Filters {
    fn begin(cluster: &WorkerCluster, cell: &StreamCell) -> Self {
        Self((!cluster.filters.is_empty()).then(|| cluster.filters.activate(cell)))
    }

    async fn request(&self, end_of_stream: bool) -> Result<(), AttemptFailure> {
        let Some(active) = &self.0 else { return Ok(()) };
        for at in 0..active.len() {
            let mut step = active.request_headers(at, end_of_stream);
            while matches!(step, Step::Pause) {
                step = active.resumed(Direction::Request).await;
            }
            pass(step)?;
        }
        Ok(())
    }

    async fn response(&self, end_of_stream: bool) -> Result<(), AttemptFailure> {
        let Some(active) = &self.0 else { return Ok(()) };
        for at in (0..active.len()).rev() {
            let mut step = active.response_headers(at, end_of_stream);
            while matches!(step, Step::Pause) {
                step = active.resumed(Direction::Response).await;
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
