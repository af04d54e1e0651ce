//! A gateway's guests without a network, under a clock that is turned by hand.
//!
//! The VMs are those of [`crate::vm`], with the data path's own filter chains; workers share data and metrics as they do
//! in a gateway, and plugins of one `vm_id` share a VM. What the scenario plays is the rest of the world: clients,
//! upstreams, the answers to callouts, the time. Nothing happens unless the scenario says so, so that the same
//! scenario with the same seed gives the same outcome.
//!
//! ```text
//! let simulation = Simulation::start(setup, world)?;
//! let exchange = simulation.request(0, request)?; // as far as it goes while no time passes
//! simulation.advance(Duration::from_millis(80));  // ticks fire, callouts and upstreams answer or time out
//! assert_eq!(exchange.record().response, …);
//! ```

mod agenda;
mod callouts;
mod exchange;
mod grpc;
mod metrics;
mod modules;
mod world;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::abi::queues::{Mailbox, Ready};
use crate::abi::{self, CalloutResponse, SharedData};
use crate::config::{Node, WasmPlugin};
use crate::process::{
    Clock, Clusters, GuestLimits, GuestLog, LogLine, Process, Random, VirtualClock,
};
use crate::proxy::filters::{Chain, Filter};
use crate::stats::Registry;
use crate::vm::VmError;
use crate::vm::engine::Compiled;
use crate::vm::plugin::{Plugin, Vms};
use agenda::Agenda;
use exchange::{Around, Running};

pub use callouts::{Answer, Outgoing};
pub use exchange::{Exchange, Held, Record, Request};
pub use grpc::{GrpcAnswer, GrpcCall, GrpcEvent, Sending};
pub use metrics::Sample;
pub use modules::Modules;
pub use world::{Outcome, Reply, Response, RetryOn, Route, Sent, World, host};

/// What is simulated.
#[derive(Clone)]
pub struct Setup {
    /// Compiles the guests; simulations that share it compile each guest once.
    pub modules: Arc<Modules>,
    /// Workers, at least one; each has its own VMs.
    pub workers: usize,
    /// Filters of the listener, in order.
    pub listener: Vec<WasmPlugin>,
    /// Upstream filters, in order: they run on each attempt, whatever its cluster.
    pub upstream: Vec<WasmPlugin>,
    /// Clusters that callouts may name.
    pub clusters: Clusters,
    /// What the wall clock shows at the start.
    pub start: SystemTime,
    /// What guests' random bytes follow from.
    pub seed: u64,
    /// How long a callback may run, by the real clock.
    pub deadline: Duration,
    /// How the ABI is carried out, and who watches.
    pub abi: abi::Options,
}

/// A filter's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// So many from the start of the listener's filters.
    Listener(usize),
    /// So many from the start of the upstream filters.
    Upstream(usize),
}

/// Workers with their guests, and the world that a scenario plays to them.
pub struct Simulation {
    process: Arc<Process>,
    modules: Arc<Modules>,
    clock: Arc<VirtualClock>,
    agenda: Rc<RefCell<Agenda>>,
    inbox: Inbox,
    world: Rc<RefCell<dyn World>>,
    workers: Vec<Rc<Worker>>,
    /// Exchanges that have not ended.
    open: RefCell<Vec<Weak<Running>>>,
}

/// Word of queues that has not been delivered yet.
type Inbox = Arc<Mutex<VecDeque<Ready>>>;

/// One worker.
struct Worker {
    vms: Rc<Vms>,
    listener: Chain,
    upstream: Chain,
}

/// Guests that wake one another by queues without end do so no more often in one go.
const MOST_ROUNDS: usize = 1_000;

/// How long a callback may run where nothing else is said: far more than in a gateway, so that a busy machine changes
/// nothing.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The client of requests that name no other.
pub const CLIENT: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
    40_000,
);

// === impl Simulation ===

impl Simulation {
    /// Starts the filters on each worker: the listener's first, then the upstream ones, as a gateway does.
    ///
    /// # Errors
    /// Where a filter does not compile, does not start or refuses its configuration.
    pub fn start(setup: Setup, world: Rc<RefCell<dyn World>>) -> Result<Self, VmError> {
        let (listener, upstream) = (setup.listener.clone(), setup.upstream.clone());
        let simulation = Self::without_guests(setup, world);
        for (at, plugin) in listener.into_iter().enumerate() {
            simulation.configure(Place::Listener(at), plugin)?;
        }
        for (at, plugin) in upstream.into_iter().enumerate() {
            simulation.configure(Place::Upstream(at), plugin)?;
        }
        Ok(simulation)
    }

    /// The same before the filters start: each waits for [`Self::configure`], and requests get a 500 until then, as in
    /// Envoy.
    #[must_use]
    pub fn without_guests(setup: Setup, world: Rc<RefCell<dyn World>>) -> Self {
        let clock = Arc::new(VirtualClock::starting_at(setup.start));
        let limits = GuestLimits {
            deadline: setup.deadline,
            ..GuestLimits::default()
        };
        let process = Arc::new(Process {
            node: Node::default(),
            stats: Registry::new(Vec::new()),
            shared_data: SharedData::default(),
            queues: abi::Queues::default(),
            clusters: setup.clusters,
            abi: setup.abi,
            limits,
            clock: Clock::Virtual(clock.clone()),
            random: Random::seeded(setup.seed),
            guest_log: GuestLog::kept(),
        });
        let inbox = Inbox::default();
        let agenda = Rc::new(RefCell::new(Agenda::new(clock.clone(), world.clone())));
        let chain = |plugins: &[WasmPlugin]| Chain {
            filters: plugins
                .iter()
                .map(|_| Filter::Wasm(RefCell::new(None)))
                .collect(),
        };
        let workers = (0..setup.workers)
            .map(|number| {
                let agenda = agenda.clone();
                let sink =
                    Rc::new(move |vm: &Rc<_>, effect| agenda.borrow_mut().take(number, vm, effect));
                let post = inbox.clone();
                let mailbox = Mailbox::new(move |word| {
                    post.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push_back(word);
                });
                Rc::new(Worker {
                    vms: Vms::new(process.clone(), sink, mailbox),
                    listener: chain(&setup.listener),
                    upstream: chain(&setup.upstream),
                })
            })
            .collect();
        Self {
            process,
            modules: setup.modules,
            clock,
            agenda,
            inbox,
            world,
            workers,
            open: RefCell::default(),
        }
    }

    /// Puts a plugin in the place of another, as a new document or binary does: tried in a VM that serves nothing, then
    /// started on each worker. Requests in progress keep the one they have.
    ///
    /// # Errors
    /// Where it does not start; the one before serves on.
    pub fn configure(&self, place: Place, plugin: WasmPlugin) -> Result<(), VmError> {
        let compiled = self.modules.get(&plugin.vm.code)?;
        self.rehearse(&plugin, &compiled)?;
        for worker in &self.workers {
            let Some(Filter::Wasm(slot)) = worker.filter(place) else {
                continue;
            };
            let started = Plugin::start(plugin.clone(), compiled.clone(), worker.vms.clone())?;
            let before = slot.borrow_mut().replace(started);
            drop(before);
        }
        Ok(())
    }

    /// Starts a plugin in a VM that serves nothing.
    fn rehearse(&self, plugin: &WasmPlugin, compiled: &Arc<Compiled>) -> Result<(), VmError> {
        let vms = Vms::new(self.process.clone(), Rc::new(|_, _| ()), Mailbox::default());
        Plugin::start(plugin.clone(), compiled.clone(), vms).map(drop)
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// A request reaches a worker and goes as far as it can while no time passes; `None` where there is no such worker.
    #[must_use]
    pub fn request(&self, worker: usize, request: Request) -> Option<Exchange> {
        let around = Around {
            worker: self.workers.get(worker)?.clone(),
            agenda: self.agenda.clone(),
            world: self.world.clone(),
        };
        let exchange = Exchange::begin(around, request, self.now());
        if !exchange.is_over() {
            self.open.borrow_mut().push(Rc::downgrade(&exchange.0));
            self.settle();
        }
        Some(exchange)
    }

    /// Lets time pass until the exchange has ended, at most so long. Whether it has.
    pub fn run(&self, exchange: &Exchange, within: Duration) -> bool {
        let until = self.elapsed().saturating_add(within);
        self.turn(until, || exchange.is_over());
        exchange.is_over()
    }

    /// What the wall clock shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.clock.wall())
    }

    /// How much time has passed since the start, however the wall clock was set.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Lets time pass: each root's ticks fire at its own period, callouts and upstreams answer or time out, in the order of
    /// time.
    pub fn advance(&self, by: Duration) {
        let until = self.elapsed().saturating_add(by);
        self.turn(until, || false);
        self.clock.turn_to(until);
        self.settle();
    }

    /// Carries out what is due until then, or until it is enough.
    fn turn(&self, until: Duration, enough: impl Fn() -> bool) {
        while !enough() {
            // The guest may ask for more while it runs: the agenda is free then.
            let due = self.agenda.borrow_mut().next(until);
            let Some(due) = due else { break };
            self.clock.turn_to(due.at);
            if let Some(again) = due.carry_out() {
                self.agenda.borrow_mut().repeat(again);
            }
            self.settle();
        }
    }

    /// Open exchanges go on as far as they can.
    fn settle(&self) {
        self.tell_of_queues();
        let open = self.open.take();
        let still = open.into_iter().filter(|exchange| {
            exchange.upgrade().is_some_and(|exchange| {
                exchange.go_on();
                !exchange.is_over()
            })
        });
        let still: Vec<_> = still.collect();
        self.open.borrow_mut().extend(still);
    }

    /// Delivers word of queues; what that has guests add to queues is told too, once each.
    fn tell_of_queues(&self) {
        let waiting = || self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rounds = waiting().len() + MOST_ROUNDS;
        while rounds > 0
            && let Some(word) = { waiting().pop_front() }
        {
            for worker in &self.workers {
                worker.vms.queue_ready(word);
            }
            rounds -= 1;
        }
    }

    /// Sets the wall clock, as an operator or NTP does. Ticks and time-outs go on by the time that passes.
    pub fn set_wall_clock(&self, to: SystemTime) {
        self.clock.set_wall(to);
    }

    /// Lets the next callback of that filter's VM end in a trap; false where there is none that runs.
    #[must_use]
    pub fn trap(&self, worker: usize, place: Place) -> bool {
        let plugin = match self
            .workers
            .get(worker)
            .and_then(|worker| worker.filter(place))
        {
            Some(Filter::Wasm(slot)) => slot.borrow().clone(),
            _ => None,
        };
        match plugin.map(|plugin| plugin.root()) {
            Some(Ok(root)) => {
                root.vm.run(crate::vm::Vm::trap_next);
                true
            }
            _ => false,
        }
    }

    /// All callouts so far, answered or not, in the order they were made.
    #[must_use]
    pub fn callouts(&self) -> Vec<Rc<Outgoing>> {
        self.agenda.borrow().made.clone()
    }

    /// Answers a callout now; `None` is a failure. False where it is not waited for any more.
    pub fn answer(&self, callout: &Rc<Outgoing>, response: Option<CalloutResponse>) -> bool {
        let due = self.agenda.borrow_mut().withdraw(callout);
        match due {
            Some(vm) => {
                callouts::deliver(&vm, callout, response);
                self.settle();
                true
            }
            None => false,
        }
    }

    /// Whether a callout is waited for.
    #[must_use]
    pub fn is_open(&self, callout: &Rc<Outgoing>) -> bool {
        self.agenda.borrow().is_open(callout)
    }

    /// The lines that guests have logged.
    #[must_use]
    pub fn logs(&self) -> Vec<LogLine> {
        self.process.guest_log.lines()
    }

    /// How many lines guests have logged.
    #[must_use]
    pub fn log_len(&self) -> usize {
        self.process.guest_log.len()
    }

    /// The guests' metrics, and the host's. Most guests hand theirs over on the tick.
    #[must_use]
    pub fn metrics(&self) -> Vec<Sample> {
        metrics::samples(&self.process.stats)
    }

    /// How often guests have trapped.
    #[must_use]
    pub fn traps(&self) -> u64 {
        self.process
            .stats
            .counter("wasm.switchover.vm_failed")
            .get()
    }

    /// The guests' shared data.
    #[must_use]
    pub fn shared_data(&self) -> &SharedData {
        &self.process.shared_data
    }
}

// === impl Worker ===

impl Worker {
    fn filter(&self, place: Place) -> Option<&Filter> {
        match place {
            Place::Listener(at) => self.listener.filters.get(at),
            Place::Upstream(at) => self.upstream.filters.get(at),
        }
    }

    /// A plugin's name; empty where there is none.
    fn name(&self, place: Place) -> String {
        match self.filter(place) {
            Some(Filter::Wasm(slot)) => slot
                .borrow()
                .as_ref()
                .map(|plugin| plugin.config.name.clone())
                .unwrap_or_default(),
            _ => String::new(),
        }
    }
}
