//! What is to happen, by the monotonic clock: ticks, and the ends of callouts.

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::callouts::{self, Answer, Outgoing};
use crate::abi::CalloutResponse;
use crate::process::VirtualClock;
use crate::vm::plugin::VmCell;
use crate::vm::state::Effect;

/// Decides about a callout when it is made.
type Decide = Box<dyn FnMut(&Outgoing) -> Answer>;

/// How long a root context that answered false to `proxy_on_done` may go on.
const LINGER: Duration = Duration::from_secs(10);

/// What is to happen, and what callouts were made.
pub(super) struct Agenda {
    clock: Arc<VirtualClock>,
    /// Few: so many as there are roots and open callouts.
    entries: Vec<Entry>,
    /// The number of the newest entry: what is due at one moment happens in the order it was asked for.
    last: u64,
    pub(super) decide: Option<Decide>,
    pub(super) made: Vec<Rc<Outgoing>>,
}

/// Something that is to happen.
pub(super) struct Entry {
    /// When.
    pub(super) at: Duration,
    order: u64,
    vm: Weak<VmCell>,
    what: What,
}

enum What {
    /// The end of a root context that lingers, and until then its VM.
    Delete {
        root: u32,
        vm: Rc<VmCell>,
    },
    Tick {
        root: u32,
        period: Duration,
    },
    Callout {
        callout: Rc<Outgoing>,
        response: Option<Box<CalloutResponse>>,
    },
}

// === impl Agenda ===

impl Agenda {
    pub(super) fn new(clock: Arc<VirtualClock>) -> Self {
        Self {
            clock,
            entries: Vec::new(),
            last: 0,
            decide: None,
            made: Vec::new(),
        }
    }

    /// Takes over what a guest asked for.
    pub(super) fn take(&mut self, worker: usize, vm: &Rc<VmCell>, effect: Effect) {
        let vm = Rc::downgrade(vm);
        match effect {
            Effect::Tick { root, period } => {
                let same = |entry: &Entry| {
                    matches!(entry.what, What::Tick { root: other, .. } if other == root)
                        && entry.vm.ptr_eq(&vm)
                };
                self.entries.retain(|entry| !same(entry));
                if !period.is_zero() {
                    let at = self.clock.elapsed().saturating_add(period);
                    self.put(at, vm, What::Tick { root, period });
                }
            }
            Effect::Linger { root } => {
                if let Some(vm) = vm.upgrade() {
                    let at = self.clock.elapsed().saturating_add(LINGER);
                    self.put(at, Rc::downgrade(&vm), What::Delete { root, vm });
                }
            }
            // The VM carries it out itself.
            Effect::Delete { .. } => {}
            Effect::Call(callout) => {
                let callout = Rc::new(Outgoing {
                    worker,
                    at: self.clock.wall(),
                    callout: *callout,
                });
                self.made.push(callout.clone());
                let answer = self.decide.as_mut().map(|decide| decide(&callout));
                let (after, response) =
                    callouts::outcome(answer.unwrap_or_else(Answer::never), &callout);
                let at = self.clock.elapsed().saturating_add(after);
                let response = response.map(Box::new);
                self.put(at, vm, What::Callout { callout, response });
            }
        }
    }

    fn put(&mut self, at: Duration, vm: Weak<VmCell>, what: What) {
        self.last += 1;
        let order = self.last;
        self.entries.push(Entry {
            at,
            order,
            vm,
            what,
        });
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
        let newer = |entry: &Entry| match (&entry.what, &tick.what) {
            (What::Tick { root, .. }, What::Tick { root: own, .. }) => {
                root == own && entry.vm.ptr_eq(&tick.vm)
            }
            _ => false,
        };
        if !self.entries.iter().any(newer)
            && let What::Tick { period, .. } = tick.what
        {
            self.put(tick.at.saturating_add(period), tick.vm, tick.what);
        }
    }

    /// Takes a callout that is waited for off; gives the VM that waits.
    pub(super) fn withdraw(&mut self, wanted: &Rc<Outgoing>) -> Option<Rc<VmCell>> {
        let at = self.entries.iter().position(|entry| {
            matches!(&entry.what, What::Callout { callout, .. } if Rc::ptr_eq(callout, wanted))
        })?;
        self.entries.swap_remove(at).vm.upgrade()
    }
}

// === impl Entry ===

impl Entry {
    /// Lets it happen; a tick that is to be repeated comes back.
    pub(super) fn carry_out(self) -> Option<Self> {
        let vm = self.vm.upgrade()?;
        match self.what {
            What::Delete { root, vm } => {
                vm.delete(root);
                None
            }
            What::Tick { root, .. } => vm
                .run(|guest| guest.has(root) && guest.tick(root).is_ok())
                .then_some(self),
            What::Callout { callout, response } => {
                callouts::deliver(&vm, &callout, response.map(|response| *response));
                None
            }
        }
    }
}
