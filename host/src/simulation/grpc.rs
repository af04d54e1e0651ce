//! gRPC callouts of guests, and what the scenario answers.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Simulation;
use super::agenda::{Agenda, What};
use crate::abi::{GrpcAction, GrpcEffect, GrpcStart};
use crate::stream::ResponseHead;
use crate::vm::grpc::Received;
use crate::vm::plugin::VmCell;

/// gRPC's status where the time is up, as the host gives it.
const UNAVAILABLE: u32 = 14;

/// A gRPC callout that a guest has made: a call, or a stream.
#[derive(Debug)]
pub struct GrpcCall {
    /// The worker whose guest made it.
    pub worker: usize,
    /// The wall clock then, in nanoseconds since 1970.
    pub at: u64,
    /// What it asks, and of whom.
    pub start: GrpcStart,
    root: u32,
    token: u32,
    vm: Weak<VmCell>,
    sent: RefCell<Vec<Bytes>>,
    sending: Cell<Sending>,
}

/// Whether a guest goes on with its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// More messages may come from it.
    Open,
    /// It has sent all.
    Closed,
    /// It wants no answer any more.
    Cancelled,
}

/// Something that comes back.
#[derive(Debug)]
pub enum GrpcEvent {
    /// The head of a stream's answer; `None` where the trailers are all that comes.
    Initial(Option<HeaderMap>),
    /// A message; of a call, which it ends, its only one.
    Message(Bytes),
    /// What comes behind the last message of a stream.
    Trailing(HeaderMap),
    /// The end, with gRPC's number and in words: of a call that fails, or of a stream.
    Close(u32, Bytes),
}

/// What comes back, and when: each event so long after the one before.
#[derive(Debug, Default)]
pub struct GrpcAnswer(Vec<(Duration, GrpcEvent)>);

// === impl GrpcAnswer ===

impl GrpcAnswer {
    /// Nothing: it times out, or the scenario answers later.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// And then, after some time, this.
    #[must_use]
    pub fn then(mut self, after: Duration, event: GrpcEvent) -> Self {
        self.0.push((after, event));
        self
    }
}

// === impl GrpcCall ===

impl GrpcCall {
    /// The messages that the guest has sent so far, without gRPC's frames.
    #[must_use]
    pub fn sent(&self) -> Vec<Bytes> {
        self.sent.borrow().clone()
    }

    /// Whether the guest goes on with it.
    #[must_use]
    pub fn sending(&self) -> Sending {
        self.sending.get()
    }

    /// Tells the guest; one that is over, or cancelled, is told nothing.
    pub(super) fn deliver(&self, event: GrpcEvent) {
        let Some(vm) = self.vm.upgrade() else { return };
        let (root, token) = (self.root, self.token);
        // A guest that fails in it is failed for its next stream.
        let _ = vm.run(|guest| match event {
            GrpcEvent::Initial(headers) => {
                let head = headers.map(|headers| ResponseHead::new(StatusCode::OK, headers));
                guest.grpc_received(root, token, Received::Initial(head))
            }
            GrpcEvent::Message(message) => {
                guest.grpc_received(root, token, Received::Message(message))
            }
            GrpcEvent::Trailing(trailers) => {
                guest.grpc_received(root, token, Received::Trailing(trailers))
            }
            GrpcEvent::Close(code, message) => guest.grpc_closed(root, token, code, message),
        });
    }

    fn is(&self, vm: &Weak<VmCell>, token: u32) -> bool {
        self.token == token && self.vm.ptr_eq(vm)
    }
}

// === impl Agenda ===

impl Agenda {
    /// Takes over what a guest asked for.
    pub(super) fn grpc(&mut self, worker: usize, vm: &Weak<VmCell>, effect: GrpcEffect) {
        let GrpcEffect { root, token, what } = effect;
        if let GrpcAction::Start(start) = what {
            let call = Rc::new(GrpcCall {
                worker,
                at: self.wall(),
                root,
                token,
                vm: vm.clone(),
                sent: RefCell::new(start.message.iter().cloned().collect()),
                sending: Cell::new(match start.message {
                    Some(_) => Sending::Closed,
                    None => Sending::Open,
                }),
                start: *start,
            });
            self.grpc.push(call.clone());
            let answer = self.world().borrow_mut().grpc(&call);
            let timeout = call.start.timeout;
            if !timeout.is_zero() {
                let message = Bytes::from_static(b"upstream request timeout{response_timeout}");
                let end = GrpcEvent::Close(UNAVAILABLE, message);
                self.schedule(&call, GrpcAnswer::never().then(timeout, end));
            }
            return self.schedule(&call, answer);
        }
        let Some(call) = self
            .grpc
            .iter()
            .rev()
            .find(|call| call.is(vm, token))
            .cloned()
        else {
            return;
        };
        match what {
            GrpcAction::Send { message, end } => {
                if call.sending() != Sending::Open {
                    return;
                }
                // A copy: one that has been sent counts for its guest no longer.
                let message = Bytes::copy_from_slice(&message);
                call.sent.borrow_mut().push(message.clone());
                if end {
                    call.sending.set(Sending::Closed);
                }
                let answer = self.world().borrow_mut().grpc_sent(&call, &message);
                self.schedule(&call, answer);
            }
            GrpcAction::Close => call.sending.set(Sending::Closed),
            GrpcAction::Cancel => call.sending.set(Sending::Cancelled),
            GrpcAction::Start(_) => {}
        }
    }

    fn schedule(&mut self, call: &Rc<GrpcCall>, answer: GrpcAnswer) {
        let mut at = self.now();
        for (after, event) in answer.0 {
            at = at.saturating_add(after);
            let call = call.clone();
            self.put(at, What::Grpc { call, event });
        }
    }
}

// === impl Simulation ===

impl Simulation {
    /// All gRPC callouts so far, answered or not, in the order they were made.
    #[must_use]
    pub fn grpc_calls(&self) -> Vec<Rc<GrpcCall>> {
        self.agenda.borrow().grpc.clone()
    }

    /// Lets something come back now; a call that is over is told nothing.
    pub fn grpc_answer(&self, call: &GrpcCall, event: GrpcEvent) {
        call.deliver(event);
    }
}
