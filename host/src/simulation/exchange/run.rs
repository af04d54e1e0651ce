//! The way of one request through filters, attempts and back: what the data path does, with parts that are scripted.

mod response;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::super::Place;
use super::super::world::{Outcome, Response, Route, Sent};
use super::{Around, Held, Record};
use crate::proxy::attempt::AttemptFailure;
use crate::proxy::filters::{Active, Direction, Step};
use crate::proxy::pump::{Ending, Output, Pump, Stop};
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
    pump: Option<Pump>,
    /// What a filter let go while it held the head, and the stage it goes on from.
    prefetched: Option<(usize, Output)>,
    /// What has come out, once all of it has; attempts after the first send it again.
    sent: Option<(Bytes, Option<HeaderMap>)>,
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
        let mut source = Source {
            pump: match empty {
                true => None,
                false => Pump::new(&self.active, Direction::Request, BODY_LIMIT),
            },
            prefetched: None,
            sent: empty.then(|| (Bytes::new(), None)),
        };
        for at in 0..self.active.len() {
            match self.active.request_headers(at, empty) {
                Step::Continue => {}
                Step::Reply(reply) => return Err(reply.into()),
                Step::Reset => return Err(End::RESET),
                Step::Pause => {
                    let _held = self.held(Place::Listener(at), "the request's headers");
                    self.paused(at, &mut source).await?;
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
    async fn paused(&mut self, at: usize, source: &mut Source) -> Result<(), End> {
        let active = self.active.clone();
        if !active.takes_body_while_paused(at) || source.pump.is_none() {
            return match active.resumed(Direction::Request).await {
                Step::Continue | Step::Pause => Ok(()),
                Step::Reply(reply) => Err(reply.into()),
                Step::Reset => Err(End::RESET),
            };
        }
        let until = source.pump.as_ref().map_or(0, |pump| pump.behind(at));
        std::future::poll_fn(|cx| {
            loop {
                match active.poll_resumed(Direction::Request, cx.waker()) {
                    Some(Step::Reply(reply)) => return Poll::Ready(Err(reply.into())),
                    Some(Step::Reset) => return Poll::Ready(Err(End::RESET)),
                    Some(Step::Continue) => {
                        let stage = until.saturating_sub(1);
                        let output = source.pump.as_mut().map(|pump| pump.release(stage));
                        source.prefetched = output.map(|output| (until, output));
                        return Poll::Ready(Ok(()));
                    }
                    None | Some(Step::Pause) => {}
                }
                let Some(pump) = source.pump.as_mut().filter(|pump| !pump.waits_for_resume())
                else {
                    return Poll::Pending;
                };
                let Some(part) = self.next_part() else {
                    return Poll::Pending;
                };
                if let Some(output) = pump.push(0, until, part.data, part.ending)? {
                    source.prefetched = Some((until, output));
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await
    }

    /// The next part of the client's body, and what follows it; `None` behind the last. Before trailers the last part is
    /// an empty one.
    fn next_part(&mut self) -> Option<Output> {
        let Some(data) = self.body.pop_front() else {
            let trailers = self.trailers.take()?;
            self.cell.borrow_mut().request_trailers = Some(trailers);
            return Some(Output {
                data: Bytes::new(),
                ending: Ending::Trailers,
            });
        };
        self.cell.borrow_mut().info.request_bytes += data.len() as u64;
        let ending = match self.body.is_empty() && self.trailers.is_none() {
            true => Ending::End,
            false => Ending::More,
        };
        Some(Output { data, ending })
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
                step = active.resumed(Direction::Request).await;
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
    async fn whole_body(&mut self, source: &mut Source) -> Result<(Bytes, Option<HeaderMap>), End> {
        if let Some(sent) = &source.sent {
            return Ok(sent.clone());
        }
        let mut out = Vec::new();
        let mut ended = false;
        while !ended {
            let (from, part) = match source.prefetched.take() {
                Some(prefetched) => prefetched,
                None => match self.next_part() {
                    Some(part) => (0, part),
                    None => break,
                },
            };
            let pushed = match &mut source.pump {
                Some(pump) => pump.push(from, pump.stages(), part.data, part.ending)?,
                None => Some(part),
            };
            let output = match (pushed, &mut source.pump) {
                (Some(output), _) => output,
                (None, Some(pump)) if pump.waits_for_resume() => {
                    let _held = self.held_body("the request's body");
                    resumed(pump).await?
                }
                (None, _) => continue,
            };
            out.push(output.data);
            ended = output.ending.is_last();
        }
        let trailers = self.cell.borrow_mut().request_trailers.take();
        let sent = (Bytes::from(out.concat()), trailers);
        source.sent = Some(sent.clone());
        Ok(sent)
    }

    /// A response's head comes to an attempt's filters.
    async fn response_head(&mut self, attempt: &Attempt, response: &Response) -> Result<(), End> {
        self.cell.borrow_mut().response = Some(ResponseHead {
            status: response.status,
            headers: response.headers.clone(),
        });
        let Attempt(Some(active)) = attempt else {
            return Ok(());
        };
        for at in (0..active.len()).rev() {
            let mut step = active.response_headers(at, response.ends_with_head());
            while matches!(step, Step::Pause) {
                let _held = self.held(Place::Upstream(at), "an attempt's response headers");
                step = active.resumed(Direction::Response).await;
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

async fn resumed(pump: &mut Pump) -> Result<Output, Stop> {
    std::future::poll_fn(|cx| match pump.poll_resumed(cx.waker()) {
        Ok(Some(output)) => Poll::Ready(Ok(output)),
        Ok(None) => Poll::Pending,
        Err(stop) => Poll::Ready(Err(stop)),
    })
    .await
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
