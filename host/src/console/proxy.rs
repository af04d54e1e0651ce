//! Proxies as they were seen last, and how they stand to the document.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::Serialize;
use switchover_core::guard::Cause;

use super::window::{Counts, Window};
use crate::report::Counted;
use crate::rollout::live::text::Sample;
use crate::rollout::live::{Admin, Figures, LiveError, Percent};
use crate::rollout::status::Status;

/// What is asked for, beside the figures of each rollout.
pub(super) const FAMILIES: [&str; 3] = ["request_duration_ms_bucket", "trips", "document"];
/// What changes when something happens, however many requests there are.
pub(super) const EVENTS: [&str; 6] = [
    "weight",
    "weight_planned",
    "healthy",
    "tripped",
    "trips",
    "document",
];

/// A proxy.
#[derive(Debug, Serialize)]
pub(super) struct ProxyState {
    proxy: String,
    pub(super) condition: Condition,
    /// Why it gives no figures.
    error: Option<String>,
    /// The document's version that it runs; two while it changes, none of a filter that does not tell.
    documents: BTreeSet<String>,
    requests_per_second: Option<f64>,
    rollouts: Vec<ProxyRollout>,
}

/// What a proxy does with a rollout.
#[derive(Debug, Serialize)]
struct ProxyRollout {
    rollout: String,
    follows: bool,
    tripped: Option<bool>,
    /// Shares in force after tripwire and health, by environment.
    in_force: Vec<Option<Percent>>,
}

/// How a proxy stands to the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Condition {
    /// It has not answered yet.
    Asked,
    /// It runs the document as it is.
    Current,
    /// It runs another one.
    Behind,
    /// It gives no figures.
    Down,
}

/// What a proxy told last.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing yet.
    None,
    /// Its figures.
    Stats(Vec<Sample>),
    /// Why it gives none.
    Lost(String),
}

/// A proxy as it was seen last.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) admin: Admin,
    pub(super) answer: Answer,
    pub(super) window: Window,
    /// What its models took; `None` where the document has none, or the proxy does not tell.
    pub(super) costs: Option<Counted>,
}

/// A proxy with its figures of each rollout.
pub(super) struct Known<'a> {
    pub(super) seen: &'a Seen,
    pub(super) figures: Vec<Figures>,
}

// === impl Known ===

impl<'a> Known<'a> {
    pub(super) fn new(seen: &'a Seen, statuses: &[Status]) -> Self {
        let mut known = Known {
            seen,
            figures: Vec::new(),
        };
        if let Some(samples) = known.stats() {
            let read = |status| Figures::read(seen.admin.name(), samples, status);
            known.figures = statuses.iter().map(read).collect();
        }
        known
    }

    pub(super) fn stats(&self) -> Option<&'a [Sample]> {
        match &self.seen.answer {
            Answer::Stats(samples) => Some(samples),
            Answer::None | Answer::Lost(_) => None,
        }
    }

    /// The limits over which a rollout's guard has tripped in this proxy's process.
    pub(super) fn causes(&self, rollout: &str) -> Vec<&'static str> {
        let trips = self.stats().into_iter().flatten();
        let counted: Vec<_> = trips
            .filter(|s| s.is_of("trips") && s.label("rollout") == Some(rollout) && s.value > 0.0)
            .collect();
        let labels = Cause::ALL.into_iter().map(Cause::label);
        labels
            .filter(|label| counted.iter().any(|s| s.label("cause") == Some(label)))
            .collect()
    }

    /// The versions of documents that its workers say they run: one, but for a moment.
    fn documents(&self) -> BTreeSet<String> {
        let samples = self.stats().into_iter().flatten();
        let named = samples.filter(|s| s.is_of("document") && s.value > 0.0);
        named
            .filter_map(|s| s.label("document").map(str::to_owned))
            .collect()
    }

    pub(super) fn state(&self, version: Option<&str>) -> ProxyState {
        let documents = self.documents();
        let (condition, error) = match &self.seen.answer {
            Answer::None => (Condition::Asked, None),
            Answer::Lost(error) => (Condition::Down, Some(error.clone())),
            Answer::Stats(_) => {
                let runs_it = if documents.is_empty() {
                    // A filter of before the metric.
                    self.figures.iter().all(|figures| figures.follows)
                } else {
                    documents.iter().all(|own| Some(own.as_str()) == version)
                };
                let condition = if runs_it {
                    Condition::Current
                } else {
                    Condition::Behind
                };
                (condition, None)
            }
        };
        let rate = self.stats().and_then(|_| self.seen.window.lately());
        let rollout = |figures: &Figures| ProxyRollout {
            rollout: figures.rollout.clone(),
            follows: figures.follows,
            tripped: figures.tripped,
            in_force: figures
                .environments
                .iter()
                .map(|own| own.in_force)
                .collect(),
        };
        ProxyState {
            proxy: self.seen.admin.name().to_owned(),
            condition,
            error,
            documents,
            requests_per_second: rate.map(|(took, counts)| counts.requests() / took.as_secs_f64()),
            rollouts: self.figures.iter().map(rollout).collect(),
        }
    }
}

// === impl Seen ===

impl Seen {
    pub(super) fn new(admin: Admin) -> Self {
        Self {
            admin,
            answer: Answer::None,
            window: Window::default(),
            costs: None,
        }
    }

    /// Takes in an answer: all figures, and what its models took.
    pub(super) fn note(&mut self, answer: Result<(Vec<Sample>, Option<Counted>), LiveError>) {
        (self.answer, self.costs) = match answer {
            Ok((samples, costs)) => {
                self.window.note(Instant::now(), Counts::read(&samples));
                (Answer::Stats(samples), costs)
            }
            Err(error) => (Answer::Lost(error.to_string()), None),
        };
    }
}
