//! What a proxy did lately: the growth of its counters over the last seconds.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::rollout::live::text::Sample;

/// How far back figures reach. Envoy adds to its histograms every five seconds by default.
pub(super) const SPAN: Duration = Duration::from_secs(10);

/// What is counted.
const FAMILIES: [&str; 4] = [
    "requests",
    "attempts",
    "failures",
    "request_duration_ms_bucket",
];

/// Counts by rollout and environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts(BTreeMap<(String, String), Count>);

/// What is counted for an environment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Count {
    /// Requests that were sent there.
    pub(super) requests: u64,
    /// Outcomes.
    pub(super) attempts: u64,
    /// Failures among the outcomes.
    pub(super) failures: u64,
    /// How many requests took so long, by the bits of each bucket's upper bound in milliseconds; those of positive
    /// numbers are in the numbers' order.
    latencies: BTreeMap<u64, u64>,
}

/// The growth of one proxy's counters.
#[derive(Debug, Default)]
pub(super) struct Window {
    last: Option<(Instant, Counts)>,
    parts: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    at: Instant,
    took: Duration,
    counts: Counts,
}

// === impl Counts ===

impl Counts {
    /// Picks them from a proxy's samples.
    pub(super) fn read(samples: &[Sample]) -> Self {
        let mut counts = Self::default();
        for sample in samples {
            let Some(family) = FAMILIES.iter().find(|family| sample.is_of(family)) else {
                continue;
            };
            let (Some(rollout), Some(environment)) =
                (sample.label("rollout"), sample.label("environment"))
            else {
                continue;
            };
            let key = (rollout.to_owned(), environment.to_owned());
            let own = counts.0.entry(key).or_default();
            let value = whole(sample.value);
            match *family {
                "requests" => own.requests += value,
                "attempts" => own.attempts += value,
                "failures" => own.failures += value,
                _ => {
                    let bound = sample.label("le").and_then(|le| le.parse::<f64>().ok());
                    if let Some(bound) = bound.filter(|bound| *bound >= 0.0) {
                        *own.latencies.entry(bound.to_bits()).or_default() += value;
                    }
                }
            }
        }
        counts.0.values_mut().for_each(Count::take_apart);
        counts
    }

    /// Of an environment of a rollout.
    pub(super) fn of(&self, rollout: &str, environment: &str) -> Option<&Count> {
        self.0.get(&(rollout.to_owned(), environment.to_owned()))
    }

    /// All requests.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with few digits"
    )]
    pub(super) fn requests(&self) -> f64 {
        self.0.values().map(|count| count.requests).sum::<u64>() as f64
    }

    /// What was added since `before`: all of it where a counter has fallen, for then the process was started anew.
    fn since(&self, before: &Self) -> Self {
        let is_older =
            |(key, old): (&_, &Count)| self.0.get(key).is_some_and(|new| !old.exceeds(new));
        if !before.0.iter().all(is_older) {
            return self.clone();
        }
        let nothing = Count::default();
        let added = |(key, new): (&(String, String), &Count)| {
            (
                key.clone(),
                new.minus(before.0.get(key).unwrap_or(&nothing)),
            )
        };
        Self(self.0.iter().map(added).collect())
    }

    fn add(&mut self, other: &Self) {
        for (key, count) in &other.0 {
            self.0.entry(key.clone()).or_default().add(count);
        }
    }
}

// === impl Count ===

impl Count {
    /// From counts up to each bound to counts within each bucket.
    fn take_apart(&mut self) {
        let mut below = 0;
        for count in self.latencies.values_mut() {
            let up_to = *count;
            *count = up_to.saturating_sub(below);
            below = up_to;
        }
    }

    fn exceeds(&self, newer: &Self) -> bool {
        self.requests > newer.requests
            || self.attempts > newer.attempts
            || self.failures > newer.failures
            || self
                .latencies
                .iter()
                .any(|(bound, count)| *count > newer.latencies.get(bound).copied().unwrap_or(0))
    }

    fn minus(&self, older: &Self) -> Self {
        let less = |bound, count: u64| {
            count.saturating_sub(older.latencies.get(bound).copied().unwrap_or(0))
        };
        Self {
            requests: self.requests.saturating_sub(older.requests),
            attempts: self.attempts.saturating_sub(older.attempts),
            failures: self.failures.saturating_sub(older.failures),
            latencies: self
                .latencies
                .iter()
                .map(|(bound, count)| (*bound, less(bound, *count)))
                .collect(),
        }
    }

    /// Adds another's.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.attempts += other.attempts;
        self.failures += other.failures;
        for (bound, count) in &other.latencies {
            *self.latencies.entry(*bound).or_default() += count;
        }
    }

    /// The part of the outcomes that were no failures; `None` without any. Without an attempt role, requests are what has
    /// outcomes.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is shown with few digits"
    )]
    pub(super) fn success(&self) -> Option<f64> {
        let all = match self.attempts {
            0 => self.requests,
            attempts => attempts,
        };
        let good = all.saturating_sub(self.failures);
        (all > 0).then(|| good as f64 / all as f64)
    }

    /// A quantile of the latencies in milliseconds, evenly spread within its bucket; `None` without any. What exceeds
    /// all bounds counts as the last of them.
    #[expect(
        clippy::cast_precision_loss,
        reason = "buckets are coarser than any rounding"
    )]
    pub(super) fn latency(&self, quantile: f64) -> Option<f64> {
        let total: u64 = self.latencies.values().sum();
        if total == 0 {
            return None;
        }
        let rank = quantile * total as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (bound, count) in &self.latencies {
            let (upper, count) = (f64::from_bits(*bound), *count as f64);
            if below + count >= rank && count > 0.0 {
                let within = lower + (upper - lower) * ((rank - below) / count);
                return Some(if upper.is_finite() { within } else { lower });
            }
            below += count;
            lower = upper;
        }
        Some(lower)
    }
}

// === impl Window ===

impl Window {
    /// Takes in what a proxy told at an instant.
    pub(super) fn note(&mut self, at: Instant, counts: Counts) {
        if let Some((before, last)) = &self.last {
            let took = at.saturating_duration_since(*before);
            // After a longer silence nobody knows when it was.
            if took <= SPAN {
                let counts = counts.since(last);
                self.parts.push_back(Part { at, took, counts });
            }
        }
        self.last = Some((at, counts));
        while self
            .parts
            .front()
            .is_some_and(|part| at.saturating_duration_since(part.at) + part.took > SPAN)
        {
            self.parts.pop_front();
        }
    }

    /// What was added lately, and over how long; `None` before there are two answers to compare.
    pub(super) fn lately(&self) -> Option<(Duration, Counts)> {
        let took: Duration = self.parts.iter().map(|part| part.took).sum();
        if took.is_zero() {
            return None;
        }
        let mut sum = Counts::default();
        self.parts.iter().for_each(|part| sum.add(&part.counts));
        Some((took, sum))
    }
}

/// A counter's value.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rollout::live::text::samples;

    fn text(requests: u64, failures: u64, buckets: &[(&str, u64)]) -> Vec<Sample> {
        let labels = "environment=\"green\",rollout=\"api\"";
        let mut text = format!(
            "switchover_requests{{{labels},reason=\"a\"}} {requests}\nswitchover_requests{{{labels},reason=\"b\"}} 0\n\
             switchover_attempts{{{labels}}} {requests}\nswitchover_failures{{{labels}}} {failures}\n"
        );
        for (bound, count) in buckets {
            text += &format!(
                "switchover_request_duration_ms_bucket{{{labels},le=\"{bound}\"}} {count}\n"
            );
        }
        samples(&text, &FAMILIES)
    }

    fn window(texts: &[(u64, Vec<Sample>)]) -> Window {
        let (start, mut window) = (Instant::now(), Window::default());
        for (seconds, text) in texts {
            let at = start + Duration::from_secs(*seconds);
            window.note(at, Counts::read(text));
        }
        window
    }

    fn of_green(window: &Window) -> (u64, Count) {
        let (took, counts) = window.lately().expect("figures");
        (
            took.as_secs(),
            counts.of("api", "green").expect("green").clone(),
        )
    }

    #[test]
    fn growth_within_the_span() {
        let window = window(&[
            (0, text(100, 50, &[])),
            (2, text(140, 50, &[])),
            (11, text(200, 56, &[])),
            (12, text(210, 57, &[])),
        ]);
        let (seconds, green) = of_green(&window);
        assert_eq!(
            (seconds, green.requests, green.failures),
            (10, 70, 7),
            "the first part is too old"
        );
        assert_eq!(green.success(), Some(0.9));
    }

    #[test]
    fn a_restart_begins_at_nothing() {
        let window = window(&[
            (0, text(100, 5, &[])),
            (1, text(110, 5, &[])),
            (2, text(7, 1, &[])),
        ]);
        let (_, green) = of_green(&window);
        assert_eq!((green.requests, green.failures), (17, 1));
    }

    #[test]
    fn a_silence_is_not_counted() {
        let window = window(&[(0, text(1, 0, &[])), (60, text(1000, 0, &[]))]);
        assert!(window.lately().is_none());
    }

    #[test]
    fn quantiles_are_within_their_buckets() {
        let buckets = [("1", 10), ("5", 90), ("10", 100), ("+Inf", 100)];
        let window = window(&[
            (0, text(0, 0, &buckets.map(|(b, _)| (b, 0)))),
            (1, text(100, 0, &buckets)),
        ]);
        let (_, green) = of_green(&window);
        assert_eq!(green.latency(0.5), Some(3.0));
        assert_eq!(green.latency(0.95), Some(7.5));
        assert_eq!(Count::default().latency(0.5), None);
        let beyond = Counts::read(&text(1, 0, &[("1", 0), ("+Inf", 1)]));
        assert_eq!(
            beyond.of("api", "green").and_then(|c| c.latency(0.5)),
            Some(1.0)
        );
    }

    proptest! {
        #[test]
        fn quantiles_rise(counts in proptest::collection::vec(0_u64..100, 4), a in 0.0..1.0, b in 0.0..1.0) {
            let bounds = ["1", "5", "10", "+Inf"];
            let mut sum = 0;
            let buckets: Vec<_> = bounds.iter().zip(&counts).map(|(bound, count)| { sum += count; (*bound, sum) }).collect();
            let counts = Counts::read(&text(sum, 0, &buckets));
            let green = counts.of("api", "green").expect("green");
            let (low, high) = (green.latency(f64::min(a, b)), green.latency(f64::max(a, b)));
            prop_assert!(low <= high, "{:?} {:?}", low, high);
            prop_assert_eq!(low.is_some(), sum > 0);
        }
    }
}
