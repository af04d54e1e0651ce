//! The gateway as a whole: from a bootstrap to running workers, and what changes while they run.

mod control;
mod reload;
mod sockets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use switchover_core::Secret;

use crate::abi;
use crate::config::access_log;
use crate::config::listener::{HttpFilter, HttpFilterKind, Listener};
use crate::config::{Bootstrap, Problem, WasmPlugin};
use crate::process::{Clock, GuestLimits, GuestLog, Process, Random};
use crate::proxy::access_log::LogWriter;
use crate::proxy::upstream::SharedCluster;
use crate::stats::{Counter, Registry};
use crate::tls::{self, Follow, ServerTls, TlsError, TlsStats};
use crate::vm::VmError;
use crate::vm::cache::ModuleCache;
use crate::vm::engine::{Compilation, Compiled, Engine};
pub use control::Running;

/// Looks up variables of the environment that files name.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a gateway is told besides its file.
#[derive(Clone)]
pub struct Options {
    /// Worker threads, at least one.
    pub workers: usize,
    /// A JSON line for each exchange on standard output, of listeners whose files have no access log.
    pub access_log: bool,
    /// Where the admin's address is written, as Envoy's `--admin-address-path`.
    pub admin_address_path: Option<PathBuf>,
    /// How the ABI is carried out, and who watches.
    pub abi: abi::Options,
    /// What a guest may take.
    pub limits: GuestLimits,
    /// How long requests in progress are waited for when the process is to end.
    pub drain: Duration,
    /// This program's own file, which compiles guests in a process of its own; without it they are compiled here.
    pub compiler: Option<PathBuf>,
    /// The folder where compiled guests are kept; without one they are compiled at each start.
    pub module_cache: Option<PathBuf>,
    /// Where variables come from: the process's own environment, mostly.
    pub env: Environment,
    /// What users of the admin's console must know; without one it is there on loopback only.
    pub console_token: Option<Secret>,
    /// Counts lines of the log that were lost.
    pub log_lines_lost: Counter,
}

/// What workers and the admin share.
pub struct Gateway {
    /// Node, metrics, shared data, limits.
    pub process: Arc<Process>,
    /// Compiles guests.
    pub engine: Arc<Engine>,
    /// Clusters by name.
    pub clusters: BTreeMap<String, Arc<SharedCluster>>,
    /// Listeners in the file's order.
    pub listeners: Vec<SecureListener>,
    /// What follows its certificates, keys and trust.
    pub tls: Vec<Followed>,
    /// What writes the access logs.
    pub logs: Arc<LogWriter>,
    /// Where variables come from.
    pub env: Environment,
}

/// A listener of the file with its TLS.
#[derive(Clone)]
pub struct SecureListener {
    /// The file's part.
    pub config: Arc<Listener>,
    /// Its certificates and what is counted of handshakes; `None` for cleartext.
    pub tls: Option<(Arc<ServerTls>, Arc<TlsStats>)>,
}

/// A cluster's or a listener's TLS, made anew when its files change.
pub struct Followed {
    /// The prefix of its counters, as in Envoy: `cluster.NAME.client_ssl_socket_factory`.
    pub prefix: String,
    /// What is made anew.
    pub tls: Arc<dyn Follow>,
}

/// Which filter of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterId {
    /// Of a listener's chain.
    Listener {
        /// The listener's place in the file.
        listener: usize,
        /// The filter's place in the chain.
        filter: usize,
    },
    /// Of a cluster's upstream chain.
    Cluster {
        /// The cluster's name.
        cluster: String,
        /// The filter's place in the chain.
        filter: usize,
    },
}

/// A plugin whose code is compiled.
#[derive(Clone)]
pub struct Ready {
    /// Its configuration.
    pub config: WasmPlugin,
    /// Its code.
    pub compiled: Arc<Compiled>,
}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process has the port, or the address is none of this machine.
    #[error("{of} cannot listen on {address}: {error}")]
    Listen {
        /// What cannot: a listener, or the admin.
        of: String,
        /// The address of the file.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// A filter.
    #[error("filter {name:?}: {error}")]
    Filter {
        /// The filter's name.
        name: String,
        /// What was wrong.
        error: VmError,
    },
    /// Certificates, keys or trust.
    #[error("{of}: {error}")]
    Tls {
        /// The cluster or the listener.
        of: String,
        /// What was wrong.
        error: TlsError,
    },
    /// A file that a filter's configuration is discovered from.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Discovery(Vec<Problem>),
    /// The system.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] VmError),
}

// === impl FilterId ===

impl FilterId {
    /// The filter's place in its chain.
    #[must_use]
    pub fn filter(&self) -> usize {
        match self {
            Self::Listener { filter, .. } | Self::Cluster { filter, .. } => *filter,
        }
    }
}

// === impl SecureListener ===

impl SecureListener {
    fn new(config: &Listener, stats: &Registry) -> Result<Self, StartError> {
        let tls = config.tls.as_ref().map(tls::server).transpose();
        let tls = tls.map_err(|error| StartError::Tls {
            of: format!("listener {:?}", config.name),
            error,
        })?;
        // Envoy names a listener's counters by its address.
        let prefix = format!("listener.{}", config.address.to_string().replace(':', "_"));
        Ok(Self {
            config: Arc::new(config.clone()),
            tls: tls.map(|tls| (Arc::new(tls), Arc::new(TlsStats::new(stats, &prefix)))),
        })
    }
}

// === impl Gateway ===

impl Gateway {
    /// The shared parts for a bootstrap.
    ///
    /// # Errors
    /// Where the engine cannot start, or certificates cannot be used.
    pub fn new(bootstrap: &Bootstrap, options: &Options) -> Result<Arc<Self>, StartError> {
        let stats = Registry::new(bootstrap.stats_tags.clone());
        stats.adopt("switchover.host_log_lines_lost", &options.log_lines_lost);
        let clusters = SharedCluster::all(&bootstrap.clusters, &stats)?;
        let tls = clusters.values().filter_map(|cluster| {
            Some(Followed {
                prefix: format!("cluster.{}.client_ssl_socket_factory", cluster.name),
                tls: cluster.tls.as_ref()?.connector.clone(),
            })
        });
        let mut configs = bootstrap.listeners.clone();
        for config in &mut configs {
            if options.access_log && config.http.access_logs.is_empty() {
                config.http.access_logs.push(access_log::standard());
            }
        }
        let mut sinks: Vec<_> = Vec::new();
        for log in configs.iter().flat_map(|config| &config.http.access_logs) {
            if !sinks.contains(&log.sink) {
                sinks.push(log.sink.clone());
            }
        }
        let logs = LogWriter::start(sinks, &stats).map_err(|error| StartError::System {
            what: "cannot open an access log",
            error,
        })?;
        let listeners: Vec<SecureListener> = configs
            .iter()
            .map(|config| SecureListener::new(config, &stats))
            .collect::<Result<_, _>>()?;
        let listening = listeners.iter().filter_map(|listener| {
            let (tls, _) = listener.tls.as_ref()?;
            Some(Followed {
                prefix: format!(
                    "listener.{}.server_ssl_socket_factory",
                    listener.config.name
                ),
                tls: tls.clone(),
            })
        });
        let tls = tls.chain(listening).collect();
        let process = Arc::new(Process {
            node: bootstrap.node.clone(),
            stats,
            shared_data: abi::SharedData::default(),
            queues: abi::Queues::default(),
            clusters: bootstrap.clusters.keys().cloned().collect(),
            abi: options.abi.clone(),
            limits: options.limits,
            clock: Clock::default(),
            random: Random::default(),
            guest_log: GuestLog::default(),
        });
        Ok(Arc::new(Self {
            process,
            engine: Engine::compiling(Compilation {
                program: options.compiler.clone(),
                cache: options.module_cache.clone().and_then(module_cache),
            })?,
            clusters,
            listeners,
            tls,
            logs: Arc::new(logs),
            env: options.env.clone(),
        }))
    }
}

/// Opens the cache of compiled modules; a gateway serves without it too.
fn module_cache(folder: PathBuf) -> Option<ModuleCache> {
    ModuleCache::open(folder)
        .inspect_err(|error| tracing::warn!("compiled modules are not kept: {error}"))
        .ok()
}

/// Every guest of the file, with its place: listeners' first, then clusters'.
fn wasm_filters(bootstrap: &Bootstrap) -> Vec<(FilterId, &HttpFilter)> {
    let guests = |filters: &'_ [HttpFilter]| {
        filters
            .iter()
            .enumerate()
            .filter(|(_, f)| {
                matches!(
                    f.kind,
                    HttpFilterKind::Wasm(_) | HttpFilterKind::Discovered(_)
                )
            })
            .map(|(at, _)| at)
            .collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for (listener, config) in bootstrap.listeners.iter().enumerate() {
        for filter in guests(&config.http.http_filters) {
            found.push((
                FilterId::Listener { listener, filter },
                &config.http.http_filters[filter],
            ));
        }
    }
    for (name, config) in &bootstrap.clusters {
        for filter in guests(&config.upstream_filters) {
            let id = FilterId::Cluster {
                cluster: name.clone(),
                filter,
            };
            found.push((id, &config.upstream_filters[filter]));
        }
    }
    found
}
