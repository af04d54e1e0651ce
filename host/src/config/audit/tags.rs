//! Whether the file makes labels of what the filter's metrics are called.

use switchover_core::metrics;

use super::Audit;
use crate::config::{Problem, Severity};
use crate::stats::GUEST_PREFIX;

/// How a tag rule takes a label out.
const RULE: &str = r"^wasmcustom\.switchover\..*?(;LABEL=([^;]*))";

impl Audit<'_> {
    /// Labels of the filter's metrics that no rule takes out of their names.
    pub(super) fn tags(&self) -> Option<Problem> {
        self.routes.first()?;
        let has_rule = |label: &&str| {
            let name = format!("{GUEST_PREFIX}{}", metrics::name("x", &[(*label, "1.2")]));
            self.bootstrap.stats_tags.iter().any(|tag| {
                let found = tag.regex.captures(&name);
                let value = found.and_then(|found| found.get(2).or(found.get(1)));
                tag.name == **label && value.is_some_and(|value| value.as_str() == "1.2")
            })
        };
        let missing: Vec<_> = metrics::LABELS
            .into_iter()
            .filter(|label| !has_rule(label))
            .collect();
        (!missing.is_empty()).then(|| Problem {
            file: self.bootstrap.file.clone(),
            line: 0,
            path: "stats_config.stats_tags".to_owned(),
            message: format!(
                "no rule takes the labels {} out of the names of Switchover's metrics, so dashboards and alerts miss them; each is {{tag_name: LABEL, regex: '{RULE}'}}",
                missing.join(", ")
            ),
            severity: Severity::Warning,
        })
    }
}
