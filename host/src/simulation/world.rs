//! What is around the gateway: routes, upstreams, those whom callouts ask. The scenario plays it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::callouts::{Answer, Outgoing};
use super::grpc::{GrpcAnswer, GrpcCall};
use crate::config::cluster::Endpoint;
use crate::stream::{RequestHead, UpstreamHost};

/// The rest of the world. It is asked when something happens, and must not call the simulation.
pub trait World {
    /// Where a request goes that has passed the listener's filters; `None` is a 404.
    fn route(&mut self, head: &RequestHead) -> Option<Route>;

    /// What an upstream does with a request that has come to it.
    fn reply(&mut self, sent: &Sent) -> Reply;

    /// What becomes of a callout. [`Answer::never`] lets it wait for its time-out, or for
    /// [`super::Simulation::answer`].
    fn callout(&mut self, callout: &Outgoing) -> Answer;

    /// What becomes of a gRPC callout; nothing, until it times out or [`super::Simulation::grpc_answer`] says more.
    fn grpc(&mut self, _call: &GrpcCall) -> GrpcAnswer {
        GrpcAnswer::never()
    }

    /// What follows on a stream where a guest has sent a message.
    fn grpc_sent(&mut self, _call: &GrpcCall, _message: &Bytes) -> GrpcAnswer {
        GrpcAnswer::never()
    }
}

/// A route.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name, as the property `xds.route_name` tells it.
    pub name: Arc<str>,
    /// The cluster that it names, an aggregate's own name.
    pub cluster: Arc<str>,
    /// The hosts of the attempts, in order; an attempt follows where the one before it has failed.
    pub hosts: Vec<Arc<UpstreamHost>>,
    /// Which answers are failures.
    pub retry_on: RetryOn,
    /// How long all attempts together may take; zero is without end.
    pub timeout: Duration,
}

/// Which outcomes of an attempt another follows, if there is a host for it.
#[derive(Debug, Clone, Default)]
pub struct RetryOn {
    /// Any 5xx.
    pub server_errors: bool,
    /// These.
    pub statuses: Vec<StatusCode>,
    /// No response at all.
    pub reset: bool,
}

/// A request as an upstream gets it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// The leaf cluster.
    pub cluster: Arc<str>,
    /// The route's name.
    pub route: Arc<str>,
    /// The cluster that the route names.
    pub route_cluster: Arc<str>,
    /// `:method`.
    pub method: Method,
    /// `:path`; perhaps none that can be sent.
    pub path: Bytes,
    /// Headers; `host` is `:authority`.
    pub headers: HeaderMap,
    /// The body, its parts put together.
    pub body: Bytes,
    /// Trailers.
    pub trailers: Option<HeaderMap>,
}

/// What an upstream does.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// After how long.
    pub after: Duration,
    /// What.
    pub outcome: Outcome,
}

/// What comes of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A response.
    Response(Box<Response>),
    /// A refused connection, or one that ends before the response's head.
    Reset,
    /// Nothing, ever.
    Never,
    /// The gateway gives up for the request's sake and answers by itself: 400 where the request turns out to be invalid,
    /// 408 too slow, 413 too long.
    GivenUp(StatusCode),
}

/// A response: an upstream's, or what the client gets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The body's parts; filters see one after another.
    pub body: Vec<Bytes>,
    /// Trailers.
    pub trailers: Option<HeaderMap>,
    /// The body breaks off behind its last part.
    pub broken: bool,
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

// === impl RetryOn ===

impl RetryOn {
    /// Whether a response of this status is a failure.
    #[must_use]
    pub fn status(&self, status: StatusCode) -> bool {
        self.server_errors && status.is_server_error() || self.statuses.contains(&status)
    }
}

// === impl Reply ===

impl Reply {
    /// A response without a body, at once.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        Self {
            after: Duration::ZERO,
            outcome: Outcome::Response(Box::new(Response {
                status,
                ..Response::default()
            })),
        }
    }

    /// A reset, at once.
    #[must_use]
    pub fn reset() -> Self {
        Self {
            after: Duration::ZERO,
            outcome: Outcome::Reset,
        }
    }

    /// The same after some time.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

// === impl Response ===

impl Response {
    /// Whether nothing follows its head.
    #[must_use]
    pub fn ends_with_head(&self) -> bool {
        self.body.is_empty() && self.trailers.is_none() && !self.broken
    }

    /// The body in one piece.
    #[must_use]
    pub fn whole_body(&self) -> Bytes {
        match &self.body[..] {
            [] => Bytes::new(),
            [only] => only.clone(),
            parts => parts.concat().into(),
        }
    }
}
