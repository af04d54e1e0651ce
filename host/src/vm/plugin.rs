//! A plugin on one worker: its root context, the VM it shares with others, and what happens when that fails.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::engine::{Compiled, Digest};
use super::grpc::Outbox;
use super::meters::VmMeters;
use super::state::Effect;
use super::{Interests, Vm, VmError};
use crate::abi::queues::{Mailbox, Ready};
use crate::config::WasmPlugin;
use crate::config::plugin::{FailurePolicy, VmConfig};
use crate::process::Process;

/// The VMs of one worker. Plugins whose `vm_id`, code and VM configuration are equal share one.
pub struct Vms {
    process: Arc<Process>,
    effects: EffectSink,
    mailbox: Mailbox,
    shared: RefCell<HashMap<VmKey, Weak<VmCell>>>,
}

/// Carries out what guests ask for: the worker, or nothing.
pub type EffectSink = Rc<dyn Fn(&Rc<VmCell>, Effect)>;

/// What must be equal for two plugins to share a VM. The environment is not part of it, as in Envoy.
#[derive(Clone, PartialEq, Eq, Hash)]
struct VmKey {
    vm_id: String,
    configuration: bytes::Bytes,
    code: Digest,
}

/// A VM that several plugins and streams hold.
pub struct VmCell {
    vm: RefCell<Vm>,
    meters: VmMeters,
    /// Tells it apart from all others of the process.
    pub serial: u64,
    effects: EffectSink,
    /// Tick tasks by root.
    pub ticks: RefCell<HashMap<u32, tokio::task::AbortHandle>>,
    /// gRPC callouts under way, by number.
    pub calls: RefCell<HashMap<u32, CallTask>>,
}

/// The task that carries a gRPC callout out; ends with this.
pub struct CallTask {
    /// The root that gets the answers.
    pub root: u32,
    /// Where messages go.
    pub outbox: Rc<Outbox>,
    /// The task itself.
    pub task: tokio::task::AbortHandle,
}

/// A plugin of a filter chain on one worker.
pub struct Plugin {
    /// Its configuration.
    pub config: Rc<WasmPlugin>,
    compiled: Arc<Compiled>,
    vm_config: Arc<VmConfig>,
    vms: Rc<Vms>,
    root: RefCell<Option<Rc<Root>>>,
    /// When its VM was started or tried to be, by the process's monotonic clock.
    loaded: Cell<Duration>,
    /// Whether the log says that it has failed for good.
    told: Cell<bool>,
}

/// A configured root context. Streams hold it; when the last lets go, it is ended.
pub struct Root {
    /// The VM it is in.
    pub vm: Rc<VmCell>,
    /// Its context number.
    pub id: u32,
    /// Which bodies it wants.
    pub interests: Interests,
    ended: Cell<bool>,
}

// === impl Vms ===

impl Vms {
    /// No VMs yet.
    #[must_use]
    pub fn new(process: Arc<Process>, effects: EffectSink, mailbox: Mailbox) -> Rc<Self> {
        Rc::new(Self {
            process,
            effects,
            mailbox,
            shared: RefCell::default(),
        })
    }

    /// Tells a root context that a queue has something, where it and its VM are still there.
    pub fn queue_ready(&self, ready: Ready) {
        let vms: Vec<_> = self
            .shared
            .borrow()
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for vm in vms.iter().filter(|vm| vm.serial == ready.vm) {
            // A guest that fails in it is failed for its next stream.
            let _ = vm.run(|guest| guest.queue_ready(ready.root, ready.queue));
        }
    }

    /// Adds what the VMs have used to the process's metrics.
    pub fn tell(&self) {
        let shared = self.shared.borrow();
        for vm in shared.values().filter_map(Weak::upgrade) {
            vm.tell();
        }
    }

    /// The VM of that key, started if there is none or the last one failed.
    fn vm(&self, key: VmKey, plugin: &Plugin) -> Result<Rc<VmCell>, VmError> {
        let mut shared = self.shared.borrow_mut();
        let running = shared.get(&key).and_then(Weak::upgrade);
        let failed = match running {
            Some(vm) if !vm.failed() => return Ok(vm),
            before => before.is_some(),
        };
        let mut vm = Vm::start(
            &plugin.compiled,
            plugin.vm_config.clone(),
            self.process.clone(),
        )?;
        let serial = vm.receive_by(self.mailbox.clone());
        let name = match plugin.vm_config.vm_id.as_str() {
            "" => &plugin.config.name,
            id => id,
        };
        let vm = Rc::new(VmCell {
            vm: RefCell::new(vm),
            meters: VmMeters::new(&self.process.stats, name, failed),
            serial,
            effects: self.effects.clone(),
            ticks: RefCell::default(),
            calls: RefCell::default(),
        });
        shared.retain(|_, vm| vm.strong_count() > 0);
        shared.insert(key, Rc::downgrade(&vm));
        Ok(vm)
    }
}

// === impl VmCell ===

impl VmCell {
    /// Runs `callback`, then carries out what the guest asked for in it.
    pub fn run<R>(self: &Rc<Self>, callback: impl FnOnce(&mut Vm) -> R) -> R {
        let mut vm = self.vm.borrow_mut();
        let result = self.meters.measure(|| callback(&mut vm));
        let effects = vm.effects();
        drop(vm);
        if let Some(effects) = effects {
            self.carry_out(effects);
        }
        result
    }

    /// Out of the way of callbacks that ask for nothing, which are most.
    #[inline(never)]
    fn carry_out(self: &Rc<Self>, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Delete { context } => self.delete(context),
                effect => (self.effects)(self, effect),
            }
        }
    }

    /// Deletes a context that was put off, with its tick.
    pub fn delete(self: &Rc<Self>, context: u32) {
        if let Some(tick) = self.ticks.borrow_mut().remove(&context) {
            tick.abort();
        }
        self.run(|vm| {
            if vm.has(context) {
                vm.delete(context);
            }
        });
    }

    /// Adds what the VM has used to the process's metrics.
    fn tell(&self) {
        if let Ok(vm) = self.vm.try_borrow() {
            self.meters.tell(&vm);
        }
    }

    /// Whether the guest has trapped.
    #[must_use]
    pub fn failed(&self) -> bool {
        // A VM that is in a callback now has not failed yet.
        self.vm.try_borrow().is_ok_and(|vm| vm.failed())
    }
}

impl Drop for VmCell {
    fn drop(&mut self) {
        self.tell();
        for (_, tick) in self.ticks.borrow_mut().drain() {
            tick.abort();
        }
    }
}

// === impl CallTask ===

impl Drop for CallTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Plugin ===

impl Plugin {
    /// Starts the plugin on this worker.
    ///
    /// # Errors
    /// Where its VM cannot start or it refuses its configuration.
    pub fn start(
        config: WasmPlugin,
        compiled: Arc<Compiled>,
        vms: Rc<Vms>,
    ) -> Result<Rc<Self>, VmError> {
        let vm_config = Arc::new(config.vm.clone());
        let plugin = Rc::new(Self {
            config: Rc::new(config),
            compiled,
            vm_config,
            vms,
            root: RefCell::new(None),
            loaded: Cell::default(),
            told: Cell::default(),
        });
        plugin.load()?;
        Ok(plugin)
    }

    /// The root context for a new stream. Where the VM has failed it is another VM's, if the policy allows one and its
    /// time has come.
    ///
    /// # Errors
    /// While there is none that runs.
    pub fn root(&self) -> Result<Rc<Root>, VmError> {
        match self.root.borrow().as_ref() {
            Some(root) if !root.vm.failed() => return Ok(root.clone()),
            _ => {}
        }
        self.reload()
    }

    /// Starts another VM, no sooner than the policy says. Source: Envoy's `PluginConfig::maybeReloadHandleIfNeeded`.
    #[cold]
    fn reload(&self) -> Result<Rc<Root>, VmError> {
        let policy = self.config.failure_policy;
        if !policy.reloads() {
            if !self.told.replace(true) {
                let what = match policy {
                    FailurePolicy::FailOpen => "FAIL_OPEN: requests pass without the filter",
                    _ => "FAIL_CLOSED: requests get 503",
                };
                let plugin = &self.config.name;
                tracing::error!(plugin, "{what} until its configuration changes");
            }
            return Err(VmError::Failed);
        }
        let age = self.clock().saturating_sub(self.loaded.get());
        if age < self.back_off() {
            self.count("vm_reload_backoff");
            return Err(VmError::BackOff);
        }
        let root = self.load();
        match &root {
            Ok(_) => {
                self.count("vm_reload_success");
                tracing::info!(plugin = self.config.name, "the filter's VM was rebuilt");
            }
            Err(error) => {
                self.count("vm_reload_failure");
                tracing::error!(
                    plugin = self.config.name,
                    "the filter's VM cannot be rebuilt: {error}"
                );
            }
        }
        root
    }

    /// Between the configured time and half as much again, by chance, so that workers do not rebuild all at once.
    fn back_off(&self) -> Duration {
        let mut chance = [0; 2];
        // Without random bytes it is the least time.
        let _ = self.vms.process.random.fill(&mut chance);
        let base = self.config.reload_backoff;
        base + base / 2 * u32::from(u16::from_le_bytes(chance)) / u32::from(u16::MAX)
    }

    /// Takes the VM of its key, or starts one, and makes a root context in it.
    fn load(&self) -> Result<Rc<Root>, VmError> {
        self.loaded.set(self.clock());
        let key = VmKey {
            vm_id: self.vm_config.vm_id.clone(),
            configuration: self.vm_config.configuration.clone(),
            code: self.compiled.digest,
        };
        let vm = self.vms.vm(key, self)?;
        let (id, interests) = vm.run(|vm| {
            vm.add_root(self.config.clone())
                .map(|id| (id, vm.interests()))
        })?;
        let root = Rc::new(Root {
            vm,
            id,
            interests,
            ended: Cell::new(false),
        });
        let before = self.root.borrow_mut().replace(root.clone());
        drop(before);
        Ok(root)
    }

    fn clock(&self) -> Duration {
        self.vms.process.clock.monotonic()
    }

    /// Counts under `wasm.NAME.`, as Envoy does.
    fn count(&self, what: &str) {
        let name = format!("wasm.{}.{what}", self.config.name);
        self.vms.process.stats.counter(&name).increment();
    }
}

// === impl Root ===

impl Drop for Root {
    fn drop(&mut self) {
        // Never within a callback: roots are dropped by streams and chains, outside of the VM.
        let done = self.ended.replace(true)
            || self.vm.vm.try_borrow_mut().is_err()
            || self.vm.run(|vm| vm.end_root(self.id));
        if !done {
            return (self.vm.effects)(&self.vm, Effect::Linger { root: self.id });
        }
        if let Some(tick) = self.vm.ticks.borrow_mut().remove(&self.id) {
            tick.abort();
        }
        let of_others = |_: &u32, call: &mut CallTask| call.root != self.id;
        self.vm.calls.borrow_mut().retain(of_others);
    }
}
