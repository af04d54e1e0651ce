//! What is to happen, by the monotonic clock: ticks, and the ends of callouts.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::callouts::{self, Outgoing};
use super::grpc::{GrpcCall, GrpcEvent};
use super::world::World;
use crate::abi::CalloutResponse;
use crate::process::VirtualClock;
use crate::vm::plugin::VmCell;
use crate::vm::state::Effect;

/// How long a root context that answered false to `proxy_on_done` may go on.
const LINGER: Duration = Duration::from_secs(10);

/// What is to happen, and what callouts were made.
pub(super) struct Agenda {
    clock: Arc<VirtualClock>,
    /// Few: so many as there are roots and open callouts.
    entries: Vec<Entry>,
    /// The number of the newest entry: what is due at one moment happens in the order it was asked for.
    last: u64,
    world: Rc<RefCell<dyn World>>,
    pub(super) made: Vec<Rc<Outgoing>>,
    pub(super) grpc: Vec<Rc<GrpcCall>>,
}

/// Something that is to happen.
pub(super) struct Entry {
    /// When.
    pub(super) at: Duration,
    order: u64,
    what: What,
}

pub(super) enum What {
    /// The end of a root context that lingers, and until then its VM.
    Delete { root: u32, vm: Rc<VmCell> },
    /// An exchange waits for this moment.
    Wake,
    Tick {
        vm: Weak<VmCell>,
        root: u32,
        period: Duration,
    },
    Callout {
        vm: Weak<VmCell>,
        callout: Rc<Outgoing>,
        response: Option<Box<CalloutResponse>>,
    },
    Grpc {
        call: Rc<GrpcCall>,
        event: GrpcEvent,
    },
}

// === impl Agenda ===

impl Agenda {
    pub(super) fn new(clock: Arc<VirtualClock>, world: Rc<RefCell<dyn World>>) -> Self {
        Self {
            clock,
            entries: Vec::new(),
            last: 0,
            world,
            made: Vec::new(),
            grpc: Vec::new(),
        }
    }

    /// The monotonic clock.
    pub(super) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The wall clock, in nanoseconds since 1970.
    pub(super) fn wall(&self) -> u64 {
        self.clock.wall()
    }

    /// The rest of the world.
    pub(super) fn world(&self) -> Rc<RefCell<dyn World>> {
        self.world.clone()
    }

    /// Makes the clock stop at that moment.
    pub(super) fn wake(&mut self, at: Duration) {
        self.put(at, What::Wake);
    }

    /// Takes over what a guest asked for.
    pub(super) fn take(&mut self, worker: usize, vm: &Rc<VmCell>, effect: Effect) {
        let vm = Rc::downgrade(vm);
        match effect {
            Effect::Tick { root, period } => {
                self.entries
                    .retain(|entry| !entry.what.is_tick_of(root, &vm));
                if !period.is_zero() {
                    let at = self.now().saturating_add(period);
                    self.put(at, What::Tick { vm, root, period });
                }
            }
            Effect::Linger { root } => {
                if let Some(vm) = vm.upgrade() {
                    let at = self.now().saturating_add(LINGER);
                    self.put(at, What::Delete { root, vm });
                }
            }
            // The VM carries it out itself.
            Effect::Delete { .. } => {}
            Effect::Grpc(effect) => self.grpc(worker, &vm, *effect),
            Effect::Call(callout) => {
                let callout = Rc::new(Outgoing {
                    worker,
                    at: self.clock.wall(),
                    callout: *callout,
                });
                self.made.push(callout.clone());
                let answer = self.world.borrow_mut().callout(&callout);
                let (after, response) = callouts::outcome(answer, &callout);
                let at = self.now().saturating_add(after);
                let response = response.map(Box::new);
                self.put(
                    at,
                    What::Callout {
                        vm,
                        callout,
                        response,
                    },
                );
            }
        }
    }

    pub(super) fn put(&mut self, at: Duration, what: What) {
        self.last += 1;
        let order = self.last;
        self.entries.push(Entry { at, order, what });
    }

    /// Takes what happens next, if that is no later than `until`.
    pub(super) fn next(&mut self, until: Duration) -> Option<Entry> {
        let (at, entry) = self
            .entries
            .iter()
            .enumerate()
            .min_by_key(|(_, entry)| (entry.at, entry.order))?;
        (entry.at <= until).then(|| self.entries.swap_remove(at))
    }

    /// Puts a tick that was carried out back for the next time, unless the guest has asked for another meanwhile.
    pub(super) fn repeat(&mut self, tick: Entry) {
        if let What::Tick { vm, root, period } = tick.what
            && !self
                .entries
                .iter()
                .any(|entry| entry.what.is_tick_of(root, &vm))
        {
            let at = tick.at.saturating_add(period);
            self.put(at, What::Tick { vm, root, period });
        }
    }

    /// Whether a callout is waited for.
    pub(super) fn is_open(&self, wanted: &Rc<Outgoing>) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.what.is_callout(wanted))
    }

    /// Takes a callout that is waited for off; gives the VM that waits.
    pub(super) fn withdraw(&mut self, wanted: &Rc<Outgoing>) -> Option<Rc<VmCell>> {
        let mut entries = self.entries.iter();
        let at = entries.position(|entry| entry.what.is_callout(wanted))?;
        match self.entries.swap_remove(at).what {
            What::Callout { vm, .. } => vm.upgrade(),
            _ => None,
        }
    }
}

// === impl What ===

impl What {
    fn is_tick_of(&self, root: u32, vm: &Weak<VmCell>) -> bool {
        matches!(self, Self::Tick { root: other, vm: own, .. } if *other == root && own.ptr_eq(vm))
    }

    fn is_callout(&self, wanted: &Rc<Outgoing>) -> bool {
        matches!(self, Self::Callout { callout, .. } if Rc::ptr_eq(callout, wanted))
    }
}

// === impl Entry ===

impl Entry {
    /// Lets it happen; a tick that is to be repeated comes back.
    pub(super) fn carry_out(self) -> Option<Self> {
        match self.what {
            What::Wake => None,
            What::Delete { root, vm } => {
                vm.delete(root);
                None
            }
            What::Tick { ref vm, root, .. } => {
                let vm = vm.upgrade()?;
                vm.run(|guest| guest.has(root) && guest.tick(root).is_ok())
                    .then_some(self)
            }
            What::Callout {
                vm,
                callout,
                response,
            } => {
                callouts::deliver(&vm.upgrade()?, &callout, response.map(|response| *response));
                None
            }
            What::Grpc { call, event } => {
                call.deliver(event);
                None
            }
        }
    }
}
