//! The last outcomes, in slots of a tenth of the window each.

use crate::guard::{Both, Figures, Guard, Outcome, Quantile};

/// The present slot and nine full ones: between nine tenths and the whole of the window.
const SLOTS: usize = 10;
/// Buckets of latencies: four for each doubling, from 0, 1, 2 and 3 ms to two minutes and above.
const BUCKETS: usize = 68;

/// Which of the two environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that is watched
    Guarded,
    /// Stable
    Stable,
}

/// The outcomes of both environments within the window, as one worker saw them.
#[derive(Debug)]
pub struct Window {
    slot_millis: u64,
    /// The number of the present slot, since 1970.
    present: u64,
    slots: Vec<Slot>,
    sum: Slot,
}

#[derive(Debug, Clone)]
struct Slot {
    figures: Both,
    guarded: [u32; BUCKETS],
    stable: [u32; BUCKETS],
}

// === impl Window ===

impl Window {
    /// An empty window.
    #[must_use]
    pub fn new(guard: &Guard) -> Self {
        let slots = u64::try_from(SLOTS).unwrap_or(1);
        Self {
            slot_millis: (guard.window.as_millis() / slots).max(1),
            present: 0,
            slots: vec![Slot::EMPTY; SLOTS],
            sum: Slot::EMPTY,
        }
    }

    /// Counts an outcome at `now`, in milliseconds since 1970.
    #[inline]
    pub fn record(&mut self, guard: &Guard, side: Side, outcome: &Outcome, now: u64) {
        self.advance(now);
        let failed = guard.is_failure(outcome.status);
        let slow = guard
            .max_latency
            .map(|limit| u32::from(limit.is_some_and(|limit| outcome.millis > limit.as_millis())));
        let figures = Figures {
            total: 1,
            failed: u32::from(failed),
            slow,
        };
        let place = self.place(self.present);
        let bucket = bucket(outcome.millis);
        let slots = self.slots.get_mut(place).into_iter();
        for slot in slots.chain([&mut self.sum]) {
            slot.add(side, &figures, bucket);
        }
    }

    /// Forgets what is older than the window. A clock that jumps back by less than the window goes on counting in the
    /// present slot; further back, all is forgotten.
    #[inline]
    pub fn advance(&mut self, now: u64) {
        let slots = u64::try_from(SLOTS).unwrap_or(1);
        let slot = now / self.slot_millis;
        if slot == self.present {
            return;
        }
        if slot.abs_diff(self.present) >= slots {
            self.slots.fill(Slot::EMPTY);
            self.sum = Slot::EMPTY;
            self.present = slot;
        }
        while self.present < slot {
            self.present += 1;
            let place = self.place(self.present);
            if let Some(old) = self.slots.get_mut(place) {
                self.sum.subtract(old);
                *old = Slot::EMPTY;
            }
        }
    }

    /// What was counted, by the last call of [`Window::advance`] or [`Window::record`].
    #[must_use]
    #[inline]
    pub fn figures(&self) -> &Both {
        &self.sum.figures
    }

    /// A latency in milliseconds: the upper end of the bucket that it lies in, at most a fifth too high; 0 of nothing.
    #[must_use]
    pub fn latency(&self, side: Side, quantile: Quantile) -> u64 {
        let (figures, buckets) = match side {
            Side::Guarded => (&self.sum.figures.guarded, &self.sum.guarded),
            Side::Stable => (&self.sum.figures.stable, &self.sum.stable),
        };
        let faster = u64::from(100 - quantile.slower_percent());
        let rank = (u64::from(figures.total) * faster).div_ceil(100);
        let mut seen = 0;
        for (index, count) in buckets.iter().enumerate() {
            seen += u64::from(*count);
            if *count > 0 && seen >= rank {
                return upper(index);
            }
        }
        0
    }

    #[inline]
    fn place(&self, slot: u64) -> usize {
        usize::try_from(slot % u64::try_from(SLOTS).unwrap_or(1)).unwrap_or(0)
    }
}

// === impl Slot ===

impl Slot {
    const EMPTY: Self = Self {
        figures: Both {
            guarded: Figures {
                total: 0,
                failed: 0,
                slow: [0; Quantile::ALL.len()],
            },
            stable: Figures {
                total: 0,
                failed: 0,
                slow: [0; Quantile::ALL.len()],
            },
        },
        guarded: [0; BUCKETS],
        stable: [0; BUCKETS],
    };

    #[inline]
    fn add(&mut self, side: Side, figures: &Figures, bucket: usize) {
        let (own, buckets) = match side {
            Side::Guarded => (&mut self.figures.guarded, &mut self.guarded),
            Side::Stable => (&mut self.figures.stable, &mut self.stable),
        };
        *own = own.plus(figures);
        if let Some(count) = buckets.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
    }

    #[inline]
    fn subtract(&mut self, other: &Self) {
        self.figures.guarded = self.figures.guarded.minus(&other.figures.guarded);
        self.figures.stable = self.figures.stable.minus(&other.figures.stable);
        let pairs = self.guarded.iter_mut().zip(&other.guarded);
        for (own, other) in pairs.chain(self.stable.iter_mut().zip(&other.stable)) {
            *own = own.saturating_sub(*other);
        }
    }
}

/// The bucket of a latency: two bits below the highest one.
#[inline]
fn bucket(millis: u64) -> usize {
    let millis = u32::try_from(millis).unwrap_or(u32::MAX);
    let bucket = match millis.checked_ilog2() {
        None | Some(0 | 1) => millis,
        Some(power) => (power - 1) * 4 + (millis >> (power - 2) & 3),
    };
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The largest latency of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(0);
    if bucket < 4 {
        return bucket;
    }
    let shift = bucket / 4 - 1;
    ((bucket % 4 + 5) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_are_narrow(millis in 0_u64..130_000) {
            let bucket = bucket(millis);
            prop_assert!(upper(bucket) >= millis);
            prop_assert!(bucket == 0 || upper(bucket - 1) < millis);
            prop_assert!(upper(bucket) <= millis + millis / 4);
        }
    }

    #[test]
    fn the_last_bucket_holds_the_rest() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(upper(BUCKETS - 1), 262_143);
    }
}
