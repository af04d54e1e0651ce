//! A request that has been routed: its body, its attempts, its answer and its end.

use std::rc::Rc;

use switchover_core::attempt::ANSWERED_PROPERTY;
use switchover_core::guard::Outcome;
use switchover_core::{CookieId, Timestamp};

use crate::attempt::{Ended, HOST_ENVIRONMENT};
use crate::callouts::status;
use crate::ffi::{self, Map};
use crate::library::{Library, Live};
use crate::meters::Meters;
use crate::models::{Read, Talk};
use crate::route::apply;
use crate::shadow::Copy;
use crate::vm::Shared;

/// A request on its way.
pub(crate) struct Routed {
    pub(crate) live: Rc<Live>,
    /// Index of the rollout.
    pub(crate) rollout: usize,
    /// Index of the environment: the chosen one, and once it is known the one that answered.
    pub(crate) environment: usize,
    /// Index of the environment of the last attempt that ran in this VM; the inner `None` is an unknown one.
    pub(crate) attempted: Option<Option<usize>>,
    /// The last attempt, where it has ended without an answer and nothing has followed yet.
    pub(crate) unanswered: Option<Box<Ended>>,
    /// When the request came, in nanoseconds since 1970.
    pub(crate) started: u64,
    /// When all of it was there, where a guard is to know; `None` before that.
    pub(crate) sent: Option<u64>,
    /// Whether it counts for the guard: a request that needs no key does not.
    pub(crate) trusted: bool,
    /// Whether a copy is to be made.
    pub(crate) is_copied: bool,
    /// The copy, until it is sent.
    pub(crate) copied: Option<Box<Copy>>,
    pub(crate) cookie: Option<Box<CookieId>>,
    /// Of a request that names a model.
    pub(crate) talk: Option<Box<Talk>>,
}

// === impl Routed ===

impl Routed {
    /// Takes in what has come of the body, where it is looked through.
    pub(crate) fn read(&mut self, size: usize, end_of_stream: bool, shared: &mut Shared) -> Read {
        match self.talk.as_mut().filter(|talk| talk.is_reading()) {
            Some(talk) => talk.read(&self.live, self.rollout, size, end_of_stream, shared),
            None => Read::Goes {
                size,
                is_whole: end_of_stream,
            },
        }
    }

    /// The whole request is there.
    pub(crate) fn complete(&mut self) {
        let rollout = self.live.document.rollouts().get(self.rollout);
        if rollout.is_some_and(|rollout| rollout.guard().is_some()) {
            self.sent = Some(ffi::now());
        }
    }

    /// An attempt begins in the environment of this name.
    pub(crate) fn begin_attempt(&mut self, name: &str, library: &Library, meters: &mut Meters) {
        self.count_unanswered(library, meters);
        let rollout = self.live.document.rollouts().get(self.rollout);
        let environment = rollout.and_then(|rollout| rollout.environment(name.as_bytes()));
        let own = self.live.meters.get(self.rollout);
        if let (Some(own), Some(to)) = (own, environment) {
            let from = self.attempted.unwrap_or(Some(self.environment));
            own.count_move(from, to, self.attempted.is_none(), meters);
        }
        self.attempted = Some(environment);
    }

    /// An attempt has ended without an answer. Whether that is a failure shows by what follows: hosts break attempts off
    /// for a request's sake too, where its body turns out to be invalid, too long or too slow.
    pub(crate) fn go_unanswered(&mut self, ended: Ended) {
        self.unanswered = Some(Box::new(ended));
    }

    fn count_unanswered(&mut self, library: &Library, meters: &mut Meters) {
        if let Some(ended) = self.unanswered.take() {
            ended.count(library, meters);
        }
    }

    /// Tells the client who answered.
    pub(crate) fn respond(&mut self, library: &Library, meters: &mut Meters) {
        if self.unanswered.is_some() {
            match status(Map::Response) {
                Some(400..=499) => self.unanswered = None,
                _ => self.count_unanswered(library, meters),
            }
        }
        let Some(rollout) = self.live.document.rollouts().get(self.rollout) else {
            return;
        };
        let answered = if rollout.attempts() {
            self.attempted.unwrap_or_else(|| {
                // Where no attempt was made, nobody answered.
                ffi::property(ANSWERED_PROPERTY).and_then(|name| rollout.environment(&name))
            })
        } else if !rollout.may_answer_elsewhere() {
            Some(self.environment)
        } else {
            let host = ffi::property(HOST_ENVIRONMENT);
            host.map_or(Some(self.environment), |name| rollout.environment(&name))
        };
        rollout.edit_response(answered, self.cookie.as_deref(), &mut |edit| {
            apply(Map::Response, edit)
        });
        self.environment = answered.unwrap_or(self.environment);
        if let Some(talk) = &mut self.talk {
            talk.begin_answer();
        }
        // Where there are attempts, each of them has been counted.
        if rollout.guard().is_some() && !rollout.attempts() && self.trusted {
            let now = ffi::now();
            let outcome = Outcome {
                environment: self.environment,
                status: status(Map::Response),
                millis: self.sent.map_or(0, |sent| now.saturating_sub(sent)) / 1_000_000,
            };
            let now = Timestamp::from_nanos(now);
            library.record(&self.live, self.rollout, outcome, now, meters);
        }
    }

    /// A part of the answer is there.
    pub(crate) fn answer(&mut self, size: usize, end_of_stream: bool, meters: &mut Meters) {
        if let Some(talk) = &mut self.talk
            && talk.answer(size, end_of_stream)
        {
            self.settle(end_of_stream, meters);
        }
    }

    /// The answer has told what it took, or is over, or the client has left.
    fn settle(&mut self, is_over: bool, meters: &mut Meters) {
        if let Some(talk) = &mut self.talk {
            let place = (self.rollout, self.environment);
            talk.settle(&self.live, place, self.started, is_over, meters);
        }
    }

    /// Records how long the request took.
    pub(crate) fn end(&mut self, meters: &mut Meters) {
        self.settle(true, meters);
        let millis = ffi::now().saturating_sub(self.started) / 1_000_000;
        if let Some(own) = self.live.meters.get(self.rollout) {
            own.record_duration(self.environment, millis, meters);
        }
    }
}
