//! How much memory a guest may take, and how long a callback may run.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::vm::engine::{TICK, Ticks};

/// Entries of a guest's table, at most: far more than any compiled filter has functions.
pub(in crate::vm) const MAX_TABLE: usize = 100_000;

/// Callouts of a VM that may be on their way, at most: four times what Envoy's circuit breakers let through to a cluster
/// by default.
pub(super) const MAX_CALLOUTS: usize = 4096;

/// What a guest may ask for in one callback, at most: callouts, ticks, messages.
pub(super) const MAX_EFFECTS: usize = 10_000;

/// Properties that a VM may declare, at most.
pub(super) const MAX_DECLARED: usize = 1000;

/// Stops a guest's memory from growing past the limit.
pub(super) struct MemoryLimit {
    pub(super) memory: usize,
}

/// Ends a callback that runs too long: the engine's clock ticks, and a callback that runs on for `ticks` after the first
/// that it sees is over. It looks where guest code does, and before each hostcall. Costs a callback one addition, and a
/// hostcall one comparison.
pub(super) struct Deadline {
    clock: Arc<Ticks>,
    /// Ticks one callback may go on for.
    ticks: u32,
    /// The last tick that a hostcall has seen.
    seen: u32,
    /// The last callback that saw a tick, and the first it saw.
    first: Option<(u64, u32)>,
}

// === impl MemoryLimit ===

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory;
        if !allowed {
            tracing::warn!(
                current,
                desired,
                limit = self.memory,
                "a filter asked for more memory than it may have"
            );
        }
        Ok(allowed)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE)
    }
}

// === impl Deadline ===

impl Deadline {
    pub(super) fn new(time: Duration, clock: Arc<Ticks>) -> Self {
        let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
        Self {
            ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
            seen: clock.now(),
            clock,
            first: None,
        }
    }

    /// Leaves callbacks no time at all.
    pub(super) fn end(&mut self) {
        self.ticks = 0;
    }

    /// Whether a callback is over its time, asked when the clock has ticked. The first tick may come right after the start,
    /// so one more than the time is allowed.
    pub(super) fn is_over(&mut self, callback: u64) -> bool {
        let now = self.clock.now();
        match self.first {
            Some((seeing, first)) if seeing == callback => now.wrapping_sub(first) >= self.ticks,
            _ => {
                self.first = Some((callback, now));
                self.ticks == 0
            }
        }
    }

    /// Whether a callback is over its time, asked at any moment.
    #[inline]
    pub(super) fn is_over_now(&mut self, callback: u64) -> bool {
        let now = self.clock.now();
        now != self.seen && {
            self.seen = now;
            self.is_over(callback)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_not_how_often_it_is_looked_at() {
        let clock = Arc::new(Ticks::default());
        let mut deadline = Deadline::new(4 * TICK, clock.clone());
        assert!(!deadline.is_over_now(1), "no tick");
        clock.advance(100);
        assert!(!deadline.is_over_now(1), "the first tick that it sees");
        assert!(!deadline.is_over_now(1));
        clock.advance(3);
        assert!(!deadline.is_over(1));
        // One look after a hostcall that took long.
        clock.advance(1);
        assert!(deadline.is_over_now(1));
        assert!(!deadline.is_over(2), "the next callback has its own time");
        clock.advance(4);
        assert!(deadline.is_over(2));
    }
}
