//! The attempt role: runs in a cluster's upstream filters, once for each attempt.

use std::rc::Rc;

use switchover_core::Timestamp;
use switchover_core::attempt::{
    ANSWERED_PROPERTY, FAILED_PROPERTY, MARK_PROPERTY, Mark, Origin, failed,
};
use switchover_core::document::{Problem, Rollout, parse_attempt};
use switchover_core::guard::Outcome;

use crate::ffi::{self, Map};
use crate::library::{Library, Live};
use crate::meters::Meters;
use crate::route::apply;
use crate::vm::Shared;

/// The endpoint's metadata: the environment that it belongs to.
pub(crate) const HOST_ENVIRONMENT: &str =
    "xds\0upstream_host_metadata\0filter_metadata\0switchover\0environment";
const CLUSTER_NAME: &str = "xds\0cluster_name";

/// A configured attempt role.
pub(crate) struct AttemptRoot {
    /// The only plugin whose requests get credentials; `None`: any.
    route_plugin: Option<String>,
}

/// An attempt that begins.
pub(crate) struct Begun {
    /// The route role's stream.
    pub(crate) origin: Origin,
    /// `None` where it is unknown.
    environment: Option<(Rc<Live>, usize)>,
    /// Index of the rollout.
    rollout: usize,
    /// The environment that the route role chose.
    chosen: Option<usize>,
    /// It came to an environment that does not take the request's model, and was answered here.
    pub(crate) refused: bool,
    /// What is to be counted of it.
    pub(crate) tried: Option<Tried>,
}

/// An attempt on its way, of a rollout with a guard, or for a model that not every environment takes.
pub(crate) struct Tried {
    /// The route role's stream.
    pub(crate) origin: Origin,
    live: Rc<Live>,
    /// Index of the rollout.
    rollout: usize,
    environment: usize,
    /// In nanoseconds since 1970.
    started: u64,
    /// The request has no body.
    is_whole: bool,
    /// The guard is to know how it ends.
    is_guarded: bool,
    /// An attempt that follows may come to where its model is not taken.
    is_bound: bool,
}

/// An attempt that has ended.
pub(crate) struct Ended {
    live: Rc<Live>,
    rollout: usize,
    outcome: Outcome,
    at: Timestamp,
}

// === impl AttemptRoot ===

impl AttemptRoot {
    pub(crate) fn configure(text: &[u8]) -> Result<Self, Vec<Problem>> {
        parse_attempt(text).map(|route_plugin| Self { route_plugin })
    }

    /// Gives an attempt its credential, or ends it where its environment does not take the request's model. Without the
    /// route role's mark it is left as it is.
    pub(crate) fn request(
        &self,
        end_of_stream: bool,
        library: &mut Library,
        shared: &mut Shared,
    ) -> Option<Begun> {
        let mark = ffi::property(MARK_PROPERTY)?;
        let mark = Mark::parse(&mark)?;
        let wanted = self.route_plugin.as_ref();
        if wanted.is_some_and(|plugin| plugin != mark.plugin) {
            return None;
        }
        let (live, index) =
            library.find(mark.plugin, mark.rollout, shared.worker, &mut shared.meters)?;
        let rollout = live.document.rollouts().get(index)?;
        let environment = environment(rollout);
        let name =
            environment.and_then(|index| Some(rollout.environments().get(index)?.name().as_str()));
        let mut begun = Begun {
            origin: mark.origin,
            environment: environment.map(|index| (Rc::clone(&live), index)),
            rollout: index,
            chosen: rollout.environment(mark.environment.as_bytes()),
            refused: name.is_some_and(|name| !mark.may_go(name)),
            tried: None,
        };
        if begun.refused {
            begun.refuse(rollout, &mut shared.meters);
            return Some(begun);
        }
        rollout.edit_attempt(environment, mark.trusted, &mut |edit| {
            apply(Map::Request, edit)
        });
        let (Some(environment), Some(meters)) = (environment, live.meters.get(index)) else {
            return Some(begun);
        };
        meters.count_attempt(environment, &mut shared.meters);
        let is_guarded = rollout.guard().is_some() && mark.trusted;
        let is_bound = !mark.takers.is_empty();
        if is_guarded || is_bound {
            begun.tried = Some(Tried {
                is_guarded,
                is_bound,
                origin: mark.origin,
                rollout: index,
                environment,
                started: ffi::now(),
                is_whole: end_of_stream,
                live,
            });
        }
        Some(begun)
    }
}

// === impl Begun ===

impl Begun {
    /// Answers it here. It is nobody's attempt then, for it goes nowhere.
    fn refuse(&mut self, rollout: &Rollout, meters: &mut Meters) {
        let last = ffi::property(FAILED_PROPERTY);
        ffi::reply(&rollout.model_unavailable(last.as_deref().unwrap_or_default()));
        if let Some((live, to)) = self.environment.take()
            && let Some(own) = live.meters.get(self.rollout)
        {
            own.count_refused_attempt(to, meters);
        }
    }

    /// The name of its environment; empty where it is unknown.
    pub(crate) fn name(&self) -> &str {
        let name = self.environment.as_ref().and_then(|(live, index)| {
            let rollout = live.document.rollouts().get(self.rollout)?;
            Some(rollout.environments().get(*index)?.name().as_str())
        });
        name.unwrap_or_default()
    }

    /// Tells the route role in another VM whose attempt it is, and counts what that one would: where the request went before.
    pub(crate) fn tell(&self, meters: &mut Meters) {
        if let Some((live, to)) = &self.environment
            && let Some(rollout) = live.document.rollouts().get(self.rollout)
            && let Some(own) = live.meters.get(self.rollout)
        {
            let before = ffi::property(ANSWERED_PROPERTY);
            let is_first = before.is_none();
            let from = before.map_or(self.chosen, |name| rollout.environment(&name));
            own.count_move(from, *to, is_first, meters);
        }
        ffi::set_property(ANSWERED_PROPERTY, self.name().as_bytes());
    }
}

// === impl Tried ===

impl Tried {
    /// Its answer has this status: leaves that for an attempt that follows, where it is a failure.
    pub(crate) fn leave(&self, status: Option<u16>) {
        if let Some(status) = status.filter(|status| self.is_bound && *status >= 400) {
            let wait = ffi::header(Map::Response, "retry-after");
            ffi::set_property(FAILED_PROPERTY, &failed(status, wait.as_deref()));
        }
    }

    /// The attempt ends now: with this status, or without an answer. `sent` is when the whole request was there, in
    /// nanoseconds since 1970; `None` where it was not.
    /// `None` where no guard is to know.
    pub(crate) fn end(&self, status: Option<u16>, sent: Option<u64>) -> Option<Ended> {
        if !self.is_guarded {
            return None;
        }
        let now = ffi::now();
        let waited = sent.map_or(0, |sent| now.saturating_sub(sent.max(self.started)));
        Some(Ended {
            live: Rc::clone(&self.live),
            rollout: self.rollout,
            outcome: Outcome {
                environment: self.environment,
                status,
                millis: waited / 1_000_000,
            },
            at: Timestamp::from_nanos(now),
        })
    }

    /// When the request was there, as far as an attempt role in a VM of its own can tell: at once, where it has no body.
    pub(crate) fn sent(&self) -> Option<u64> {
        self.is_whole.then_some(self.started)
    }
}

// === impl Ended ===

impl Ended {
    pub(crate) fn count(&self, library: &Library, meters: &mut Meters) {
        library.record(&self.live, self.rollout, self.outcome, self.at, meters);
    }
}

/// The environment of this attempt: what the endpoint says, else whose cluster it is.
fn environment(rollout: &Rollout) -> Option<usize> {
    match ffi::property(HOST_ENVIRONMENT) {
        Some(name) => rollout.environment(&name),
        None => rollout.environment_of_cluster(&ffi::property(CLUSTER_NAME)?),
    }
}
