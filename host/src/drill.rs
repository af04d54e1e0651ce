//! The whole story of a rollout, told for real: two demo upstreams, a gateway, clients under load, an operator.
//!
//! Blue serves; green is deployed and gets its canary; it fails, the tripwire trips, and the operator rolls back; a
//! mended green gets all of the traffic, is rolled back and brought on again, has its process killed while it serves,
//! comes back and becomes stable. Every request of it is counted, and no client may see a failure.
//!
//! Upstreams and gateway are processes of their own on ports of the kernel's choice; they end with the drill. The
//! document is changed by [`crate::rollout`], as the operator's verbs change it.

mod client;
mod files;
mod load;
mod process;
mod report;
mod story;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::rollout::RolloutError;
use crate::rollout::live::LiveError;

pub use report::{Phase, Report};
pub use story::run;

/// What a drill runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// What serves.
    pub engine: Engine,
    /// This program's own file, which is the upstreams and perhaps the gateway.
    pub program: PathBuf,
    /// The filter.
    pub wasm: PathBuf,
    /// So many requests at least are sent.
    pub requests: u64,
    /// Connections of the load.
    pub connections: u16,
    /// How long a canary takes to its last step.
    pub canary: Duration,
    /// The longest time for all of it.
    pub limit: Duration,
}

/// What serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// `switchover serve`.
    Host,
    /// This Envoy.
    Envoy(PathBuf),
}

/// Where a drill stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// What is going on.
    pub phase: &'static str,
    /// Its number, from 1.
    pub number: usize,
    /// The number of phases.
    pub phases: usize,
    /// Requests so far.
    pub requests: u64,
}

/// Why a drill came to no end.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// A file.
    #[error("{what}: {error}")]
    File {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// The demo's own files are not as they must be; a fault of this program's.
    #[error("the demo's files cannot be used: {0}")]
    Demo(String),
    /// A process that does not start, or has ended.
    #[error("{what}{}", tail(output))]
    Process {
        /// What happened to which.
        what: String,
        /// The last lines that it printed.
        output: String,
    },
    /// An upstream or the admin server gives no answer.
    #[error("{what} gives no answer: {why}")]
    Silent {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {within:?}, in the phase {phase:?}: {seen}")]
    Late {
        /// What.
        what: String,
        /// The time that was allowed.
        within: Duration,
        /// When.
        phase: &'static str,
        /// How it stood then.
        seen: String,
    },
    /// All of it took too long.
    #[error("the drill was not over within {0:?}")]
    Limit(Duration),
    /// A verb.
    #[error("the document was not changed: {0}")]
    Rollout(#[from] RolloutError),
    /// The gateway's figures.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The load's thread ended by itself.
    #[error("the load has ended before its time")]
    Load,
}

fn tail(output: &str) -> String {
    match output {
        "" => String::new(),
        output => format!("; its last lines:\n{output}"),
    }
}

// === impl Engine ===

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("the bundled host"),
            Self::Envoy(path) => write!(f, "Envoy ({})", path.display()),
        }
    }
}
