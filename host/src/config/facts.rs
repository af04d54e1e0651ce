//! What readers note on the way for checks across messages, with the places that the resolved types do not keep.

use std::cell::RefCell;
use std::path::PathBuf;

use super::plugin::WasmPlugin;
use super::reader::Place;
use super::tls::CommonTls;

/// Everything noted while one file was read.
#[derive(Default)]
pub(super) struct Facts {
    /// Each mention of a cluster.
    pub(super) cluster_uses: RefCell<Vec<ClusterUse>>,
    /// Clusters that could not be read.
    pub(super) broken_clusters: RefCell<Vec<String>>,
    /// Each Wasm plugin that the file holds itself.
    pub(super) plugins: RefCell<Vec<PluginAt>>,
    /// Each filter that comes from a file of its own.
    pub(super) discoveries: RefCell<Vec<DiscoveryAt>>,
    /// Each TLS context.
    pub(super) tls: RefCell<Vec<TlsAt>>,
}

/// A TLS context, whose files are opened later.
pub(super) struct TlsAt {
    /// What both sides have.
    pub(super) common: CommonTls,
    /// Its place.
    pub(super) place: Place,
}

/// A mention of a cluster.
pub(super) struct ClusterUse {
    /// The name.
    pub(super) name: String,
    /// Where it is mentioned.
    pub(super) place: Place,
    /// Whether it must not be an aggregate.
    pub(super) leaf: bool,
}

/// The chain of HTTP filters that a filter belongs to, and its position there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Whose chain.
    pub(super) chain: Chain,
    /// Position, from 0.
    pub(super) position: usize,
}

/// Whose HTTP filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chain {
    /// Those of a listener, by its place in the file.
    Listener(usize),
    /// The upstream filters of a cluster, by its name.
    Cluster(String),
}

/// A Wasm plugin and the places of what is checked later.
#[derive(Debug, Clone)]
pub(super) struct PluginAt {
    /// The plugin.
    pub(super) plugin: WasmPlugin,
    /// The file that holds it.
    pub(super) file: PathBuf,
    /// Where it runs.
    pub(super) slot: Option<Slot>,
    /// The plugin's own place.
    pub(super) place: Place,
    /// Where its `configuration` stands.
    pub(super) configuration: Option<TextAt>,
    /// Where its code stands.
    pub(super) code: Place,
    /// Where each of its variables is taken from the process's environment, with its name.
    pub(super) host_keys: Vec<(String, Place)>,
}

/// A text within a file.
#[derive(Debug, Clone)]
pub(super) struct TextAt {
    /// The text's place.
    pub(super) place: Place,
    /// Whether its lines are those of the file, from the next line on.
    pub(super) literal: bool,
}

/// A filter that comes from a file of its own.
#[derive(Debug, Clone)]
pub(super) struct DiscoveryAt {
    /// The filter's name.
    pub(super) name: String,
    /// The file.
    pub(super) path: PathBuf,
    /// Where it runs.
    pub(super) slot: Slot,
    /// Where the path stands.
    pub(super) place: Place,
}
