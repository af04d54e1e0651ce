//! What a VM costs the host: metrics of the process, by VM.
//!
//! Callbacks and hostcalls are counted in the VM anyway, and handed over about once a second; of the time in callbacks one
//! entry in [`SAMPLED`] is measured.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use switchover_core::metrics;

use super::{Usage, Vm};
use crate::stats::{Counter, Histogram, Kind, Metric, Registry};

/// One entry into a VM of so many is measured: two looks at the clock for each of them.
const SAMPLED: u32 = 64;

/// The metrics of one VM on one worker. All VMs of a name add to the same.
pub(super) struct VmMeters {
    callbacks: Counter,
    hostcalls: Counter,
    memory: Counter,
    vms: Counter,
    duration: Option<Arc<Histogram>>,
    /// What has been handed over.
    told: Cell<Usage>,
    entries: Cell<u32>,
}

// === impl VmMeters ===

impl VmMeters {
    /// For a VM that has just been started; `again` where it takes the place of one that has failed.
    pub(super) fn new(stats: &Registry, vm: &str, again: bool) -> Self {
        let name = |family: &str| metrics::name(family, &[("vm", vm)]);
        let duration = stats.define(&name("host_callback_duration_us"), Kind::Histogram);
        let meters = Self {
            callbacks: stats.counter(&name("host_callbacks")),
            hostcalls: stats.counter(&name("host_hostcalls")),
            memory: stats.gauge(&name("host_memory_bytes")),
            vms: stats.gauge(&name("host_vms")),
            duration: match duration {
                Some(Metric::Histogram(histogram)) => Some(histogram),
                _ => None,
            },
            told: Cell::default(),
            entries: Cell::default(),
        };
        meters.vms.increment();
        let rebuilds = stats.counter(&name("host_vm_rebuilds"));
        rebuilds.add(u64::from(again));
        meters
    }

    /// Runs an entry, and measures one in [`SAMPLED`].
    pub(super) fn measure<R>(&self, entry: impl FnOnce() -> R) -> R {
        let number = self.entries.get().wrapping_add(1);
        self.entries.set(number);
        if !number.is_multiple_of(SAMPLED) {
            return entry();
        }
        let start = Instant::now();
        let result = entry();
        if let Some(duration) = &self.duration {
            let micros = start.elapsed().as_micros();
            duration.record(u64::try_from(micros).unwrap_or(u64::MAX));
        }
        result
    }

    /// Hands over what the VM has used since the last time.
    pub(super) fn tell(&self, vm: &Vm) {
        let now = vm.usage();
        let told = self.told.replace(now);
        self.callbacks
            .add(now.callbacks.wrapping_sub(told.callbacks));
        self.hostcalls
            .add(now.hostcalls.wrapping_sub(told.hostcalls));
        self.weigh(now.memory, told.memory);
    }

    /// The VM has other memory now than before.
    fn weigh(&self, now: usize, before: usize) {
        let bytes = |size| i64::try_from(size).unwrap_or(i64::MAX);
        self.memory.offset(bytes(now).wrapping_sub(bytes(before)));
    }
}

impl Drop for VmMeters {
    fn drop(&mut self) {
        self.weigh(0, self.told.get().memory);
        self.vms.decrement();
    }
}
