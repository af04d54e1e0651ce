//! Metrics of the process: counters, gauges and histograms under Envoy's dotted names.
//!
//! A name's labels are taken out by tag rules once, when the metric is made; after that a metric is
//! an atomic that any worker adds to.

mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::StatsTag;

/// Upper bounds of the histogram buckets: Envoy's default, the same for every histogram.
pub const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The prefix Envoy gives the metrics that guests define.
pub const GUEST_PREFIX: &str = "wasmcustom.";

/// Guests that define more have a leak (a metric for each request, say).
const MAX_METRICS: usize = 100_000;

/// The prefix of metrics that only this host has.
const OWN_PREFIX: &str = "switchover.";

/// All metrics of the process.
#[derive(Debug)]
pub struct Registry {
    tags: Vec<StatsTag>,
    metrics: RwLock<BTreeMap<String, Entry>>,
}

/// A metric with what its name says.
#[derive(Debug, Clone)]
struct Entry {
    family: String,
    labels: Vec<(String, String)>,
    metric: Metric,
}

/// One metric; clones are the same metric.
#[derive(Debug, Clone)]
pub enum Metric {
    /// Only rises.
    Counter(Counter),
    /// Goes both ways.
    Gauge(Counter),
    /// A distribution.
    Histogram(Arc<Histogram>),
}

/// The kind of a metric, with the ABI's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 0.
    Counter,
    /// 1.
    Gauge,
    /// 2.
    Histogram,
}

/// A number that workers add to without a lock.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

/// A distribution over [`BUCKETS`].
#[derive(Debug, Default)]
pub struct Histogram {
    /// Values at or below each bound and above the one before; the last is what exceeds all.
    buckets: [AtomicU64; BUCKETS.len() + 1],
    sum: AtomicU64,
}

// === impl Counter ===

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes one off.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds a signed offset; wraps as the ABI's gauges do.
    pub fn offset(&self, by: i64) {
        self.0.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Histogram ===

impl Histogram {
    /// Counts one value.
    pub fn record(&self, value: u64) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "bounds are small; above 2^53 all values fall into the last bucket"
        )]
        let at = BUCKETS.partition_point(|bound| *bound < value as f64);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.snapshot().1
    }

    /// Cumulated counts by bound, the count of all, and the sum.
    pub(crate) fn snapshot(&self) -> (Vec<(f64, u64)>, u64, u64) {
        let mut seen = 0;
        let mut bounds = Vec::with_capacity(BUCKETS.len());
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            if let Some(bound) = BUCKETS.get(at) {
                bounds.push((*bound, seen));
            }
        }
        (bounds, seen, self.sum.load(Ordering::Relaxed))
    }
}

// === impl Registry ===

impl Registry {
    /// An empty registry with the file's tag rules.
    #[must_use]
    pub fn new(tags: Vec<StatsTag>) -> Self {
        Self {
            tags,
            metrics: RwLock::default(),
        }
    }

    /// The counter of that name, made if need be.
    #[must_use]
    pub fn counter(&self, name: &str) -> Counter {
        match self.define(name, Kind::Counter) {
            Some(Metric::Counter(counter)) => counter,
            // a name that a guest took for another kind: count where nobody looks rather than fail
            _ => Counter::default(),
        }
    }

    /// Shows a counter that is older than this registry.
    pub fn adopt(&self, name: &str, counter: &Counter) {
        let entry = self.entry(name, Metric::Counter(counter.clone()));
        let mut metrics = self.metrics.write().unwrap_or_else(PoisonError::into_inner);
        metrics.insert(name.to_owned(), entry);
    }

    /// The gauge of that name, made if need be.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Counter {
        match self.define(name, Kind::Gauge) {
            Some(Metric::Gauge(gauge)) => gauge,
            _ => Counter::default(),
        }
    }

    /// The metric of that name and kind, made if need be; `None` where the name has another kind, or guests have too many.
    #[must_use]
    pub fn define(&self, name: &str, kind: Kind) -> Option<Metric> {
        let mut metrics = self.metrics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = metrics.get(name) {
            return (entry.metric.kind() == kind).then(|| entry.metric.clone());
        }
        if metrics.len() >= MAX_METRICS && name.starts_with(GUEST_PREFIX) {
            return None;
        }
        let metric = match kind {
            Kind::Counter => Metric::Counter(Counter::default()),
            Kind::Gauge => Metric::Gauge(Counter::default()),
            Kind::Histogram => Metric::Histogram(Arc::default()),
        };
        metrics.insert(name.to_owned(), self.entry(name, metric.clone()));
        Some(metric)
    }

    fn entry(&self, name: &str, metric: Metric) -> Entry {
        let (family, labels) = text::split(name, &self.tags);
        Entry {
            family,
            labels,
            metric,
        }
    }

    /// Shows each metric with its family and its labels, in the order of the full names.
    pub(crate) fn each(&self, mut show: impl FnMut(&str, &[(String, String)], &Metric)) {
        let metrics = self.metrics.read().unwrap_or_else(PoisonError::into_inner);
        for entry in metrics.values() {
            show(&entry.family, &entry.labels, &entry.metric);
        }
    }

    /// All metrics with their full names, in the names' order.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Metric)> {
        let metrics = self.metrics.read().unwrap_or_else(PoisonError::into_inner);
        metrics
            .iter()
            .map(|(name, entry)| (name.clone(), entry.metric.clone()))
            .collect()
    }
}

// === impl Metric ===

impl Metric {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Counter(_) => Kind::Counter,
            Self::Gauge(_) => Kind::Gauge,
            Self::Histogram(_) => Kind::Histogram,
        }
    }
}
