//! What the host keeps for one VM, in wasmtime's store: its contexts, and what its hostcalls need.

mod effective;
mod limits;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use wasmtime::{ResourceLimiter, Trap};

use super::contexts::{Context, Contexts};
use super::engine::Ticks;
use super::entry::Joined;
use super::grpc::Calls;
use super::narrow;
use crate::abi::memory::GuestMemory;
use crate::abi::observe::Observer;
use crate::abi::queues::Mailbox;
use crate::abi::{Callout, CalloutResponse, GrpcEffect, Mode, Reach, Restriction, Status, Version};
use crate::config::WasmPlugin;
use crate::config::plugin::VmConfig;
use crate::process::Process;
use crate::stats::Metric;
use crate::stream::StreamCell;
use crate::stream::intern::Interner;
use effective::Effective;
use limits::{Callouts, Deadline, MAX_CALLOUTS, MAX_DECLARED, MAX_EFFECTS, MemoryLimit};

pub(super) use limits::MAX_TABLE;

/// The data of a VM's store.
pub struct State {
    /// The guest's memory and allocator.
    pub memory: GuestMemory,
    /// What the process shares.
    pub process: Arc<Process>,
    /// The VM's configuration.
    pub vm: Arc<VmConfig>,
    /// The ABI the guest was built for.
    pub version: Version,
    /// Metrics the guest defined; a metric's number is its place.
    pub metrics: Vec<Metric>,
    /// What the guest asked for that happens when the callback has returned.
    pub effects: Vec<Effect>,
    /// Which callbacks share the entry into the guest that runs now.
    pub(super) joined: Joined,
    /// Which of them runs, for a guest that has it.
    pub(super) stage: Option<wasmtime::Global>,
    /// The answer whose callback runs now.
    pub callout: Option<CalloutResponse>,
    /// Whether the plugin's configuration can be read now.
    pub configuring: bool,
    /// gRPC callouts, and how the last callout of any kind ended.
    pub grpc: Calls,
    /// Hostcalls so far.
    pub hostcalls: u64,
    /// Callbacks so far.
    pub callbacks: u64,
    /// Allocations in the guest so far, to hand values over.
    pub allocations: u64,
    /// Who watches the guest.
    pub observer: Option<Box<dyn Observer>>,
    /// Tells this VM apart from all others of the process.
    pub serial: u64,
    /// Where word of its queues goes.
    pub mailbox: Mailbox,
    /// What the guest may call now.
    pub restriction: Restriction,
    /// Whether hostcalls go the long way: somebody watches, not all are allowed, or which callback makes them is to be found out.
    pub attended: bool,
    /// Whether an observer or the lint watches.
    observed: bool,
    /// For the lint: the guest has callbacks that are never called.
    pub uncalled: bool,
    /// Properties that roots have declared, and whether they are read-only.
    declared: Vec<(u32, Box<[u8]>, bool)>,
    /// Contexts that answered false to `proxy_on_done`.
    put_off: Vec<u32>,
    /// The guest answered its stream itself in this callback.
    pub stopped: bool,
    /// For a value on its way to the guest; its room is kept.
    pub scratch: Vec<u8>,
    contexts: Contexts,
    /// The context that the callback began on.
    current: u32,
    last_token: u32,
    /// Bytes that the guest has handed over in this callback.
    taken: usize,
    /// HTTP callouts on their way.
    callouts: Callouts,
    effective: Effective,
    known: RefCell<Interner>,
    limit: MemoryLimit,
    deadline: Deadline,
}

/// The next VM's serial number.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// What a guest asked for that the worker carries out after the callback.
#[derive(Debug)]
pub enum Effect {
    /// Send a request.
    Call(Box<Callout>),
    /// Begin or go on with a gRPC callout.
    Grpc(Box<GrpcEffect>),
    /// Call `proxy_on_tick` of that root every `period`; zero stops it.
    Tick {
        /// The root context.
        root: u32,
        /// From the return of one to the start of the next.
        period: Duration,
    },
    /// Delete a context that was put off and has finished. The VM's own.
    Delete {
        /// The context.
        context: u32,
    },
    /// Keep the VM for a while: a root context that nobody holds any more is still busy.
    Linger {
        /// The root context.
        root: u32,
    },
}

// === impl State ===

impl State {
    /// For a VM that has no contexts yet.
    #[must_use]
    pub fn new(
        process: Arc<Process>,
        vm: Arc<VmConfig>,
        version: Version,
        ticks: Arc<Ticks>,
    ) -> Self {
        let deadline = Deadline::new(process.limits.deadline, ticks);
        let limit = MemoryLimit {
            memory: process.limits.memory,
        };
        let observer = process.abi.observers.as_ref().map(|o| o.make());
        let observed = observer.is_some() || process.abi.lint.is_some();
        Self {
            memory: GuestMemory::default(),
            attended: observed,
            observed,
            uncalled: false,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            mailbox: Mailbox::default(),
            observer,
            restriction: Restriction::None,
            process,
            vm,
            version,
            metrics: Vec::new(),
            effects: Vec::new(),
            joined: Joined::No,
            stage: None,
            callout: None,
            configuring: false,
            grpc: Calls::default(),
            hostcalls: 0,
            callbacks: 0,
            declared: Vec::new(),
            put_off: Vec::new(),
            stopped: false,
            scratch: Vec::new(),
            allocations: 0,
            contexts: Contexts::default(),
            current: 0,
            last_token: 0,
            taken: 0,
            callouts: Callouts::default(),
            effective: Effective::default(),
            known: RefCell::default(),
            limit,
            deadline,
        }
    }

    /// Adds a root context and gives its number.
    pub fn add_root(&mut self, plugin: Rc<WasmPlugin>) -> u32 {
        self.contexts.add(Context::Root(plugin))
    }

    /// Adds a stream context of `root` and gives its number.
    pub fn add_stream(&mut self, root: u32, cell: StreamCell) -> u32 {
        self.contexts.add(Context::Stream {
            root,
            cell,
            reach: Reach::NONE,
        })
    }

    /// Forgets a context.
    pub fn remove(&mut self, id: u32) {
        self.contexts.remove(id);
        // The calls of a root end with it.
        self.grpc.forget_root(id);
        if self.effective.root == id {
            self.effective = Effective::default();
        }
        if self.effective.id == id {
            self.effective.id = 0;
            self.effective.stream = None;
            self.effective.reach = Reach::NONE;
            self.effective.kept = Reach::NONE;
        }
    }

    /// Notes that a context is still busy after its end.
    pub(super) fn put_off(&mut self, id: u32) {
        self.put_off.push(id);
    }

    /// Notes that a context that was put off has finished; false where it was not.
    pub fn finish(&mut self, id: u32) -> bool {
        let before = self.put_off.len();
        self.put_off.retain(|other| *other != id);
        self.put_off.len() < before
    }

    /// Whether there is a context of that number.
    #[must_use]
    pub fn has(&self, id: u32) -> bool {
        self.contexts.get(id).is_some()
    }

    /// Whether there is a stream's context of that number.
    #[must_use]
    pub fn is_stream(&self, id: u32) -> bool {
        matches!(self.contexts.get(id), Some(Context::Stream { .. }))
    }

    /// Tells all streams that the guest has failed: those that it holds would wait for ever.
    pub(super) fn fail_streams(&self) {
        for context in self.contexts.all() {
            if let Context::Stream { cell, .. } = context
                && let Ok(mut stream) = cell.try_borrow_mut()
            {
                stream.vm_failed = true;
                stream.wake();
            }
        }
    }

    /// Begins a callback on `id`.
    pub fn enter(&mut self, id: u32) {
        self.callbacks += 1;
        self.current = id;
        self.taken = 0;
        self.stopped = false;
        self.set_effective(id);
    }

    /// Header names and values that the guest has set, to make its headers of.
    #[inline]
    pub fn known(&self) -> RefMut<'_, Interner> {
        self.known.borrow_mut()
    }

    /// Notes what the effective plugin says of a property; false where it has said so before.
    ///
    /// # Errors
    /// `InternalFailure` where there are too many.
    pub fn declare(&mut self, name: &[u8], read_only: bool) -> Result<bool, Status> {
        let root = self.effective.root;
        let known = self
            .declared
            .iter()
            .any(|(own, other, _)| *own == root && **other == *name);
        if !known {
            if self.declared.len() >= MAX_DECLARED {
                return Err(Status::InternalFailure);
            }
            self.declared.push((root, name.into(), read_only));
        }
        Ok(!known)
    }

    /// Whether the effective plugin has declared the property read-only: it can be set once.
    #[must_use]
    pub fn is_read_only(&self, name: &[u8]) -> bool {
        let root = self.effective.root;
        let mut declared = self.declared.iter();
        declared.any(|(own, other, read_only)| *own == root && **other == *name && *read_only)
    }

    /// Whether the specification is followed where Envoy differs.
    #[must_use]
    pub fn strict(&self) -> bool {
        self.process.abi.mode == Mode::Strict
    }

    /// Says what the guest may call from now on.
    pub fn restrict(&mut self, restriction: Restriction) {
        self.restriction = restriction;
        self.attend();
    }

    /// Whether an observer or the lint watches, or not all may be called.
    #[must_use]
    pub fn watched(&self) -> bool {
        self.observed || self.restriction != Restriction::None
    }

    /// Says which callbacks share the entry that begins.
    pub(super) fn join(&mut self, joined: Joined) {
        self.joined = joined;
        self.attend();
    }

    fn attend(&mut self) {
        self.attended = self.joined != Joined::No || self.watched();
    }

    /// Counts bytes that the host is to keep for the guest.
    ///
    /// # Errors
    /// `InternalFailure` where they come to more in one callback than a guest may have memory.
    #[inline]
    pub fn take(&mut self, bytes: u32) -> Result<(), Status> {
        self.taken = self.taken.saturating_add(bytes as usize);
        match self.taken <= self.limit.memory {
            true => Ok(()),
            false => Err(Status::InternalFailure),
        }
    }

    /// Notes what the guest asks for, to be carried out when the callback has returned.
    ///
    /// # Errors
    /// `InternalFailure` where it has asked for too much.
    pub fn ask(&mut self, effect: Effect) -> Result<(), Status> {
        if self.effects.len() >= MAX_EFFECTS {
            return Err(Status::InternalFailure);
        }
        self.effects.push(effect);
        Ok(())
    }

    /// Whether another gRPC callout may begin, which holds so many bytes.
    ///
    /// # Errors
    /// `InternalFailure` where too many are on their way, or they hold too much.
    pub fn has_room_for_call(&self, bytes: usize) -> Result<(), Status> {
        let held = self.grpc.held().saturating_add(bytes);
        match self.grpc.count() < MAX_CALLOUTS && held <= self.limit.memory {
            true => Ok(()),
            false => Err(Status::InternalFailure),
        }
    }

    /// Takes a message of a gRPC stream over, to be sent when the callback has returned.
    ///
    /// # Errors
    /// `InternalFailure` where the messages of all streams that have not been sent, and what calls hold, come to too much;
    /// and as [`Self::take`].
    pub fn grpc_message(&mut self, message: &[u8]) -> Result<Bytes, Status> {
        if !self.grpc.have_room(message.len(), self.limit.memory) {
            return Err(Status::InternalFailure);
        }
        self.take(narrow(message.len()))?;
        Ok(self.grpc.message(message))
    }

    /// Has an HTTP callout sent when the callback has returned; until its answer has come it holds so many bytes.
    ///
    /// # Errors
    /// As [`Self::has_room_for_call`], and [`Self::ask`].
    pub fn call_out(&mut self, callout: Callout, bytes: usize) -> Result<(), Status> {
        let token = callout.token;
        self.callouts.begin(token, bytes, self.limit.memory)?;
        let asked = self.ask(Effect::Call(Box::new(callout)));
        asked.inspect_err(|_| self.callouts.end(token))
    }

    /// Counts one that has ended.
    pub(super) fn end_callout(&mut self, token: u32) {
        self.callouts.end(token);
    }

    /// A number for a callout.
    pub fn next_token(&mut self) -> u32 {
        self.last_token = self.last_token.checked_add(1).unwrap_or(1);
        self.last_token
    }

    /// The limiter of the store.
    pub(super) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut self.limit
    }

    /// Leaves callbacks no time at all.
    pub(super) fn out_of_time(&mut self) {
        self.deadline.end();
    }

    /// Whether the callback is over its time, asked when the engine's clock has ticked.
    pub(super) fn overdue(&mut self) -> bool {
        self.deadline.is_over(self.callbacks)
    }

    /// Fails where the callback is over its time: before a hostcall, and between the parts of a long one.
    ///
    /// # Errors
    /// The trap that ends it.
    #[inline]
    pub fn in_time(&mut self) -> Result<(), Trap> {
        match self.deadline.is_over_now(self.callbacks) {
            false => Ok(()),
            true => Err(Trap::Interrupt),
        }
    }
}
