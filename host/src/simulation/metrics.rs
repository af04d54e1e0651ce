//! Metrics as a scenario reads them: by family and labels.

use crate::stats::{GUEST_PREFIX, Metric, Registry};

/// One metric's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its name without labels: a guest's own, or the host's dotted one.
    pub family: String,
    /// Labels of a guest's metric, which follow its name as `;label=value`.
    pub labels: Vec<(String, String)>,
    /// A counter's or gauge's value, or how many values a histogram has.
    pub value: u64,
}

// === impl Sample ===

impl Sample {
    /// Whether it is of this family and has all these labels.
    #[must_use]
    pub fn matches(&self, family: &str, labels: &[(&str, &str)]) -> bool {
        let has = |(name, value): &(&str, &str)| {
            let mut own = self.labels.iter();
            own.any(|(own_name, own_value)| own_name == name && own_value == value)
        };
        self.family == family && labels.iter().all(has)
    }
}

/// Reads them all.
pub(super) fn samples(registry: &Registry) -> Vec<Sample> {
    let read = |(name, metric): (String, Metric)| {
        let name = name.strip_prefix(GUEST_PREFIX).unwrap_or(&name);
        let mut parts = name.split(';');
        let family = parts.next().unwrap_or_default().to_owned();
        let labels = parts.filter_map(|part| part.split_once('='));
        Sample {
            family,
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            value: match metric {
                Metric::Counter(value) | Metric::Gauge(value) => value.get(),
                Metric::Histogram(histogram) => histogram.count(),
            },
        }
    };
    registry.all().into_iter().map(read).collect()
}
