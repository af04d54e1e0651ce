//! One request in a simulation: the scenario plays the client and the upstreams.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Waker;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Worker;
use crate::config::cluster::Endpoint;
use crate::proxy::filters::{Active, Direction, Step};
use crate::proxy::pump::{Ending, Pump, Stop};
use crate::stream::head::Target;
use crate::stream::{
    LocalReply, RequestHead, ResponseHead, Stream, StreamCell, StreamInfo, UpstreamHost,
};

/// What a paused filter may hold of a body, in bytes: Envoy's default.
const BODY_LIMIT: usize = 1024 * 1024;

/// The listener that requests reach.
const LISTENER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10_000);

/// A request that has reached a worker. Dropped before [`Exchange::finish`] it is one whose client has gone away.
pub struct Exchange {
    worker: Rc<Worker>,
    cell: StreamCell,
    active: Rc<Active>,
    pump: Option<Pump>,
    /// What has not been given to all filters, and the stage of the pump it goes to next.
    body: (Bytes, usize),
    progress: Progress,
    attempt: Option<Active>,
}

/// How far a request has come.
#[derive(Debug, Clone)]
pub enum Progress {
    /// It has passed the listener's filters.
    Forwarded,
    /// The filter at that place holds it, until it lets go in some callback: see [`Exchange::resume`].
    Held(usize),
    /// A filter has answered.
    Replied(LocalReply),
    /// A filter has broken it off.
    Reset,
}

/// A host that attempts can go to; `cluster` is its leaf's, `metadata` that of its endpoint by namespace.
#[must_use]
pub fn host(cluster: &str, metadata: BTreeMap<String, serde_json::Value>) -> Arc<UpstreamHost> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8_000));
    Arc::new(UpstreamHost {
        address,
        endpoint: Endpoint {
            host: address.ip().to_string(),
            port: address.port(),
            metadata,
            weight: 1,
        },
        cluster: Arc::from(cluster),
        healthy: AtomicBool::new(true),
    })
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn begin(
        worker: Rc<Worker>,
        client: SocketAddr,
        start: SystemTime,
        request: http::Request<Bytes>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let mut headers = parts.headers;
        if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, HeaderValue::from_static("gateway.test"));
        }
        let path = parts
            .uri
            .path_and_query()
            .map_or("/", http::uri::PathAndQuery::as_str);
        let head = RequestHead {
            method: parts.method,
            path: Target::from_bytes(path.as_bytes()),
            scheme: HeaderValue::from_static("http"),
            headers,
        };
        let cell: StreamCell = Rc::new(RefCell::new(Stream::new(head, info(client, start))));
        let active = Rc::new(worker.listener.activate(&cell));
        let pump = match body.is_empty() {
            true => None,
            false => Pump::new(&active, Direction::Request, BODY_LIMIT),
        };
        let mut exchange = Self {
            worker,
            cell,
            active,
            pump,
            body: (body, 0),
            progress: Progress::Forwarded,
            attempt: None,
        };
        exchange.pass(0);
        exchange
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether it has passed the listener's filters.
    #[must_use]
    pub fn forwarded(&self) -> bool {
        matches!(self.progress, Progress::Forwarded)
    }

    /// The request's headers as the filters have left them.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        self.cell.borrow().request.headers.clone()
    }

    /// A request header's first value as text; empty where there is none or it is no text.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let stream = self.cell.borrow();
        let value = stream.request.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    }

    /// The body as the filters have let it through so far.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body.0
    }

    /// Looks whether the filter that holds the request has let go, and goes on.
    pub fn resume(&mut self) -> &Progress {
        if let Progress::Held(at) = self.progress {
            self.progress = Progress::Forwarded;
            if at < self.active.len() {
                if self.held(at) {
                    self.progress = Progress::Held(at);
                } else if self.forwarded() {
                    self.pass(at + 1);
                }
            } else if self.forwarded() {
                self.pass_body();
            }
        }
        &self.progress
    }

    /// Begins an attempt: the upstream filters see the request. An attempt before it ends, as before a retry.
    /// Where a filter answers it, that is the attempt's [`Step::Reply`].
    ///
    /// `cluster` is what the route has chosen, an aggregate's own name.
    pub fn attempt(&mut self, cluster: &str, host: &Arc<UpstreamHost>) -> Step {
        self.end_attempt();
        {
            let mut stream = self.cell.borrow_mut();
            stream.info.cluster = Some(Arc::from(cluster));
            stream.info.upstream = Some(host.clone());
            stream.info.attempts += 1;
            stream.response = None;
        }
        let active = self.worker.upstream.activate(&self.cell);
        let empty = self.body.0.is_empty();
        let steps = (0..active.len()).map(|at| active.request_headers(at, empty));
        let step = first_stop(steps);
        self.attempt = Some(active);
        step
    }

    /// The attempt's response head comes; its upstream filters see it.
    pub fn answer(&mut self, status: StatusCode, headers: HeaderMap) -> Step {
        self.cell.borrow_mut().response = Some(ResponseHead { status, headers });
        let Some(active) = &self.attempt else {
            return Step::Continue;
        };
        first_stop(
            (0..active.len())
                .rev()
                .map(|at| active.response_headers(at, false)),
        )
    }

    /// The attempt ends: without response headers, or because it has done its part.
    pub fn end_attempt(&mut self) {
        if let Some(active) = self.attempt.take() {
            active.end(false);
        }
    }

    /// The upstream's response goes back through the listener's filters; what the client gets.
    pub fn respond(&mut self) -> http::Response<()> {
        self.end_attempt();
        self.respond_through()
    }

    /// An answer of the gateway's own goes back: there was no response.
    pub fn reply(&mut self, status: StatusCode) -> http::Response<()> {
        self.end_attempt();
        self.cell.borrow_mut().response = Some(ResponseHead {
            status,
            headers: HeaderMap::new(),
        });
        self.respond_through()
    }

    /// The exchange is over.
    pub fn finish(mut self) {
        self.end_attempt();
        self.active.end(true);
    }

    /// Gives the head to the filters from that place on.
    fn pass(&mut self, from: usize) {
        for at in from..self.active.len() {
            match self.active.request_headers(at, self.body.0.is_empty()) {
                Step::Continue => {}
                Step::Pause if self.held(at) => {
                    self.progress = Progress::Held(at);
                    return;
                }
                Step::Pause if self.forwarded() => {}
                Step::Pause => return,
                Step::Reply(reply) => return self.replied(reply),
                Step::Reset => return self.progress = Progress::Reset,
            }
        }
        self.pass_body();
    }

    /// Whether the filter at that place, which has paused, holds on. The body flows to it where its configuration says so.
    fn held(&mut self, at: usize) -> bool {
        let waiting = self.pump.as_ref().is_some_and(Pump::waits_for_resume);
        if !waiting
            && self.active.takes_body_while_paused(at)
            && let Some(pump) = &mut self.pump
        {
            let until = pump.behind(at);
            let body = std::mem::take(&mut self.body.0);
            let pushed = pump.push(self.body.1, until, body, Ending::End);
            self.body.1 = until;
            match pushed {
                Ok(Some(output)) => {
                    self.body.0 = output.data;
                    return false;
                }
                Ok(None) => {}
                Err(stop) => {
                    self.stopped(stop);
                    return false;
                }
            }
        }
        match self.active.poll_resumed(Direction::Request, Waker::noop()) {
            None | Some(Step::Pause) => true,
            Some(Step::Continue) => {
                if let Some(pump) = self.pump.as_mut().filter(|pump| pump.waits_for_resume()) {
                    let stage = self.body.1.saturating_sub(1);
                    self.body.0 = pump.release(stage).data;
                }
                false
            }
            Some(Step::Reply(reply)) => {
                self.replied(reply);
                false
            }
            Some(Step::Reset) => {
                self.progress = Progress::Reset;
                false
            }
        }
    }

    /// Gives the body to the filters that want it and have not had it.
    fn pass_body(&mut self) {
        let Some(pump) = &mut self.pump else { return };
        let result = if pump.waits_for_resume() {
            pump.poll_resumed(Waker::noop())
        } else {
            let body = std::mem::take(&mut self.body.0);
            pump.push(self.body.1, pump.stages(), body, Ending::End)
        };
        match result {
            Ok(Some(output)) => self.body = (output.data, pump.stages()),
            Ok(None) => self.progress = Progress::Held(self.active.len()),
            Err(stop) => self.stopped(stop),
        }
    }

    fn stopped(&mut self, stop: Stop) {
        match stop {
            Stop::Reply(reply) => self.replied(reply),
            Stop::Reset | Stop::Body(_) => self.progress = Progress::Reset,
        }
    }

    /// A filter's answer goes back through the filters that have seen the request, as in the data path.
    fn replied(&mut self, reply: LocalReply) {
        let mut headers = HeaderMap::new();
        for (name, value) in &reply.headers {
            headers.append(name.clone(), value.clone());
        }
        self.cell.borrow_mut().response = Some(ResponseHead {
            status: reply.status,
            headers,
        });
        self.progress = Progress::Replied(reply);
        let _ = self.respond_through();
    }

    fn respond_through(&mut self) -> http::Response<()> {
        let steps = (0..self.active.len())
            .rev()
            .map(|at| self.active.response_headers(at, false));
        match first_stop(steps) {
            Step::Continue | Step::Pause => {}
            Step::Reply(reply) => self.progress = Progress::Replied(reply),
            Step::Reset => self.progress = Progress::Reset,
        }
        let mut response = http::Response::new(());
        if let Some(head) = &self.cell.borrow().response {
            *response.status_mut() = head.status;
            *response.headers_mut() = head.headers.clone();
        }
        response
    }
}

impl Drop for Exchange {
    /// The listener's filters end first and the attempt's after them: the order by which a filter tells a client that
    /// went away from an attempt that failed.
    fn drop(&mut self) {
        self.active.end(true);
        self.end_attempt();
    }
}

/// The first step that is not to continue.
fn first_stop(mut steps: impl Iterator<Item = Step>) -> Step {
    steps
        .find(|step| !matches!(step, Step::Continue))
        .unwrap_or(Step::Continue)
}

fn info(client: SocketAddr, start: SystemTime) -> StreamInfo {
    let mut info = StreamInfo::new(start, client, LISTENER, Arc::from(""));
    info.connection_id = 1;
    info
}
