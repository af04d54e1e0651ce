//! Samples summed up: median, deciles, and how sure the median is.

use hdrhistogram::Histogram;

/// Where samples lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// First decile.
    pub p10: f64,
    /// The median and how sure it is.
    pub median: Confidence,
    /// Ninth decile.
    pub p90: f64,
}

/// A median with its 95 % confidence interval, by order statistics: nothing is assumed about the samples' distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence {
    /// The samples' median.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Collects samples in little memory, however many: each is kept to three digits.
pub(super) struct Samples {
    histogram: Histogram<u64>,
    /// What one unit of the histogram is.
    unit: f64,
}

/// Half a 95 % interval's width in standard deviations, times a rank's standard deviation of half the root of n.
const HALF_WIDTH: f64 = 1.96 / 2.0;
/// A histogram's greatest value: more than a batch's time in its unit can be.
const GREATEST: u64 = 1 << 50;

// === impl Samples ===

impl Samples {
    /// Samples from `unit` upwards; less counts as one unit.
    pub(super) fn new(unit: f64) -> Self {
        let histogram = Histogram::new_with_bounds(1, GREATEST, 3);
        Self {
            histogram: histogram.unwrap_or_else(|_| unreachable!("the bounds are right")),
            unit,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "held within the histogram's bounds; as such casts do, anything else becomes 0"
    )]
    pub(super) fn add(&mut self, sample: f64) {
        self.histogram
            .saturating_record((sample / self.unit).round() as u64);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    pub(super) fn spread(&self) -> Spread {
        Spread {
            p10: self.at(0.1),
            median: self.median(),
            p90: self.at(0.9),
        }
    }

    pub(super) fn median(&self) -> Confidence {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 samples")]
        let half = HALF_WIDTH / (self.histogram.len().max(1) as f64).sqrt();
        Confidence {
            value: self.at(0.5),
            low: self.at((0.5 - half).max(0.0)),
            high: self.at((0.5 + half).min(1.0)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits count")]
    fn at(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 * self.unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_within_its_interval_which_narrows_with_more_samples() {
        let width = |n: u32| {
            let mut samples = Samples::new(0.1);
            for i in 0..n {
                samples.add(200.0 + f64::from(i) * 100.0 / f64::from(n));
            }
            let spread = samples.spread();
            assert!((spread.median.value - 250.0).abs() < 3.0, "{spread:?}");
            assert!((spread.p10 - 210.0).abs() < 3.0, "{spread:?}");
            assert!((spread.p90 - 290.0).abs() < 3.0, "{spread:?}");
            assert!(spread.median.low <= spread.median.value);
            assert!(spread.median.value <= spread.median.high);
            spread.median.high - spread.median.low
        };
        let (few, many) = (width(50), width(5_000));
        // ± 1.96 × √n/2 ranks: about 28 % of the samples between both ends, against 2.8 %.
        assert!((20.0..40.0).contains(&few), "{few}");
        assert!((1.0..5.0).contains(&many), "{many}");
    }

    #[test]
    fn an_outlier_moves_no_median() {
        let mut samples = Samples::new(0.1);
        for _ in 0..99 {
            samples.add(100.0);
        }
        samples.add(1e9);
        assert!((samples.median().value - 100.0).abs() < 0.2);
    }
}
