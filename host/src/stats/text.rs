//! Names to families and labels, and the two texts that the admin serves.

use std::fmt::Write as _;
use std::sync::{LazyLock, PoisonError};

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType,
};
use regex::Regex;

use super::{GUEST_PREFIX, Kind, Metric, OWN_PREFIX, Registry};
use crate::config::StatsTag;

/// Tag rules that Envoy has built in, as far as the host's own metrics need them.
static BUILT_IN: LazyLock<Vec<StatsTag>> = LazyLock::new(|| {
    [
        ("envoy_cluster_name", r"^cluster\.(([^.]+)\.)"),
        ("envoy_http_conn_manager_prefix", r"^http\.(([^.]+)\.)"),
        ("envoy_listener_address", r"^listener\.((.+?)\.)downstream"),
        ("envoy_xds_resource_name", r"^sds\.((.+)\.)[^.]+$"),
        ("envoy_response_code_class", r"_rq(_(\dxx))$"),
        ("vm", r"^switchover\..*?(;vm=([^;]*))"),
    ]
    .into_iter()
    .filter_map(|(name, rule)| {
        Some(StatsTag {
            name: name.to_owned(),
            regex: Regex::new(rule).ok()?,
        })
    })
    .collect()
});

/// Takes the labels out of a metric's name; what is left is the family.
pub(super) fn split(name: &str, tags: &[StatsTag]) -> (String, Vec<(String, String)>) {
    let mut left = name.to_owned();
    let mut labels: Vec<(String, String)> = Vec::new();
    for tag in tags.iter().chain(BUILT_IN.iter()) {
        let Some(found) = tag.regex.captures(&left) else {
            continue;
        };
        let Some(removed) = found.get(1) else {
            continue;
        };
        let value = found.get(2).unwrap_or(removed).as_str().to_owned();
        let range = removed.range();
        left.replace_range(range, "");
        if !labels.iter().any(|(name, _)| *name == tag.name) {
            labels.push((tag.name.clone(), value));
        }
    }
    labels.sort();
    // Envoy drops its custom namespace, and gives all else its own prefix. What only this host has is not Envoy's.
    let family = match left.strip_prefix(GUEST_PREFIX) {
        Some(own) => sanitise(own),
        None if left.starts_with(OWN_PREFIX) => sanitise(&left),
        None => format!("envoy_{}", sanitise(&left)),
    };
    (family, labels)
}

/// Only what a Prometheus name may hold.
fn sanitise(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

impl Registry {
    /// `/stats`: a line each, by name; only of names that the filter finds something in.
    #[must_use]
    pub fn plain(&self, filter: Option<&Regex>) -> String {
        let metrics = self.metrics.read().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        for (name, entry) in metrics.iter().filter(|(name, _)| passes(name, filter)) {
            let _ = match &entry.metric {
                Metric::Counter(value) | Metric::Gauge(value) => {
                    writeln!(out, "{name}: {}", value.get())
                }
                Metric::Histogram(histogram) => {
                    let (_, count, sum) = histogram.snapshot();
                    writeln!(out, "{name}: count={count} sum={sum}")
                }
            };
        }
        out
    }

    /// `/stats/prometheus`: the text exposition format; only of names that the filter finds something in.
    #[must_use]
    pub fn prometheus(&self, filter: Option<&Regex>) -> String {
        let metrics = self.metrics.read().unwrap_or_else(PoisonError::into_inner);
        let mut families: std::collections::BTreeMap<&str, MetricFamily> =
            std::collections::BTreeMap::new();
        for (_, entry) in metrics.iter().filter(|(name, _)| passes(name, filter)) {
            let family = families.entry(&entry.family).or_insert_with(|| {
                let mut family = MetricFamily::default();
                family.set_name(entry.family.clone());
                family.set_field_type(match entry.metric.kind() {
                    Kind::Counter => MetricType::COUNTER,
                    Kind::Gauge => MetricType::GAUGE,
                    Kind::Histogram => MetricType::HISTOGRAM,
                });
                family
            });
            family
                .mut_metric()
                .push(sample(&entry.labels, &entry.metric));
        }
        let families: Vec<MetricFamily> = families.into_values().collect();
        prometheus::TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// Names are those before labels are taken out, as Envoy's filter has them.
fn passes(name: &str, filter: Option<&Regex>) -> bool {
    filter.is_none_or(|filter| filter.is_match(name))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the text format's numbers are f64"
)]
fn sample(labels: &[(String, String)], metric: &Metric) -> Sample {
    let pairs = labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(sanitise(name));
            pair.set_value(value.clone());
            pair
        })
        .collect();
    let mut sample = Sample::from_label(pairs);
    match metric {
        Metric::Counter(value) => {
            let mut counter = Counter::default();
            counter.set_value(value.get() as f64);
            sample.set_counter(counter);
        }
        Metric::Gauge(value) => {
            let mut gauge = Gauge::default();
            gauge.set_value(value.get().cast_signed() as f64);
            sample.set_gauge(gauge);
        }
        Metric::Histogram(source) => {
            let (bounds, count, sum) = source.snapshot();
            let mut histogram = Histogram::default();
            histogram.set_bucket(
                bounds
                    .into_iter()
                    .map(|(bound, seen)| {
                        let mut bucket = Bucket::default();
                        bucket.set_upper_bound(bound);
                        bucket.set_cumulative_count(seen);
                        bucket
                    })
                    .collect(),
            );
            histogram.set_sample_count(count);
            histogram.set_sample_sum(sum as f64);
            sample.set_histogram(histogram);
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_labels_become_labels() {
        let tags = vec![StatsTag {
            name: "environment".into(),
            regex: Regex::new("(;environment=([^;]*))").unwrap(),
        }];
        let (family, labels) = split("wasmcustom.switchover.requests;environment=blue.2", &tags);
        assert_eq!(family, "switchover_requests");
        assert_eq!(labels, [("environment".to_owned(), "blue.2".to_owned())]);
    }

    #[test]
    fn the_hosts_own_names_follow_envoy() {
        let (family, labels) = split("cluster.green-only.upstream_rq_2xx", &[]);
        assert_eq!(family, "envoy_cluster_upstream_rq");
        assert_eq!(
            labels,
            [
                ("envoy_cluster_name".to_owned(), "green-only".to_owned()),
                ("envoy_response_code_class".to_owned(), "2xx".to_owned())
            ]
        );
    }

    #[test]
    fn prometheus_text_has_cumulated_buckets() {
        let registry = Registry::new(Vec::new());
        let Some(Metric::Histogram(histogram)) =
            registry.define("wasmcustom.latency", Kind::Histogram)
        else {
            panic!("a new name takes any kind")
        };
        histogram.record(1);
        histogram.record(7);
        let text = registry.prometheus(None);
        assert!(text.contains("latency_bucket{le=\"5\"} 1\n"), "{text}");
        assert!(text.contains("latency_bucket{le=\"+Inf\"} 2\n"), "{text}");
        assert!(
            registry
                .define("wasmcustom.latency", Kind::Counter)
                .is_none(),
            "a name keeps its kind"
        );
    }
}
