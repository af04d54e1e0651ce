//! Callouts of guests, and what the scenario answers.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::abi::{Callout, CalloutResponse};
use crate::proxy::reply::{self, GatewayError, gateway};
use crate::proxy::upstream::connection::AttemptError;
use crate::stream::ResponseHead;
use crate::vm::plugin::VmCell;

/// A callout that a guest has made.
#[derive(Debug)]
pub struct Outgoing {
    /// The worker whose guest made it.
    pub worker: usize,
    /// The wall clock then, in nanoseconds since 1970.
    pub at: u64,
    /// What it asks, of whom, and how long it waits.
    pub callout: Callout,
}

/// What becomes of a callout.
#[derive(Debug)]
pub struct Answer {
    after: Duration,
    response: Option<CalloutResponse>,
}

// === impl Outgoing ===

impl Outgoing {
    /// A request header's first value as text; empty where there is none or it is no text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.callout.head.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

// === impl Answer ===

impl Answer {
    /// An answer without a body, at once.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        Self {
            after: Duration::ZERO,
            response: Some(CalloutResponse {
                head: ResponseHead::new(status, HeaderMap::new()),
                body: Bytes::new(),
                trailers: HeaderMap::new(),
            }),
        }
    }

    /// This answer, at once.
    #[must_use]
    pub fn response(response: CalloutResponse) -> Self {
        Self {
            after: Duration::ZERO,
            response: Some(response),
        }
    }

    /// A failure, at once: nobody listens there.
    #[must_use]
    pub fn failure() -> Self {
        Self {
            after: Duration::ZERO,
            response: Some(reply::attempt(&AttemptError::Connect.into(), false).into()),
        }
    }

    /// No answer: it times out, or the scenario answers it later.
    #[must_use]
    pub fn never() -> Self {
        Self {
            after: Duration::MAX,
            response: None,
        }
    }

    /// What it says, for [`super::Simulation::answer`]; `None` where it is a failure.
    #[must_use]
    pub fn into_response(self) -> Option<CalloutResponse> {
        self.response
    }

    /// The same after some time.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        self.after = time;
        self
    }
}

/// When a callout is over and what it gives: what was decided, or its time-out if that comes first. Zero is none.
pub(super) fn outcome(answer: Answer, callout: &Outgoing) -> (Duration, Option<CalloutResponse>) {
    match callout.callout.timeout {
        timeout if !timeout.is_zero() && timeout < answer.after => {
            (timeout, Some(gateway(GatewayError::Timeout).into()))
        }
        _ => (answer.after, answer.response),
    }
}

/// Gives the guest its answer.
pub(super) fn deliver(vm: &Rc<VmCell>, callout: &Outgoing, response: Option<CalloutResponse>) {
    let (root, token) = (callout.callout.root, callout.callout.token);
    // A guest that fails in it is failed for its next stream.
    let _ = vm.run(|guest| guest.http_call_response(root, token, response));
}
