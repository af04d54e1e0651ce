//! One subject under measurement: its chain, and what it has cost so far.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::growth::Watch;
use super::spread::Samples;
use super::{Measured, Subject, Workload};
use crate::abi;
use crate::abi::observe::{Callback, Guest, Hostcall, Observer, Observers};
use crate::process::GuestLog;
use crate::rig::{self, Passed, Ready, Rig};
use crate::vm::engine::Engine;
use crate::vm::{Usage, VmError};

/// Exchanges made ready at a time: few enough to stay in the cache.
const READY: u64 = 50;
/// Bytes of bodies made ready at a time, about.
const READY_BYTES: usize = 1 << 20;
/// Requests that are watched for the names of their hostcalls.
const WATCHED: u32 = 200;

/// A subject under measurement.
pub(super) struct Lane<'a> {
    name: &'a str,
    rig: Rig<'a>,
    ready: Vec<Ready>,
    ready_at_a_time: u64,
    tally: Tally,
    begun: Usage,
    watch: Watch,
    ns: Samples,
    ratio: Samples,
    /// Nanoseconds a request of the last batch, where there was one.
    last: Option<f64>,
    done: u64,
    /// Requests after those that were counted.
    followed: u64,
    trapped: bool,
    by_name: Vec<(&'static str, f64)>,
}

/// How exchanges ended.
#[derive(Default, Clone, Copy)]
struct Tally {
    answered: u64,
    held: u64,
}

/// Hostcalls by their names.
type Calls = BTreeMap<&'static str, u32>;

/// Counts hostcalls by their names.
struct Counter(Arc<Mutex<Calls>>);

// === impl Lane ===

impl<'a> Lane<'a> {
    /// Starts the subject's filters: first to count their hostcalls by name, then afresh to be measured.
    pub(super) fn start(
        engine: &Engine,
        subject: &'a Subject,
        workload: &'a Workload,
    ) -> Result<Self, VmError> {
        let exchange = &workload.exchange;
        let measured = abi::Options {
            mode: workload.abi.mode,
            ..abi::Options::default()
        };
        let process = rig::process(measured, GuestLog::default());
        let bodies = exchange.request.body().len() + exchange.response.body().len();
        let fit = READY_BYTES / bodies.max(1);
        Ok(Self {
            name: &subject.name,
            by_name: by_name(engine, subject, workload)?,
            rig: Rig::start(engine, &subject.chain, exchange, process)?,
            ready: Vec::new(),
            ready_at_a_time: READY.min(u64::try_from(fit).unwrap_or(READY)).max(1),
            tally: Tally::default(),
            begun: Usage::default(),
            watch: Watch::new(0),
            ns: Samples::new(0.1),
            ratio: Samples::new(0.001),
            last: None,
            done: 0,
            followed: 0,
            trapped: false,
        })
    }

    /// Runs requests that are not counted.
    pub(super) fn warm_up(&mut self, requests: u64) -> Result<(), VmError> {
        self.batch(requests);
        match self.trapped {
            true => Err(VmError::Trap("see the log".to_owned())),
            false => Ok(()),
        }
    }

    /// From now on requests are counted.
    pub(super) fn begin(&mut self) {
        self.tally = Tally::default();
        self.begun = self.rig.usage();
        self.watch = Watch::new(self.begun.memory);
    }

    /// Runs a batch, unless a guest has trapped.
    pub(super) fn run(&mut self, requests: u64) -> Result<(), VmError> {
        self.last = None;
        if self.trapped {
            return Ok(());
        }
        let took = self.batch(requests);
        if self.trapped {
            return Ok(());
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let each = took.as_nanos() as f64 / requests as f64;
        self.ns.add(each);
        self.last = Some(each);
        self.done += requests;
        self.watch.note(self.done, self.rig.usage().memory);
        Ok(())
    }

    /// Whether a guest has trapped.
    pub(super) fn has_trapped(&self) -> bool {
        self.trapped
    }

    /// What a request of the last batch cost.
    pub(super) fn last(&self) -> Option<f64> {
        self.last
    }

    /// Compares the last batch with the first subject's.
    pub(super) fn compare(&mut self, first: Option<f64>) {
        if let (Some(own), Some(first)) = (self.last, first)
            && first > 0.0
        {
            self.ratio.add(own / first);
        }
    }

    /// Runs a batch that is not measured, only to see whether the memory grows on, where that is not clear yet; false
    /// where it is.
    pub(super) fn follow(&mut self, requests: u64) -> bool {
        if self.trapped || !self.watch.needs_more() {
            return false;
        }
        let tally = self.tally;
        self.batch(requests);
        self.tally = tally;
        self.followed += requests;
        if !self.trapped {
            let memory = self.rig.usage().memory;
            self.watch.note(self.done + self.followed, memory);
        }
        true
    }

    /// What was measured.
    pub(super) fn finish(self) -> Result<Measured, VmError> {
        if self.ns.is_empty() {
            return Err(VmError::Trap("see the log".to_owned()));
        }
        let used = self.rig.usage();
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        let each =
            |before: u64, after: u64| (after - before) as f64 / (self.done + self.followed) as f64;
        Ok(Measured {
            name: self.name.to_owned(),
            filters: self.rig.len(),
            requests: self.done,
            ns: self.ns.spread(),
            relative: self.ratio.median(),
            hostcalls: each(self.begun.hostcalls, used.hostcalls),
            callbacks: each(self.begun.callbacks, used.callbacks),
            allocations: each(self.begun.allocations, used.allocations),
            growth: if self.trapped {
                self.watch.cut_short()
            } else {
                self.watch.finish()
            },
            answered: self.tally.answered,
            held: self.tally.held,
            trapped: self.trapped,
            by_name: self.by_name,
        })
    }

    /// Runs requests and gives the time they took, then lets the filters tick, as hosts do between requests.
    fn batch(&mut self, requests: u64) -> Duration {
        let mut took = Duration::ZERO;
        let mut left = requests;
        while left > 0 && !self.trapped {
            let some = left.min(self.ready_at_a_time);
            self.ready.extend((0..some).map(|_| self.rig.make_ready()));
            let began = Instant::now();
            for exchange in &mut self.ready {
                match self.rig.pass(exchange) {
                    Passed::On => {}
                    Passed::Answered => self.tally.answered += 1,
                    Passed::Held | Passed::Reset => self.tally.held += 1,
                }
            }
            took += began.elapsed();
            self.ready.clear();
            left -= some;
            self.trapped = self.rig.has_trapped();
        }
        self.rig.tick();
        self.trapped |= self.rig.has_trapped();
        took
    }
}

/// Hostcalls a request by name, the most frequent first.
fn by_name(
    engine: &Engine,
    subject: &Subject,
    workload: &Workload,
) -> Result<Vec<(&'static str, f64)>, VmError> {
    let calls = Arc::new(Mutex::new(Calls::new()));
    let counted = calls.clone();
    let options = abi::Options {
        observers: Some(Observers::new(move || Box::new(Counter(counted.clone())))),
        ..workload.abi.clone()
    };
    let process = rig::process(options, GuestLog::kept());
    let rig = Rig::start(engine, &subject.chain, &workload.exchange, process)?;
    let lock = || calls.lock().unwrap_or_else(PoisonError::into_inner);
    lock().clear();
    for _ in 0..WATCHED {
        rig.pass(&mut rig.make_ready());
    }
    let each =
        |(name, count): (&&'static str, &u32)| (*name, f64::from(*count) / f64::from(WATCHED));
    let mut by_name: Vec<_> = lock().iter().map(each).collect();
    by_name.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(by_name)
}

// === impl Counter ===

impl Observer for Counter {
    fn callback_begins(&mut self, _: &Guest<'_>, _: &Callback<'_>) {}

    fn callback_ends(
        &mut self,
        _: &Guest<'_>,
        _: &Callback<'_>,
        _: Result<Option<u64>, &wasmtime::Error>,
        _: Duration,
    ) {
    }

    fn hostcall(&mut self, _: &Guest<'_>, call: &Hostcall<'_>) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry(call.import.name).or_default() += 1;
    }
}
