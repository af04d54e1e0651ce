//! Guests: one VM with its contexts and callbacks.
//!
//! A VM lives on one worker. Imports are synchronous; a guest that pauses a stream returns here, and the data
//! path waits in Rust.

pub mod cache;
mod contexts;
pub mod engine;
pub(crate) mod entry;
pub mod grpc;
mod meters;
pub mod plugin;
pub mod state;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::{Instance, Store, TypedFunc, UpdateDeadline, Val, WasmParams, WasmResults};

use crate::abi::lint::{self, Rule, lint};
use crate::abi::memory::GuestMemory;
use crate::abi::observe::{self, Words};
use crate::abi::queues::Mailbox;
use crate::abi::{CalloutResponse, Reach, Restriction};
use crate::config::WasmPlugin;
use crate::config::plugin::VmConfig;
use crate::process::Process;
use crate::stream::StreamCell;
use engine::Compiled;
use entry::{Joined, Left};
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
    /// Not a module.
    #[error("not a WebAssembly module that can be compiled: {0}")]
    Compile(String),
    /// No or an unknown ABI marker.
    #[error(
        "the module's Proxy-Wasm ABI marker is {0}; it must export proxy_abi_version_0_2_1, proxy_abi_version_0_2_0 or proxy_abi_version_0_1_0"
    )]
    Abi(String),
    /// Imports that the host does not have.
    #[error("the module imports what the host does not offer: {0}")]
    Imports(String),
    /// Exports that are missing or of another shape.
    #[error("the module exports {0}")]
    Exports(String),
    /// It trapped while it started.
    #[error("the filter trapped while it started: {0}")]
    Trap(String),
    /// It trapped, and its `failure_policy` allows no other.
    #[error("the filter's VM has failed and stays so until its configuration changes")]
    Failed,
    /// It failed a moment ago.
    #[error("the filter's VM has failed and is rebuilt after a back-off")]
    BackOff,
    /// `proxy_on_vm_start` or `proxy_on_configure` answered false.
    #[error("the filter refused its configuration ({0} answered false; its log says why)")]
    Refused(&'static str),
}

/// The status of a callout that failed, as Envoy tells it: `BrokenConnection` of its host library.
const BROKEN_CONNECTION: u32 = 11;

/// Root, token, and the sizes of headers, body and trailers.
type CalloutParams = (u32, u32, u32, u32, u32);

/// A callback, where the guest has it.
struct Export<P, R> {
    name: &'static str,
    function: Option<TypedFunc<P, R>>,
}

/// What a callback is about, and whether that is the end of its direction, where that can be said.
#[derive(Clone, Copy)]
struct Sees(Reach, Option<bool>);

/// The callbacks a guest exports; absent ones are passed over.
struct Exports {
    context_create: Export<(u32, u32), ()>,
    vm_start: Export<(u32, u32), u32>,
    configure: Export<(u32, u32), u32>,
    tick: Export<u32, ()>,
    queue_ready: Export<(u32, u32), ()>,
    request_headers: Export<(u32, u32, u32), u32>,
    request_headers_0_1: Export<(u32, u32), u32>,
    request_body: Export<(u32, u32, u32), u32>,
    request_trailers: Export<(u32, u32), u32>,
    response_headers: Export<(u32, u32, u32), u32>,
    response_headers_0_1: Export<(u32, u32), u32>,
    response_body: Export<(u32, u32, u32), u32>,
    response_trailers: Export<(u32, u32), u32>,
    http_call_response: Export<CalloutParams, ()>,
    grpc_initial: Export<(u32, u32, u32), ()>,
    grpc_message: Export<(u32, u32, u32), ()>,
    grpc_trailing: Export<(u32, u32, u32), ()>,
    grpc_close: Export<(u32, u32, u32), ()>,
    begin: Export<(u32, u32, u32, u32), u32>,
    end: Export<(u32, u32), u32>,
    done: Export<u32, u32>,
    log: Export<u32, ()>,
    delete: Export<u32, ()>,
}

/// Which body callbacks a guest has: where it has none, bodies stream past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interests {
    /// `proxy_on_request_body` or `proxy_on_request_trailers`.
    pub request_body: bool,
    /// `proxy_on_response_body` or `proxy_on_response_trailers`.
    pub response_body: bool,
}

// === impl VmError ===

impl VmError {
    fn engine(error: wasmtime::Error) -> Self {
        Self::Engine(format!("{error:#}"))
    }
}

// === impl Exports ===

impl Exports {
    fn find(store: &mut Store<State>, instance: &Instance) -> Self {
        fn get<P: WasmParams, R: WasmResults>(
            store: &mut Store<State>,
            instance: &Instance,
            name: &'static str,
        ) -> Export<P, R> {
            Export {
                name,
                function: instance.get_typed_func(store, name).ok(),
            }
        }
        Self {
            context_create: get(store, instance, "proxy_on_context_create"),
            vm_start: get(store, instance, "proxy_on_vm_start"),
            configure: get(store, instance, "proxy_on_configure"),
            tick: get(store, instance, "proxy_on_tick"),
            queue_ready: get(store, instance, "proxy_on_queue_ready"),
            request_headers: get(store, instance, "proxy_on_request_headers"),
            request_headers_0_1: get(store, instance, "proxy_on_request_headers"),
            request_body: get(store, instance, "proxy_on_request_body"),
            request_trailers: get(store, instance, "proxy_on_request_trailers"),
            response_headers: get(store, instance, "proxy_on_response_headers"),
            response_headers_0_1: get(store, instance, "proxy_on_response_headers"),
            response_body: get(store, instance, "proxy_on_response_body"),
            response_trailers: get(store, instance, "proxy_on_response_trailers"),
            http_call_response: get(store, instance, "proxy_on_http_call_response"),
            grpc_initial: get(store, instance, "proxy_on_grpc_receive_initial_metadata"),
            grpc_message: get(store, instance, "proxy_on_grpc_receive"),
            grpc_trailing: get(store, instance, "proxy_on_grpc_receive_trailing_metadata"),
            grpc_close: get(store, instance, "proxy_on_grpc_close"),
            begin: get(store, instance, entry::BEGIN),
            end: get(store, instance, entry::END),
            done: get(store, instance, "proxy_on_done"),
            log: get(store, instance, "proxy_on_log"),
            delete: get(store, instance, "proxy_on_delete"),
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
        let trapped = |error: wasmtime::Error| VmError::Trap(format!("{error:?}"));
        let mut store = Store::new(
            compiled.pre.module().engine(),
            State::new(process, vm, compiled.version),
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
        let instance = compiled.pre.instantiate(&mut store).map_err(trapped)?;
        store.data_mut().memory = GuestMemory::find(&mut store, &instance);
        if store.data().process.abi.lint.is_some() {
            store.data_mut().uncalled = lint::has_uncalled(compiled.pre.module());
        }
        store.data_mut().stage = instance.get_global(&mut store, entry::STAGE);
        store.data_mut().restrict(Restriction::Start);
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

    /// Creates and configures a root context.
    ///
    /// # Errors
    /// Where the guest traps or refuses; the root is gone then.
    pub fn add_root(&mut self, plugin: Rc<WasmPlugin>) -> Result<u32, VmError> {
        let vm_size = u32::try_from(self.store.data().vm.configuration.len()).unwrap_or(u32::MAX);
        let plugin_size = u32::try_from(plugin.configuration.len()).unwrap_or(u32::MAX);
        let root = self.store.data_mut().add_root(plugin);
        if self.store.data().uncalled {
            self.store.data_mut().set_effective(root);
            lint(self.store.data(), Rule::NeverCalled);
        }
        let result = self.configure(root, vm_size, plugin_size);
        if result.is_err() && !self.failed {
            self.remove(root);
        }
        result.map(|()| root)
    }

    fn configure(&mut self, root: u32, vm_size: u32, plugin_size: u32) -> Result<(), VmError> {
        let trapped = |_: Failed| VmError::Trap("see the log".to_owned());
        self.store.data_mut().configuring = true;
        let created = self.call(root, |e| &e.context_create, (root, 0), ());
        self.store.data_mut().configuring = false;
        created.map_err(trapped)?;
        if self
            .call(root, |e| &e.vm_start, (root, vm_size), 1)
            .map_err(trapped)?
            == 0
        {
            return Err(VmError::Refused("proxy_on_vm_start"));
        }
        self.store.data_mut().configuring = true;
        let accepted = self.accept(root, plugin_size);
        self.store.data_mut().configuring = false;
        accepted
    }

    fn accept(&mut self, root: u32, plugin_size: u32) -> Result<(), VmError> {
        let accepted = self
            .call(root, |e| &e.configure, (root, plugin_size), 1)
            .map_err(|Failed| VmError::Trap("see the log".to_owned()))?;
        match accepted {
            0 => Err(VmError::Refused("proxy_on_configure")),
            _ => Ok(()),
        }
    }

    /// Creates a stream context of `root`.
    ///
    /// # Errors
    /// Where the guest traps or has.
    pub fn add_stream(&mut self, root: u32, cell: StreamCell) -> Result<u32, Failed> {
        let id = self.store.data_mut().add_stream(root, cell);
        match self.call(id, |e| &e.context_create, (id, root), ()) {
            Ok(()) => Ok(id),
            Err(failed) => {
                self.store.data_mut().remove(id);
                Err(failed)
            }
        }
    }

    /// Runs an entry that several callbacks share.
    fn call_joined<P: WasmParams + Words>(
        &mut self,
        id: u32,
        entry: impl FnOnce(&Exports) -> &Export<P, u32>,
        parameters: P,
        joined: Joined,
    ) -> Result<u32, Failed> {
        self.store.data_mut().join(joined);
        let result = self.call(id, entry, parameters, 0);
        self.store.data_mut().join(Joined::No);
        result
    }

    /// Creates a stream context of `root` and gives it the request's head: its number, and what it wants.
    ///
    /// # Errors
    /// Where the guest has trapped before, or traps while it creates the context by itself.
    pub fn begin(
        &mut self,
        root: u32,
        cell: StreamCell,
        fields: usize,
        end_of_stream: bool,
    ) -> Result<(u32, Result<Action, Failed>), Failed> {
        if !self.joins {
            let id = self.add_stream(root, cell)?;
            return Ok((id, self.request_headers(id, fields, end_of_stream)));
        }
        let id = self.store.data_mut().add_stream(root, cell);
        let parameters = (id, root, narrow(fields), u32::from(end_of_stream));
        let joined = Joined::Begin(end_of_stream);
        let action = match self.call_joined(id, |e| &e.begin, parameters, joined) {
            Ok(entry::UNFINISHED) => self.request_headers(id, fields, end_of_stream),
            Ok(action) => {
                let sees = Sees(Reach::REQUEST_HEADERS, Some(end_of_stream));
                let state = self.store.data_mut();
                state.callbacks += 1;
                state.see(sees.0, sees.1);
                Ok(self.acted(id, action, sees))
            }
            Err(failed) => Err(failed),
        };
        Ok((id, action))
    }

    /// The same where log, done and delete share an entry.
    fn end_joined(&mut self, id: u32, log: bool) {
        // A guest that fails here is failed for the next call; there is nobody to tell.
        let left = self.call_joined(id, |e| &e.end, (id, u32::from(log)), Joined::End);
        let left = Left::from_code(left.unwrap_or_default());
        self.store.data_mut().callbacks += u64::from(log) + u64::from(left == Left::Nothing);
        match left {
            Left::Nothing => return self.store.data_mut().remove(id),
            Left::Delete => {}
            Left::BusyDelete => lint(self.store.data(), Rule::DoneLater),
            Left::DoneDelete => {
                if self.call(id, |e| &e.done, id, 1) == Ok(0) {
                    lint(self.store.data(), Rule::DoneLater);
                }
            }
        }
        self.remove(id);
    }

    /// Ends a stream's context: log, done, delete, in Envoy's order; by the specification log comes after done, and a
    /// context that is still busy stays until it says that it has finished.
    pub fn end(&mut self, id: u32, log: bool) {
        if self.joins {
            return self.end_joined(id, log);
        }
        let strict = self.store.data().strict();
        if log && !strict {
            self.log(id);
        }
        // A guest that fails here is failed for the next call; there is nobody to tell.
        let done = self.call(id, |e| &e.done, id, 1).unwrap_or(1) != 0;
        if !done {
            lint(self.store.data(), Rule::DoneLater);
        }
        if strict && !done {
            return self.store.data_mut().put_off(id);
        }
        if log && strict {
            self.log(id);
        }
        self.remove(id);
    }

    fn log(&mut self, id: u32) {
        let _ = self.call_seeing(id, |e| &e.log, id, (), Sees(Reach::LOG, None));
        self.store.data_mut().let_go(id, Reach::LOG);
    }

    /// Ends a root context: done and delete; false where it is still busy, and stays.
    pub fn end_root(&mut self, id: u32) -> bool {
        let done = self.call(id, |e| &e.done, id, 1).unwrap_or(1) != 0;
        if done {
            self.remove(id);
        } else {
            self.store.data_mut().put_off(id);
        }
        done
    }

    /// Deletes a context that was put off; by the specification its log comes first, where it is a stream's.
    pub fn delete(&mut self, id: u32) {
        if self.store.data().strict() && self.store.data().is_stream(id) {
            self.log(id);
        }
        self.store.data_mut().finish(id);
        self.remove(id);
    }

    fn remove(&mut self, id: u32) {
        let _ = self.call(id, |e| &e.delete, id, ());
        self.store.data_mut().remove(id);
    }

    /// `proxy_on_request_headers`.
    ///
    /// # Errors
    /// Where the guest traps or has; so for all callbacks.
    pub fn request_headers(
        &mut self,
        id: u32,
        fields: usize,
        end_of_stream: bool,
    ) -> Result<Action, Failed> {
        let (fields, end) = (narrow(fields), u32::from(end_of_stream));
        let sees = Sees(Reach::REQUEST_HEADERS, Some(end_of_stream));
        if self.exports.request_headers.function.is_none() {
            return self.act(id, |e| &e.request_headers_0_1, (id, fields), sees);
        }
        self.act(id, |e| &e.request_headers, (id, fields, end), sees)
    }

    /// `proxy_on_request_body`; `size` is what the buffer holds.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn request_body(
        &mut self,
        id: u32,
        size: usize,
        end_of_stream: bool,
    ) -> Result<Action, Failed> {
        self.act(
            id,
            |e| &e.request_body,
            (id, narrow(size), u32::from(end_of_stream)),
            Sees(Reach::REQUEST_BODY, Some(end_of_stream)),
        )
    }

    /// `proxy_on_request_trailers`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn request_trailers(&mut self, id: u32, fields: usize) -> Result<Action, Failed> {
        self.act(
            id,
            |e| &e.request_trailers,
            (id, narrow(fields)),
            Sees(Reach::REQUEST_TRAILERS, None),
        )
    }

    /// `proxy_on_response_headers`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn response_headers(
        &mut self,
        id: u32,
        fields: usize,
        end_of_stream: bool,
    ) -> Result<Action, Failed> {
        let (fields, end) = (narrow(fields), u32::from(end_of_stream));
        let sees = Sees(Reach::RESPONSE_HEADERS, Some(end_of_stream));
        if self.exports.response_headers.function.is_none() {
            return self.act(id, |e| &e.response_headers_0_1, (id, fields), sees);
        }
        self.act(id, |e| &e.response_headers, (id, fields, end), sees)
    }

    /// `proxy_on_response_body`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn response_body(
        &mut self,
        id: u32,
        size: usize,
        end_of_stream: bool,
    ) -> Result<Action, Failed> {
        self.act(
            id,
            |e| &e.response_body,
            (id, narrow(size), u32::from(end_of_stream)),
            Sees(Reach::RESPONSE_BODY, Some(end_of_stream)),
        )
    }

    /// `proxy_on_response_trailers`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn response_trailers(&mut self, id: u32, fields: usize) -> Result<Action, Failed> {
        self.act(
            id,
            |e| &e.response_trailers,
            (id, narrow(fields)),
            Sees(Reach::RESPONSE_TRAILERS, None),
        )
    }

    /// `proxy_on_tick`.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn tick(&mut self, root: u32) -> Result<(), Failed> {
        self.call(root, |e| &e.tick, root, ())
    }

    /// `proxy_on_queue_ready`. A root that has ended meanwhile gets none.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn queue_ready(&mut self, root: u32, queue: u32) -> Result<(), Failed> {
        if !self.has(root) {
            return Ok(());
        }
        self.call(root, |e| &e.queue_ready, (root, queue), ())
    }

    /// Has word of queues sent to `mailbox`, and gives the number by which that names the VM.
    pub fn receive_by(&mut self, mailbox: Mailbox) -> u64 {
        let state = self.store.data_mut();
        state.mailbox = mailbox;
        state.serial
    }

    /// `proxy_on_http_call_response`; `None` is a failed callout, which guests see as an answer of nothing.
    /// A root that has ended meanwhile gets none, as in Envoy.
    ///
    /// # Errors
    /// As [`Self::request_headers`].
    pub fn http_call_response(
        &mut self,
        root: u32,
        token: u32,
        response: Option<CalloutResponse>,
    ) -> Result<(), Failed> {
        if !self.has(root) {
            return Ok(());
        }
        let sizes = response.as_ref().map_or((0, 0, 0), |r| {
            (
                narrow(r.head.headers.len() + 1),
                narrow(r.body.len()),
                narrow(r.trailers.len()),
            )
        });
        let state = self.store.data_mut();
        if response.is_none() {
            state
                .grpc
                .end(BROKEN_CONNECTION, Bytes::from_static(b"reset"));
        }
        state.callout = response;
        let result = self.call(
            root,
            |e| &e.http_call_response,
            (root, token, sizes.0, sizes.1, sizes.2),
            (),
        );
        let state = self.store.data_mut();
        state.callout = None;
        state.grpc.forget_message();
        result
    }

    /// Which bodies the guest wants to see.
    #[must_use]
    pub fn interests(&self) -> Interests {
        Interests {
            request_body: self.exports.request_body.function.is_some()
                || self.exports.request_trailers.function.is_some(),
            response_body: self.exports.response_body.function.is_some()
                || self.exports.response_trailers.function.is_some(),
        }
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

    fn act<P: WasmParams + Words>(
        &mut self,
        id: u32,
        callback: impl FnOnce(&Exports) -> &Export<P, u32>,
        parameters: P,
        sees: Sees,
    ) -> Result<Action, Failed> {
        let action = self.call_seeing(id, callback, parameters, 0, sees)?;
        Ok(self.acted(id, action, sees))
    }

    /// What a guest's number means: Envoy takes any other than 0 for a pause.
    fn acted(&mut self, id: u32, action: u32, sees: Sees) -> Action {
        match action {
            0 => {
                self.store.data_mut().let_go(id, sees.0);
                Action::Continue
            }
            _ => Action::Pause,
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
                let state = self.store.data();
                state.fail_streams();
                state
                    .process
                    .stats
                    .counter("wasm.switchover.vm_failed")
                    .increment();
                let plugin = state.plugin_name();
                tracing::error!(plugin, "a filter trapped: {trap:?}");
                state.process.guest_log.trap(
                    state.process.clock.wall(),
                    plugin,
                    &format!("trapped in {}: {}", export.name, trap.root_cause()),
                );
                Err(Failed)
            }
        }
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
