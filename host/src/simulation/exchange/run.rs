//! The way of one request through filters, attempts and back: what the data path does, with parts that are scripted.

mod response;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::super::Place;
use super::super::world::{Outcome, Response, Route, Sent};
use super::{Around, Held, Record};
use crate::proxy::attempt::AttemptFailure;
use crate::proxy::body::BodyError;
use crate::proxy::filters::{Active, Direction, Step};
use crate::proxy::pump::{Ending, Output, Pump, Stop, poll_through};
use crate::proxy::reply::{self, GatewayError};
use crate::proxy::upstream::connection::AttemptError;
use crate::stream::{LocalReply, ResponseHead, StreamCell, UpstreamHost};

/// What a paused filter may hold of a body, in bytes: Envoy's default.
const BODY_LIMIT: usize = 1024 * 1024;

/// A request on its way.
pub(super) struct Run {
    pub(super) around: Around,
    pub(super) cell: StreamCell,
    pub(super) active: Rc<Active>,
    pub(super) record: Rc<RefCell<Record>>,
    /// What the client has not sent yet.
    pub(super) body: VecDeque<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
}

/// What ends an exchange before its response.
struct End {
    /// The answer; without one the exchange is broken off.
    reply: Option<LocalReply>,
    /// An attempt whose failure is the request's own ends after the listener's filters.
    late: Option<Attempt>,
}

/// The upstream filters at work on one attempt; their contexts end with it.
struct Attempt(Option<Active>);

/// The request's body on its way through the listener's filters.
struct Source {
    body: Body,
    /// What has come out, once all of it has; attempts after the first send it again.
    sent: Option<(Bytes, Option<HeaderMap>)>,
}

/// A body on its way through filters.
struct Body {
    pump: Option<Pump>,
    parts: Parts,
}

/// What a side sends, part by part.
struct Parts {
    cell: StreamCell,
    direction: Direction,
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// It breaks off behind them.
    broken: bool,
}

impl From<LocalReply> for End {
    fn from(reply: LocalReply) -> Self {
        Self {
            reply: Some(reply),
            late: None,
        }
    }
}

impl From<GatewayError> for End {
    fn from(error: GatewayError) -> Self {
        reply::gateway(error).into()
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Reply(reply) => reply.into(),
            Stop::Reset | Stop::Body(_) => Self::RESET,
        }
    }
}

// === impl End ===

impl End {
    const RESET: Self = Self {
        reply: None,
        late: None,
    };
}

// === impl Run ===

impl Run {
    /// Runs to the end.
    pub(super) async fn run(mut self) {
        let mut late = None;
        match self.request().await {
            Ok(response) => self.respond(response).await,
            Err(end) => {
                late = end.late;
                match end.reply {
                    Some(reply) => self.reply(reply).await,
                    None => self.record.borrow_mut().reset = true,
                }
            }
        }
        self.active.end(true);
        drop(late);
        let mut record = self.record.borrow_mut();
        record.details = self.cell.borrow().info.details.clone();
        record.ended = Some(self.around.agenda.borrow().now());
    }

    /// To the response's head of the attempt that counts, which is in the stream; its other parts come back.
    async fn request(&mut self) -> Result<Response, End> {
        let empty = self.body.is_empty() && self.trailers.is_none();
        let parts = Parts {
            cell: self.cell.clone(),
            direction: Direction::Request,
            data: std::mem::take(&mut self.body),
            trailers: self.trailers.take(),
            broken: false,
        };
        let mut source = Source {
            body: parts.behind(&self.active),
            sent: empty.then(|| (Bytes::new(), None)),
        };
        for at in 0..self.active.len() {
            match self.active.request_headers(at, empty) {
                Step::Continue => {}
                Step::Reply(reply) => return Err(reply.into()),
                Step::Reset => return Err(End::RESET),
                Step::Pause => {
                    let _held = self.held(Place::Listener(at), "the request's headers");
                    self.paused(at, &mut source.body).await?;
                }
            }
        }
        let route = {
            let stream = self.cell.borrow();
            let mut world = self.around.world.borrow_mut();
            world.route(&stream.request).ok_or(GatewayError::NoRoute)?
        };
        {
            let mut stream = self.cell.borrow_mut();
            stream.info.route_name = route.name.clone();
            stream.info.cluster = Some(route.cluster.clone());
        }
        self.attempts(&route, &mut source).await
    }

    /// A filter holds the head: the body flows to it where its configuration says so, else it is waited for.
    async fn paused(&self, at: usize, body: &mut Body) -> Result<(), End> {
        let direction = body.parts.direction;
        if body.pump.is_some() && self.active.takes_body_while_paused(at, direction) {
            return Ok(body.until(at).await?);
        }
        passed(self.active.resumed(at, direction).await)
    }

    /// Tries hosts until one answers as the route likes, or there are no more.
    async fn attempts(&mut self, route: &Route, source: &mut Source) -> Result<Response, End> {
        let mut last = Err(End::from(GatewayError::NoHost));
        let began = self.around.agenda.borrow().now();
        for (number, host) in route.hosts.iter().enumerate() {
            let attempt = self.begin_attempt(host);
            self.request_head(&attempt, source.is_empty()).await?;
            // A filter that stops the body stops the attempt, for which nobody blames the host.
            let (body, trailers) = match self.whole_body(source).await {
                Ok(sent) => sent,
                Err(end) => {
                    let late = Some(attempt);
                    return Err(End { late, ..end });
                }
            };
            let (outcome, at) = self.send(route, host, body, trailers);
            let ends = match route.timeout {
                timeout if timeout.is_zero() => Duration::MAX,
                timeout => began.saturating_add(timeout),
            };
            if matches!(outcome, Outcome::Never) && ends == Duration::MAX {
                std::future::pending::<()>().await;
            }
            if matches!(outcome, Outcome::Never) || at > ends {
                self.until(ends).await;
                return Err(GatewayError::Timeout.into());
            }
            self.until(at).await;
            let more = number + 1 < route.hosts.len();
            match outcome {
                Outcome::Response(response) => {
                    self.response_head(&attempt, &response).await?;
                    if !(more && route.retry_on.status(response.status)) {
                        return Ok(*response);
                    }
                }
                Outcome::GivenUp(status) => {
                    return Err(LocalReply::text(status, "", "request_given_up").into());
                }
                Outcome::Reset | Outcome::Never => {
                    let failure = AttemptFailure::Error(AttemptError::Reset);
                    last = Err(reply::attempt(&failure, number > 0).into());
                    if !route.retry_on.reset {
                        break;
                    }
                }
            }
        }
        last
    }

    fn begin_attempt(&self, host: &Arc<UpstreamHost>) -> Attempt {
        let mut stream = self.cell.borrow_mut();
        stream.info.upstream = Some(host.clone());
        stream.info.attempts += 1;
        stream.response = None;
        drop(stream);
        let chain = &self.around.worker.upstream;
        Attempt((!chain.is_empty()).then(|| chain.activate(&self.cell)))
    }

    /// The request's head comes to an attempt's filters.
    async fn request_head(&self, attempt: &Attempt, empty: bool) -> Result<(), End> {
        let Attempt(Some(active)) = attempt else {
            return Ok(());
        };
        for at in 0..active.len() {
            let mut step = active.request_headers(at, empty);
            while matches!(step, Step::Pause) {
                let _held = self.held(Place::Upstream(at), "an attempt's headers");
                step = active.resumed(at, Direction::Request).await;
            }
            passed(step)?;
        }
        Ok(())
    }

    /// Sends the request to a host; what it does, and when.
    fn send(
        &self,
        route: &Route,
        host: &Arc<UpstreamHost>,
        body: Bytes,
        trailers: Option<HeaderMap>,
    ) -> (Outcome, Duration) {
        let stream = self.cell.borrow();
        let sent = Sent {
            attempt: stream.info.attempts,
            cluster: host.cluster.clone(),
            route: route.name.clone(),
            route_cluster: route.cluster.clone(),
            method: stream.request.method.clone(),
            path: Bytes::copy_from_slice(stream.request.path.as_bytes()),
            headers: stream.request.headers.clone(),
            body,
            trailers,
        };
        drop(stream);
        let reply = self.around.world.borrow_mut().reply(&sent);
        self.record.borrow_mut().attempts.push(sent);
        let now = self.around.agenda.borrow().now();
        (reply.outcome, now.saturating_add(reply.after))
    }

    /// The request's body behind the listener's filters.
    async fn whole_body(&self, source: &mut Source) -> Result<(Bytes, Option<HeaderMap>), End> {
        if let Some(sent) = &source.sent {
            return Ok(sent.clone());
        }
        let mut out = Vec::new();
        loop {
            let _held = self.held_body("the request's body");
            let output = std::future::poll_fn(|cx| source.body.poll(cx)).await?;
            out.push(output.data);
            if output.ending.is_last() {
                break;
            }
        }
        let trailers = self.cell.borrow_mut().request_trailers.take();
        let sent = (Bytes::from(out.concat()), trailers);
        source.sent = Some(sent.clone());
        Ok(sent)
    }

    /// A response's head comes to an attempt's filters.
    async fn response_head(&mut self, attempt: &Attempt, response: &Response) -> Result<(), End> {
        self.cell.borrow_mut().response =
            Some(ResponseHead::new(response.status, response.headers.clone()));
        let Attempt(Some(active)) = attempt else {
            return Ok(());
        };
        for at in (0..active.len()).rev() {
            let mut step = active.response_headers(at, response.ends_with_head());
            while matches!(step, Step::Pause) {
                let _held = self.held(Place::Upstream(at), "an attempt's response headers");
                step = active.resumed(at, Direction::Response).await;
            }
            passed(step)?;
        }
        Ok(())
    }

    /// Notes who holds the request while the guard lives.
    fn held(&self, place: Place, what: &'static str) -> HeldGuard {
        let plugin = self.around.worker.name(place);
        self.record.borrow_mut().held = Some(Held { plugin, what });
        HeldGuard(self.record.clone())
    }

    /// The same for a body, which a pump holds: which of several filters it is for is the pump's secret.
    fn held_body(&self, what: &'static str) -> HeldGuard {
        let guard = self.held(Place::Listener(0), what);
        if self.active.len() > 1
            && let Some(held) = &mut self.record.borrow_mut().held
        {
            held.plugin = String::new();
        }
        guard
    }

    async fn until(&self, at: Duration) {
        if self.around.agenda.borrow().now() >= at {
            return;
        }
        self.around.agenda.borrow_mut().wake(at);
        let agenda = &self.around.agenda;
        std::future::poll_fn(|_| match agenda.borrow().now() >= at {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

/// Notes when a filter has let go.
struct HeldGuard(Rc<RefCell<Record>>);

impl Drop for HeldGuard {
    fn drop(&mut self) {
        self.0.borrow_mut().held = None;
    }
}

// === impl Parts ===

impl Parts {
    /// As the filters that want to see it let it through.
    fn behind(self, active: &Rc<Active>) -> Body {
        let empty = self.data.is_empty() && self.trailers.is_none();
        Body {
            pump: match empty {
                true => None,
                false => Pump::new(active, self.direction, BODY_LIMIT),
            },
            parts: self,
        }
    }

    /// The next part, and what follows it. Before trailers the last part is an empty one.
    fn next(&mut self) -> Result<Output, Stop> {
        let mut stream = self.cell.borrow_mut();
        let data = match self.data.pop_front() {
            Some(data) => data,
            None => match self.trailers.take() {
                Some(trailers) => {
                    match self.direction {
                        Direction::Request => stream.request_trailers = Some(trailers),
                        Direction::Response => stream.response_trailers = Some(trailers),
                    }
                    return Ok(Output {
                        data: Bytes::new(),
                        ending: Ending::Trailers,
                    });
                }
                None if self.broken => return Err(Stop::Body(BodyError::Broken)),
                None => Bytes::new(),
            },
        };
        if self.direction == Direction::Request {
            stream.info.request_bytes += data.len() as u64;
        }
        let last = self.data.is_empty() && self.trailers.is_none() && !self.broken;
        let ending = if last { Ending::End } else { Ending::More };
        Ok(Output { data, ending })
    }
}

// === impl Body ===

impl Body {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Output, Stop>> {
        let parts = &mut self.parts;
        poll_through(&mut self.pump, cx, |_| Poll::Ready(parts.next()))
    }

    /// Lets it flow to the filter at `at`, which holds the head, until that lets go.
    async fn until(&mut self, at: usize) -> Result<(), Stop> {
        let Self { pump, parts } = self;
        match pump {
            Some(pump) => {
                let next = |_: &mut Context<'_>| Poll::Ready(parts.next());
                let mut next = next;
                std::future::poll_fn(|cx| pump.poll_until(at, cx, &mut next)).await
            }
            None => Ok(()),
        }
    }
}

// === impl Source ===

impl Source {
    /// Whether all of it is known and nothing comes.
    fn is_empty(&self) -> bool {
        let sent = self.sent.as_ref();
        sent.is_some_and(|(body, trailers)| body.is_empty() && trailers.is_none())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(active) = &self.0 {
            active.end(false);
        }
    }
}

#[expect(
    clippy::result_large_err,
    reason = "the exchange's end, which happens once"
)]
fn passed(step: Step) -> Result<(), End> {
    match step {
        Step::Continue | Step::Pause => Ok(()),
        Step::Reply(reply) => Err(reply.into()),
        Step::Reset => Err(End::RESET),
    }
}
