//! The Envoy v3 bootstrap, as far as the host supports it: a strict subset.
//!
//! What is not supported is a [`Problem`] that names the field's path and line, never ignored.
//! The types here are resolved: names refer to things that exist, numbers are in range.

pub mod access_log;
mod audit;
mod carrier;
mod check;
pub mod cluster;
mod common;
mod discovery;
mod facts;
pub mod listener;
mod node;
pub mod plugin;
pub mod protocol;
mod read;
mod reader;
mod rollout;
pub mod route;
#[cfg(test)]
mod tests;
pub mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use carrier::Carrier;
pub use check::{check, check_text};
pub use cluster::Cluster;
pub use common::Data;
pub use listener::Listener;
pub(crate) use node::{Dialect, Node as Tree, Value as TreeValue, parse_yaml, parts};
pub use plugin::WasmPlugin;
use read::{read_file, split, with_root};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is served; `check` tells.
    Warning,
}

/// A bootstrap without errors.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub bootstrap: Bootstrap,
    /// What is served but looks wrong.
    pub warnings: Vec<Problem>,
}

/// Reads a bootstrap file: YAML or, by its name, JSON. Paths in it stay as they are: relative to the process's
/// working directory, as in Envoy. Files that it names (code, ECDS documents) are not opened.
///
/// `env` looks up variables of the process's environment.
///
/// # Errors
/// All problems of the file, each with its line and path.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Problem>> {
    let text = read_file(path).map_err(|problem| vec![problem])?;
    load_str(path, &text, env)
}

/// The same for a text; `path` says whether it is YAML, and stands in the problems.
///
/// # Errors
/// As [`load`].
pub fn load_str(
    path: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, Vec<Problem>> {
    let (bootstrap, _, problems) = read::bootstrap(path, text, env);
    let (errors, warnings) = split(problems);
    match bootstrap {
        Some(bootstrap) if errors.is_empty() => Ok(Loaded {
            bootstrap,
            warnings,
        }),
        _ => Err(errors),
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    /// `file:line: path: message`, without the parts that are not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}", self.message)
    }
}
