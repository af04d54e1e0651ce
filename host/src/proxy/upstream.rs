//! Upstream side: clusters, their hosts, connections, and what may be in flight.

pub mod balancer;
pub mod connect;
pub mod connection;
mod health;
mod http1;
mod http2;
mod pool;
pub mod resolve;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use rustc_hash::FxBuildHasher;

use crate::config;
use crate::config::cluster::{CircuitBreakers, ClusterKind, LbPolicy};
use crate::gateway::StartError;
use crate::stats::{Counter, Registry};
use crate::stream::UpstreamHost;
use connect::UpstreamSecurity;
use pool::Pool;

/// Hosts of one priority.
pub type Level = Arc<[Arc<UpstreamHost>]>;

/// The hosts of a leaf, by priority.
pub type Hosts = Vec<Level>;

/// What all workers share of one cluster.
#[derive(Debug)]
pub struct SharedCluster {
    /// Its name.
    pub name: Arc<str>,
    /// The file's part.
    pub config: config::Cluster,
    /// A leaf's hosts; empty for an aggregate.
    pub hosts: ArcSwap<Hosts>,
    /// Those of them that are healthy.
    pub healthy: ArcSwap<Hosts>,
    /// How its connections are secured; `None`: not at all.
    pub tls: Option<UpstreamSecurity>,
    /// What is in flight.
    pub usage: Usage,
    /// Its counters.
    pub stats: ClusterStats,
}

/// What is in flight in a cluster, in all workers together.
#[derive(Debug, Default)]
pub struct Usage {
    requests: AtomicU32,
    retries: AtomicU32,
}

/// Counters under `cluster.NAME.`, named as Envoy names them.
#[derive(Debug)]
pub struct ClusterStats {
    /// `upstream_rq_total`: attempts.
    pub rq_total: Counter,
    /// `upstream_rq_1xx` to `upstream_rq_5xx`.
    rq_class: [Counter; 5],
    /// `upstream_rq_retry`.
    pub rq_retry: Counter,
    /// `upstream_rq_retry_overflow`.
    pub rq_retry_overflow: Counter,
    /// `upstream_rq_retry_success`.
    pub rq_retry_success: Counter,
    /// `upstream_rq_retry_limit_exceeded`.
    pub rq_retry_limit_exceeded: Counter,
    /// `upstream_rq_retry_backoff_exponential`.
    pub rq_retry_backoff_exponential: Counter,
    /// `upstream_rq_retry_backoff_ratelimited`.
    pub rq_retry_backoff_ratelimited: Counter,
    /// `retry_or_shadow_abandoned`: not retried, since the request's body was above the buffer's limit.
    pub retry_abandoned: Counter,
    /// `upstream_rq_timeout`.
    pub rq_timeout: Counter,
    /// `upstream_rq_per_try_timeout`.
    pub rq_per_try_timeout: Counter,
    /// `upstream_rq_pending_overflow`.
    pub rq_overflow: Counter,
    /// `upstream_rq_active`.
    pub rq_active: Counter,
    /// `upstream_cx_total`.
    pub cx_total: Counter,
    /// `upstream_cx_connect_fail`.
    pub cx_connect_fail: Counter,
    /// `health_check.attempt`.
    health_attempt: Counter,
    /// `health_check.success`.
    health_success: Counter,
    /// `health_check.failure`.
    health_failure: Counter,
    /// `membership_healthy`: a gauge.
    membership_healthy: Counter,
}

/// A cluster on one worker.
pub struct Cluster {
    /// What all workers share.
    pub shared: Arc<SharedCluster>,
    /// Its leaves in order; itself, where it is one.
    pub leaves: Vec<Rc<Leaf>>,
}

/// A leaf cluster on one worker: its idle connections, and where its rotation stands.
pub struct Leaf {
    /// What all workers share.
    pub shared: Arc<SharedCluster>,
    pool: Pool,
    /// Round robin's position.
    next: Cell<usize>,
}

/// One of a counted number of things in flight; gives its place back when dropped.
#[derive(Debug)]
pub struct Permit {
    cluster: Arc<SharedCluster>,
    kind: PermitKind,
}

#[derive(Debug, Clone, Copy)]
enum PermitKind {
    Request,
    Retry,
}

// === impl SharedCluster ===

impl SharedCluster {
    /// Makes every cluster of the file; leaves get their hosts from [`resolve`].
    ///
    /// # Errors
    /// Where a cluster's certificates or trust cannot be used.
    pub fn all(
        clusters: &BTreeMap<String, config::Cluster>,
        stats: &Registry,
    ) -> Result<BTreeMap<String, Arc<Self>>, StartError> {
        clusters
            .iter()
            .map(|(name, config)| {
                let tls = config
                    .tls
                    .clone()
                    .map(|tls| UpstreamSecurity::new(tls, config.protocol.alpn(), stats, name));
                let tls = tls.transpose().map_err(|error| StartError::Tls {
                    of: format!("cluster {name:?}"),
                    error,
                })?;
                let shared = Self {
                    tls,
                    name: Arc::from(name.as_str()),
                    config: config.clone(),
                    hosts: ArcSwap::default(),
                    healthy: ArcSwap::default(),
                    usage: Usage::default(),
                    stats: ClusterStats::new(stats, name),
                };
                Ok((name.clone(), Arc::new(shared)))
            })
            .collect()
    }

    /// Puts hosts, or what health checks found out about them, in force. Called on the control thread only.
    fn publish(&self, hosts: Arc<Hosts>) {
        let healthy = |level: &Level| {
            let all = level.iter().filter(|h| h.healthy.load(Ordering::Relaxed));
            all.cloned().collect()
        };
        let healthy: Hosts = hosts.iter().map(healthy).collect();
        let members = healthy.iter().map(|level| level.len() as u64).sum();
        self.stats.membership_healthy.set(members);
        self.hosts.store(hosts);
        self.healthy.store(Arc::new(healthy));
    }

    /// How many endpoints it has; an aggregate has none of its own.
    #[must_use]
    pub fn endpoints(&self) -> u64 {
        self.hosts
            .load()
            .iter()
            .map(|level| level.len() as u64)
            .sum()
    }

    fn limits(&self) -> &CircuitBreakers {
        &self.config.limits
    }

    /// A place for one more request; `None` where `max_requests` are in flight.
    #[must_use]
    pub fn begin_request(self: &Arc<Self>) -> Option<Permit> {
        self.begin(PermitKind::Request)
    }

    /// A place for one more retry, held through its back-off; `None` where `max_retries` are under way.
    #[must_use]
    pub fn begin_retry(self: &Arc<Self>) -> Option<Permit> {
        self.begin(PermitKind::Retry)
    }

    fn begin(self: &Arc<Self>, kind: PermitKind) -> Option<Permit> {
        let (counter, limit) = match kind {
            PermitKind::Request => (&self.usage.requests, self.limits().max_requests),
            PermitKind::Retry => (&self.usage.retries, self.limits().max_retries),
        };
        if counter.fetch_add(1, Ordering::Relaxed) >= limit {
            counter.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit {
            cluster: self.clone(),
            kind,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let usage = &self.cluster.usage;
        let counter = match self.kind {
            PermitKind::Request => &usage.requests,
            PermitKind::Retry => &usage.retries,
        };
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl ClusterStats ===

impl ClusterStats {
    fn new(stats: &Registry, cluster: &str) -> Self {
        let counter = |name: &str| stats.counter(&format!("cluster.{cluster}.{name}"));
        Self {
            rq_total: counter("upstream_rq_total"),
            rq_class: [1, 2, 3, 4, 5].map(|class| counter(&format!("upstream_rq_{class}xx"))),
            rq_retry: counter("upstream_rq_retry"),
            rq_retry_overflow: counter("upstream_rq_retry_overflow"),
            rq_retry_success: counter("upstream_rq_retry_success"),
            rq_retry_limit_exceeded: counter("upstream_rq_retry_limit_exceeded"),
            rq_retry_backoff_exponential: counter("upstream_rq_retry_backoff_exponential"),
            rq_retry_backoff_ratelimited: counter("upstream_rq_retry_backoff_ratelimited"),
            retry_abandoned: counter("retry_or_shadow_abandoned"),
            rq_timeout: counter("upstream_rq_timeout"),
            rq_per_try_timeout: counter("upstream_rq_per_try_timeout"),
            rq_overflow: counter("upstream_rq_pending_overflow"),
            rq_active: stats.gauge(&format!("cluster.{cluster}.upstream_rq_active")),
            cx_total: counter("upstream_cx_total"),
            cx_connect_fail: counter("upstream_cx_connect_fail"),
            health_attempt: counter("health_check.attempt"),
            health_success: counter("health_check.success"),
            health_failure: counter("health_check.failure"),
            membership_healthy: stats.gauge(&format!("cluster.{cluster}.membership_healthy")),
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

// === impl Cluster ===

impl Cluster {
    /// The clusters of one worker by name.
    #[must_use]
    pub fn all(
        shared: &BTreeMap<String, Arc<SharedCluster>>,
    ) -> HashMap<Arc<str>, Rc<Self>, FxBuildHasher> {
        let leaves: BTreeMap<&str, Rc<Leaf>> = shared
            .iter()
            .filter(|(_, cluster)| matches!(cluster.config.kind, ClusterKind::Leaf { .. }))
            .map(|(name, cluster)| (name.as_str(), Rc::new(Leaf::new(cluster.clone()))))
            .collect();
        shared
            .iter()
            .map(|(name, cluster)| {
                let names: Vec<&str> = match &cluster.config.kind {
                    ClusterKind::Leaf { .. } => vec![name.as_str()],
                    ClusterKind::Aggregate(names) => names.iter().map(String::as_str).collect(),
                };
                let leaves = names
                    .into_iter()
                    .filter_map(|name| leaves.get(name).cloned())
                    .collect();
                (
                    cluster.name.clone(),
                    Rc::new(Self {
                        shared: cluster.clone(),
                        leaves,
                    }),
                )
            })
            .collect()
    }
}

impl Cluster {
    /// Whether its leaves are clusters of their own.
    #[must_use]
    pub fn is_aggregate(&self) -> bool {
        matches!(self.shared.config.kind, ClusterKind::Aggregate(_))
    }
}

// === impl Leaf ===

impl Leaf {
    fn new(shared: Arc<SharedCluster>) -> Self {
        Self {
            shared,
            pool: Pool::default(),
            next: Cell::new(fastrand::usize(..)),
        }
    }

    /// One of `hosts`, which are not empty, by the cluster's policy.
    fn choose<'h>(&self, hosts: &'h [Arc<UpstreamHost>]) -> Option<&'h Arc<UpstreamHost>> {
        let at = match self.shared.config.lb_policy {
            LbPolicy::Random => fastrand::usize(..),
            LbPolicy::RoundRobin | LbPolicy::LeastRequest => {
                let at = self.next.get();
                self.next.set(at.wrapping_add(1));
                at
            }
        };
        let weights: u32 = hosts
            .iter()
            .map(|host| host.endpoint.weight)
            .fold(0, u32::saturating_add);
        if usize::try_from(weights).is_ok_and(|sum| sum != hosts.len()) {
            return by_weight(hosts, at, weights);
        }
        hosts.get(at.checked_rem(hosts.len())?)
    }
}

/// The host at a position among as many as the sum of weights.
fn by_weight(hosts: &[Arc<UpstreamHost>], at: usize, weights: u32) -> Option<&Arc<UpstreamHost>> {
    let mut left = u32::try_from(at.checked_rem(usize::try_from(weights).ok()?)?).ok()?;
    for host in hosts {
        match left.checked_sub(host.endpoint.weight) {
            Some(rest) => left = rest,
            None => return Some(host),
        }
    }
    None
}
