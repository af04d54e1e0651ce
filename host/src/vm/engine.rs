//! The wasmtime engine, its clock for deadlines, and compiled modules.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use wasmtime::{Config, InstancePre, Linker, Module};

use super::VmError;
use super::state::State;
use crate::abi;
use crate::config::plugin::Code;

/// How often the engine's clock ticks; deadlines are multiples of it.
pub const TICK: Duration = Duration::from_millis(50);

/// Guest stack, at most: what Envoy's V8 gives by default is about as much.
const MAX_STACK: usize = 512 * 1024;

/// The one engine of the process.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    modules: Mutex<HashMap<u64, Weak<Compiled>>>,
}

/// A compiled and linked module.
pub struct Compiled {
    /// Ready to be instantiated.
    pub pre: InstancePre<State>,
    /// A digest of its bytes: part of the VM key.
    pub digest: u64,
}

impl Engine {
    /// An engine whose clock ticks until the process ends.
    ///
    /// # Errors
    /// Where this machine cannot run wasmtime.
    pub fn new() -> Result<Arc<Self>, VmError> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .max_wasm_stack(MAX_STACK)
            .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
        let engine = wasmtime::Engine::new(&config).map_err(VmError::engine)?;
        let linker = abi::linker(&engine).map_err(VmError::engine)?;
        let this = Arc::new(Self {
            engine,
            linker,
            modules: Mutex::default(),
        });
        let clock = Arc::downgrade(&this);
        std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                while let Some(engine) = clock.upgrade() {
                    engine.engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })
            .map_err(|error| VmError::Engine(error.to_string()))?;
        Ok(this)
    }

    /// The wasmtime engine.
    #[must_use]
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// Reads and compiles a guest; the same bytes are compiled once while anyone uses them.
    ///
    /// # Errors
    /// A file that cannot be read, is no module, or imports what the host does not have.
    pub fn load(&self, code: &Code) -> Result<Arc<Compiled>, VmError> {
        match code {
            Code::Inline(bytes) => self.compile(bytes),
            Code::File(path) => {
                let bytes = std::fs::read(path).map_err(|error| VmError::Read {
                    path: path.clone(),
                    error: error.to_string(),
                })?;
                self.compile(&bytes)
            }
        }
    }

    /// Compiles a guest's bytes.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn compile(&self, bytes: &[u8]) -> Result<Arc<Compiled>, VmError> {
        let digest = rustc_hash::FxBuildHasher.hash_one(bytes);
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = modules.get(&digest).and_then(Weak::upgrade) {
            return Ok(compiled);
        }
        let module = Module::new(&self.engine, bytes)
            .map_err(|error| VmError::Compile(format!("{error:#}")))?;
        check_abi(&module)?;
        let pre = self
            .linker
            .instantiate_pre(&module)
            .map_err(|error| VmError::Imports(format!("{error:#}")))?;
        let compiled = Arc::new(Compiled { pre, digest });
        modules.retain(|_, module| module.strong_count() > 0);
        modules.insert(digest, Arc::downgrade(&compiled));
        Ok(compiled)
    }
}

/// A guest tells its version of the ABI by an export's name.
fn check_abi(module: &Module) -> Result<(), VmError> {
    let marker = module
        .exports()
        .map(|export| export.name().to_owned())
        .find(|n| n.starts_with("proxy_abi_version_"));
    match marker.as_deref() {
        Some("proxy_abi_version_0_2_0" | "proxy_abi_version_0_2_1") => Ok(()),
        other => Err(VmError::Abi(
            other.map_or_else(|| "none".to_owned(), ToOwned::to_owned),
        )),
    }
}
