//! Wasm plugins: Envoy's `PluginConfig` and `VmConfig`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

mod discovered;
mod read;

pub use discovered::load_discovered;
pub(super) use discovered::{read as read_discovered, read_text as read_discovered_text};
pub(super) use read::{WASM_URL, plugin as read};

/// `envoy.extensions.wasm.v3.PluginConfig`.
#[derive(Clone)]
pub struct WasmPlugin {
    /// `name`: guests read it as `plugin_name`.
    pub name: String,
    /// `root_id`: guests read it as `plugin_root_id`.
    pub root_id: String,
    /// `configuration` as the guest gets it: a `StringValue`'s text or a `BytesValue`'s bytes.
    ///
    /// Anything else is refused: Envoy 1.40 hands a `Struct` over as protobuf's wire bytes, which guests do not expect.
    pub configuration: Bytes,
    /// `vm_config`.
    pub vm: VmConfig,
    /// `failure_policy`, or the older `fail_open`.
    pub failure_policy: FailurePolicy,
    /// `reload_config.backoff.base_interval`: how old a VM must be, and up to half as much again by chance, before another
    /// takes its place. Envoy's default is 1 s.
    pub reload_backoff: Duration,
    /// `allow_on_headers_stop_iteration`; Envoy's default is false.
    pub allow_on_headers_stop_iteration: bool,
}

/// `envoy.extensions.wasm.v3.VmConfig`. Plugins whose `vm_id`, code and VM configuration are equal share a VM.
#[derive(Clone, PartialEq, Eq)]
pub struct VmConfig {
    /// `vm_id`.
    pub vm_id: String,
    /// `runtime`, e.g. `envoy.wasm.runtime.v8`; the host runs wasmtime whatever is named here.
    pub runtime: String,
    /// `code.local`.
    pub code: Code,
    /// `configuration` as the guest gets it in `proxy_on_vm_start`.
    pub configuration: Bytes,
    /// `environment_variables`: `key_values`, and the values of `host_env_keys` as read from the process's environment.
    /// A host key that is not set is left out, as in Envoy. Values may be secrets: `Debug` leaves them out.
    pub environment: BTreeMap<String, String>,
}

/// Where the guest's code is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Code {
    /// `code.local.filename`.
    File(PathBuf),
    /// `code.local.inline_bytes`, decoded.
    Inline(Bytes),
}

/// `envoy.extensions.wasm.v3.FailurePolicy`: what requests get whose VM has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The file says nothing. Envoy takes that for FAIL_CLOSED, with which one trap ends all service; the host for
    /// FAIL_RELOAD, and `check` tells of the difference.
    Unspecified,
    /// A 503, until the configuration changes.
    FailClosed,
    /// The filter is passed over, until the configuration changes.
    FailOpen,
    /// A 503, and the VM is rebuilt for the next request once [`WasmPlugin::reload_backoff`] allows it.
    FailReload,
}

// === impl FailurePolicy ===

impl FailurePolicy {
    /// Whether another VM takes the place of one that has failed.
    #[must_use]
    pub fn reloads(self) -> bool {
        matches!(self, Self::Unspecified | Self::FailReload)
    }
}

// === impl WasmPlugin ===

impl std::fmt::Debug for WasmPlugin {
    /// Leaves out the configuration, which may hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmPlugin")
            .field("name", &self.name)
            .field("root_id", &self.root_id)
            .field("vm", &self.vm)
            .field("failure_policy", &self.failure_policy)
            .finish_non_exhaustive()
    }
}

// === impl VmConfig ===

impl std::fmt::Debug for VmConfig {
    /// Leaves out the configuration and the variables' values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VmConfig")
            .field("vm_id", &self.vm_id)
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
