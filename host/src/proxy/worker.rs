//! A worker: one thread, one runtime, its own sockets, VMs and connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;
use rustc_hash::FxBuildHasher;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use super::access_log::{Logs, WorkerLogs};
use super::callout;
use super::connection_limit::ConnectionLimit;
use super::downstream::{self, Client};
use super::filters::{Chain, Filter};
use super::otel::{self, Tracer};
use super::router::Router;
use super::upstream::Cluster;
use crate::abi::queues::{MAX_WORDS, Mailbox};
use crate::config::access_log;
use crate::config::listener::{HttpFilter, HttpFilterKind, Listener};
use crate::gateway::{FilterId, Gateway, Ready, SecureListener};
use crate::stats::{Counter, Registry};
use crate::tls::{ServerTls, TlsStats};
use crate::vm::VmError;
use crate::vm::plugin::{Plugin, Vms};

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// Numbers of client connections.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// One worker's part of the gateway.
pub struct Worker {
    clusters: HashMap<Arc<str>, Rc<WorkerCluster>, FxBuildHasher>,
    vms: RefCell<Option<Rc<Vms>>>,
    clients: RefCell<Vec<Weak<Client>>>,
    draining: Cell<bool>,
    /// The empty name, shared.
    pub no_name: Arc<str>,
    /// What is to be written to access logs.
    logs: Rc<WorkerLogs>,
}

/// A cluster with its upstream filters on this worker.
pub struct WorkerCluster {
    /// Hosts and connections.
    pub upstream: Rc<Cluster>,
    /// Its upstream filters.
    pub filters: Chain,
}

/// A listener on this worker.
pub struct WorkerListener {
    /// The file's part.
    pub config: Arc<Listener>,
    /// Its filters.
    pub chain: Chain,
    /// Its routes.
    pub router: Router,
    /// The worker.
    pub worker: Rc<Worker>,
    /// The `server` header of responses.
    pub server: HeaderValue,
    /// Its counters.
    pub stats: ListenerStats,
    /// Its TLS and what is counted of it; `None` for cleartext.
    pub tls: Option<(Arc<ServerTls>, Arc<TlsStats>)>,
    /// Its access logs.
    pub logs: Logs,
    /// Whether they need the responses' headers.
    pub keeps_heads: bool,
    /// What its requests are traced by; `None` where the file says nothing of tracing.
    pub tracer: Option<Rc<Tracer>>,
    /// Its limit of connections.
    pub limit: Option<ConnectionLimit>,
}

/// Counters under `http.STAT_PREFIX.`, named as Envoy names them.
#[derive(Debug)]
pub struct ListenerStats {
    /// `downstream_rq_total`.
    pub rq_total: Counter,
    /// `downstream_rq_active`.
    pub rq_active: Counter,
    /// `downstream_rq_rx_reset`: ended without a response.
    pub rq_reset: Counter,
    rq_class: [Counter; 5],
    cx_total: Counter,
    cx_active: Counter,
}

/// What the control thread asks of a worker.
pub enum Command {
    /// Put a plugin in place of another; answers whether it runs.
    Swap(FilterId, Box<Ready>, oneshot::Sender<Result<(), VmError>>),
    /// Accept no more; close connections as they become idle.
    Drain,
}

// === impl ListenerStats ===

impl ListenerStats {
    fn new(stats: &Registry, prefix: &str) -> Self {
        let name = |name: &str| format!("http.{prefix}.{name}");
        Self {
            rq_total: stats.counter(&name("downstream_rq_total")),
            rq_active: stats.gauge(&name("downstream_rq_active")),
            rq_reset: stats.counter(&name("downstream_rq_rx_reset")),
            rq_class: [1, 2, 3, 4, 5]
                .map(|class| stats.counter(&name(&format!("downstream_rq_{class}xx")))),
            cx_total: stats.counter(&name("downstream_cx_total")),
            cx_active: stats.gauge(&name("downstream_cx_active")),
        }
    }

    /// Counts a response by its class.
    pub fn response(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(counter) = class.checked_sub(1).and_then(|at| self.rq_class.get(at)) {
            counter.increment();
        }
    }
}

// === impl Worker ===

impl Worker {
    /// The cluster of that name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<Rc<WorkerCluster>> {
        self.clusters.get(name).cloned()
    }

    /// The shared name of the cluster of that name.
    #[must_use]
    pub fn cluster_name(&self, name: &str) -> Option<Arc<str>> {
        self.clusters
            .get_key_value(name)
            .map(|(name, _)| name.clone())
    }

    /// Whether the process is going down.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    fn sweep(&self) {
        self.clients.borrow_mut().retain(|client| {
            let Some(client) = client.upgrade() else {
                return false;
            };
            client.check();
            true
        });
        self.logs.flush();
        if let Some(vms) = &*self.vms.borrow() {
            vms.tell();
        }
        for cluster in self.clusters.values() {
            for leaf in &cluster.upstream.leaves {
                leaf.sweep();
            }
        }
    }

    fn drain(&self) {
        self.draining.set(true);
        for client in self.clients.borrow().iter().filter_map(Weak::upgrade) {
            client.close();
        }
    }

    fn busy(&self) -> bool {
        self.clients
            .borrow()
            .iter()
            .any(|client| client.strong_count() > 0)
    }
}

/// Runs a worker until it is drained or its commands end. `sockets` are its own, in the order of the listeners.
///
/// `ready` is told when it accepts, or why it cannot.
pub async fn run(
    gateway: Arc<Gateway>,
    plugins: Vec<(FilterId, Ready)>,
    sockets: Vec<std::net::TcpListener>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    ready: oneshot::Sender<Result<(), VmError>>,
) {
    let (worker, listeners) = build(&gateway);
    for (id, plugin) in plugins {
        if let Err(error) = swap(&worker, &listeners, &id, &plugin) {
            let _ = ready.send(Err(error));
            return;
        }
    }
    let tracers: Vec<_> = listeners.iter().filter_map(|l| l.tracer.clone()).collect();
    for tracer in &tracers {
        tokio::task::spawn_local(otel::run(worker.clone(), tracer.clone()));
    }
    let accepting: Vec<_> = listeners
        .iter()
        .zip(sockets)
        .map(|(listener, socket)| tokio::task::spawn_local(accept(listener.clone(), socket)))
        .collect();
    let _ = ready.send(Ok(()));
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            _ = sweep.tick() => worker.sweep(),
            command = commands.recv() => match command {
                Some(Command::Swap(id, plugin, done)) => {
                    let _ = done.send(swap(&worker, &listeners, &id, &plugin));
                }
                Some(Command::Drain) | None => break,
            },
        }
    }
    for task in accepting {
        task.abort();
    }
    worker.drain();
    while worker.busy() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    worker.logs.flush();
    for tracer in &tracers {
        otel::finish(&worker, tracer).await;
    }
}

/// The worker's structures, their plugins still to come.
fn build(gateway: &Arc<Gateway>) -> (Rc<Worker>, Vec<Rc<WorkerListener>>) {
    let clusters = Cluster::all(&gateway.clusters)
        .into_iter()
        .map(|(name, upstream)| {
            let filters = chain(&upstream.shared.config.upstream_filters);
            (name, Rc::new(WorkerCluster { upstream, filters }))
        })
        .collect();
    let worker = Rc::new(Worker {
        clusters,
        vms: RefCell::new(None),
        clients: RefCell::default(),
        draining: Cell::new(false),
        no_name: Arc::from(""),
        logs: Rc::new(WorkerLogs::new(gateway.logs.clone())),
    });
    let effects = Rc::downgrade(&worker);
    let (mail, mut ready) = mpsc::channel(MAX_WORDS);
    let vms = Vms::new(
        gateway.process.clone(),
        Rc::new(move |vm, effect| {
            if let Some(worker) = effects.upgrade() {
                callout::effect(&worker, vm, effect);
            }
        }),
        // A worker that is gone needs no word, nor does one that has as many as there can be items.
        Mailbox::new(move |word| {
            let _ = mail.try_send(word);
        }),
    );
    let queues = Rc::downgrade(&vms);
    tokio::task::spawn_local(async move {
        while let Some(word) = ready.recv().await {
            let Some(vms) = queues.upgrade() else { return };
            vms.queue_ready(word);
        }
    });
    *worker.vms.borrow_mut() = Some(vms);
    let listeners = gateway
        .listeners
        .iter()
        .map(|SecureListener { config, tls }| {
            Rc::new(WorkerListener {
                tls: tls.clone(),
                chain: chain(&config.http.http_filters),
                router: Router::new(config.http.routes.clone()),
                worker: worker.clone(),
                server: HeaderValue::from_str(&config.http.server_name)
                    .unwrap_or_else(|_| HeaderValue::from_static("envoy")),
                stats: ListenerStats::new(&gateway.process.stats, &config.http.stat_prefix),
                logs: logs(config, gateway, &worker),
                tracer: config.http.tracing.as_ref().map(|tracing| {
                    let prefix = &config.http.stat_prefix;
                    let node = &gateway.process.node.id;
                    let stats = &gateway.process.stats;
                    Rc::new(Tracer::new(tracing.clone(), node, prefix, stats))
                }),
                keeps_heads: access_log::needs_response_headers(&config.http.access_logs),
                limit: config
                    .connection_limit
                    .as_ref()
                    .map(|limit| ConnectionLimit::new(limit, &gateway.process.stats)),
                config: config.clone(),
            })
        })
        .collect();
    (worker, listeners)
}

fn logs(config: &Listener, gateway: &Gateway, worker: &Worker) -> Logs {
    let logs = config.http.access_logs.iter().filter_map(|log| {
        let place = gateway.logs.place(&log.sink)?;
        Some((Arc::new(log.clone()), place))
    });
    Logs::new(logs.collect(), worker.logs.clone())
}

fn chain(filters: &[HttpFilter]) -> Chain {
    let filters = filters
        .iter()
        .filter_map(|filter| match &filter.kind {
            HttpFilterKind::Wasm(_) | HttpFilterKind::Discovered(_) => {
                Some(Filter::Wasm(RefCell::new(None)))
            }
            HttpFilterKind::HeaderMutation(edits) => Some(Filter::Mutation(Rc::new(edits.clone()))),
            HttpFilterKind::Terminal => None,
        })
        .collect();
    Chain { filters }
}

/// Starts a plugin and puts it in its place; streams that run keep the one they have.
fn swap(
    worker: &Rc<Worker>,
    listeners: &[Rc<WorkerListener>],
    id: &FilterId,
    ready: &Ready,
) -> Result<(), VmError> {
    let chain = match id {
        FilterId::Listener { listener, .. } => {
            listeners.get(*listener).map(|listener| &listener.chain)
        }
        FilterId::Cluster { cluster, .. } => worker
            .clusters
            .get(cluster.as_str())
            .map(|cluster| &cluster.filters),
    };
    let Some(Filter::Wasm(slot)) = chain.and_then(|chain| chain.filters.get(id.filter())) else {
        return Ok(());
    };
    let Some(vms) = worker.vms.borrow().clone() else {
        return Ok(());
    };
    let plugin = Plugin::start(ready.config.clone(), ready.compiled.clone(), vms)?;
    let before = slot.borrow_mut().replace(plugin);
    drop(before);
    Ok(())
}

async fn accept(listener: Rc<WorkerListener>, socket: std::net::TcpListener) {
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            return tracing::error!(listener = listener.config.name, "cannot listen: {error}");
        }
    };
    let local = socket.local_addr().unwrap_or(listener.config.address);
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => connect(&listener, stream, remote, local),
            Err(error) => {
                // Out of descriptors, most likely: those in use will be given back.
                tracing::warn!(listener = listener.config.name, "cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn connect(
    listener: &Rc<WorkerListener>,
    stream: tokio::net::TcpStream,
    remote: SocketAddr,
    local: SocketAddr,
) {
    if let Some(limit) = &listener.limit
        && !limit.enter()
    {
        return limit.refuse(stream);
    }
    let id = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let client = Client::new(listener.clone(), remote, local, id);
    listener
        .worker
        .clients
        .borrow_mut()
        .push(Rc::downgrade(&client));
    listener.stats.cx_total.increment();
    listener.stats.cx_active.increment();
    let listener = listener.clone();
    tokio::task::spawn_local(async move {
        downstream::serve(stream, client).await;
        listener.stats.cx_active.decrement();
        if let Some(limit) = &listener.limit {
            limit.leave();
        }
    });
}
