//! How much memory a guest may take, and how long a callback may run.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::vm::engine::TICK;

/// Entries of a guest's table, at most: far more than any compiled filter has functions.
pub(in crate::vm) const MAX_TABLE: usize = 100_000;

/// Callouts of a VM that may be on their way, at most: four times what Envoy's circuit breakers let through to a cluster
/// by default.
pub(super) const MAX_CALLOUTS: usize = 4096;

/// Stops a guest's memory from growing past the limit.
pub(super) struct MemoryLimit {
    pub(super) memory: usize,
}

/// Ends a callback that runs too long: the engine's clock ticks, and a callback that sees
/// `ticks` of them is over. Costs a callback one addition.
pub(super) struct Deadline {
    /// Ticks one callback may see.
    ticks: u32,
    /// The callback that saw the last tick, and how many it has seen.
    seen: (u64, u32),
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
    pub(super) fn new(time: Duration) -> Self {
        let ticks = time.as_nanos().div_ceil(TICK.as_nanos());
        Self {
            ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
            seen: (0, 0),
        }
    }

    /// Leaves callbacks no time at all.
    pub(super) fn end(&mut self) {
        self.ticks = 0;
    }

    /// Notes a tick of the engine's clock during a callback; true where the callback is over its time.
    pub(super) fn is_over(&mut self, callback: u64) -> bool {
        let (last, seen) = self.seen;
        let seen = if last == callback { seen + 1 } else { 1 };
        self.seen = (callback, seen);
        // The first tick may come right after the start, so one more than the time is allowed.
        seen > self.ticks
    }
}
