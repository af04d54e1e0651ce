//! One subject under measurement: its chain in VMs of its own, and what it has cost so far.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use http::HeaderValue;

use super::growth::Watch;
use super::spread::Samples;
use super::{Exchange, Measured, Subject};
use crate::abi::{self, SharedData};
use crate::config::Node;
use crate::process::{Clock, Clusters, GuestLimits, GuestLog, Process, Random};
use crate::proxy::filters::{Active, Chain, Direction, Filter, Step};
use crate::stats::Registry;
use crate::stream::head::Target;
use crate::stream::{RequestHead, ResponseHead, Stream, StreamCell, StreamInfo};
use crate::vm::engine::Engine;
use crate::vm::plugin::{Plugin, Root, VmCell, Vms};
use crate::vm::state::Effect;
use crate::vm::{Usage, VmError};

/// Exchanges made ready at a time: few enough to stay in the cache.
const READY: u64 = 50;
/// Bytes of bodies made ready at a time, about.
const READY_BYTES: usize = 1 << 20;

/// A subject under measurement.
pub(super) struct Lane<'a> {
    name: &'a str,
    exchange: &'a Exchange,
    chain: Chain,
    roots: Vec<Rc<Root>>,
    asked: Asked,
    path: Target,
    no_name: Arc<str>,
    ready: Vec<Ready>,
    tally: Tally,
    begun: Usage,
    watch: Watch,
    ns: Samples,
    ratio: Samples,
    /// Nanoseconds a request of the last batch, where there was one.
    last: Option<f64>,
    done: u64,
    trapped: bool,
}

/// What guests asked for and the lane has not carried out.
type Asked = Rc<RefCell<VecDeque<(Rc<VmCell>, Effect)>>>;

/// An exchange that has been made ready.
struct Ready {
    cell: StreamCell,
    response: Option<ResponseHead>,
    request_body: BytesMut,
    response_body: BytesMut,
}

/// How exchanges ended.
#[derive(Default, Clone, Copy)]
struct Tally {
    answered: u64,
    held: u64,
}

/// How far filters let an exchange go.
enum Passed {
    On,
    Answered,
    Held,
}

// === impl Lane ===

impl<'a> Lane<'a> {
    /// Starts the subject's filters.
    pub(super) fn start(
        engine: &Engine,
        subject: &'a Subject,
        exchange: &'a Exchange,
    ) -> Result<Self, VmError> {
        let asked = Asked::default();
        let sink = asked.clone();
        let vms = Vms::new(
            process(),
            Rc::new(move |vm, effect| sink.borrow_mut().push_back((vm.clone(), effect))),
        );
        let mut plugins = Vec::new();
        for plugin in &subject.chain {
            let compiled = engine.load(&plugin.vm.code)?;
            plugins.push(Plugin::start(plugin.clone(), compiled, vms.clone())?);
        }
        let path = exchange.request.uri().path_and_query();
        let roots = plugins.iter().map(|plugin| plugin.root());
        Ok(Self {
            name: &subject.name,
            exchange,
            roots: roots.collect::<Result<_, _>>()?,
            chain: Chain {
                filters: plugins
                    .into_iter()
                    .map(|plugin| Filter::Wasm(RefCell::new(Some(plugin))))
                    .collect(),
            },
            asked,
            path: Target::from_bytes(path.map_or("/", |path| path.as_str()).as_bytes()),
            no_name: Arc::from(""),
            ready: Vec::new(),
            tally: Tally::default(),
            begun: Usage::default(),
            watch: Watch::new(0, 0),
            ns: Samples::new(0.1),
            ratio: Samples::new(0.001),
            last: None,
            done: 0,
            trapped: false,
        })
    }

    /// Runs requests that are not counted.
    pub(super) fn warm_up(&mut self, requests: u64) -> Result<(), VmError> {
        self.batch(requests)?;
        match self.trapped {
            true => Err(VmError::Trap("see the log".to_owned())),
            false => Ok(()),
        }
    }

    /// From now on requests are counted; there will be so many.
    pub(super) fn begin(&mut self, expected: u64) {
        self.tally = Tally::default();
        self.begun = self.usage();
        self.watch = Watch::new(self.begun.memory, expected);
    }

    /// Runs a batch, unless a guest has trapped.
    pub(super) fn run(&mut self, requests: u64) -> Result<(), VmError> {
        self.last = None;
        if self.trapped {
            return Ok(());
        }
        let took = self.batch(requests)?;
        if self.trapped {
            return Ok(());
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let each = took.as_nanos() as f64 / requests as f64;
        self.ns.add(each);
        self.last = Some(each);
        self.done += requests;
        self.watch.note(self.done, self.usage().memory);
        Ok(())
    }

    /// Whether a guest has trapped.
    pub(super) fn has_trapped(&self) -> bool {
        self.trapped
    }

    /// What a request of the last batch cost.
    pub(super) fn last(&self) -> Option<f64> {
        self.last
    }

    /// Compares the last batch with the first subject's.
    pub(super) fn compare(&mut self, first: Option<f64>) {
        if let (Some(own), Some(first)) = (self.last, first)
            && first > 0.0
        {
            self.ratio.add(own / first);
        }
    }

    /// What was measured.
    pub(super) fn finish(self) -> Result<Measured, VmError> {
        if self.ns.is_empty() {
            return Err(VmError::Trap("see the log".to_owned()));
        }
        let used = self.usage();
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        let each = |before: u64, after: u64| (after - before) as f64 / self.done as f64;
        Ok(Measured {
            name: self.name.to_owned(),
            filters: self.chain.filters.len(),
            requests: self.done,
            ns: self.ns.spread(),
            relative: self.ratio.median(),
            hostcalls: each(self.begun.hostcalls, used.hostcalls),
            callbacks: each(self.begun.callbacks, used.callbacks),
            allocations: each(self.begun.allocations, used.allocations),
            growth: if self.trapped {
                self.watch.cut_short()
            } else {
                self.watch.finish()
            },
            answered: self.tally.answered,
            held: self.tally.held,
            trapped: self.trapped,
        })
    }

    /// Runs requests and gives the time they took, then lets the filters tick, as hosts do between requests.
    fn batch(&mut self, requests: u64) -> Result<Duration, VmError> {
        let mut took = Duration::ZERO;
        let mut left = requests;
        while left > 0 && !self.trapped {
            let some = left.min(self.ready_at_a_time());
            let mut ready = std::mem::take(&mut self.ready);
            ready.extend((0..some).map(|_| self.make_ready()));
            let began = Instant::now();
            for exchange in &mut ready {
                self.exchange(exchange);
            }
            took += began.elapsed();
            ready.clear();
            self.ready = ready;
            left -= some;
            self.trapped = self.roots.iter().any(|root| root.vm.failed());
        }
        for root in &self.roots {
            // One that traps in it is found by the next batch.
            let _ = root.vm.run(|vm| vm.tick(root.id));
        }
        self.settle();
        self.trapped |= self.roots.iter().any(|root| root.vm.failed());
        Ok(took)
    }

    fn ready_at_a_time(&self) -> u64 {
        let bodies = self.exchange.request.body().len() + self.exchange.response.body().len();
        let fit = READY_BYTES / bodies.max(1);
        READY.min(u64::try_from(fit).unwrap_or(READY)).max(1)
    }

    fn make_ready(&self) -> Ready {
        let (request, response) = (&self.exchange.request, &self.exchange.response);
        let head = RequestHead {
            method: request.method().clone(),
            path: self.path.clone(),
            scheme: HeaderValue::from_static("http"),
            headers: request.headers().clone(),
        };
        let info = info(self.no_name.clone());
        Ready {
            cell: Rc::new(RefCell::new(Stream::new(head, info))),
            response: Some(ResponseHead {
                status: response.status(),
                headers: response.headers().clone(),
            }),
            request_body: BytesMut::from(&request.body()[..]),
            response_body: BytesMut::from(&response.body()[..]),
        }
    }

    /// One exchange through the chain: what is timed.
    fn exchange(&mut self, exchange: &mut Ready) {
        let active = self.chain.activate(&exchange.cell);
        match self.request(&active, exchange) {
            Passed::On => self.response(&active, exchange),
            Passed::Answered => {
                self.tally.answered += 1;
                self.response(&active, exchange);
            }
            Passed::Held => self.tally.held += 1,
        }
        active.end(true);
        self.settle();
    }

    fn request(&self, active: &Active, exchange: &mut Ready) -> Passed {
        let has_body = !exchange.request_body.is_empty();
        for at in 0..active.len() {
            let step = active.request_headers(at, !has_body);
            match self.passed(active, Direction::Request, step, exchange) {
                Passed::On => {}
                stopped => return stopped,
            }
        }
        if has_body {
            return self.body(active, Direction::Request, exchange);
        }
        Passed::On
    }

    fn response(&self, active: &Active, exchange: &mut Ready) {
        let has_body = !exchange.response_body.is_empty();
        exchange.cell.borrow_mut().response = exchange.response.take();
        for at in (0..active.len()).rev() {
            let step = active.response_headers(at, !has_body);
            self.passed(active, Direction::Response, step, exchange);
        }
        if has_body {
            self.body(active, Direction::Response, exchange);
        }
    }

    /// Gives a whole body to the filters that want it.
    fn body(&self, active: &Active, direction: Direction, exchange: &mut Ready) -> Passed {
        for at in active.interested(direction) {
            let data = match direction {
                Direction::Request => &mut exchange.request_body,
                Direction::Response => &mut exchange.response_body,
            };
            let step = active.body(at, direction, data, true);
            match self.passed(active, direction, step, exchange) {
                Passed::On => {}
                stopped => return stopped,
            }
        }
        Passed::On
    }

    fn passed(
        &self,
        active: &Active,
        direction: Direction,
        step: Step,
        exchange: &mut Ready,
    ) -> Passed {
        match step {
            Step::Continue => Passed::On,
            Step::Pause => {
                self.settle();
                match active.poll_resumed(direction, Waker::noop()) {
                    Some(Step::Pause) | None => Passed::Held,
                    Some(step) => self.passed(active, direction, step, exchange),
                }
            }
            Step::Reset => Passed::Held,
            Step::Reply(reply) => {
                if direction == Direction::Request {
                    exchange.response = Some(ResponseHead {
                        status: reply.status,
                        headers: reply.headers.into_iter().collect(),
                    });
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
            if let Effect::Call(callout) = effect {
                let response = self.exchange.callout_response();
                // One that traps in it is found after the batch.
                let _ =
                    vm.run(|guest| guest.http_call_response(callout.root, callout.token, response));
            }
        }
    }

    /// What the VMs have used so far; filters that share one count once.
    fn usage(&self) -> Usage {
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
}

/// What a subject's VMs share; deadline and memory limit are a gateway's.
fn process() -> Arc<Process> {
    Arc::new(Process {
        node: Node::default(),
        stats: Registry::new(Vec::new()),
        shared_data: SharedData::default(),
        clusters: Clusters::Any,
        abi: abi::Options::default(),
        limits: GuestLimits::default(),
        clock: Clock::default(),
        random: Random::default(),
        guest_log: GuestLog::default(),
    })
}

fn info(no_name: Arc<str>) -> StreamInfo {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    let mut info = StreamInfo::new(SystemTime::UNIX_EPOCH, nobody, nobody, no_name);
    info.connection_id = 1;
    info.attempts = 1;
    info
}
