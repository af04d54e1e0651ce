//! What filters cost by themselves: requests through their VMs in this process, without a network.
//!
//! A request passes the data path's own filter chain: contexts made, request headers, bodies where they are asked for,
//! response headers, done, log, delete. Making the two heads is not part of the figure. Deadlines and limits are those
//! of a gateway.
//!
//! Filters take turns, a batch of requests each, so that whatever else the machine does hits all alike; costs are
//! compared batch by batch.

mod growth;
mod lane;
mod spread;

use crate::abi;
use crate::config::WasmPlugin;
use crate::rig::Exchange;
use crate::vm::VmError;
use crate::vm::engine::Engine;
pub use growth::{Growth, Verdict};
use lane::Lane;
pub use spread::{Confidence, Spread};

/// The most requests between two looks at the clock and the memory.
const MAX_BATCH: u64 = 1_000;
/// The least, so that a batch is long for the clock.
const MIN_BATCH: u64 = 50;
/// Batches that there should be at least.
const BATCHES: u64 = 200;
/// So many requests warm up for each that is counted, inverted.
const WARM_UP: u64 = 10;
/// So many times the requests that are counted may follow, where only they can tell a leak from garbage.
const FOLLOWED: u64 = 10;

/// What is run.
pub struct Workload {
    /// What is compared: each takes its turn.
    pub subjects: Vec<Subject>,
    /// What each of them gets.
    pub exchange: Exchange,
    /// Requests that are counted for each; a tenth as many run before.
    pub requests: u64,
    /// How the ABI is carried out. A lint looks at what runs before.
    pub abi: abi::Options,
}

/// Something that is measured: a filter, or a chain of them.
pub struct Subject {
    /// Its name in the results.
    pub name: String,
    /// The filters, in order.
    pub chain: Vec<WasmPlugin>,
}

/// What was measured of one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Filters in its chain.
    pub filters: usize,
    /// Requests that were counted.
    pub requests: u64,
    /// Nanoseconds a request, over batches.
    pub ns: Spread,
    /// Its cost in proportion to the first subject's: the median over pairs of batches that ran one after the other.
    pub relative: Confidence,
    /// Hostcalls a request.
    pub hostcalls: f64,
    /// Callbacks a request.
    pub callbacks: f64,
    /// Hostcalls a request by name, the most frequent first; of the first few requests.
    pub by_name: Vec<(&'static str, f64)>,
    /// Allocations that the host asked of the guest, a request.
    pub allocations: f64,
    /// How the guests' memory went.
    pub growth: Growth,
    /// Requests that a filter answered by itself.
    pub answered: u64,
    /// Requests that a filter held and never let go.
    pub held: u64,
    /// Whether a guest trapped before all requests were through, as it does when its memory is full.
    pub trapped: bool,
}

/// Runs a workload; `progress` is told how many requests are done, of all subjects and with the warm-up.
///
/// # Errors
/// Where a filter does not start, or traps before anything was measured.
pub fn run(workload: &Workload, mut progress: impl FnMut(u64)) -> Result<Vec<Measured>, VmError> {
    let engine = Engine::new()?;
    let mut lanes = Vec::new();
    for subject in &workload.subjects {
        lanes.push(Lane::start(&engine, subject, workload)?);
    }
    let mut done = 0;
    let mut advance = |requests| {
        done += requests;
        progress(done);
    };
    let batch = (workload.requests / BATCHES).clamp(MIN_BATCH, MAX_BATCH);
    for lane in &mut lanes {
        let mut left = workload.requests / WARM_UP;
        while left > 0 {
            lane.warm_up(batch.min(left))?;
            advance(batch.min(left));
            left = left.saturating_sub(batch);
        }
        lane.begin();
    }
    let mut left = workload.requests;
    let mut round = 0;
    while left > 0 && lanes.iter().any(|lane| !lane.has_trapped()) {
        let requests = batch.min(left);
        // Another one begins each time: whoever follows a costly filter finds the caches as that one left them.
        let count = lanes.len();
        for turn in 0..count {
            if let Some(lane) = lanes.get_mut((round + turn) % count) {
                lane.run(requests)?;
                advance(requests);
            }
        }
        let first = lanes.first().and_then(Lane::last);
        for lane in &mut lanes {
            lane.compare(first);
        }
        left -= requests;
        round += 1;
    }
    for lane in &mut lanes {
        let mut left = workload.requests * FOLLOWED;
        while left > 0 && lane.follow(batch) {
            advance(batch);
            left = left.saturating_sub(batch);
        }
    }
    lanes.into_iter().map(Lane::finish).collect()
}

/// Requests that [`run`] will have told of when it is done; more where memory is watched for longer.
#[must_use]
pub fn total(workload: &Workload) -> u64 {
    let subjects = u64::try_from(workload.subjects.len()).unwrap_or(u64::MAX);
    (workload.requests + workload.requests / WARM_UP).saturating_mul(subjects)
}
