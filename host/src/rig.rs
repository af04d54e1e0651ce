//! A chain of filters by itself: in VMs of its own, through the data path's own filter chain, without a network.
//!
//! Whoever drives it makes exchanges ready, passes them, and gets told how far they came. Callouts are answered as soon
//! as the callback that made them has returned, gRPC's with a failure; ticks come when they are asked for.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};

use crate::abi::{self, CalloutResponse, GrpcAction, SharedData};
use crate::config::plugin::{Code, FailurePolicy, VmConfig};
use crate::config::{Node, WasmPlugin};
use crate::process::{Clock, Clusters, GuestLimits, GuestLog, Process, Random};
use crate::proxy::filters::{Active, Chain, Direction, Filter, Step};
use crate::stats::Registry;
use crate::stream::head::Target;
use crate::stream::{RequestHead, ResponseHead, Stream, StreamCell, StreamInfo};
use crate::vm::engine::Engine;
use crate::vm::plugin::{Plugin, Root, VmCell, Vms};
use crate::vm::state::Effect;
use crate::vm::{Usage, VmError};

/// A chain of filters, and what it is given.
pub struct Rig<'a> {
    exchange: &'a Exchange,
    chain: Chain,
    roots: Vec<Rc<Root>>,
    asked: Asked,
    path: Target,
    no_name: Arc<str>,
}

/// A request and what comes back.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What the client sends.
    pub request: http::Request<Bytes>,
    /// What the upstream answers.
    pub response: http::Response<Bytes>,
    /// What each callout is answered, at once; `None` is a failure.
    pub callout: Option<http::Response<Bytes>>,
}

/// An exchange that has been made ready, or has passed.
pub struct Ready {
    /// Its stream; heads are there as filters have left them.
    pub cell: StreamCell,
    /// The response that is to come.
    response: Option<ResponseHead>,
    /// The request's body, as filters have left it.
    pub request_body: BytesMut,
    /// The response's body, as filters have left it.
    pub response_body: BytesMut,
}

/// How far filters let an exchange go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// To the upstream, and back.
    On,
    /// A filter answered.
    Answered,
    /// A filter held it for good.
    Held,
    /// A filter broke it off.
    Reset,
}

/// gRPC's status of a service that cannot be reached.
const UNAVAILABLE: u32 = 14;

/// What guests asked for and has not been carried out.
type Asked = Rc<RefCell<VecDeque<(Rc<VmCell>, Effect)>>>;

/// A plugin of a module alone: nothing else is configured.
#[must_use]
pub fn plugin(
    code: PathBuf,
    root_id: String,
    configuration: Bytes,
    vm_configuration: Bytes,
    environment: BTreeMap<String, String>,
) -> WasmPlugin {
    let stem = code
        .file_stem()
        .map(|name| name.to_string_lossy().into_owned());
    WasmPlugin {
        name: if root_id.is_empty() {
            stem.unwrap_or_default()
        } else {
            root_id.clone()
        },
        root_id,
        configuration,
        vm: VmConfig {
            vm_id: String::new(),
            runtime: String::new(),
            code: Code::File(code),
            configuration: vm_configuration,
            environment,
        },
        failure_policy: FailurePolicy::FailClosed,
        reload_backoff: Duration::from_secs(1),
        allow_on_headers_stop_iteration: false,
    }
}

// === impl Exchange ===

impl Exchange {
    fn callout_response(&self) -> Option<CalloutResponse> {
        let response = self.callout.as_ref()?;
        Some(CalloutResponse {
            head: ResponseHead::new(response.status(), response.headers().clone()),
            body: response.body().clone(),
            trailers: HeaderMap::new(),
        })
    }
}

// === impl Rig ===

impl<'a> Rig<'a> {
    /// Starts the filters.
    ///
    /// # Errors
    /// Where one does not compile, does not start or refuses its configuration.
    pub fn start(
        engine: &Engine,
        plugins: &[WasmPlugin],
        exchange: &'a Exchange,
        process: Arc<Process>,
    ) -> Result<Self, VmError> {
        let asked = Asked::default();
        let sink = asked.clone();
        let vms = Vms::new(
            process,
            Rc::new(move |vm, effect| sink.borrow_mut().push_back((vm.clone(), effect))),
            abi::queues::Mailbox::default(),
        );
        let mut started = Vec::new();
        for plugin in plugins {
            let code = plugin.vm.code.clone();
            let compiled = engine.load(&code)?;
            let plugin = Plugin::start(plugin.clone(), compiled, vms.clone());
            started.push(plugin.map_err(|error| error.of(&code))?);
        }
        let roots = started.iter().map(|plugin| plugin.root());
        let path = exchange.request.uri().path_and_query();
        let rig = Self {
            exchange,
            roots: roots.collect::<Result<_, _>>()?,
            chain: Chain {
                filters: started
                    .into_iter()
                    .map(|plugin| Filter::Wasm(RefCell::new(Some(plugin))))
                    .collect(),
            },
            asked,
            path: Target::from_bytes(path.map_or("/", |path| path.as_str()).as_bytes()),
            no_name: Arc::from(""),
        };
        rig.settle();
        Ok(rig)
    }

    /// Filters in the chain.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chain.filters.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    /// Makes the exchange ready to pass.
    #[must_use]
    pub fn make_ready(&self) -> Ready {
        let (request, response) = (&self.exchange.request, &self.exchange.response);
        let head = RequestHead::new(
            request.method().clone(),
            self.path.clone(),
            HeaderValue::from_static("http"),
            as_read(request.headers()),
        );
        let info = info(self.no_name.clone());
        Ready {
            cell: Rc::new(RefCell::new(Stream::new(head, info))),
            response: Some(ResponseHead::new(
                response.status(),
                as_read(response.headers()),
            )),
            request_body: BytesMut::from(&request.body()[..]),
            response_body: BytesMut::from(&response.body()[..]),
        }
    }

    /// Passes an exchange through the chain, from its beginning to its end.
    pub fn pass(&self, exchange: &mut Ready) -> Passed {
        let active = self.chain.activate(&exchange.cell);
        let passed = self.request(&active, exchange);
        let passed = match passed {
            Passed::On => self.response(&active, exchange),
            Passed::Answered => match self.response(&active, exchange) {
                Passed::On => Passed::Answered,
                other => other,
            },
            Passed::Held | Passed::Reset => passed,
        };
        active.end(true);
        self.settle();
        passed
    }

    /// Lets the filters tick, whatever their periods.
    pub fn tick(&self) {
        for root in &self.roots {
            // One that traps in it has failed for whoever asks.
            let _ = root.vm.run(|vm| vm.tick(root.id));
        }
        self.settle();
    }

    /// Whether a guest has trapped.
    #[must_use]
    pub fn has_trapped(&self) -> bool {
        self.roots.iter().any(|root| root.vm.failed())
    }

    /// What the VMs have used so far; filters that share one count once.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let mut seen: Vec<&Rc<VmCell>> = Vec::new();
        let mut sum = Usage::default();
        for root in &self.roots {
            if seen.iter().any(|vm| Rc::ptr_eq(vm, &root.vm)) {
                continue;
            }
            seen.push(&root.vm);
            let used = root.vm.run(|vm| vm.usage());
            sum.hostcalls += used.hostcalls;
            sum.callbacks += used.callbacks;
            sum.allocations += used.allocations;
            sum.memory += used.memory;
        }
        sum
    }

    fn request(&self, active: &Active, exchange: &mut Ready) -> Passed {
        let has_body = !exchange.request_body.is_empty();
        for at in 0..active.len() {
            let step = active.request_headers(at, !has_body);
            match self.passed(active, (at, Direction::Request), step, exchange) {
                Passed::On => {}
                stopped => return stopped,
            }
        }
        if has_body {
            return self.body(active, Direction::Request, exchange);
        }
        Passed::On
    }

    fn response(&self, active: &Active, exchange: &mut Ready) -> Passed {
        let has_body = !exchange.response_body.is_empty();
        exchange.cell.borrow_mut().response = exchange.response.take();
        for at in (0..active.len()).rev() {
            let step = active.response_headers(at, !has_body);
            match self.passed(active, (at, Direction::Response), step, exchange) {
                Passed::On => {}
                stopped => return stopped,
            }
        }
        if has_body {
            return self.body(active, Direction::Response, exchange);
        }
        Passed::On
    }

    /// Gives a whole body to the filters that want it.
    fn body(&self, active: &Active, direction: Direction, exchange: &mut Ready) -> Passed {
        for at in active.interested(direction) {
            let step = active.body(at, direction, exchange.body(direction), true);
            // What a guest holds it may change when its callout is answered.
            let held = matches!(step, Step::Pause);
            if held {
                let data = std::mem::take(exchange.body(direction));
                active.hold(at, direction, data);
            }
            let passed = self.passed(active, (at, direction), step, exchange);
            if held && matches!(passed, Passed::On | Passed::Held) {
                *exchange.body(direction) = active.release(at, direction);
            }
            match passed {
                Passed::On => {}
                stopped => return stopped,
            }
        }
        Passed::On
    }

    fn passed(
        &self,
        active: &Active,
        (at, direction): (usize, Direction),
        step: Step,
        exchange: &mut Ready,
    ) -> Passed {
        match step {
            Step::Continue => Passed::On,
            Step::Pause => {
                self.settle();
                match active.poll_resumed(at, direction, Waker::noop()) {
                    Some(Step::Pause) | None => Passed::Held,
                    Some(step) => self.passed(active, (at, direction), step, exchange),
                }
            }
            Step::Reset => Passed::Reset,
            Step::Reply(reply) => {
                let mut headers = HeaderMap::new();
                for (name, value) in reply.headers {
                    headers.append(name, value);
                }
                let head = ResponseHead::new(reply.status, headers);
                exchange.response_body = BytesMut::from(&reply.body[..]);
                match direction {
                    Direction::Request => exchange.response = Some(head),
                    Direction::Response => exchange.cell.borrow_mut().response = Some(head),
                }
                Passed::Answered
            }
        }
    }

    /// Answers the callouts that were made, and those made thereupon.
    fn settle(&self) {
        loop {
            let next = self.asked.borrow_mut().pop_front();
            let Some((vm, effect)) = next else { break };
            // A guest that traps in an answer has failed for whoever asks.
            match effect {
                Effect::Call(callout) => {
                    let response = self.exchange.callout_response();
                    let (root, token) = (callout.root, callout.token);
                    let _ = vm.run(|guest| guest.http_call_response(root, token, response));
                }
                Effect::Grpc(call) => {
                    if let GrpcAction::Start(_) = call.what {
                        let why = Bytes::from_static(b"no gRPC service is here");
                        let _ = vm.run(|guest| {
                            guest.grpc_closed(call.root, call.token, UNAVAILABLE, why)
                        });
                    }
                }
                // Its VM goes with the chain; the rest is the VM's own, or asked for.
                Effect::Tick { .. } | Effect::Linger { .. } | Effect::Delete { .. } => {}
            }
        }
    }
}

// === impl Ready ===

impl Ready {
    fn body(&mut self, direction: Direction) -> &mut BytesMut {
        match direction {
            Direction::Request => &mut self.request_body,
            Direction::Response => &mut self.response_body,
        }
    }
}

/// A map with the room that hyper leaves in those it reads; a clone would have none.
fn as_read(headers: &HeaderMap) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        map.append(name, value.clone());
    }
    map
}

/// What the VMs of a chain share; deadline and memory limit are a gateway's.
#[must_use]
pub fn process(abi: abi::Options, guest_log: GuestLog) -> Arc<Process> {
    Arc::new(Process {
        node: Node::default(),
        stats: Registry::new(Vec::new()),
        shared_data: SharedData::default(),
        queues: abi::Queues::default(),
        clusters: Clusters::Any,
        abi,
        limits: GuestLimits::default(),
        clock: Clock::default(),
        random: Random::default(),
        guest_log,
    })
}

fn info(no_name: Arc<str>) -> StreamInfo {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    let mut info = StreamInfo::new(SystemTime::UNIX_EPOCH, nobody, nobody, no_name);
    info.connection_id = 1;
    info.attempts = 1;
    info
}
