//! The attempt role: runs in a cluster's upstream filters, once for each attempt.

use std::rc::Rc;

use switchover_core::Timestamp;
use switchover_core::attempt::{ANSWERED_PROPERTY, MARK_PROPERTY, Mark, Origin};
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

/// An attempt on its way, of a rollout with a guard.
pub(crate) struct Tried {
    plugin: Box<str>,
    /// The route role's stream.
    pub(crate) origin: Origin,
    live: Rc<Live>,
    /// Index of the rollout.
    rollout: usize,
    environment: usize,
    /// In nanoseconds since 1970.
    started: u64,
}

// === impl AttemptRoot ===

impl AttemptRoot {
    pub(crate) fn configure(text: &[u8]) -> Result<Self, Vec<Problem>> {
        parse_attempt(text).map(|route_plugin| Self { route_plugin })
    }

    /// Gives an attempt its credential. Without the route role's mark it is left as it is. Gives what is to be counted of it.
    pub(crate) fn request(&self, library: &mut Library, shared: &mut Shared) -> Option<Tried> {
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
        rollout.edit_attempt(environment, mark.trusted, &mut |edit| {
            apply(Map::Request, edit)
        });
        let name = environment
            .and_then(|index| rollout.environments().get(index))
            .map(|own| own.name().as_str());
        ffi::set_property(ANSWERED_PROPERTY, name.unwrap_or_default().as_bytes());
        let environment = environment?;
        let meters = live.meters.get(index)?;
        meters.count_attempt(environment, &mut shared.meters);
        if rollout.guard().is_none() || !mark.trusted {
            return None;
        }
        Some(Tried {
            plugin: mark.plugin.into(),
            origin: mark.origin,
            rollout: index,
            environment,
            started: ffi::now(),
            live,
        })
    }
}

// === impl Tried ===

impl Tried {
    /// The attempt has ended, with an answer or without.
    pub(crate) fn end(&self, status: Option<u16>, meters: &mut Meters) {
        let now = ffi::now();
        let outcome = Outcome {
            environment: self.environment,
            status,
            millis: now.saturating_sub(self.started) / 1_000_000,
        };
        let now = Timestamp::from_nanos(now);
        let (plugin, rollout) = (&self.plugin, self.rollout);
        self.live.record(plugin, rollout, &outcome, now, meters);
    }
}

/// The environment of this attempt: what the endpoint says, else whose cluster it is.
fn environment(rollout: &Rollout) -> Option<usize> {
    match ffi::property(HOST_ENVIRONMENT) {
        Some(name) => rollout.environment(&name),
        None => rollout.environment_of_cluster(&ffi::property(CLUSTER_NAME)?),
    }
}
