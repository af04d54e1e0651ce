//! What a scenario starts from: filters, clusters, routes, clock.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::short::{Several, Short, Shorten};
use super::step::Answer;
use super::value::{Match, Span, Wall};

/// What a scenario starts from.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Setup {
    /// The filter under test. A path by itself is its `file`.
    pub(in super::super) filter: Option<Short<Plugin>>,
    /// Filters of the listener before it, in order. What they leave out of `file`, `vm`, `failure_policy`,
    /// `reload_backoff` and `allow_on_headers_stop_iteration` is as for the filter under test.
    pub(in super::super) filters_before: Option<Vec<Short<Plugin>>>,
    /// Filters of the listener behind it.
    pub(in super::super) filters_after: Option<Vec<Short<Plugin>>>,
    /// Upstream filters: they see each attempt.
    pub(in super::super) upstream_filters: Option<Vec<Short<Plugin>>>,
    /// Clusters by name: where requests and callouts may go. Without any there is one, `upstream`. Each answers 200 with
    /// nothing, unless it is told otherwise.
    #[serde(default)]
    pub(in super::super) clusters: BTreeMap<String, Cluster>,
    /// Routes, the first that matches counts. Without any, every request goes to the first of the clusters by name, or to
    /// `upstream` if there is such a cluster.
    pub(in super::super) routes: Option<Vec<Route>>,
    /// Workers, each with VMs of its own; 1 if it is left out.
    #[schemars(range(min = 1, max = 64))]
    pub(in super::super) workers: Option<usize>,
    /// What guests' random bytes follow from; 1 if it is left out.
    pub(in super::super) seed: Option<u64>,
    /// What the clock shows at the start; `2026-01-01T00:00:00Z` if it is left out.
    pub(in super::super) start: Option<Wall>,
    /// Whom the host follows where Envoy and the specification differ; `envoy` if it is left out.
    pub(in super::super) mode: Option<Mode>,
    /// How long one callback may run, by the real clock, until the guest is cut off; 10s if it is left out.
    pub(in super::super) deadline: Option<Span>,
    /// How long a request may be under way, by the virtual clock, until it is told to hang; 5m if it is left out, Envoy's
    /// limit for a stream on which nothing moves.
    pub(in super::super) patience: Option<Span>,
}

/// A filter: Envoy's `PluginConfig`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Plugin {
    /// The module, by its path from this file.
    pub(in super::super) file: Option<String>,
    /// The plugin's name, by which steps name it; its `root_id` if it is left out, or else its file's name without `.wasm`.
    pub(in super::super) name: Option<String>,
    /// `root_id`.
    pub(in super::super) root_id: Option<String>,
    /// What the guest gets in `proxy_on_configure`: a text as it is, anything else as JSON.
    pub(in super::super) configuration: Option<serde_json::Value>,
    /// The same from a file, by its path from this one.
    pub(in super::super) configuration_file: Option<String>,
    /// Changes to the configuration, which must be JSON: an RFC 7396 merge patch (`null` removes a member).
    pub(in super::super) merge: Option<serde_json::Value>,
    /// The VM. Plugins whose VM's id, configuration and code are equal share one.
    pub(in super::super) vm: Option<Vm>,
    /// What a request gets whose VM has failed; `closed` if it is left out.
    pub(in super::super) failure_policy: Option<Policy>,
    /// How long a failed VM waits before it is built again, doubling; 1s if it is left out.
    pub(in super::super) reload_backoff: Option<Span>,
    /// The body flows to a filter while it holds the headers; false if it is left out, as in Envoy.
    pub(in super::super) allow_on_headers_stop_iteration: Option<bool>,
}

/// Envoy's `VmConfig`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Vm {
    /// `vm_id`.
    #[serde(default)]
    pub(in super::super) id: String,
    /// What the guest gets in `proxy_on_vm_start`: a text as it is, anything else as JSON.
    pub(in super::super) configuration: Option<serde_json::Value>,
    /// Environment variables.
    #[serde(default)]
    pub(in super::super) environment: BTreeMap<String, String>,
}

/// Envoy's `failure_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Policy {
    /// A 503.
    Closed,
    /// The filter is passed over.
    Open,
    /// A 503, and the VM is built again for the next request.
    Reload,
}

/// Whom the host follows where Envoy and the specification differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Mode {
    /// What Envoy does.
    Envoy,
    /// What the specification of ABI 0.2.1 says.
    Strict,
}

/// A cluster of one host.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Cluster {
    /// The endpoint's `filter_metadata`, by namespace.
    #[serde(default)]
    pub(in super::super) metadata: BTreeMap<String, serde_json::Value>,
    /// What it answers, to requests and callouts alike: the first that matches counts.
    pub(in super::super) answers: Option<Several<Short<Answer>>>,
}

/// A route.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Route {
    /// Conditions on the path, with its query.
    pub(in super::super) path: Option<Short<Match>>,
    /// Conditions on headers, as the listener's filters have left them.
    #[serde(default)]
    pub(in super::super) headers: BTreeMap<String, Short<Match>>,
    /// Its name, which filters may read.
    #[serde(default)]
    pub(in super::super) name: String,
    /// The cluster that it names; it may be an aggregate that `clusters` does not have.
    pub(in super::super) cluster: Option<String>,
    /// The header that names the cluster.
    pub(in super::super) cluster_header: Option<String>,
    /// The clusters of the attempts, in order: one follows where the one before it has failed. The cluster itself, once, if
    /// it is left out.
    pub(in super::super) attempts: Option<Vec<String>>,
    /// What is a failure that another attempt follows: `5xx`, `reset`, or a status; `5xx` and `reset` if it is left out.
    pub(in super::super) retry_on: Option<Vec<Short<Retry>>>,
    /// How long all attempts together may take; `0s` is without end, 15s if it is left out, as in Envoy.
    pub(in super::super) timeout: Option<Span>,
}

/// What is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in super::super) enum Retry {
    /// Any status from 500 on.
    #[serde(rename = "5xx")]
    ServerErrors,
    /// No response.
    #[serde(rename = "reset")]
    Reset,
    /// This status.
    #[serde(rename = "status")]
    Status(u16),
}

impl Shorten for Plugin {
    const EXPECTED: &'static str = "a path, or a mapping";

    fn short() -> Schema {
        json_schema!({"type": "string"})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(Ok(Self {
            file: Some(text.to_owned()),
            ..Self::default()
        }))
    }
}

impl Shorten for Retry {
    const EXPECTED: &'static str = "5xx, reset, or a status";
    const LONG: bool = false;

    fn short() -> Schema {
        json_schema!({"anyOf": [{"enum": ["5xx", "reset"]}, {"type": "integer", "minimum": 200, "maximum": 599}]})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(match text {
            "5xx" => Ok(Self::ServerErrors),
            "reset" => Ok(Self::Reset),
            _ => Err(format!("expected {}, found {text:?}", Self::EXPECTED)),
        })
    }

    fn from_number(number: u64) -> Option<Result<Self, String>> {
        Some(match u16::try_from(number) {
            Ok(status @ 200..=599) => Ok(Self::Status(status)),
            _ => Err(format!("expected {}, found {number}", Self::EXPECTED)),
        })
    }
}
