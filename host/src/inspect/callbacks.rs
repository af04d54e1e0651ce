//! Which callbacks a module implements.

use serde::Serialize;

use super::Module;
use crate::abi::callbacks::CALLBACKS;

/// The callbacks of a module.
#[derive(Debug, Default, Serialize)]
pub struct Callbacks {
    /// Those that it has and the host calls.
    pub implemented: Vec<&'static str>,
    /// Those that the host would call and it has not: what they are about passes it by.
    pub absent: Vec<&'static str>,
    /// Those for TCP connections, which this host does not call: it does not run network filters.
    pub tcp: Vec<&'static str>,
    /// Exports that look like callbacks and are none that any host is known to call.
    pub unknown: Vec<String>,
}

/// Callbacks of network filters.
const TCP: [&str; 5] = [
    "proxy_on_new_connection",
    "proxy_on_downstream_data",
    "proxy_on_upstream_data",
    "proxy_on_downstream_connection_close",
    "proxy_on_upstream_connection_close",
];

/// Callbacks that only Envoy knows.
const ENVOYS: [&str; 4] = [
    "proxy_on_request_metadata",
    "proxy_on_response_metadata",
    "envoy_on_resolve_dns",
    "envoy_on_stats_update",
];

// === impl Callbacks ===

impl Callbacks {
    /// Looks at a module's exports.
    pub(super) fn of(module: &Module) -> Self {
        let has = |name: &&str| module.exports(name);
        let mut known: Vec<&'static str> = Vec::new();
        for callback in CALLBACKS {
            if !known.contains(&callback.name) {
                known.push(callback.name);
            }
        }
        let (implemented, absent) = known.iter().copied().partition(has);
        let is_unknown = |name: &str| {
            name.starts_with("proxy_on_")
                && name != "proxy_on_memory_allocate"
                && !known.contains(&name)
                && !TCP.contains(&name)
                && !ENVOYS.contains(&name)
        };
        let exports = module.exports.iter().map(|export| &export.name);
        Self {
            implemented,
            absent,
            tcp: TCP.into_iter().filter(has).collect(),
            unknown: exports.filter(|name| is_unknown(name)).cloned().collect(),
        }
    }
}
