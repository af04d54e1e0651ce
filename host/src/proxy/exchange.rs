//! One request from its head to its response's head: filters, route, attempts.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::attempt::{self, Attempt, Outgoing};
use super::body::RequestSource;
use super::downstream::Client;
use super::filters::{Active, Direction, Step};
use super::pump::{Pump, Stop};
use super::reply::{GatewayError, attempt as failed, gateway};
use super::response::{DownstreamBody, ResponseStream};
use super::router::{self, Chosen, RouteId};
use super::upstream::balancer::History;
use super::upstream::{Permit, SharedCluster};
use super::worker::{WorkerCluster, WorkerListener};
use super::{mirror, retry, target};
use crate::config::route::{Forward, Redirect, RetryPolicy, RouteAction, Target as RouteTarget};
use crate::stream::head::{RequestHead, Target};
use crate::stream::{LocalReply, ResponseHead, Stream, StreamCell, StreamInfo};

static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
static HTTP: HeaderValue = HeaderValue::from_static("http");

/// A request in progress. Dropping it ends the guests' contexts, counts it and logs it.
pub struct Exchange {
    /// Its state, shared with the guests.
    pub cell: StreamCell,
    client: Rc<Client>,
    listener: Rc<WorkerListener>,
    active: Rc<Active>,
    route: Option<RouteId>,
    began: Instant,
    /// Mirrors that get a copy when the body is known.
    mirrors: Vec<mirror::Pending>,
    /// In flight in its cluster.
    permit: Option<Permit>,
}

/// What ends an exchange before its response.
pub enum End {
    /// This answer.
    Reply(LocalReply),
    /// Nothing: the connection is closed.
    Reset,
}

impl From<LocalReply> for End {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(reply)
    }
}

impl From<GatewayError> for End {
    fn from(error: GatewayError) -> Self {
        Self::Reply(gateway(error))
    }
}

/// Serves one request.
///
/// # Errors
/// Where the connection is to be closed without an answer.
pub async fn serve(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<DownstreamBody>, super::Reset> {
    let (parts, body) = request.into_parts();
    let exchange = Exchange::begin(client, parts);
    match exchange {
        Ok(mut exchange) => match exchange.run(body).await {
            Ok((attempt, timeout)) => exchange.respond(attempt, timeout).await,
            Err(End::Reply(reply)) => exchange.reply(reply).await,
            Err(End::Reset) => Err(super::Reset),
        },
        Err((exchange, error)) => exchange.refuse(error).await,
    }
}

impl Exchange {
    /// Reads the head; a request that cannot be served comes back with the reason.
    fn begin(
        client: Rc<Client>,
        parts: http::request::Parts,
    ) -> Result<Box<Self>, (Box<Self>, GatewayError)> {
        client.begin();
        let listener = client.listener.clone();
        listener.stats.rq_total.increment();
        listener.stats.rq_active.increment();
        let mut refusal = None;
        if client.ambiguous() {
            refusal = Some(GatewayError::AmbiguousLength);
        } else if parts.version < Version::HTTP_11 {
            refusal = Some(GatewayError::Version);
        } else if let Err(error) = target::check(&parts.method, &parts.uri) {
            refusal = Some(error);
        } else if parts.headers.contains_key(header::UPGRADE) && upgrades(&parts.headers) {
            refusal = Some(GatewayError::Upgrade);
        }
        let head = head(parts);
        if refusal.is_none() && !head.headers.contains_key(header::HOST) {
            refusal = Some(GatewayError::MissingHost);
        }
        let info = StreamInfo {
            start: SystemTime::now(),
            source: client.remote,
            destination: client.local,
            connection_id: client.id,
            route_name: listener.worker.no_name.clone(),
            virtual_host: listener.worker.no_name.clone(),
            cluster: None,
            upstream: None,
            attempts: 0,
            details: "",
            request_bytes: 0,
            response_bytes: 0,
        };
        let cell: StreamCell = Rc::new(RefCell::new(Stream::new(head, info)));
        let active = Rc::new(listener.chain.activate(&cell));
        let exchange = Box::new(Self {
            cell,
            client,
            listener,
            active,
            route: None,
            began: Instant::now(),
            mirrors: Vec::new(),
            permit: None,
        });
        match refusal {
            None => Ok(exchange),
            Some(error) => Err((exchange, error)),
        }
    }

    async fn run(
        &mut self,
        body: Incoming,
    ) -> Result<(Attempt, Option<std::pin::Pin<Box<Sleep>>>), End> {
        self.add_standard_headers();
        let empty = http_body::Body::is_end_stream(&body);
        let limit = self.listener.config.body_limit();
        let pump = if empty {
            None
        } else {
            Pump::new(&self.active, Direction::Request, limit)
        };
        let source = Rc::new(RefCell::new(RequestSource::new(
            body,
            pump,
            self.cell.clone(),
            limit,
        )));
        self.request_filters(&source, empty).await?;
        let listener = self.listener.clone();
        let chosen = self.choose(&listener)?;
        match &chosen.route.action {
            RouteAction::Direct(direct) => {
                let mut reply = LocalReply::text(direct.status, "", "direct_response");
                reply.body = direct.body.clone();
                if !reply.body.is_empty() {
                    reply
                        .headers
                        .push((header::CONTENT_TYPE, HeaderValue::from_static("text/plain")));
                }
                Err(reply.into())
            }
            RouteAction::Redirect(to) => Err(redirect(to, &self.cell.borrow().request).into()),
            RouteAction::Forward(forward) => self.forward(forward, &chosen, source).await,
        }
    }

    /// What Envoy's connection manager adds to every request.
    fn add_standard_headers(&mut self) {
        let config = &self.listener.config.http;
        let mut stream = self.cell.borrow_mut();
        let headers = &mut stream.request.headers;
        attempt::remove_hop_by_hop(headers);
        headers.remove(header::EXPECT);
        if config.use_remote_address {
            if let Some(value) = forwarded_for(headers.get(&FORWARDED_FOR), self.client.remote) {
                headers.insert(FORWARDED_FOR.clone(), value);
            }
            headers.insert(FORWARDED_PROTO.clone(), HTTP.clone());
        } else {
            headers
                .entry(&FORWARDED_PROTO)
                .or_insert_with(|| HTTP.clone());
        }
        if config.generate_request_id
            && (config.use_remote_address || !headers.contains_key(&REQUEST_ID))
        {
            headers.insert(REQUEST_ID.clone(), request_id());
        }
    }

    async fn request_filters(
        &mut self,
        source: &Rc<RefCell<RequestSource>>,
        empty: bool,
    ) -> Result<(), End> {
        for at in 0..self.active.len() {
            match self.active.request_headers(at, empty) {
                Step::Continue => {}
                Step::Reply(reply) => return Err(reply.into()),
                Step::Reset => return Err(End::Reset),
                Step::Pause => self.paused(at, source, empty).await?,
            }
        }
        Ok(())
    }

    /// A filter holds the head: the body flows to it where its configuration says so, else it is waited for.
    async fn paused(
        &self,
        at: usize,
        source: &Rc<RefCell<RequestSource>>,
        empty: bool,
    ) -> Result<(), End> {
        if !empty && self.active.takes_body_while_paused(at) {
            let active = &self.active;
            let poll =
                |cx: &mut std::task::Context<'_>| source.borrow_mut().poll_until(at, active, cx);
            return std::future::poll_fn(poll).await.map_err(|stop| match stop {
                Stop::Reply(reply) => End::Reply(reply),
                Stop::Reset => End::Reset,
            });
        }
        loop {
            match self.active.resumed(Direction::Request).await {
                Step::Continue => return Ok(()),
                Step::Pause => {}
                Step::Reply(reply) => return Err(reply.into()),
                Step::Reset => return Err(End::Reset),
            }
        }
    }

    /// Finds the route and carries out its header edits.
    fn choose<'l>(&mut self, listener: &'l WorkerListener) -> Result<Chosen<'l>, End> {
        let mut stream = self.cell.borrow_mut();
        let chosen = listener
            .router
            .find(&stream.request)
            .ok_or(GatewayError::NoRoute)?;
        self.route = Some(chosen.id);
        stream.info.route_name = chosen.route_name.clone();
        stream.info.virtual_host = chosen.host_name.clone();
        let headers = &mut stream.request.headers;
        router::edit(headers, &chosen.route.request_headers);
        router::edit(headers, &chosen.host.request_headers);
        router::edit(headers, listener.router.edits().0);
        Ok(chosen)
    }

    async fn forward(
        &mut self,
        forward: &Forward,
        chosen: &Chosen<'_>,
        source: Rc<RefCell<RequestSource>>,
    ) -> Result<(Attempt, Option<std::pin::Pin<Box<Sleep>>>), End> {
        let name = self
            .target(&forward.target)
            .ok_or(GatewayError::NoCluster)?;
        let worker = self.listener.worker.clone();
        let cluster = worker.cluster(&name).ok_or(GatewayError::NoCluster)?;
        self.rewrite(forward);
        self.cell.borrow_mut().info.cluster = Some(cluster.upstream.shared.name.clone());
        self.permit = Some(cluster.upstream.shared.begin_request().ok_or_else(|| {
            cluster.upstream.shared.stats.rq_overflow.increment();
            GatewayError::Overflow
        })?);
        let policy = forward.retry.as_ref().or(chosen.host.retry.as_ref());
        self.mirrors = mirror::choose(&worker, &forward.mirrors, &self.cell, &source);
        if policy.is_some() || !self.mirrors.is_empty() {
            source.borrow_mut().keep();
        }
        let mut timer = (forward.timeout > Duration::ZERO)
            .then(|| Box::pin(tokio::time::sleep(forward.timeout)));
        let attempts = attempts(&cluster, &self.cell, policy, &source);
        let outcome = match &mut timer {
            None => attempts.await,
            Some(timer) => {
                tokio::select! {
                    biased;
                    outcome = attempts => outcome,
                    () = timer.as_mut() => {
                        cluster.upstream.shared.stats.rq_timeout.increment();
                        return Err(GatewayError::Timeout.into());
                    }
                }
            }
        };
        match outcome {
            Ok(attempt) => Ok((attempt, timer)),
            Err(reply) => {
                // A filter on the body's way may have left an answer.
                let left = self.cell.borrow_mut().local_reply.take();
                Err(End::Reply(left.unwrap_or(reply)))
            }
        }
    }

    /// The name of the cluster that a route's target means for this request.
    fn target(&self, target: &RouteTarget) -> Option<Arc<str>> {
        let worker = &self.listener.worker;
        match target {
            RouteTarget::Cluster(name) => worker.cluster_name(name),
            RouteTarget::ClusterHeader(header) => {
                let stream = self.cell.borrow();
                worker.cluster_name(stream.request.headers.get(header)?.to_str().ok()?)
            }
            RouteTarget::Weighted(weights) => {
                let sum = weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let mut left = fastrand::u64(0..std::cmp::max(sum, 1));
                for (name, weight) in weights {
                    match left.checked_sub(u64::from(*weight)) {
                        Some(rest) => left = rest,
                        None => return worker.cluster_name(name),
                    }
                }
                None
            }
        }
    }

    /// `prefix_rewrite`, `host_rewrite_literal`.
    fn rewrite(&self, forward: &Forward) {
        let mut stream = self.cell.borrow_mut();
        if let Some(host) = &forward.host_rewrite {
            stream.request.headers.insert(header::HOST, host.clone());
        }
        if let Some(to) = &forward.prefix_rewrite
            && let Some(from) = self.matched_prefix()
            && let Target::Valid(path) = &stream.request.path
            && let Some(rest) = path.as_str().strip_prefix(from.as_str())
        {
            stream.request.path = Target::from_bytes(format!("{to}{rest}").as_bytes());
        }
    }

    fn matched_prefix(&self) -> Option<String> {
        use crate::config::route::PathMatch;
        match &self.listener.router.get(self.route?)?.route.matcher.path {
            PathMatch::Prefix(path) | PathMatch::Exact(path) | PathMatch::SeparatedPrefix(path) => {
                Some(path.clone())
            }
            PathMatch::Regex(_) => None,
        }
    }

    /// Sends the upstream's response back through the filters.
    async fn respond(
        mut self: Box<Self>,
        attempt: Attempt,
        timeout: Option<std::pin::Pin<Box<Sleep>>>,
    ) -> Result<Response<DownstreamBody>, super::Reset> {
        {
            let mut stream = self.cell.borrow_mut();
            stream.info.details = "via_upstream";
            if let Some(head) = &mut stream.response {
                attempt::remove_hop_by_hop(&mut head.headers);
                let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
                head.headers
                    .insert(SERVICE_TIME.clone(), HeaderValue::from(elapsed));
                self.edit_response(&mut head.headers);
            }
        }
        let end = http_body::Body::is_end_stream(&attempt.body);
        match self.response_filters(end).await {
            Ok(()) => {}
            Err(End::Reply(reply)) => {
                self.set_reply(reply.clone());
                let head = self.finish_head();
                return Ok(head.map(|()| DownstreamBody::full(reply.body, self)));
            }
            Err(End::Reset) => return Err(super::Reset),
        }
        let head = self.finish_head();
        let pump = if end {
            None
        } else {
            Pump::new(
                &self.active,
                Direction::Response,
                self.listener.config.body_limit(),
            )
        };
        Ok(head.map(|()| ResponseStream::body(attempt, timeout, pump, self)))
    }

    /// Answers by itself; filters that have seen the request see the answer, as in Envoy.
    async fn reply(
        mut self: Box<Self>,
        reply: LocalReply,
    ) -> Result<Response<DownstreamBody>, super::Reset> {
        let mut body = reply.body.clone();
        self.set_reply(reply);
        match self.response_filters(body.is_empty()).await {
            Ok(()) => {}
            Err(End::Reply(second)) => {
                body = second.body.clone();
                self.set_reply(second);
            }
            Err(End::Reset) => return Err(super::Reset),
        }
        let head = self.finish_head();
        Ok(head.map(|()| DownstreamBody::full(body, self)))
    }

    /// Answers a request that no filter gets to see, and closes the connection: what follows may not be a request.
    async fn refuse(
        mut self: Box<Self>,
        error: GatewayError,
    ) -> Result<Response<DownstreamBody>, super::Reset> {
        let mut reply = gateway(error);
        reply
            .headers
            .push((header::CONNECTION, HeaderValue::from_static("close")));
        let body = reply.body.clone();
        self.set_reply(reply);
        let head = self.finish_head();
        Ok(head.map(|()| DownstreamBody::full(body, self)))
    }

    fn set_reply(&mut self, reply: LocalReply) {
        let mut head = ResponseHead {
            status: reply.status,
            headers: http::HeaderMap::new(),
        };
        for (name, value) in reply.headers {
            head.headers.append(name, value);
        }
        if self.route.is_some() && reply.details != "wasm_local_response" {
            self.edit_response(&mut head.headers);
        }
        let mut stream = self.cell.borrow_mut();
        stream.response = Some(head);
        stream.info.details = reply.details;
    }

    async fn response_filters(&mut self, end: bool) -> Result<(), End> {
        for at in (0..self.active.len()).rev() {
            let mut step = self.active.response_headers(at, end);
            while matches!(step, Step::Pause) {
                step = self.active.resumed(Direction::Response).await;
            }
            match step {
                Step::Reply(reply) => return Err(reply.into()),
                Step::Reset => return Err(End::Reset),
                Step::Continue | Step::Pause => {}
            }
        }
        Ok(())
    }

    /// The route's, virtual host's and table's response edits.
    fn edit_response(&self, headers: &mut http::HeaderMap) {
        let router = &self.listener.router;
        if let Some(chosen) = self.route.and_then(|id| router.get(id)) {
            router::edit(headers, &chosen.route.response_headers);
            router::edit(headers, &chosen.host.response_headers);
            router::edit(headers, router.edits().1);
        }
    }

    /// The head for the wire. The stream keeps the status, which the end of the exchange counts.
    fn finish_head(&mut self) -> Response<()> {
        let mut response = Response::new(());
        let mut stream = self.cell.borrow_mut();
        if let Some(head) = &mut stream.response {
            *response.status_mut() = head.status;
            *response.headers_mut() = std::mem::take(&mut head.headers);
        }
        response
            .headers_mut()
            .insert(header::SERVER, self.listener.server.clone());
        if self.listener.worker.draining() {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.active.end(true);
        let stream = self.cell.borrow();
        let stats = &self.listener.stats;
        stats.rq_active.decrement();
        match &stream.response {
            Some(head) => stats.response(head.status),
            None => stats.rq_reset.increment(),
        }
        if self.listener.worker.access_log {
            super::access_log::write(&stream, self.began.elapsed());
        }
        drop(stream);
        self.client.end();
        for mirror in self.mirrors.drain(..) {
            mirror.send();
        }
    }
}

/// Tries hosts until one answers as the policy likes, or there are no more tries.
async fn attempts(
    cluster: &Rc<WorkerCluster>,
    cell: &StreamCell,
    policy: Option<&RetryPolicy>,
    source: &Rc<RefCell<RequestSource>>,
) -> Result<Attempt, LocalReply> {
    let shared = &cluster.upstream.shared;
    let mut history = History::default();
    let mut tries = 0;
    let mut _permit: Option<Permit> = None;
    loop {
        let choice = cluster
            .upstream
            .next(&mut history, policy)
            .ok_or_else(|| gateway(GatewayError::NoHost))?;
        let per_try = policy.and_then(|policy| policy.per_try_timeout);
        let outcome = attempt::run(cluster, choice, cell, Outgoing::Source(source), per_try).await;
        let ended = |outcome: Result<_, _>| outcome.map_err(|failure| failed(failure, tries > 0));
        let Some(policy) = policy else {
            return ended(outcome);
        };
        let again = match &outcome {
            Ok(_) => cell
                .borrow()
                .response
                .as_ref()
                .is_some_and(|head| retry::on_status(policy, head.status)),
            Err(failure) => retry::on_failure(policy, failure),
        };
        if !again || tries >= policy.num_retries || !source.borrow().replayable() {
            return ended(outcome);
        }
        let Some(permit) = begin_retry(shared, &mut _permit) else {
            return ended(outcome);
        };
        _permit = Some(permit);
        tries += 1;
        if let Ok(attempt) = outcome {
            attempt.discard();
        }
        tokio::time::sleep(retry::back_off(policy, tries)).await;
    }
}

/// A place among the retries under way; the one of the retry before is given back first.
fn begin_retry(cluster: &Arc<SharedCluster>, before: &mut Option<Permit>) -> Option<Permit> {
    *before = None;
    let permit = cluster.begin_retry();
    match &permit {
        Some(_) => cluster.stats.rq_retry.increment(),
        None => cluster.stats.rq_retry_overflow.increment(),
    }
    permit
}

/// From hyper's head to the stream's.
fn head(parts: http::request::Parts) -> RequestHead {
    let mut headers = parts.headers;
    // An absolute target's authority is the host. Source: RFC 9112, section 3.2.2.
    if let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    let path = parts
        .uri
        .into_parts()
        .path_and_query
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    RequestHead {
        method: parts.method,
        path: Target::Valid(path),
        scheme: HTTP.clone(),
        headers,
    }
}

fn upgrades(headers: &http::HeaderMap) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    })
}

fn forwarded_for(
    before: Option<&HeaderValue>,
    client: std::net::SocketAddr,
) -> Option<HeaderValue> {
    let mut value = before
        .map(|value| value.as_bytes().to_vec())
        .unwrap_or_default();
    if !value.is_empty() {
        value.push(b',');
    }
    value.extend_from_slice(client.ip().to_string().as_bytes());
    HeaderValue::from_bytes(&value).ok()
}

/// A random UUID: from a fast generator, since it identifies and does not protect.
fn request_id() -> HeaderValue {
    let uuid = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    HeaderValue::from_bytes(uuid.hyphenated().encode_lower(&mut text).as_bytes())
        .unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn redirect(to: &Redirect, request: &RequestHead) -> LocalReply {
    let host = request
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let path = match (&to.path, &request.path) {
        (Some(path), _) => path.as_str(),
        (None, Target::Valid(path)) => path.as_str(),
        (None, Target::Invalid(_)) => "/",
    };
    let scheme = to.scheme.as_deref().unwrap_or("http");
    let location = format!("{scheme}://{}{path}", to.host.as_deref().unwrap_or(host));
    let mut reply = LocalReply::text(to.status, "", "direct_response");
    if let Ok(value) = HeaderValue::from_str(&location) {
        reply.headers.push((header::LOCATION, value));
    }
    reply
}
