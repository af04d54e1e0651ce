//! The attempt role: runs in a cluster's upstream filters, once for each attempt.

use switchover_core::attempt::{ANSWERED_PROPERTY, MARK_PROPERTY, Mark};
use switchover_core::document::{Problem, Rollout, parse_attempt};

use crate::ffi::{self, Map};
use crate::library::Library;
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

// === impl AttemptRoot ===

impl AttemptRoot {
    pub(crate) fn configure(text: &[u8]) -> Result<Self, Vec<Problem>> {
        parse_attempt(text).map(|route_plugin| Self { route_plugin })
    }

    /// Gives an attempt its credential. Without the route role's mark it is left as it is.
    pub(crate) fn request(&self, library: &mut Library, shared: &mut Shared) {
        let Some(mark) = ffi::property(MARK_PROPERTY) else {
            return;
        };
        let Some(mark) = Mark::parse(&mark) else {
            return;
        };
        if self
            .route_plugin
            .as_ref()
            .is_some_and(|plugin| plugin != mark.plugin)
        {
            return;
        }
        let Some((live, index)) = library.find(mark.plugin, mark.rollout, &mut shared.meters)
        else {
            return;
        };
        let Some(rollout) = live.document.rollouts().get(index) else {
            return;
        };
        let environment = environment(rollout);
        rollout.edit_attempt(environment, mark.trusted, &mut |edit| {
            apply(Map::Request, edit)
        });
        let name = environment
            .and_then(|index| rollout.environments().get(index))
            .map(|own| own.name().as_str());
        ffi::set_property(ANSWERED_PROPERTY, name.unwrap_or_default().as_bytes());
        if let (Some(environment), Some(meters)) = (environment, live.meters.get(index)) {
            meters.count_attempt(environment, &mut shared.meters);
        }
    }
}

/// The environment of this attempt: what the endpoint says, else whose cluster it is.
fn environment(rollout: &Rollout) -> Option<usize> {
    match ffi::property(HOST_ENVIRONMENT) {
        Some(name) => rollout.environment(&name),
        None => rollout.environment_of_cluster(&ffi::property(CLUSTER_NAME)?),
    }
}
