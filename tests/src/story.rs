//! The filter's two roles in a simulated gateway whose environments always answer: where requests go, without a network.
//!
//! What filters do is said in `tests/scenarios`; this is for what needs to compare many requests with one another.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use switchover_host::config::WasmPlugin;
use switchover_host::config::plugin::{Code, FailurePolicy, VmConfig};
use switchover_host::process::Clusters;
use switchover_host::simulation::{
    self, Answer, Modules, Outgoing, Reply, Request, RetryOn, Route, Sent, Setup, Simulation, World,
};
use switchover_host::stream::RequestHead;

use crate::programs;

/// When stories begin, as documents write it.
pub const START: &str = "2026-11-22T20:00:00Z";

/// The filter's tick.
pub const TICK: Duration = Duration::from_millis(250);

/// The filter is compiled once for all stories of the process.
static MODULES: LazyLock<Arc<Modules>> = LazyLock::new(|| Modules::new().unwrap());

/// A gateway with the filter, and a clock.
pub struct Story(Simulation);

/// Every cluster answers 200.
struct Environments;

/// A plugin as in the demo: both roles with one `vm_id`.
pub fn plugin(root_id: &str, code: Code, document: &Value) -> WasmPlugin {
    WasmPlugin {
        name: root_id.to_owned(),
        root_id: root_id.to_owned(),
        configuration: Bytes::from(document.to_string()),
        vm: VmConfig {
            vm_id: "switchover".to_owned(),
            runtime: String::new(),
            code,
            configuration: Bytes::new(),
            environment: BTreeMap::new(),
        },
        failure_policy: FailurePolicy::FailReload,
        reload_backoff: Duration::from_secs(1),
        allow_on_headers_stop_iteration: true,
    }
}

/// When stories begin.
pub fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_377_600)
}

/// A document with other values for some of its fields.
pub fn and(mut document: Value, fields: Value) -> Value {
    let fields = fields.as_object().unwrap().clone();
    document.as_object_mut().unwrap().extend(fields);
    document
}

/// A GET request for this path.
pub fn get(path: &str) -> Request {
    Request::new(Method::GET, path)
}

/// The same with a header.
pub fn with(mut request: Request, name: &'static str, value: &str) -> Request {
    request.headers.append(name, value.parse().unwrap());
    request
}

// === impl Story ===

impl Story {
    /// A story of so many workers.
    pub fn new(workers: usize, document: &Value) -> Self {
        let filter = || Code::File(programs::filter());
        let setup = Setup {
            modules: MODULES.clone(),
            workers,
            listener: vec![plugin("switchover.route", filter(), document)],
            upstream: vec![plugin("switchover.attempt", filter(), &json!({}))],
            clusters: Clusters::Any,
            start: start(),
            seed: 1,
            deadline: simulation::DEADLINE,
            abi: Default::default(),
        };
        let world = Rc::new(RefCell::new(Environments));
        Self(Simulation::start(setup, world).unwrap_or_else(|e| panic!("{document:#}: {e}")))
    }

    /// Sends a request to a worker; the environment that was chosen for it.
    pub fn chosen(&self, worker: usize, request: Request) -> String {
        let exchange = self.0.request(worker, request).unwrap();
        assert!(exchange.is_over(), "{:?}", exchange.record());
        exchange.record().attempts[0].cluster.to_string()
    }

    /// Lets time pass until this moment of the schedule, by the monotonic clock since the start.
    pub fn advance_to(&self, since_start: Duration) {
        self.0.advance(since_start.saturating_sub(self.0.elapsed()));
    }
}

// === impl Environments ===

impl World for Environments {
    fn route(&mut self, head: &RequestHead) -> Option<Route> {
        let chosen = head.headers.get("x-deployment-mode")?.to_str().unwrap();
        let metadata = json!({"environment": chosen});
        let metadata = BTreeMap::from([("switchover".to_owned(), metadata)]);
        Some(Route {
            name: Arc::from(chosen),
            cluster: Arc::from(chosen),
            hosts: vec![simulation::host(chosen, metadata)],
            retry_on: RetryOn::default(),
            timeout: Duration::ZERO,
        })
    }

    fn reply(&mut self, _: &Sent) -> Reply {
        Reply::status(StatusCode::OK)
    }

    fn callout(&mut self, _: &Outgoing) -> Answer {
        Answer::never()
    }
}
