//! Requests that the filter sends itself, until their answers come.

use std::rc::Rc;

use crate::ffi::{self, Map};
use crate::library::Live;

/// More on their way than this help nobody: further copies are dropped.
const MOST_PENDING: usize = 1_024;

/// What was sent and has not been answered.
pub(crate) struct Callouts(Vec<(u32, Callout)>);

/// A request of the filter's own.
pub(crate) struct Callout {
    pub(crate) purpose: Purpose,
    pub(crate) live: Rc<Live>,
    /// Index of the rollout.
    pub(crate) rollout: usize,
    /// Index of the environment.
    pub(crate) environment: usize,
    /// When it was sent, in nanoseconds since 1970.
    pub(crate) started: u64,
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
    pub(crate) timeout: switchover_core::Duration,
}

// === impl Callouts ===

impl Callouts {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sends a request to the first cluster of the environment; whether the host took it.
    pub(crate) fn send(&mut self, callout: Callout, message: &Message<'_>) -> bool {
        let rollout = callout.live.document.rollouts().get(callout.rollout);
        let environment =
            rollout.and_then(|rollout| rollout.environments().get(callout.environment));
        let Some(cluster) = environment.and_then(|environment| environment.clusters().first())
        else {
            return false;
        };
        if self.0.len() >= MOST_PENDING {
            return false;
        }
        let timeout = u32::try_from(message.timeout.as_millis()).unwrap_or(u32::MAX);
        let token = ffi::http_call(cluster.as_str(), message.head, message.body, timeout);
        let is_sent = token.is_some();
        self.0.extend(token.map(|token| (token, callout)));
        is_sent
    }

    /// What this answer is the answer to.
    pub(crate) fn take(&mut self, token: u32) -> Option<Callout> {
        let index = self.0.iter().position(|(own, _)| *own == token)?;
        Some(self.0.swap_remove(index).1)
    }
}

/// The status of the answer that has come; `None` where none came.
pub(crate) fn status(map: Map) -> Option<u16> {
    let value = ffi::header(map, ":status")?;
    str::from_utf8(&value).ok()?.parse().ok()
}
