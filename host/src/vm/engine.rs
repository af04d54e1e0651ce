//! The wasmtime engine, its clock for deadlines, and compiled modules.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use wasmtime::{Config, InstancePre, Linker, Module};

use super::VmError;
use super::state::State;
use crate::abi;
use crate::config::plugin::Code;

/// How often the engine's clock ticks; deadlines are multiples of it.
pub const TICK: Duration = Duration::from_millis(50);

/// Frames of a guest's backtrace in the log.
const MAX_FRAMES: Option<NonZeroUsize> = NonZeroUsize::new(32);

/// Guest stack, at most: what Envoy's V8 gives by default is about as much.
const MAX_STACK: usize = 512 * 1024;

/// The one engine of the process.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    modules: Mutex<HashMap<u64, Weak<Compiled>>>,
    /// The program that compiles; without one it is done here.
    compiler: Option<PathBuf>,
}

/// A compiled and linked module.
pub struct Compiled {
    /// Ready to be instantiated.
    pub pre: InstancePre<State>,
    /// The ABI it was built for.
    pub version: abi::Version,
    /// A digest of its bytes: part of the VM key.
    pub digest: u64,
}

/// Tells contents apart: the same within one build of this program.
#[must_use]
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The verb of this program that compiles for it.
pub const COMPILE_VERB: &str = "compile-module";

/// What both sides of the pipe must agree on.
fn configuration() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(MAX_STACK)
        .wasm_backtrace_max_frames(MAX_FRAMES);
    config
}

/// Compiles a module for an engine of this program's configuration on this machine.
///
/// # Errors
/// Where it is no module, or one that needs features that are off.
pub fn precompile(module: &[u8]) -> Result<Vec<u8>, VmError> {
    let engine = wasmtime::Engine::new(&configuration()).map_err(VmError::engine)?;
    engine.precompile_module(module).map_err(not_compiled)
}

/// The compiler's message, which may have many lines, as one line of a log.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn not_compiled(error: wasmtime::Error) -> VmError {
    let text = format!("{error:#}");
    let words: Vec<_> = text.split_whitespace().collect();
    VmError::Compile(words.join(" "))
}

impl Engine {
    /// An engine whose clock ticks while it is used.
    ///
    /// # Errors
    /// Where this machine cannot run wasmtime.
    pub fn new() -> Result<Arc<Self>, VmError> {
        let engine = wasmtime::Engine::new(&configuration()).map_err(VmError::engine)?;
        let linker = abi::linker(&engine).map_err(VmError::engine)?;
        let this = Arc::new(Self {
            engine,
            linker,
            modules: Mutex::default(),
            compiler: None,
        });
        start_clock(&this)?;
        Ok(this)
    }

    /// The same, for a gateway: compiles in a process of its own, since a compiler's memory is several times a
    /// gateway's. `program` is this program's own file.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn compiling_with(program: PathBuf) -> Result<Arc<Self>, VmError> {
        let engine = wasmtime::Engine::new(&configuration()).map_err(VmError::engine)?;
        let linker = abi::linker(&engine).map_err(VmError::engine)?;
        let this = Arc::new(Self {
            engine,
            linker,
            modules: Mutex::default(),
            compiler: Some(program),
        });
        start_clock(&this)?;
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
        let digest = digest(bytes);
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = modules.get(&digest).and_then(Weak::upgrade) {
            return Ok(compiled);
        }
        let module = self.module(bytes)?;
        let version = abi::check(&module)?;
        let pre = self
            .linker
            .instantiate_pre(&module)
            .map_err(|error| VmError::Imports(format!("{error:#}")))?;
        let compiled = Arc::new(Compiled {
            pre,
            version,
            digest,
        });
        modules.retain(|_, module| module.strong_count() > 0);
        modules.insert(digest, Arc::downgrade(&compiled));
        Ok(compiled)
    }
}

impl Engine {
    fn module(&self, bytes: &[u8]) -> Result<Module, VmError> {
        let Some(program) = &self.compiler else {
            return Module::new(&self.engine, bytes).map_err(not_compiled);
        };
        let artefact = compile_apart(program, bytes)?;
        // SAFETY: the bytes come through a pipe from this very program, which has just made them with
        // `precompile_module`; the engine checks version and configuration.
        #[expect(
            unsafe_code,
            reason = "the only way to load what another process compiled"
        )]
        unsafe { Module::deserialize(&self.engine, artefact) }.map_err(not_compiled)
    }
}

/// Has a module compiled by a child process.
fn compile_apart(program: &Path, module: &[u8]) -> Result<Vec<u8>, VmError> {
    let failed = |error: std::io::Error| {
        VmError::Compile(format!("cannot run {}: {error}", program.display()))
    };
    let mut child = Command::new(program)
        .arg(COMPILE_VERB)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // The child reads all before it writes any, so this cannot block for good.
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(module)
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(failed(error));
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(VmError::Compile(
            message.trim().trim_start_matches("error: ").to_owned(),
        ));
    }
    Ok(output.stdout)
}

fn start_clock(engine: &Arc<Engine>) -> Result<(), VmError> {
    let clock = Arc::downgrade(engine);
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
    Ok(())
}
