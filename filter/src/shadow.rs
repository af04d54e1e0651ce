//! Copies of requests: the head at once, the body as it passes.

use std::rc::Rc;

use crate::callouts::{Callout, Callouts, Message, Purpose};
use crate::ffi::{self, Map};
use crate::meters::Meters;
use crate::routed::Routed;

/// A copy that is being made.
pub(crate) struct Copy {
    head: Vec<u8>,
    body: Vec<u8>,
}

/// How a copy ended; a metric label.
#[derive(Clone, Copy)]
pub(crate) enum ShadowOutcome {
    Answered,
    Failed,
    NotSent,
    TooLarge,
}

impl ShadowOutcome {
    pub(crate) const ALL: [Self; 4] = [Self::Answered, Self::Failed, Self::NotSent, Self::TooLarge];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::NotSent => "not_sent",
            Self::TooLarge => "too_large",
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Answered => 0,
            Self::Failed => 1,
            Self::NotSent => 2,
            Self::TooLarge => 3,
        }
    }

    /// By the status of the copy's answer.
    pub(crate) fn of(status: Option<u16>) -> Self {
        match status {
            Some(status) if status < 500 => Self::Answered,
            _ => Self::Failed,
        }
    }
}

impl Copy {
    fn len(&self) -> usize {
        self.head.len().saturating_add(self.body.len())
    }
}

impl Routed {
    /// Begins a copy of the request as it goes on; it is sent at once where there is no body.
    pub(crate) fn copy(
        &mut self,
        root: u32,
        end_of_stream: bool,
        callouts: &mut Callouts,
        meters: &mut Meters,
    ) {
        let rollout = self.live.document.rollouts().get(self.rollout);
        let pairs = ffi::header_pairs(Map::Request);
        let Some(head) = rollout
            .zip(pairs)
            .and_then(|(rollout, pairs)| rollout.copied_head(&pairs))
        else {
            return;
        };
        if !callouts.hold(head.len()) {
            self.count_copy(ShadowOutcome::NotSent, meters);
            return;
        }
        let body = Vec::new();
        self.copied = Some(Box::new(Copy { head, body }));
        if end_of_stream {
            self.send_copy(root, callouts, meters);
        }
    }

    /// Takes in a part of the request's body.
    pub(crate) fn copy_body(&mut self, size: usize, callouts: &mut Callouts, meters: &mut Meters) {
        let Some(copy) = self.copied.as_mut().filter(|_| size > 0) else {
            return;
        };
        let rollout = self.live.document.rollouts().get(self.rollout);
        let shadow = rollout.and_then(|rollout| rollout.shadow());
        let longest = shadow.map_or(0, |shadow| shadow.max_body());
        if copy.body.len().saturating_add(size) > longest {
            self.drop_copy(ShadowOutcome::TooLarge, callouts, meters);
            return;
        }
        let has_room = copy.body.try_reserve(size).is_ok() && callouts.hold(size);
        match ffi::request_body(size).filter(|part| has_room && part.len() == size) {
            Some(part) => copy.body.extend_from_slice(&part),
            None => {
                callouts.release(if has_room { size } else { 0 });
                self.drop_copy(ShadowOutcome::NotSent, callouts, meters);
            }
        }
    }

    /// Lets a copy go that was not sent.
    pub(crate) fn drop_copy(
        &mut self,
        outcome: ShadowOutcome,
        callouts: &mut Callouts,
        meters: &mut Meters,
    ) {
        if let Some(copy) = self.copied.take() {
            callouts.release(copy.len());
            self.count_copy(outcome, meters);
        }
    }

    /// The request has come to its end: sends the copy.
    pub(crate) fn send_copy(&mut self, root: u32, callouts: &mut Callouts, meters: &mut Meters) {
        let Some(copy) = self.copied.take() else {
            return;
        };
        callouts.release(copy.len());
        let rollout = self.live.document.rollouts().get(self.rollout);
        let Some(shadow) = rollout.and_then(|rollout| rollout.shadow()) else {
            return;
        };
        let callout = Callout {
            purpose: Purpose::Shadow,
            root,
            live: Rc::clone(&self.live),
            rollout: self.rollout,
            environment: shadow.environment(),
            started: ffi::now(),
            timeout: shadow.timeout(),
        };
        let message = Message {
            head: &copy.head,
            body: &copy.body,
        };
        // What a stream sends ends with the stream; the client may have its answer long before the copy has.
        ffi::set_effective_context(root);
        if !callouts.send(callout, &message) {
            self.count_copy(ShadowOutcome::NotSent, meters);
        }
    }

    fn count_copy(&self, outcome: ShadowOutcome, meters: &mut Meters) {
        if let Some(own) = self.live.meters.get(self.rollout) {
            own.count_copy(outcome, meters);
        }
    }
}
