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
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use switchover_host::config::WasmPlugin;
use switchover_host::config::plugin::{Code, FailurePolicy, VmConfig};
use switchover_host::simulation::{
    self, Answer, Exchange, Modules, Outcome, Outgoing, Place, Reply, Request, RetryOn, Route,
    Sent, Setup, Simulation, World,
};
use switchover_host::stream::{RequestHead, UpstreamHost};
use switchover_host::vm::VmError;

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
static MODULES: LazyLock<Arc<Modules>> = LazyLock::new(|| Modules::new().unwrap());

/// A gateway with the filter, its environments, and a clock.
pub struct Story {
    /// The guests and the clock.
    pub simulation: Simulation,
    variables: Vec<(String, String)>,
    environments: Rc<RefCell<Environments>>,
}

/// The demo's routes and hosts.
struct Environments {
    stable: String,
    failover: bool,
    hosts: BTreeMap<String, Arc<UpstreamHost>>,
    behaviour: BTreeMap<String, Behaviour>,
}

/// What an environment does with attempts and probes.
#[derive(Debug, Clone, Copy)]
pub enum Behaviour {
    /// Answers with this status after this time.
    Answers(StatusCode, Duration),
    /// Ends attempts without response headers after this time: a reset, a refused connection, a timeout.
    Breaks(Duration),
    /// Never answers.
    Hangs,
    /// The gateway gives attempts up for the request's sake and answers with this status.
    GivenUp(StatusCode),
    /// Never answers, but to probes.
    OnlyHealth,
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
pub fn get(path: &str) -> Request {
    request("GET", path, "")
}

/// A request with a body.
pub fn request(method: &str, path: &str, body: &'static str) -> Request {
    let mut request = Request::new(Method::from_bytes(method.as_bytes()).unwrap(), path);
    if !body.is_empty() {
        request.body.push(Bytes::from_static(body.as_bytes()));
    }
    request
}

/// The same with a header.
pub fn with(mut request: Request, name: &'static str, value: &str) -> Request {
    request.headers.append(name, value.parse().unwrap());
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
        let healthy = Behaviour::Answers(StatusCode::OK, Duration::ZERO);
        let host = |name: &&String| {
            let metadata = BTreeMap::from([(
                "switchover".to_owned(),
                json!({"environment": name.as_str()}),
            )]);
            let leaf = format!("{name}-only");
            ((*name).clone(), simulation::host(&leaf, metadata))
        };
        let environments = Rc::new(RefCell::new(Environments {
            stable: document["stable"].as_str().unwrap_or("blue").to_owned(),
            failover: true,
            hosts: names.iter().map(host).collect(),
            behaviour: names
                .iter()
                .map(|name| ((*name).clone(), healthy))
                .collect(),
        }));
        let setup = Setup {
            modules: MODULES.clone(),
            workers,
            listener: vec![plugin("switchover.route", document, variables)],
            upstream: vec![plugin("switchover.attempt", &json!({}), variables)],
            clusters: names.iter().map(|name| format!("{name}-only")).collect(),
            start: start(),
            seed: 1,
            deadline: simulation::DEADLINE,
        };
        Ok(Self {
            simulation: Simulation::start(setup, environments.clone())?,
            variables: owned(variables),
            environments,
        })
    }

    /// Routes without retries: each request has one attempt.
    #[must_use]
    pub fn without_failover(self) -> Self {
        self.environments.borrow_mut().failover = false;
        self
    }

    /// Sets what an environment does from now on.
    pub fn behave(&self, environment: &str, behaviour: Behaviour) {
        self.environments
            .borrow_mut()
            .behaviour
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
    pub fn send(&self, worker: usize, request: Request) -> Told {
        let exchange = self.begin(worker, request);
        assert!(
            self.simulation.run(&exchange, Duration::from_secs(3600)),
            "{:?}",
            exchange.record()
        );
        told(&exchange)
    }

    /// Begins a request that goes as far as it can while no time passes.
    pub fn begin(&self, worker: usize, request: Request) -> Exchange {
        self.simulation.request(worker, request).unwrap()
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
        self.behave(environment, Behaviour::Hangs);
        for _ in 0..requests {
            let exchange = self.begin(worker, get("/"));
            assert_eq!(told(&exchange).chosen, environment);
        }
        let healthy = Behaviour::Answers(StatusCode::OK, Duration::ZERO);
        self.behave(environment, healthy);
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

    /// Log lines that hold this text.
    pub fn logged(&self, text: &str) -> Vec<String> {
        let lines = self.simulation.logs().into_iter().map(|line| line.text);
        lines.filter(|line| line.contains(text)).collect()
    }
}

/// What has become of a request so far.
pub fn told(exchange: &Exchange) -> Told {
    let record = exchange.record();
    let attempts = record.attempts.iter();
    let chosen = record.attempts.first();
    let chosen = chosen.map_or(String::new(), |sent| sent.route_cluster.to_string());
    let response = record.response.clone().unwrap_or_default();
    Told {
        status: response.status,
        chosen,
        attempts: attempts
            .map(|sent| {
                let environment = sent.cluster.trim_end_matches("-only");
                (environment.to_owned(), sent.headers.clone())
            })
            .collect(),
        headers: response.headers,
    }
}

// === impl Environments ===

impl World for Environments {
    /// Its own environment, and stable after it; stable's own only itself.
    fn route(&mut self, head: &RequestHead) -> Option<Route> {
        let chosen = head.headers.get("x-deployment-mode");
        let chosen = chosen.map_or("", |value| value.to_str().unwrap());
        let order: &[&str] = match chosen == self.stable || !self.failover {
            true => &[chosen],
            false => &[chosen, &self.stable],
        };
        let hosts = order.iter().filter_map(|name| self.hosts.get(*name));
        Some(Route {
            name: Arc::from(chosen),
            cluster: Arc::from(chosen),
            hosts: hosts.cloned().collect(),
            // What the demo's routes retry.
            retry_on: RetryOn {
                server_errors: true,
                statuses: vec![StatusCode::TOO_MANY_REQUESTS],
                reset: true,
            },
            timeout: Duration::ZERO,
        })
    }

    fn reply(&mut self, sent: &Sent) -> Reply {
        let environment = sent.cluster.trim_end_matches("-only");
        match self.behaviour[environment] {
            Behaviour::Answers(status, after) => Reply::status(status).after(after),
            Behaviour::Breaks(after) => Reply::reset().after(after),
            Behaviour::Hangs | Behaviour::OnlyHealth => Reply {
                after: Duration::ZERO,
                outcome: Outcome::Never,
            },
            Behaviour::GivenUp(status) => Reply {
                after: Duration::ZERO,
                outcome: Outcome::GivenUp(status),
            },
        }
    }

    fn callout(&mut self, callout: &Outgoing) -> Answer {
        let environment = callout.callout.cluster.trim_end_matches("-only");
        match self.behaviour.get(environment) {
            Some(Behaviour::Answers(status, after)) => Answer::status(*status).after(*after),
            Some(Behaviour::Breaks(after)) => Answer::failure().after(*after),
            Some(Behaviour::OnlyHealth) if callout.callout.head.path.as_bytes() == b"/health" => {
                Answer::status(StatusCode::OK)
            }
            _ => Answer::never(),
        }
    }
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = variables.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
