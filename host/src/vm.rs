//! Guests: one VM with its contexts and callbacks.
//!
//! A VM lives on one worker. Imports are synchronous; a guest that pauses a stream returns here, and the data
//! path waits in Rust.

pub mod cache;
mod callbacks;
mod contexts;
pub mod engine;
pub(crate) mod entry;
mod exports;
pub mod grpc;
mod lifecycle;
mod meters;
pub mod plugin;
pub mod state;

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::{Instance, Module, Store, UpdateDeadline, Val, WasmParams, WasmResults};

use crate::abi::memory::GuestMemory;
use crate::abi::observe::{self, Words};
use crate::abi::queues::Mailbox;
use crate::abi::{Reach, Restriction, lint};
use crate::config::plugin::{Code, VmConfig};
use crate::process::Process;
use engine::Compiled;
pub use exports::Interests;
use exports::{Export, Exports};
use state::State;

/// A guest instance.
pub struct Vm {
    store: Store<State>,
    exports: Exports,
    /// Whether callbacks that follow one another may share an entry. Observers and the lint see each by itself,
    /// and by the specification other callbacks follow one another.
    joins: bool,
    failed: bool,
}

/// What a callback wants done with the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Go on to the next filter.
    Continue,
    /// Wait for `continue_stream` (headers), or for more of the body.
    Pause,
}

/// What a guest has used since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Hostcalls it made.
    pub hostcalls: u64,
    /// Callbacks it got.
    pub callbacks: u64,
    /// Allocations that hostcalls asked of it, to hand values over.
    pub allocations: u64,
    /// Bytes of its memory now.
    pub memory: usize,
}

/// The guest has trapped, now or before: its VM answers no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the filter's VM has failed")]
pub struct Failed;

/// Why a guest could not be started.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VmError {
    /// The engine itself.
    #[error("the Wasm engine cannot start on this machine: {0}")]
    Engine(String),
    /// The file.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: String,
    },
    /// What is wrong with a file.
    #[error("{}: {error}", path.display())]
    Of {
        /// The file.
        path: PathBuf,
        /// What it is.
        error: Box<Self>,
    },
    /// Not a module.
    #[error("not a WebAssembly module that can be compiled: {0}")]
    Compile(String),
    /// No or an unknown ABI marker.
    #[error(
        "the module's Proxy-Wasm ABI marker is {0}; it must export proxy_abi_version_0_2_1, proxy_abi_version_0_2_0 or proxy_abi_version_0_1_0"
    )]
    Abi(String),
    /// `switchover inspect` lists what it wants.
    #[error("the module imports what the host does not offer: {0}")]
    Imports(String),
    /// Exports that are missing or of another shape.
    #[error("the module exports {0}")]
    Exports(String),
    /// It begins with more memory than it may have.
    #[error("it begins with {} MiB of memory, and the limit is {} MiB (`serve --filter-memory` raises it)", initial >> 20, limit >> 20)]
    Memory {
        /// What it begins with, in bytes.
        initial: u64,
        /// What it may have.
        limit: u64,
    },
    /// It trapped while it started.
    #[error("the filter trapped while it started: {0}")]
    Trap(String),
    /// The filter trapped and its `failure_policy` is FAIL_CLOSED; the log says where it trapped.
    #[error("the filter's VM has failed and stays so until its configuration changes")]
    Failed,
    /// The filter trapped and FAIL_RELOAD takes its time; the log says where it trapped.
    #[error("the filter's VM has failed and is rebuilt after a back-off")]
    BackOff,
    /// The document is wrong, or a variable is missing: the log line before it says which.
    #[error("the filter refused its configuration ({0} answered false; its log says why)")]
    Refused(&'static str),
}

/// What a callback is about, and whether that is the end of its direction, where that can be said.
#[derive(Clone, Copy)]
struct Sees(Reach, Option<bool>);

// === impl VmError ===

impl VmError {
    fn engine(error: wasmtime::Error) -> Self {
        Self::Engine(format!("{error:#}"))
    }

    /// The same, said of a file, where it is not said yet.
    #[must_use]
    pub fn of(self, code: &Code) -> Self {
        match (code, self) {
            (_, error @ (Self::Of { .. } | Self::Read { .. })) => error,
            (Code::Inline(_), error) => error,
            (Code::File(path), error) => Self::Of {
                path: path.clone(),
                error: Box::new(error),
            },
        }
    }
}

// === impl Vm ===

impl Vm {
    /// Instantiates a guest and runs its initialisers.
    ///
    /// # Errors
    /// A trap in them, or a start function that the engine refuses.
    pub fn start(
        compiled: &Compiled,
        vm: Arc<VmConfig>,
        process: Arc<Process>,
    ) -> Result<Self, VmError> {
        memory_fits(compiled.pre.module(), process.limits.memory)?;
        let deadline = process.limits.deadline;
        let trapped = |error: wasmtime::Error| {
            let is_late = matches!(error.downcast_ref(), Some(wasmtime::Trap::Interrupt));
            VmError::Trap(match is_late {
                true => format!("it ran for longer than {deadline:?}: {error:?}"),
                false => format!("{error:?}"),
            })
        };
        let mut store = Store::new(
            compiled.pre.module().engine(),
            State::new(process, vm, compiled.version, compiled.ticks.clone()),
        );
        store.limiter(State::limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            Ok(if context.data_mut().overdue() {
                UpdateDeadline::Interrupt
            } else {
                UpdateDeadline::Continue(1)
            })
        });
        // A start section runs with the instance.
        store.data_mut().restrict(Restriction::Start);
        let instance = compiled.pre.instantiate(&mut store).map_err(trapped)?;
        store.data_mut().memory = GuestMemory::find(&mut store, &instance);
        if store.data().process.abi.lint.is_some() {
            store.data_mut().uncalled = lint::has_uncalled(compiled.pre.module());
        }
        store.data_mut().stage = instance.get_global(&mut store, entry::STAGE);
        run_starters(&mut store, &instance).map_err(trapped)?;
        store.data_mut().restrict(Restriction::None);
        let exports = Exports::find(&mut store, &instance);
        let state = store.data();
        let joins = exports.end.function.is_some() && !state.watched() && !state.strict();
        Ok(Self {
            store,
            exports,
            joins,
            failed: false,
        })
    }

    /// Has word of queues sent to `mailbox`, and gives the number by which that names the VM.
    pub fn receive_by(&mut self, mailbox: Mailbox) -> u64 {
        let state = self.store.data_mut();
        state.mailbox = mailbox;
        state.serial
    }

    /// Which bodies the guest wants to see.
    #[must_use]
    pub fn interests(&self) -> Interests {
        self.exports.interests()
    }

    /// Whether a context of that number is there.
    #[must_use]
    pub fn has(&self, id: u32) -> bool {
        self.store.data().has(id)
    }

    /// Lets the next callback end in a trap, as an endless loop does.
    pub fn trap_next(&mut self) {
        self.store.data_mut().out_of_time();
        self.store.set_epoch_deadline(0);
    }

    /// Whether the guest has trapped.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// What the guest asked for since the last time.
    pub fn effects(&mut self) -> Option<Vec<state::Effect>> {
        let effects = &mut self.store.data_mut().effects;
        (!effects.is_empty()).then(|| std::mem::take(effects))
    }

    /// What the guest has used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.store.data();
        Usage {
            hostcalls: state.hostcalls,
            callbacks: state.callbacks,
            allocations: state.allocations,
            memory: state.memory.size(&self.store),
        }
    }

    /// Calls a callback on a context; `absent` is the answer of a guest without it.
    fn call<P: WasmParams + Words, R: WasmResults + Words>(
        &mut self,
        id: u32,
        callback: impl FnOnce(&Exports) -> &Export<P, R>,
        parameters: P,
        absent: R,
    ) -> Result<R, Failed> {
        self.call_seeing(id, callback, parameters, absent, Sees(Reach::NONE, None))
    }

    /// The same, with maps and buffers of the stream that the callback is about.
    fn call_seeing<P: WasmParams + Words, R: WasmResults + Words>(
        &mut self,
        id: u32,
        callback: impl FnOnce(&Exports) -> &Export<P, R>,
        parameters: P,
        absent: R,
        Sees(sees, end): Sees,
    ) -> Result<R, Failed> {
        if self.failed {
            return Err(Failed);
        }
        let export = callback(&self.exports);
        let Some(function) = &export.function else {
            return Ok(absent);
        };
        let state = self.store.data_mut();
        state.enter(id);
        state.see(sees, end);
        let result = if state.observer.is_some() {
            observe::callback(&mut self.store, export.name, parameters, |store, p| {
                function.call(store, p)
            })
        } else {
            function.call(&mut self.store, parameters)
        };
        match result {
            Ok(result) => Ok(result),
            Err(trap) => {
                self.failed = true;
                let callback = entry::callback(&mut self.store, export.name);
                let state = self.store.data();
                state.fail_streams();
                state
                    .process
                    .stats
                    .counter("wasm.switchover.vm_failed")
                    .increment();
                let plugin = state.plugin_name();
                tracing::error!(plugin, "a filter trapped in {callback}: {trap:?}");
                state.process.guest_log.trap(
                    state.process.clock.wall(),
                    plugin,
                    &format!("trapped in {callback}: {}", trap.root_cause()),
                );
                Err(Failed)
            }
        }
    }
}

/// The engine would say the same of a module in its own words.
fn memory_fits(module: &Module, limit: usize) -> Result<(), VmError> {
    let limit = limit as u64;
    let types: Vec<_> = module.exports().map(|export| export.ty()).collect();
    let memories = types.iter().filter_map(|ty| ty.memory());
    let initial = memories.map(|memory| memory.minimum().saturating_mul(memory.page_size()));
    match initial.max() {
        Some(initial) if initial > limit => Err(VmError::Memory { initial, limit }),
        _ => Ok(()),
    }
}

/// Runs a guest's initialisers: a reactor's `_initialize` and then its `main`, or a command's `_start`, as in Envoy.
fn run_starters(store: &mut Store<State>, instance: &Instance) -> wasmtime::Result<()> {
    let mut run = |name: &str| -> wasmtime::Result<bool> {
        let Some(function) = instance.get_func(&mut *store, name) else {
            return Ok(false);
        };
        let kind = function.ty(&*store);
        let zeros = |types: Vec<wasmtime::ValType>| -> Vec<Val> {
            types.iter().filter_map(Val::default_for_ty).collect()
        };
        let mut results = zeros(kind.results().collect());
        function.call(&mut *store, &zeros(kind.params().collect()), &mut results)?;
        Ok(true)
    };
    if run("_initialize")? {
        let _ = run("main")? || run("__main_void")?;
    } else {
        run("_start")?;
    }
    Ok(())
}

/// A size as guests get it.
fn narrow(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
