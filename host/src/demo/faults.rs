//! Faults that an upstream shows on demand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an upstream does wrong, as `--fail-…`, `--delay…` and `POST /__faults` set it.
///
/// Shares are exact, not drawn: 0.3 means three of every ten requests, evenly spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Status of the requests that fail, 400 to 599; 503 by default.
    pub fail_status: u16,
    /// Share of requests that fail, 0 to 1; 0 by default.
    pub fail_share: f64,
    /// Delay of the requests that are slow, in milliseconds; 0 by default.
    pub delay_ms: u64,
    /// Share of requests that are slow, 0 to 1; 1 by default.
    pub delay_share: f64,
}

/// [`Faults`] out of range.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// Not an error status.
    #[error("fail_status is {0}; 400 to 599 are allowed")]
    Status(u16),
    /// Not a share.
    #[error("{field} is {value}; 0 to 1 is allowed")]
    Share {
        /// Which one.
        field: &'static str,
        /// Its value.
        value: f64,
    },
}

/// Deals faults out in their shares.
#[derive(Debug)]
pub(super) struct Dealer {
    faults: Faults,
    fail_credit: f64,
    delay_credit: f64,
}

/// What one request gets.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fault {
    pub(super) status: Option<u16>,
    pub(super) delay: Option<Duration>,
}

// === impl Faults ===

impl Default for Faults {
    fn default() -> Self {
        Self {
            fail_status: 503,
            fail_share: 0.0,
            delay_ms: 0,
            delay_share: 1.0,
        }
    }
}

impl Faults {
    /// Whether all of it is in range.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), Invalid> {
        if !(400..=599).contains(&self.fail_status) {
            return Err(Invalid::Status(self.fail_status));
        }
        for (field, value) in [
            ("fail_share", self.fail_share),
            ("delay_share", self.delay_share),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Invalid::Share { field, value });
            }
        }
        Ok(())
    }
}

// === impl Dealer ===

impl Dealer {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            faults,
            fail_credit: 0.0,
            delay_credit: 0.0,
        }
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults
    }

    /// What the next request gets.
    pub(super) fn next(&mut self) -> Fault {
        let fails = due(&mut self.fail_credit, self.faults.fail_share);
        let slow = due(&mut self.delay_credit, self.faults.delay_share) && self.faults.delay_ms > 0;
        Fault {
            status: fails.then_some(self.faults.fail_status),
            delay: slow.then_some(Duration::from_millis(self.faults.delay_ms)),
        }
    }
}

/// Adds a share to the credit and takes one where there is one.
fn due(credit: &mut f64, share: f64) -> bool {
    // Sums of shares such as 0.1 fall short of one by rounding alone.
    const SLACK: f64 = 1e-9;
    *credit += share;
    let due = *credit >= 1.0 - SLACK;
    if due {
        *credit -= 1.0;
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        for (share, of_thousand) in [(0.0, 0), (0.1, 100), (0.3, 300), (1.0, 1000)] {
            let mut dealer = Dealer::new(Faults {
                fail_share: share,
                ..Faults::default()
            });
            let failed = (0..1000)
                .filter(|_| dealer.next().status == Some(503))
                .count();
            assert_eq!(failed, of_thousand, "share {share}");
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        let share = Faults {
            delay_share: 1.5,
            ..Faults::default()
        };
        assert_eq!(
            share.check().unwrap_err().to_string(),
            "delay_share is 1.5; 0 to 1 is allowed"
        );
        let nan = Faults {
            fail_share: f64::NAN,
            ..Faults::default()
        };
        assert!(nan.check().is_err());
        let status = Faults {
            fail_status: 200,
            ..Faults::default()
        };
        assert_eq!(
            status.check().unwrap_err().to_string(),
            "fail_status is 200; 400 to 599 are allowed"
        );
    }
}
