//! What all workers of the process share.

mod sources;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::abi::{self, Queues, SharedData};
use crate::config::Node;
use crate::stats::Registry;
pub use sources::{Clock, GuestLog, LogLevel, LogLine, NoRandom, Random, VirtualClock};

/// Shared by all workers and the admin; nothing here is locked on a request's path.
#[derive(Debug)]
pub struct Process {
    /// `node` of the bootstrap.
    pub node: Node,
    /// All metrics.
    pub stats: Registry,
    /// The guests' shared data.
    pub shared_data: SharedData,
    /// The guests' shared queues.
    pub queues: Queues,
    /// What callouts may name.
    pub clusters: Clusters,
    /// How the ABI is carried out, and who watches.
    pub abi: abi::Options,
    /// What a guest may take.
    pub limits: GuestLimits,
    /// What guests take for the time.
    pub clock: Clock,
    /// What guests get for random.
    pub random: Random,
    /// Where guests' log lines go.
    pub guest_log: GuestLog,
}

/// The clusters that callouts may name.
#[derive(Debug, Clone)]
pub enum Clusters {
    /// These.
    Named(BTreeSet<String>),
    /// Any: where one filter is looked at by itself, nothing else is known of its surroundings.
    Any,
}

/// Limits of one guest VM.
#[derive(Debug, Clone, Copy)]
pub struct GuestLimits {
    /// Bytes of linear memory, at most.
    pub memory: usize,
    /// How long one callback may run.
    pub deadline: Duration,
}

// === impl Clusters ===

impl Clusters {
    /// Whether there is one of that name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::Named(names) => names.contains(name),
            Self::Any => true,
        }
    }
}

impl FromIterator<String> for Clusters {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self::Named(names.into_iter().collect())
    }
}

// === impl GuestLimits ===

impl Default for GuestLimits {
    /// 64 MiB, and one second a callback.
    fn default() -> Self {
        Self {
            memory: 64 * 1024 * 1024,
            deadline: Duration::from_secs(1),
        }
    }
}
