//! Guests of a few lines, for tests: what they call and what they got is in their log.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::abi::{Options, SharedData};
use crate::config::plugin::{Code, FailurePolicy, VmConfig};
use crate::config::{Node, WasmPlugin};
use crate::process::{Clock, GuestLimits, GuestLog, Process, Random, VirtualClock};
use crate::stats::Registry;
use crate::vm::engine::Engine;
use crate::vm::{Vm, VmError};

/// What each guest begins with: version, memory, an allocator that never frees, and two ways to log.
///
/// `$say` logs a number below ten, as a hostcall's status is; `$show` logs bytes whose address and length lie at 8 and
/// 12, where hostcalls are asked to put them.
const PRELUDE: &str = r#"
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  {imports}
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 65536))
  (func (export "{marker}"))
  (func (export "malloc") (param $n i32) (result i32)
    (global.get $free)
    (global.set $free (i32.add (global.get $free) (local.get $n))))
  (func $say (param $n i32)
    (i32.store8 (i32.const 4) (i32.add (i32.const 48) (local.get $n)))
    (drop (call $log (i32.const 2) (i32.const 4) (i32.const 1))))
  (func $show (drop (call $log (i32.const 2) (i32.load (i32.const 8)) (i32.load (i32.const 12)))))
"#;

/// A guest to be.
pub(super) struct Source<'a> {
    pub(super) marker: &'a str,
    pub(super) imports: &'a str,
    pub(super) body: &'a str,
}

/// A guest with one root context.
pub(super) struct Guest {
    pub(super) vm: Vm,
    pub(super) process: Arc<Process>,
    pub(super) root: u32,
}

impl<'a> Source<'a> {
    /// Of version 0.2.1.
    pub(super) fn new(imports: &'a str, body: &'a str) -> Self {
        Self {
            marker: "proxy_abi_version_0_2_1",
            imports,
            body,
        }
    }

    /// As a binary.
    pub(super) fn wasm(&self) -> Vec<u8> {
        let prelude = PRELUDE
            .replace("{imports}", self.imports)
            .replace("{marker}", self.marker);
        wat::parse_str(format!("(module {prelude} {})", self.body)).unwrap()
    }

    /// Starts and configures it.
    pub(super) fn start(&self, options: Options) -> Result<Guest, VmError> {
        Guest::start(self.wasm(), options)
    }

    /// Starts it without a root context.
    pub(super) fn vm(&self, process: Arc<Process>) -> Result<(Vm, Rc<WasmPlugin>), VmError> {
        vm(self.wasm(), process)
    }
}

impl Guest {
    /// Starts and configures a guest that is a binary.
    pub(super) fn start(wasm: Vec<u8>, options: Options) -> Result<Self, VmError> {
        let process = process(options);
        let (mut vm, plugin) = vm(wasm, process.clone())?;
        let root = vm.add_root(plugin)?;
        Ok(Self { vm, process, root })
    }

    /// What it has logged.
    pub(super) fn lines(&self) -> Vec<String> {
        let lines = self.process.guest_log.lines();
        lines.into_iter().map(|line| line.text).collect()
    }
}

/// The engine of all tests.
pub(super) fn engine() -> &'static Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

/// A process of its own.
pub(super) fn process(abi: Options) -> Arc<Process> {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    Arc::new(Process {
        node: Node::default(),
        stats: Registry::new(Vec::new()),
        shared_data: SharedData::default(),
        queues: crate::abi::Queues::default(),
        clusters: ["there".to_owned()].into_iter().collect(),
        abi,
        limits: GuestLimits::default(),
        clock: Clock::Virtual(Arc::new(VirtualClock::starting_at(start))),
        random: Random::seeded(1),
        guest_log: GuestLog::kept(),
    })
}

fn vm(wasm: Vec<u8>, process: Arc<Process>) -> Result<(Vm, Rc<WasmPlugin>), VmError> {
    let compiled = engine().compile(&wasm)?;
    let plugin = plugin(wasm);
    let vm = Vm::start(&compiled, Arc::new(plugin.vm.clone()), process)?;
    Ok((vm, Rc::new(plugin)))
}

/// The plugin that all guests are.
pub(super) fn plugin(wasm: Vec<u8>) -> WasmPlugin {
    WasmPlugin {
        name: "plugin".to_owned(),
        root_id: "root".to_owned(),
        configuration: Bytes::from_static(b"plugin configuration"),
        vm: VmConfig {
            vm_id: "vm".to_owned(),
            runtime: "envoy.wasm.runtime.v8".to_owned(),
            code: Code::Inline(Bytes::from(wasm)),
            configuration: Bytes::from_static(b"vm configuration"),
            environment: [("KEY".to_owned(), "value".to_owned())].into(),
        },
        failure_policy: FailurePolicy::FailClosed,
        reload_backoff: Duration::from_secs(1),
        allow_on_headers_stop_iteration: false,
    }
}
