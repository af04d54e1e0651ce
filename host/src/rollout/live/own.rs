//! The figures of this process itself, read where they are counted.

use std::sync::Arc;
use std::time::Instant;

use super::text::{Sample, is_of};
use crate::process::Process;
use crate::stats::{Metric, Registry};

/// A gateway in this process.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) process: Arc<Process>,
    pub(super) since: Instant,
}

// === impl Own ===

impl Own {
    /// The samples of these families, as the text of `/stats/prometheus` has them.
    pub(super) fn samples(&self, families: &[&str]) -> Vec<Sample> {
        samples(&self.process.stats, families)
    }
}

fn samples(registry: &Registry, families: &[&str]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let is_wanted = |name: &str| families.iter().any(|family| is_of(name, family));
    registry.each(|family, labels, metric| {
        let mut push = |family: &str, more: Option<String>, value| {
            let bound = more.map(|bound| ("le".to_owned(), bound));
            samples.push(Sample {
                family: family.to_owned(),
                labels: labels.iter().cloned().chain(bound).collect(),
                value,
            });
        };
        match metric {
            Metric::Counter(count) if is_wanted(family) => {
                push(family, None, number(count.get()));
            }
            Metric::Gauge(gauge) if is_wanted(family) => {
                push(family, None, signed(gauge.get()));
            }
            Metric::Histogram(histogram) => {
                let family = [family, "_bucket"].concat();
                if is_wanted(&family) {
                    let (bounds, all, _) = histogram.snapshot();
                    for (bound, seen) in bounds {
                        push(&family, Some(bound.to_string()), number(seen));
                    }
                    push(&family, Some("+Inf".to_owned()), number(all));
                }
            }
            Metric::Counter(_) | Metric::Gauge(_) => {}
        }
    });
    samples
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of the text are f64, too"
)]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of the text are f64, too"
)]
fn signed(gauge: u64) -> f64 {
    gauge.cast_signed() as f64
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::config::StatsTag;
    use crate::rollout::live::text;
    use crate::stats::Kind;

    #[test]
    fn samples_are_those_of_the_text() {
        let registry = Registry::new(vec![StatsTag {
            name: "environment".into(),
            regex: Regex::new("(;environment=([^;]*))").expect("a rule"),
        }]);
        let name = |family: &str| format!("wasmcustom.switchover.{family};environment=blue");
        registry.counter(&name("requests")).add(7);
        registry.gauge(&name("weight")).offset(-2);
        registry.counter(&name("auth")).increment();
        registry.counter("cluster.blue.upstream_rq").increment();
        let Some(Metric::Histogram(histogram)) = registry.define(&name("ms"), Kind::Histogram)
        else {
            panic!("a new name takes any kind")
        };
        histogram.record(3);
        histogram.record(9_999_999);
        let families = ["requests", "weight", "ms_bucket"];
        let told = text::samples(&registry.prometheus(None), &families);
        let sorted = |mut samples: Vec<Sample>| {
            samples.sort_by_key(|sample| format!("{sample:?}"));
            samples
        };
        assert_eq!(sorted(samples(&registry, &families)), sorted(told));
        assert_eq!(samples(&registry, &families).len(), 2 + 20);
    }
}
