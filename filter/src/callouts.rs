//! Requests that the filter sends itself, until their answers come.

use std::rc::Rc;

use switchover_core::Duration;

use crate::ffi::{self, Map};
use crate::library::Live;

/// More copies on their way than this help nobody: further ones are dropped. Probes are sent all the same.
const MOST_COPIES: usize = 1_024;
/// So many bytes of copies are held at a time until their requests have come to their ends.
const MOST_HELD: usize = 8 << 20;
/// A host answers by then, if it answers at all: after the timeout, in nanoseconds.
const MARGIN: u64 = 10_000_000_000;

/// What was sent and has not been answered.
pub(crate) struct Callouts {
    pending: Vec<(u32, Callout)>,
    /// Copies among them.
    copies: usize,
    /// Bytes of copies that have not been sent.
    held: usize,
}

/// A request of the filter's own.
pub(crate) struct Callout {
    pub(crate) purpose: Purpose,
    /// The root context that its answer comes to.
    pub(crate) root: u32,
    pub(crate) live: Rc<Live>,
    /// Index of the rollout.
    pub(crate) rollout: usize,
    /// Index of the environment.
    pub(crate) environment: usize,
    /// When it was sent, in nanoseconds since 1970.
    pub(crate) started: u64,
    pub(crate) timeout: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Is the environment healthy?
    Probe,
    /// A copy of a request, whose answer nobody gets.
    Shadow,
}

/// A request on the wire.
pub(crate) struct Message<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

// === impl Callout ===

impl Callout {
    /// Whether its answer may still come.
    fn is_awaited(&self, now: u64) -> bool {
        let timeout = self.timeout.as_millis().saturating_mul(1_000_000);
        let longest = timeout.saturating_add(MARGIN);
        // A clock that was set back makes it look as if it were sent in the future.
        now.abs_diff(self.started) <= longest
    }
}

// === impl Callouts ===

impl Callouts {
    pub(crate) const fn new() -> Self {
        Self {
            pending: Vec::new(),
            copies: 0,
            held: 0,
        }
    }

    /// Sends a request to the first cluster of the environment, for the effective context; whether the host took it.
    pub(crate) fn send(&mut self, callout: Callout, message: &Message<'_>) -> bool {
        let rollout = callout.live.document.rollouts().get(callout.rollout);
        let environment =
            rollout.and_then(|rollout| rollout.environments().get(callout.environment));
        let Some(cluster) = environment.and_then(|environment| environment.clusters().first())
        else {
            return false;
        };
        let is_copy = callout.purpose == Purpose::Shadow;
        if is_copy && self.copies >= MOST_COPIES {
            return false;
        }
        let timeout = u32::try_from(callout.timeout.as_millis()).unwrap_or(u32::MAX);
        let token = ffi::http_call(cluster.as_str(), message.head, message.body, timeout);
        let Some(token) = token else {
            return false;
        };
        self.copies += usize::from(is_copy);
        self.pending.push((token, callout));
        true
    }

    /// What this answer is the answer to.
    pub(crate) fn take(&mut self, token: u32) -> Option<Callout> {
        let index = self.pending.iter().position(|(own, _)| *own == token)?;
        let (_, callout) = self.pending.swap_remove(index);
        self.copies -= usize::from(callout.purpose == Purpose::Shadow);
        Some(callout)
    }

    /// Forgets those of a root context that has ended: hosts do not answer them.
    pub(crate) fn forget_root(&mut self, root: u32) {
        self.keep(|callout| callout.root != root);
    }

    /// Forgets those whose time is long over.
    pub(crate) fn forget_lost(&mut self, now: u64) {
        self.keep(|callout| callout.is_awaited(now));
    }

    fn keep(&mut self, kept: impl Fn(&Callout) -> bool) {
        self.pending.retain(|(_, callout)| kept(callout));
        let copies = self.pending.iter();
        let copies = copies.filter(|(_, callout)| callout.purpose == Purpose::Shadow);
        self.copies = copies.count();
    }

    /// Makes room for so many bytes of a copy, if there is any.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let held = self.held.saturating_add(bytes);
        if held > MOST_HELD {
            return false;
        }
        self.held = held;
        true
    }

    /// Gives room back.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }
}

/// The status of the answer that has come; `None` where none came.
pub(crate) fn status(map: Map) -> Option<u16> {
    let value = ffi::header(map, ":status")?;
    str::from_utf8(&value).ok()?.parse().ok()
}
