//! One request in a simulation, from its head to its end.
//!
//! It runs as far as it can whenever something has happened, and is a client's that goes away when it is dropped before
//! its end.

mod run;

use std::cell::{Ref, RefCell};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

use super::agenda::Agenda;
use super::world::{Response, Sent, World};
use super::{CLIENT, Worker};
use crate::proxy::filters::Active;
use crate::stream::head::Target;
use crate::stream::{RequestHead, Stream, StreamCell, StreamInfo};

/// The listener that requests reach.
const LISTENER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10_000);

/// What a client sends.
#[derive(Debug, Clone)]
pub struct Request {
    /// `:method`.
    pub method: Method,
    /// `:path`.
    pub path: Bytes,
    /// `:scheme`.
    pub scheme: HeaderValue,
    /// Headers. Without a `host` it gets one; what else a connection manager adds is for the scenario to add.
    pub headers: HeaderMap,
    /// The body's parts; filters see one after another.
    pub body: Vec<Bytes>,
    /// Trailers.
    pub trailers: Option<HeaderMap>,
    /// The client's address.
    pub client: SocketAddr,
}

/// A request that has reached a worker.
pub struct Exchange(pub(super) Rc<Running>);

/// Its inside, which the simulation goes on with.
pub(super) struct Running {
    active: Rc<Active>,
    future: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    record: Rc<RefCell<Record>>,
}

/// What has become of a request so far.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// It as the upstreams got it, one for each attempt whose filters let it through.
    pub attempts: Vec<Sent>,
    /// What the client got.
    pub response: Option<Response>,
    /// The exchange was broken off: the client got nothing, or not all.
    pub reset: bool,
    /// Why the response is what it is, in Envoy's words.
    pub details: std::borrow::Cow<'static, str>,
    /// Which filter holds it now, and where.
    pub held: Option<Held>,
    /// When it began and, if it has, ended, by the monotonic clock.
    pub began: Duration,
    /// See there.
    pub ended: Option<Duration>,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The plugin's name; empty where it is one of several that see bodies.
    pub plugin: String,
    /// What it has got and does not let go.
    pub what: &'static str,
}

/// What a running exchange needs of the simulation.
pub(super) struct Around {
    pub(super) worker: Rc<Worker>,
    pub(super) agenda: Rc<RefCell<Agenda>>,
    pub(super) world: Rc<RefCell<dyn World>>,
}

// === impl Request ===

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: Bytes::copy_from_slice(path.as_bytes()),
            scheme: HeaderValue::from_static("http"),
            headers: HeaderMap::new(),
            body: Vec::new(),
            trailers: None,
            client: CLIENT,
        }
    }
}

// === impl Exchange ===

impl Exchange {
    pub(super) fn begin(around: Around, request: Request, start: SystemTime) -> Self {
        let mut headers = request.headers;
        if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, HeaderValue::from_static("gateway.test"));
        }
        let head = RequestHead::new(
            request.method,
            Target::from_bytes(&request.path),
            request.scheme,
            headers,
        );
        let cell: StreamCell =
            Rc::new(RefCell::new(Stream::new(head, info(request.client, start))));
        let active = Rc::new(around.worker.listener.activate(&cell));
        let record = Rc::new(RefCell::new(Record {
            began: around.agenda.borrow().now(),
            ..Record::default()
        }));
        let run = run::Run {
            around,
            cell,
            active: active.clone(),
            record: record.clone(),
            body: request.body.into(),
            trailers: request.trailers,
        };
        let running = Rc::new(Running {
            active,
            future: RefCell::new(Some(Box::pin(run.run()))),
            record,
        });
        running.go_on();
        Self(running)
    }

    /// What has become of it so far.
    #[must_use]
    pub fn record(&self) -> Ref<'_, Record> {
        self.0.record.borrow()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.is_over()
    }
}

// === impl Running ===

impl Running {
    pub(super) fn is_over(&self) -> bool {
        self.future.borrow().is_none()
    }

    /// Runs as far as it can.
    pub(super) fn go_on(&self) {
        let mut future = self.future.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(running) = future.as_mut()
            && running.as_mut().poll(&mut cx).is_ready()
        {
            *future = None;
        }
    }
}

impl Drop for Running {
    /// The listener's filters end first and the attempt's after them: the order by which a filter tells a client that
    /// went away from an attempt that failed.
    fn drop(&mut self) {
        self.active.end(true);
        self.future.get_mut().take();
    }
}

fn info(client: SocketAddr, start: SystemTime) -> StreamInfo {
    let mut info = StreamInfo::new(start, client, LISTENER, Arc::from(""));
    info.connection_id = 1;
    info
}
