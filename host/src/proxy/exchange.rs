//! One request from its head to its response's head: filters, route, attempts.

mod attempts;
mod end;
mod forwarded;
mod head;
mod respond;
mod upgrade;

use std::cell::RefCell;
use std::future::Future as _;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::attempt::{AttemptBody, AttemptFailure};
use super::body::RequestSource;
use super::deadline::{Limits, Watch};
use super::downstream::Client;
use super::filters::{Active, Direction, Step};
use super::grpc;
use super::pump::Pump;
use super::reply::GatewayError;
use super::response::DownstreamBody;
use super::router::{self, Chosen, RouteId};
use super::upstream::Permit;
use super::worker::WorkerListener;
use super::{mirror, otel, target};
use crate::config::route::{Forward, RouteAction, Target as RouteTarget};
use crate::stream::head::Target;
use crate::stream::{LocalReply, Stream, StreamCell, StreamInfo};
use attempts::Unanswered;
use end::{Wanted, expired, progress};

pub use end::End;

/// A request in progress. Dropping it ends the guests' contexts, counts it and logs it.
pub struct Exchange {
    /// Its state, shared with the guests.
    pub cell: StreamCell,
    client: Rc<Client>,
    listener: Rc<WorkerListener>,
    active: Rc<Active>,
    route: Option<RouteId>,
    watch: Watch,
    /// Mirrors that get a copy when the body is known.
    mirrors: Vec<mirror::Pending>,
    /// In flight in its cluster.
    permit: Option<Permit>,
    /// Its span, where it is traced.
    span: Option<Box<otel::Started>>,
    /// Why the last attempt failed: kept until the listener's filters have ended.
    failure: Option<AttemptFailure>,
    /// The HTTP/2 stream that becomes a tunnel.
    on_upgrade: Option<OnUpgrade>,
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
            Ok(attempt) => exchange.respond(attempt).await,
            Err(End::Reply(reply)) => exchange.reply(reply).await,
            Err(End::Reset) => Err(super::Reset),
        },
        Err((exchange, error)) => exchange.refuse(error),
    }
}

impl Exchange {
    /// Reads the head; a request that cannot be served comes back with the reason.
    fn begin(
        client: Rc<Client>,
        mut parts: http::request::Parts,
    ) -> Result<Box<Self>, (Box<Self>, GatewayError)> {
        client.begin();
        let listener = client.listener.clone();
        listener.stats.rq_total.increment();
        listener.stats.rq_active.increment();
        let version = parts.version;
        let mut refusal = None;
        if client.ambiguous() {
            refusal = Some(GatewayError::AmbiguousLength);
        } else if version < Version::HTTP_11 {
            refusal = Some(GatewayError::Version);
        } else if let Err(error) = target::check(&parts.method, &parts.uri, version) {
            refusal = Some(error);
        }
        let http = &listener.config.http;
        if let (None, Err(error)) = (refusal, head::check_names(&mut parts.headers, &http.common)) {
            refusal = Some(error);
        }
        let asked = upgrade::asked(&mut parts);
        let mut head = head::from_parts(parts);
        if refusal.is_none() && !head.headers.contains_key(header::HOST) {
            refusal = Some(GatewayError::MissingHost);
        }
        let forwarding = &http.forwarding;
        if let Some(strip) = forwarding.strip_port {
            forwarded::strip_port(&mut head.headers, strip, client.local);
        }
        if refusal.is_none()
            && let Err(error) = forwarded::normalize(&head.method, &mut head.path, forwarding)
        {
            refusal = Some(error);
        }
        let mut tunnel = None;
        if let (None, Some(asked)) = (refusal, &asked) {
            match upgrade::permitted(&listener, &head, asked) {
                Ok(permitted) => tunnel = Some(permitted),
                Err(error) => refusal = Some(error),
            }
        }
        let unnamed = listener.worker.no_name.clone();
        let mut info = StreamInfo::new(SystemTime::now(), client.remote, client.local, unnamed);
        info.connection_id = client.id;
        info.protocol = version;
        info.tls = client.tls().cloned();
        let mut stream = Stream::new(head, info);
        stream.tunnel = tunnel;
        let cell: StreamCell = Rc::new(RefCell::new(stream));
        let active = Rc::new(listener.chain.activate(&cell));
        let http = &listener.config.http;
        let limits = Limits {
            stream: http.common.max_stream_duration,
            request: http.request_timeout,
            idle: http.stream_idle_timeout,
            response: Duration::ZERO,
        };
        let exchange = Box::new(Self {
            cell,
            client,
            listener,
            active,
            route: None,
            watch: Watch::new(limits),
            mirrors: Vec::new(),
            permit: None,
            span: None,
            failure: None,
            on_upgrade: asked.and_then(upgrade::Asked::into_stream),
        });
        match refusal {
            None => Ok(exchange),
            Some(error) => Err((exchange, error)),
        }
    }

    /// Runs until there is a response's head. A client that goes away meanwhile ends the listener's filters first and
    /// the attempt's after them, as in Envoy: by this order a filter tells an attempt that failed from one that
    /// nobody waits for any more.
    async fn run_while_wanted(&mut self, body: Incoming) -> Result<AttemptBody, End> {
        let active = self.active.clone();
        let cell = self.cell.clone();
        let worker = self.listener.worker.clone();
        let watch = RefCell::new(std::mem::take(&mut self.watch));
        let outcome = {
            // Locals are dropped last to first: `wanted`, then what runs.
            let mut run = std::pin::pin!(self.run(body, &watch));
            let wanted = Wanted(Some(&active));
            let outcome = std::future::poll_fn(|cx| {
                if let Poll::Ready(outcome) = run.as_mut().poll(cx) {
                    return Poll::Ready(outcome);
                }
                let elapsed = watch.borrow_mut().poll(progress(&cell.borrow()), cx);
                elapsed.map(|elapsed| Err(expired(elapsed, &cell.borrow(), &worker).into()))
            });
            let outcome = outcome.await;
            wanted.over();
            outcome
        };
        self.watch = watch.into_inner();
        // The request has been answered.
        self.watch.limits().request = Duration::ZERO;
        outcome
    }

    /// Whether the time of an exchange whose response has begun is up.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let progress = progress(&self.cell.borrow());
        self.watch.poll(progress, cx).map(|_| ())
    }

    async fn run(&mut self, body: Incoming, watch: &RefCell<Watch>) -> Result<AttemptBody, End> {
        let tunnel = {
            let mut stream = self.cell.borrow_mut();
            forwarded::complete(&mut stream, &self.listener.config.http);
            if let Some(tracer) = &self.listener.tracer {
                self.span = tracer.start(&mut stream.request.headers).map(Box::new);
            }
            stream.tunnel.is_some()
        };
        let empty = http_body::Body::is_end_stream(&body);
        {
            let mut stream = self.cell.borrow_mut();
            stream.request_complete = empty && !tunnel;
            if stream.request_complete {
                stream.info.request_ended = Some(stream.info.began);
            }
        }
        let limit = self.listener.config.body_limit();
        let pump = if empty {
            None
        } else {
            Pump::new(&self.active, Direction::Request, limit)
        };
        let source = Rc::new(RefCell::new(RequestSource::new(
            body,
            self.takes_trailers(),
            pump,
            self.cell.clone(),
            limit,
        )));
        // A tunnel has no end yet.
        self.request_filters(&source, empty && !tunnel).await?;
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
            RouteAction::Forward(forward) => self.forward(forward, &chosen, source, watch).await,
        }
    }

    /// Whether trailers pass between the client and the gateway.
    pub(super) fn takes_trailers(&self) -> bool {
        self.listener.config.http.http1.enable_trailers
            || self.cell.borrow().info.protocol >= Version::HTTP_2
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
        let tunnel = self.cell.borrow().tunnel.is_some();
        let direction = Direction::Request;
        if !empty && !tunnel && self.active.takes_body_while_paused(at, direction) {
            let poll = |cx: &mut Context<'_>| source.borrow_mut().poll_until(at, cx);
            return Ok(std::future::poll_fn(poll).await?);
        }
        loop {
            match self.active.resumed(at, direction).await {
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
        watch: &RefCell<Watch>,
    ) -> Result<AttemptBody, End> {
        let name = self
            .target(&forward.target)
            .ok_or(GatewayError::NoCluster)?;
        let worker = self.listener.worker.clone();
        let cluster = worker.cluster(&name).ok_or(GatewayError::NoCluster)?;
        self.rewrite(forward);
        if let Some(span) = &self.span {
            span.inject(&mut self.cell.borrow_mut().request.headers);
        }
        {
            let info = &mut self.cell.borrow_mut().info;
            info.cluster = Some(cluster.upstream.shared.name.clone());
            info.endpoints = Some(cluster.upstream.shared.endpoints());
        }
        self.permit = Some(cluster.upstream.shared.begin_request().ok_or_else(|| {
            cluster.upstream.shared.stats.rq_overflow.increment();
            GatewayError::Overflow
        })?);
        let policy = forward.retry.as_ref().or(chosen.host.retry.as_ref());
        self.mirrors = mirror::choose(&worker, &forward.mirrors, &self.cell, &source);
        if policy.is_some() || !self.mirrors.is_empty() {
            source.borrow_mut().keep();
        }
        {
            let mut watch = watch.borrow_mut();
            let limits = watch.limits();
            limits.response = forward.timeout;
            limits.idle = forward.idle_timeout.unwrap_or(limits.idle);
            limits.stream = forward.max_stream_duration.unwrap_or(limits.stream);
            if let Some(rule) = &forward.grpc_timeout
                && let Some(asked) = grpc::limit(rule, &mut self.cell.borrow_mut().request.headers)
            {
                limits.stream = asked;
            }
        }
        // A tunnel's request has no end, so the time of its response never begins.
        {
            let mut stream = self.cell.borrow_mut();
            stream.request_sent = stream.tunnel.is_none() && source.borrow().is_read();
        }
        std::future::poll_fn(|cx| {
            source.borrow_mut().watch(cx.waker());
            Poll::Ready(())
        })
        .await;
        let outcome = attempts::run(&cluster, &self.cell, policy, &source).await;
        let left = source.borrow().client_left();
        match outcome {
            Ok(attempt) => Ok(attempt),
            Err(Unanswered { reply, failure }) => {
                self.failure = failure;
                let mut stream = self.cell.borrow_mut();
                if left || std::mem::take(&mut stream.closed) {
                    return Err(End::Reset);
                }
                // A filter on the body's way may have left an answer.
                let left = stream.local_reply.take();
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
            PathMatch::Regex(_) | PathMatch::Connect => None,
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
        if let (Some(tracer), Some(span)) = (&self.listener.tracer, &self.span) {
            tracer.end(span, &stream);
        }
        if !self.listener.logs.is_empty() {
            self.listener.logs.write(&stream, std::time::Instant::now());
        }
        drop(stream);
        self.client.end();
        for mirror in self.mirrors.drain(..) {
            mirror.send();
        }
    }
}
