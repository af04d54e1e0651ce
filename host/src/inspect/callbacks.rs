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
    /// Those that it has and this host does not call for other reasons.
    pub uncalled: Vec<Uncalled>,
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

/// A callback that this host never calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Uncalled {
    /// Its name.
    pub name: &'static str,
    /// Who does, and when.
    pub why: &'static str,
}

const METADATA: &str = "Envoy does for METADATA frames, where the file says allow_metadata; this host has no such frames";

/// Callbacks that only Envoy knows.
const ENVOYS: [Uncalled; 5] = [
    Uncalled {
        name: "proxy_validate_configuration",
        why: "no host does, Envoy included: refuse a configuration in proxy_on_configure",
    },
    Uncalled {
        name: "proxy_on_request_metadata",
        why: METADATA,
    },
    Uncalled {
        name: "proxy_on_response_metadata",
        why: METADATA,
    },
    Uncalled {
        name: "envoy_on_resolve_dns",
        why: "Envoy does for its own foreign function resolve_dns, where it has been built with that",
    },
    Uncalled {
        name: "envoy_on_stats_update",
        why: "Envoy does for its Wasm stats sink",
    },
];

// === impl Callbacks ===

impl Callbacks {
    /// Looks at a module's exports.
    pub(super) fn of(module: &Module) -> Self {
        let has = |name: &&str| module.exports(name);
        let mut known: Vec<&'static str> = Vec::new();
        for callback in CALLBACKS.iter().filter(|callback| callback.called) {
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
                && !ENVOYS.iter().any(|own| own.name == name)
        };
        let exports = module.exports.iter().map(|export| &export.name);
        Self {
            implemented,
            absent,
            tcp: TCP.into_iter().filter(has).collect(),
            uncalled: ENVOYS.into_iter().filter(|own| has(&own.name)).collect(),
            unknown: exports.filter(|name| is_unknown(name)).cloned().collect(),
        }
    }
}
