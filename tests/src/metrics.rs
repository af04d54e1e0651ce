//! Assertions on the Prometheus text of either engine.

use std::collections::BTreeMap;

use crate::Gateway;

/// A query for series of one family; see [`Gateway::metric`].
pub struct Metric<'a> {
    gateway: &'a Gateway,
    family: String,
    labels: Vec<(String, String)>,
}

/// One line of the text.
#[derive(Debug, PartialEq)]
pub struct Series {
    /// The family's name.
    pub family: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

// === impl Metric ===

impl<'a> Metric<'a> {
    pub(crate) fn new(gateway: &'a Gateway, family: &str) -> Self {
        Self {
            gateway,
            family: family.to_owned(),
            labels: Vec::new(),
        }
    }

    /// Only series with this label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The sum of the series that match; 0 where there is none.
    pub async fn value(&self) -> f64 {
        let text = self.gateway.admin("/stats/prometheus").await;
        let all = text.lines().filter_map(parse);
        let matches = |s: &Series| {
            s.family == self.family && self.labels.iter().all(|(k, v)| s.labels.get(k) == Some(v))
        };
        all.filter(matches).map(|s| s.value).sum()
    }

    /// Waits until the sum is this value. Counters arrive with the guest's tick.
    pub async fn becomes(&self, expected: f64) {
        crate::assert_eventually!(
            self.value().await == expected,
            "{} {:?} is {}, not {expected}, in\n{}",
            self.family,
            self.labels,
            self.value().await,
            self.gateway.admin("/stats/prometheus").await
        );
    }
}

/// Reads one line; none for comments and empty lines.
fn parse(line: &str) -> Option<Series> {
    if line.starts_with('#') || line.is_empty() {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (family, labels) = match series.split_once('{') {
        Some((family, rest)) => (family, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut parsed = BTreeMap::new();
    let mut rest = labels;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"')?;
        parsed.insert(name.trim_start_matches(',').to_owned(), value.to_owned());
        rest = after;
    }
    Some(Series {
        family: family.to_owned(),
        labels: parsed,
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_family_labels_and_value() {
        let series = parse(r#"requests{environment="blue",reason="a,b"} 12"#).unwrap();
        assert_eq!(series.family, "requests");
        assert_eq!(series.labels["reason"], "a,b");
        assert_eq!(series.value, 12.0);
        assert_eq!(parse("# TYPE requests counter"), None);
        assert_eq!(parse("plain 1.5").unwrap().value, 1.5);
    }
}
