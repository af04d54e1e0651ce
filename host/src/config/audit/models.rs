//! What `models` in a document asks of the file around it.

use super::super::{Problem, Severity};
use super::{Audit, RouteRole};
use crate::config::facts::{Chain, Slot};
use crate::config::rollout::{Models, Rollout};

impl Audit<'_> {
    /// Whether headers wait for bodies, and how long a body may be, is said in both places.
    pub(super) fn models(&self, role: &RouteRole<'_>) -> Vec<Problem> {
        let with_models = role.rollouts.iter().filter_map(|r| Some((r, r.models?)));
        with_models
            .flat_map(|(rollout, models)| {
                let held = held_headers(role, rollout, models);
                held.into_iter()
                    .chain(self.buffer_limit(role, rollout, models))
            })
            .collect()
    }

    /// Envoy refuses a held body that is above the listener's limit by itself.
    fn buffer_limit(
        &self,
        role: &RouteRole<'_>,
        rollout: &Rollout,
        models: Models,
    ) -> Option<Problem> {
        let Some(Slot {
            chain: Chain::Listener(index),
            ..
        }) = &role.at.slot
        else {
            return None;
        };
        let limit = self.bootstrap.listeners.get(*index)?.buffer_limit;
        let is_below =
            usize::try_from(limit).is_ok_and(|limit| limit > 0 && limit < models.max_body);
        is_below.then(|| {
            let message = format!(
                "allows bodies of {} bytes, and the listener's per_connection_buffer_limit_bytes only {limit}: longer ones get 413 from Envoy; raise the limit there, or lower max_body",
                models.max_body
            );
            role.document.problem(Severity::Warning, &format!("{}models.max_body", rollout.prefix), message)
        })
    }
}

fn held_headers(role: &RouteRole<'_>, rollout: &Rollout, models: Models) -> Option<Problem> {
    let (severity, message) = match (
        models.hold_headers,
        role.at.plugin.allow_on_headers_stop_iteration,
    ) {
        (true, false) => (
            Severity::Error,
            "is true, but the plugin's configuration does not say allow_on_headers_stop_iteration: true, without which such requests hang; say so there",
        ),
        (false, true) => (
            Severity::Warning,
            "is false, though the plugin's configuration says allow_on_headers_stop_iteration: true; true lets the route wait for the model, and keeps content-length",
        ),
        _ => return None,
    };
    let path = format!("{}models.hold_headers", rollout.prefix);
    Some(role.document.problem(severity, &path, message))
}
