//! The Envoy v3 bootstrap, as far as the host supports it: a strict subset.
//!
//! What is not supported is a [`Problem`] that names the field's path and line, never ignored.
//! The types here are resolved: names refer to things that exist, numbers are in range.

pub mod cluster;
pub mod listener;
pub mod plugin;
pub mod route;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use cluster::Cluster;
pub use listener::Listener;
pub use plugin::WasmPlugin;
pub use route::RouteConfiguration;

/// A whole bootstrap file.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// The file it was read from.
    pub file: PathBuf,
    /// `node`; empty strings where the file has none.
    pub node: Node,
    /// `admin.address`; no admin server without it.
    pub admin: Option<SocketAddr>,
    /// `stats_config.stats_tags`, in the file's order.
    pub stats_tags: Vec<StatsTag>,
    /// `static_resources.listeners`.
    pub listeners: Vec<Listener>,
    /// `static_resources.clusters`, by name.
    pub clusters: BTreeMap<String, Cluster>,
}

/// `node`: who this proxy is; guests read it as `xds.node`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// `node.id`.
    pub id: String,
    /// `node.cluster`.
    pub cluster: String,
}

/// One rule of `stats_config.stats_tags`: takes a label's value out of a metric's name.
///
/// The first capture group is removed from the name; the second, or else the first, is the value.
/// Source: `envoy.config.metrics.v3.TagSpecifier`.
#[derive(Debug, Clone)]
pub struct StatsTag {
    /// The label's name.
    pub name: String,
    /// The rule.
    pub regex: regex::Regex,
}

/// One thing wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1; 0 where it is not known.
    pub line: usize,
    /// The field's path, as in `static_resources.clusters[0].connect_timeout`.
    pub path: String,
    /// What was wrong and what would be right.
    pub message: String,
    /// Whether it stops the file from being served.
    pub severity: Severity,
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is served; `check` tells.
    Warning,
}
