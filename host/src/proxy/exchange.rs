//! One request from its head to its response's head: filters, route, attempts.

mod attempts;
mod head;
mod respond;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::SystemTime;

use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::attempt::{Attempt, AttemptFailure};
use super::body::RequestSource;
use super::deadline::{self, Elapsed, Limits};
use super::downstream::Client;
use super::filters::{Active, Direction, Step};
use super::pump::{Pump, Stop};
use super::reply::{GatewayError, gateway};
use super::response::DownstreamBody;
use super::router::{self, Chosen, RouteId};
use super::upstream::Permit;
use super::worker::WorkerListener;
use super::{mirror, target};
use crate::config::route::{Forward, RouteAction, Target as RouteTarget};
use crate::stream::head::Target;
use crate::stream::{LocalReply, Stream, StreamCell, StreamInfo};
use attempts::Unanswered;

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
    /// Why the last attempt failed: kept until the listener's filters have ended.
    failure: Option<AttemptFailure>,
}

/// A response's head that has come, and the timer of the whole exchange.
type Answered = (Attempt, Option<std::pin::Pin<Box<Sleep>>>);

/// Ends the listener's filters when it is dropped before it is [`Self::over`].
struct Wanted<'a>(Option<&'a Active>);

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

// === impl Wanted ===

impl Wanted<'_> {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        if let Some(active) = self.0 {
            active.end(true);
        }
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
        Ok(mut exchange) => match exchange.run_while_wanted(body).await {
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
        } else if parts.headers.contains_key(header::UPGRADE) && head::upgrades(&parts.headers) {
            refusal = Some(GatewayError::Upgrade);
        }
        let head = head::from_parts(parts);
        if refusal.is_none() && !head.headers.contains_key(header::HOST) {
            refusal = Some(GatewayError::MissingHost);
        }
        let mut info = StreamInfo::new(
            SystemTime::now(),
            client.remote,
            client.local,
            listener.worker.no_name.clone(),
        );
        info.connection_id = client.id;
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
            failure: None,
        });
        match refusal {
            None => Ok(exchange),
            Some(error) => Err((exchange, error)),
        }
    }

    /// Runs until there is a response's head. A client that goes away meanwhile ends the listener's filters first and
    /// the attempt's after them, as in Envoy: by this order a filter tells an attempt that failed from one that
    /// nobody waits for any more.
    async fn run_while_wanted(&mut self, body: Incoming) -> Result<Answered, End> {
        let active = self.active.clone();
        // Locals are dropped last to first: `wanted`, then what runs.
        let run = std::pin::pin!(self.run(body));
        let wanted = Wanted(Some(&active));
        let outcome = run.await;
        wanted.over();
        outcome
    }

    async fn run(&mut self, body: Incoming) -> Result<Answered, End> {
        head::standard_headers(
            &mut self.cell.borrow_mut().request.headers,
            &self.listener.config.http,
            self.client.remote,
        );
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
            RouteAction::Redirect(to) => {
                Err(head::redirect(to, &self.cell.borrow().request).into())
            }
            RouteAction::Forward(forward) => self.forward(forward, &chosen, source).await,
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
            let poll = |cx: &mut Context<'_>| source.borrow_mut().poll_until(at, active, cx);
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
    ) -> Result<Answered, End> {
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
        let mut timer = None;
        let limits = Limits {
            response: forward.timeout,
            idle: forward
                .idle_timeout
                .unwrap_or(self.listener.config.http.stream_idle_timeout),
        };
        let attempts = attempts::run(&cluster, &self.cell, policy, &source);
        let received = |cx: &Context<'_>| source.borrow_mut().received(cx);
        let outcome = deadline::run(limits, &mut timer, received, attempts).await;
        let outcome = outcome.map_err(|elapsed| match elapsed {
            Elapsed::Idle => GatewayError::Idle,
            Elapsed::Response => {
                cluster.upstream.shared.stats.rq_timeout.increment();
                GatewayError::Timeout
            }
        })?;
        if timer.is_none() && !limits.response.is_zero() {
            timer = Some(Box::pin(tokio::time::sleep(limits.response)));
        }
        let left = source.borrow().client_left();
        match outcome {
            Ok(attempt) => Ok((attempt, timer)),
            Err(Unanswered { reply, failure }) => {
                self.failure = failure;
                if left {
                    return Err(End::Reset);
                }
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
