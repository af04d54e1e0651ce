//! Stories under a virtual clock: the filter's two roles in a simulated gateway, with environments that behave as told.
//!
//! A request passes the route role, then an attempt for each host that its route would try: the chosen environment's,
//! and after a failure stable's, as the demo's aggregates do.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use switchover_host::config::WasmPlugin;
use switchover_host::config::plugin::{Code, FailurePolicy, VmConfig};
use switchover_host::simulation::{Answer, Exchange, Outgoing, Place, Progress, Setup, Simulation};
use switchover_host::stream::UpstreamHost;
use switchover_host::vm::VmError;
use switchover_host::vm::engine::{Compiled, Engine};

use crate::programs;

/// When stories begin, as documents write it.
pub const START: &str = "2026-11-22T20:00:00Z";

/// The same.
pub fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_377_600)
}

/// The filter's tick.
pub const TICK: Duration = Duration::from_millis(250);

/// The route role.
pub const ROUTE: Place = Place::Listener(0);

/// The attempt role.
pub const ATTEMPT: Place = Place::Upstream(0);

/// The filter is compiled once for all stories of the process.
static COMPILED: LazyLock<(Arc<Engine>, Arc<Compiled>)> = LazyLock::new(|| {
    let engine = Engine::new().unwrap();
    let compiled = engine.load(&Code::File(programs::filter())).unwrap();
    (engine, compiled)
});

/// A gateway with the filter, its environments, and a clock.
pub struct Story {
    /// The guests and the clock.
    pub simulation: Simulation,
    stable: String,
    failover: bool,
    variables: Vec<(String, String)>,
    environments: BTreeMap<String, Arc<UpstreamHost>>,
    behaviour: Rc<RefCell<BTreeMap<String, Behaviour>>>,
}

/// What an environment does with attempts and probes.
#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    /// Answers with this status after this time.
    Answers(StatusCode, Duration),
    /// Ends attempts without response headers after this time: a reset, a refused connection, a timeout.
    Breaks(Duration),
}

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Told {
    /// What the client got.
    pub status: StatusCode,
    /// The environment that the route role chose; empty where it answered by itself.
    pub chosen: String,
    /// The environments of the attempts, in order, with the headers each of them got.
    pub attempts: Vec<(String, HeaderMap)>,
    /// The response's headers.
    pub headers: HeaderMap,
}

/// A plugin of the filter as in the demo: both roles with one `vm_id`.
pub fn plugin(root_id: &str, document: &Value, variables: &[(&str, &str)]) -> WasmPlugin {
    WasmPlugin {
        name: root_id.to_owned(),
        root_id: root_id.to_owned(),
        configuration: Bytes::from(document.to_string()),
        vm: VmConfig {
            vm_id: "switchover".to_owned(),
            runtime: String::new(),
            code: Code::File(programs::filter()),
            configuration: Bytes::new(),
            environment: owned(variables).into_iter().collect(),
        },
        failure_policy: FailurePolicy::FailReload,
        reload_backoff: Duration::from_secs(1),
        allow_on_headers_stop_iteration: true,
    }
}

/// A document with other values for some of its fields.
pub fn and(mut document: Value, fields: Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    document.as_object_mut().unwrap().extend(fields);
    document
}

/// A GET request for this path.
pub fn get(path: &str) -> Request<Bytes> {
    request("GET", path, "")
}

/// A request with a body.
pub fn request(method: &str, path: &str, body: &'static str) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from_static(body.as_bytes()));
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// The same with a header.
pub fn with(mut request: Request<Bytes>, name: &'static str, value: &str) -> Request<Bytes> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

// === impl Story ===

impl Story {
    /// A story of so many workers; every environment answers 200 in no time, callouts too.
    pub fn new(workers: usize, document: &Value) -> Self {
        Self::with_variables(workers, document, &[])
    }

    /// The same with variables in the VMs' environment.
    pub fn with_variables(workers: usize, document: &Value, variables: &[(&str, &str)]) -> Self {
        Self::try_new(workers, document, variables).unwrap_or_else(|e| panic!("{document:#}: {e}"))
    }

    /// The same where it may fail to start.
    pub fn try_new(
        workers: usize,
        document: &Value,
        variables: &[(&str, &str)],
    ) -> Result<Self, VmError> {
        Self::build(workers, &document["routing"], document, variables)
    }

    /// A story of a document with several rollouts, all of which have the environments of `routing`.
    pub fn of(workers: usize, routing: &Value, document: &Value) -> Self {
        Self::build(workers, routing, document, &[]).unwrap_or_else(|e| panic!("{document:#}: {e}"))
    }

    fn build(
        workers: usize,
        routing: &Value,
        document: &Value,
        variables: &[(&str, &str)],
    ) -> Result<Self, VmError> {
        let names: Vec<&String> = routing.as_object().unwrap().keys().collect();
        let simulation = Simulation::start(Setup {
            engine: COMPILED.0.clone(),
            workers,
            listener: vec![plugin("switchover.route", document, variables)],
            upstream: vec![plugin("switchover.attempt", &json!({}), variables)],
            clusters: names.iter().map(|name| format!("{name}-only")).collect(),
            start: start(),
            seed: 1,
        })?;
        let healthy = Behaviour::Answers(StatusCode::OK, Duration::ZERO);
        let behaviour: BTreeMap<_, _> = names
            .iter()
            .map(|name| ((*name).clone(), healthy))
            .collect();
        let behaviour = Rc::new(RefCell::new(behaviour));
        let told = Rc::clone(&behaviour);
        simulation.on_callout(move |callout| answer(callout, &told.borrow()));
        let host = |name: &&String| {
            let metadata = BTreeMap::from([(
                "switchover".to_owned(),
                json!({"environment": name.as_str()}),
            )]);
            let leaf = format!("{name}-only");
            (
                (*name).clone(),
                switchover_host::simulation::host(&leaf, metadata),
            )
        };
        let environments = names.iter().map(host).collect();
        let stable = document["stable"].as_str().unwrap_or("blue").to_owned();
        Ok(Self {
            simulation,
            stable,
            failover: true,
            variables: owned(variables),
            environments,
            behaviour,
        })
    }

    /// Routes without retries: each request has one attempt.
    #[must_use]
    pub fn without_failover(mut self) -> Self {
        self.failover = false;
        self
    }

    /// Sets what an environment does from now on.
    pub fn behave(&self, environment: &str, behaviour: Behaviour) {
        self.behaviour
            .borrow_mut()
            .insert(environment.to_owned(), behaviour);
    }

    /// Sets the status an environment answers with from now on, in no time.
    pub fn answers(&self, environment: &str, status: u16) {
        let status = StatusCode::from_u16(status).unwrap();
        self.behave(environment, Behaviour::Answers(status, Duration::ZERO));
    }

    /// Replaces the route role's document.
    pub fn replace(&self, document: &Value) -> Result<(), VmError> {
        let variables = self.variables.iter();
        let variables: Vec<_> = variables.map(|(n, v)| (n.as_str(), v.as_str())).collect();
        self.simulation
            .configure(ROUTE, plugin("switchover.route", document, &variables))
    }

    /// Sends a request to a worker, and plays it to its end. Time passes while environments answer.
    pub fn send(&self, worker: usize, request: Request<Bytes>) -> Told {
        let mut exchange = self.simulation.request(worker, request).unwrap();
        if let Progress::Replied(reply) = exchange.progress() {
            let status = reply.status;
            let headers = reply.headers.iter().cloned().collect();
            exchange.finish();
            return Told {
                status,
                chosen: String::new(),
                attempts: Vec::new(),
                headers,
            };
        }
        assert!(exchange.forwarded(), "{:?}", exchange.progress());
        let chosen = exchange.header("x-deployment-mode");
        let mut attempts = Vec::new();
        let mut last = None;
        for environment in self.order(&chosen) {
            let answered = self.attempt(&mut exchange, &chosen, &environment, &mut attempts);
            last = answered;
            if answered.is_some_and(|status| !retried(status)) {
                break;
            }
        }
        let response = match last {
            Some(_) => exchange.respond(),
            None => exchange.reply(StatusCode::SERVICE_UNAVAILABLE),
        };
        exchange.finish();
        Told {
            status: response.status(),
            chosen,
            attempts,
            headers: response.headers().clone(),
        }
    }

    /// Sends so many GET requests and counts the environments that were chosen.
    pub fn chosen(&self, worker: usize, requests: usize) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            *counts
                .entry(self.send(worker, get("/")).chosen)
                .or_default() += 1;
        }
        counts
    }

    /// Sends so many GET requests; how many of them were for green.
    pub fn green(&self, worker: usize, requests: usize) -> usize {
        let chosen = self.chosen(worker, requests);
        chosen.get("green").copied().unwrap_or_default()
    }

    /// Begins so many requests that go to an environment, and lets their clients go away while it has them.
    pub fn abandon(&self, worker: usize, environment: &str, requests: usize) {
        for _ in 0..requests {
            let mut exchange = self.simulation.request(worker, get("/")).unwrap();
            assert_eq!(exchange.header("x-deployment-mode"), environment);
            exchange.attempt(environment, self.host(environment));
            drop(exchange);
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.simulation.advance(by);
    }

    /// Lets time pass until this moment of the schedule, by the monotonic clock since the start.
    pub fn advance_to(&self, since_start: Duration) {
        self.advance(since_start.saturating_sub(self.simulation.elapsed()));
    }

    /// The sum of the metrics of a family (without `switchover.`) that have these labels.
    pub fn metric(&self, family: &str, labels: &[(&str, &str)]) -> u64 {
        let family = format!("switchover.{family}");
        let samples = self.simulation.metrics();
        samples
            .iter()
            .filter(|sample| sample.matches(&family, labels))
            .map(|sample| sample.value)
            .sum()
    }

    /// The callouts so far to this environment's cluster and path.
    pub fn callouts(&self, environment: &str, path: &str) -> Vec<Rc<Outgoing>> {
        let cluster = format!("{environment}-only");
        let mut made = self.simulation.callouts();
        made.retain(|made| {
            made.callout.cluster == cluster && made.callout.head.path.as_bytes() == path.as_bytes()
        });
        made
    }

    /// The host of an environment, for attempts by hand.
    pub fn host(&self, environment: &str) -> &Arc<UpstreamHost> {
        &self.environments[environment]
    }

    /// Log lines that hold this text.
    pub fn logged(&self, text: &str) -> Vec<String> {
        let lines = self.simulation.logs().into_iter().map(|line| line.text);
        lines.filter(|line| line.contains(text)).collect()
    }

    /// The environments that a route tries: its own, and stable after it; stable's own only itself.
    fn order(&self, chosen: &str) -> Vec<String> {
        match chosen == self.stable || !self.failover {
            true => vec![chosen.to_owned()],
            false => vec![chosen.to_owned(), self.stable.clone()],
        }
    }

    fn attempt(
        &self,
        exchange: &mut Exchange,
        chosen: &str,
        environment: &str,
        attempts: &mut Vec<(String, HeaderMap)>,
    ) -> Option<StatusCode> {
        exchange.attempt(chosen, self.host(environment));
        attempts.push((environment.to_owned(), exchange.headers()));
        let behaviour = self.behaviour.borrow()[environment];
        match behaviour {
            Behaviour::Answers(status, after) => {
                self.advance(after);
                exchange.answer(status, HeaderMap::new());
                Some(status)
            }
            Behaviour::Breaks(after) => {
                self.advance(after);
                exchange.end_attempt();
                None
            }
        }
    }
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = variables.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// What the demo's routes retry.
fn retried(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn answer(callout: &Outgoing, behaviour: &BTreeMap<String, Behaviour>) -> Answer {
    let environment = callout.callout.cluster.trim_end_matches("-only");
    match behaviour.get(environment) {
        Some(Behaviour::Answers(status, after)) => Answer::status(*status).after(*after),
        Some(Behaviour::Breaks(after)) => Answer::failure().after(*after),
        None => Answer::never(),
    }
}
