//! The tripwire: when an environment does worse than it may, everything goes to stable.
//!
//! A worker counts the outcomes of the environment that is watched and of stable in a sliding [`Window`], adds what the
//! other workers of the proxy had counted at the last tick ([`fleet`]), and judges at each outcome of the environment
//! that is watched.

pub mod fleet;
mod window;

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::document::{Rate, Rollout};
use crate::time::Duration;

pub use window::{Side, Window};

/// Limits for an environment.
#[derive(Debug)]
pub struct Guard {
    pub(crate) environment: usize,
    pub(crate) window: Duration,
    pub(crate) min_requests: u32,
    pub(crate) max_error_rate: Option<Rate>,
    /// In the order of [`Quantile::ALL`].
    pub(crate) max_latency: [Option<Duration>; Quantile::ALL.len()],
    pub(crate) worse_than_stable_by: Option<Rate>,
    pub(crate) count_429: bool,
}

/// A latency that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantile {
    /// The median
    P50,
    /// One of twenty takes longer
    P95,
    /// One of a hundred takes longer
    P99,
}

/// How an attempt (or, without an attempt role, a request) ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The index of the environment.
    pub environment: usize,
    /// The status of the answer; `None` where none came.
    pub status: Option<u16>,
    /// From the end of the request to the answer's head, or until it was clear that none comes, in milliseconds; 0 where
    /// that was before the request's end: what a client takes to send it is not the environment's time.
    pub millis: u64,
}

/// Counts of outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// All of them.
    pub total: u32,
    /// Failures among them.
    pub failed: u32,
    /// Those that took longer than each limit, in the order of [`Quantile::ALL`].
    pub slow: [u32; Quantile::ALL.len()],
}

/// The figures of the environment that is watched and of stable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Both {
    /// The environment that is watched.
    pub guarded: Figures,
    /// Stable.
    pub stable: Figures,
}

/// The limit that was crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Too many failures
    ErrorRate,
    /// Too many more failures than stable has
    WorseThanStable,
    /// Too slow
    Latency(Quantile),
}

// === impl Quantile ===

impl Quantile {
    /// All, in the order of their arrays.
    pub const ALL: [Self; 3] = [Self::P50, Self::P95, Self::P99];

    /// The name, as in the document's `max_…`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// How many of a hundred may take longer.
    fn slower_percent(self) -> u32 {
        match self {
            Self::P50 => 50,
            Self::P95 => 5,
            Self::P99 => 1,
        }
    }
}

// === impl Cause ===

impl Cause {
    /// All causes.
    pub const ALL: [Self; 5] = [
        Self::ErrorRate,
        Self::WorseThanStable,
        Self::Latency(Quantile::P50),
        Self::Latency(Quantile::P95),
        Self::Latency(Quantile::P99),
    ];

    /// The value of the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ErrorRate => "max_error_rate",
            Self::WorseThanStable => "worse_than_stable_by",
            Self::Latency(Quantile::P50) => "max_p50",
            Self::Latency(Quantile::P95) => "max_p95",
            Self::Latency(Quantile::P99) => "max_p99",
        }
    }
}

// === impl Figures ===

impl Figures {
    /// The sum of both; counts stop at their largest value.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        sum.total = sum.total.saturating_add(other.total);
        sum.failed = sum.failed.saturating_add(other.failed);
        for (own, other) in sum.slow.iter_mut().zip(other.slow) {
            *own = own.saturating_add(other);
        }
        sum
    }

    /// What is left of it without `other`.
    fn minus(&self, other: &Self) -> Self {
        let mut rest = *self;
        rest.total = rest.total.saturating_sub(other.total);
        rest.failed = rest.failed.saturating_sub(other.failed);
        for (own, other) in rest.slow.iter_mut().zip(other.slow) {
            *own = own.saturating_sub(other);
        }
        rest
    }

    /// Failures in hundredths of a percent, rounded; 0 of nothing.
    #[must_use]
    pub fn failed_hundredths(&self) -> u32 {
        let total = u64::from(self.total.max(1));
        let part = (u64::from(self.failed) * 10_000 + total / 2) / total;
        u32::try_from(part).unwrap_or(u32::MAX)
    }
}

impl Both {
    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            guarded: self.guarded.plus(&other.guarded),
            stable: self.stable.plus(&other.stable),
        }
    }
}

// === impl Guard ===

impl Guard {
    /// The index of the environment that is watched.
    #[must_use]
    pub fn environment(&self) -> usize {
        self.environment
    }

    /// How many outcomes there must be before any limit counts.
    #[must_use]
    pub fn min_requests(&self) -> u32 {
        self.min_requests
    }

    /// How far back outcomes count.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Whether an answer of this status, or none, is a failure.
    #[must_use]
    #[inline]
    pub fn is_failure(&self, status: Option<u16>) -> bool {
        match status {
            None => true,
            Some(429) => self.count_429,
            Some(status) => status >= 500,
        }
    }

    /// A number that differs between guards that count differently, so that their figures are not added up.
    #[must_use]
    pub fn fingerprint(&self, rollout: &Rollout) -> u64 {
        let mut hasher = SipHasher24::new();
        for index in [self.environment, rollout.stable] {
            let environment = rollout.environments.get(index);
            let name = environment.map_or("", |environment| environment.name.as_str());
            hasher.write(name.as_bytes());
            hasher.write(&[0, u8::from(self.count_429)]);
        }
        hasher.write(&self.window.as_millis().to_le_bytes());
        for limit in self.max_latency {
            let millis = limit.map_or(0, Duration::as_millis);
            hasher.write(&millis.to_le_bytes());
        }
        hasher.finish()
    }

    /// Whether two guards count the same, so that one's window serves the other.
    pub(crate) fn counts_alike(&self, other: &Self) -> bool {
        self.window == other.window
            && self.max_latency == other.max_latency
            && self.count_429 == other.count_429
    }

    /// The first limit that is crossed.
    #[must_use]
    #[inline]
    pub fn judge(&self, figures: &Both) -> Option<Cause> {
        let Both { guarded, stable } = figures;
        if guarded.total < self.min_requests {
            return None;
        }
        if self.max_error_rate.is_some_and(|rate| above(guarded, rate)) {
            return Some(Cause::ErrorRate);
        }
        let enough = stable.total >= self.min_requests;
        if enough
            && self
                .worse_than_stable_by
                .is_some_and(|by| worse(guarded, stable, by))
        {
            return Some(Cause::WorseThanStable);
        }
        let limits = Quantile::ALL.iter().zip(self.max_latency).zip(guarded.slow);
        let mut crossed = limits.filter(|((quantile, limit), slow)| {
            let allowed = u64::from(guarded.total) * u64::from(quantile.slower_percent());
            limit.is_some() && u64::from(*slow) * 100 > allowed
        });
        crossed
            .next()
            .map(|((quantile, _), _)| Cause::Latency(*quantile))
    }

    /// What goes to the log when the tripwire is crossed.
    #[must_use]
    pub fn story(
        &self,
        rollout: &Rollout,
        cause: Cause,
        figures: &Both,
        window: &Window,
    ) -> String {
        let name = |index: usize| {
            rollout
                .environments
                .get(index)
                .map_or("", |environment| environment.name.as_str())
        };
        let side = |figures: &Figures| {
            [
                figures.failed.to_string().as_str(),
                " of ",
                &figures.total.to_string(),
                " failed (",
                &percent(figures.failed_hundredths()),
                ")",
            ]
            .concat()
        };
        let mut text = [
            "rollout `",
            rollout.id.as_str(),
            "` tripped on `",
            cause.label(),
            "`: everything goes to `",
            name(rollout.stable),
            "`. Within ",
            &(self.window.as_millis() / 1000).to_string(),
            " s at `",
            name(self.environment),
            "` ",
            &side(&figures.guarded),
        ]
        .concat();
        for quantile in Quantile::ALL {
            let latency = window.latency(Side::Guarded, quantile).to_string();
            text.extend([", ", quantile.label(), " ", &latency, " ms"]);
        }
        text.extend(["; at `", name(rollout.stable), "` ", &side(&figures.stable)]);
        text
    }
}

/// Whether the part of failures is above `rate`.
#[inline]
fn above(figures: &Figures, rate: Rate) -> bool {
    let (failed, total) = (u64::from(figures.failed), u64::from(figures.total));
    failed * 1_000_000 > u64::from(rate.millionths()) * total
}

/// Whether the part of failures is more than `by` above that of stable.
#[inline]
fn worse(guarded: &Figures, stable: &Figures, by: Rate) -> bool {
    let wide = |count: u32| i128::from(count);
    let (total, stable_total) = (wide(guarded.total), wide(stable.total));
    let difference = wide(guarded.failed) * stable_total - wide(stable.failed) * total;
    difference * 1_000_000 > wide(by.millionths()) * total * stable_total
}

/// Hundredths of a percent as text.
fn percent(hundredths: u32) -> String {
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    let zero = if rest < 10 { "0" } else { "" };
    [&whole.to_string(), ".", zero, &rest.to_string(), " %"].concat()
}

#[cfg(test)]
mod tests;
