//! The wasmtime engine, its clock for deadlines, and compiled modules.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::{Config, InstancePre, Linker, Module, PoolingAllocationConfig};

use super::cache::{Key, ModuleCache};
use super::state::State;
use super::{VmError, entry};
use crate::abi;
use crate::config::plugin::Code;
use crate::inspect;
use crate::terminal::escaped;

/// How often the engine's clock ticks; deadlines are multiples of it.
pub const TICK: Duration = Duration::from_millis(50);

/// Frames of a guest's backtrace in the log.
const MAX_FRAMES: Option<NonZeroUsize> = NonZeroUsize::new(32);

/// Guest stack, at most: what Envoy's V8 gives by default is about as much.
const MAX_STACK: usize = 512 * 1024;

/// Bytes of what the engine keeps for an instance beside its memory and tables: 32 for each function that a table may
/// hold, and room for the rest. It is taken as needed.
const MAX_INSTANCE: usize = 32 * super::state::MAX_TABLE + (1 << 20);

/// The one engine of the process.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    ticks: Arc<Ticks>,
    modules: Mutex<HashMap<Digest, Weak<Compiled>>>,
    compilation: Compilation,
}

/// How often the engine's clock has ticked, for those who cannot see its epoch: hostcalls. Wraps.
#[derive(Debug, Default)]
pub struct Ticks(AtomicU32);

/// How modules are compiled.
#[derive(Debug, Default)]
pub struct Compilation {
    /// This program's own file, to compile in a process of its own, since a compiler's memory is several times a gateway's;
    /// without it that is done here.
    pub program: Option<PathBuf>,
    /// Where compiled modules are kept.
    pub cache: Option<ModuleCache>,
}

/// A compiled and linked module.
pub struct Compiled {
    /// Ready to be instantiated.
    pub pre: InstancePre<State>,
    /// The ABI it was built for.
    pub version: abi::Version,
    /// The clock of its engine.
    pub ticks: Arc<Ticks>,
    /// A digest of its bytes: part of the VM key.
    pub digest: Digest,
}

/// Tells contents apart, whoever has chosen them: SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// The verb of this program that compiles for it.
pub const COMPILE_VERB: &str = "compile-module";

/// Instances at a time. A slot is address space, four gigabytes of it, and nothing else until it is used.
const SLOTS: u32 = 2_048;
/// Tables of one module; Envoy's engine takes several.
const MAX_TABLES: u32 = 4;

/// What both sides of the pipe must agree on.
fn configuration() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Each call through a table would look whether its entry is there.
        .table_lazy_init(false)
        .max_wasm_stack(MAX_STACK)
        .wasm_backtrace_max_frames(MAX_FRAMES);
    config
}

/// An engine whose instances take their memories and tables from slots that are used again, each memory a
/// copy-on-write image of the module's. Where the system grants no such address space, each is mapped by itself.
fn engine() -> Result<wasmtime::Engine, VmError> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(SLOTS)
        .total_memories(SLOTS)
        .total_tables(SLOTS * MAX_TABLES)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(super::state::MAX_TABLE)
        // What is kept beside memory grows with the number of functions.
        .max_core_instance_size(MAX_INSTANCE);
    let mut pooling = configuration();
    pooling.allocation_strategy(pool);
    wasmtime::Engine::new(&pooling)
        .or_else(|_| wasmtime::Engine::new(&configuration()))
        .map_err(VmError::engine)
}

/// Compiles a module for an engine of this program's configuration on this machine.
///
/// # Errors
/// Where it is no module, or one that needs features that are off.
pub fn precompile(module: &[u8]) -> Result<Vec<u8>, VmError> {
    precompile_with(&engine()?, module)
}

/// The compiler's message, which may have many lines, as one line of a log.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn not_compiled(error: wasmtime::Error) -> VmError {
    let text = format!("{error:#}");
    let words: Vec<_> = text.split_whitespace().collect();
    VmError::Compile(words.join(" "))
}

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

/// In hexadecimal, as `sha256sum` writes it.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Ticks {
    /// How many there were.
    #[inline]
    #[must_use]
    pub fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets some go by.
    #[cfg(test)]
    pub(super) fn advance(&self, ticks: u32) {
        self.0.fetch_add(ticks, Ordering::Relaxed);
    }
}

impl Engine {
    /// An engine that compiles here and keeps nothing, and whose clock ticks while it is used.
    ///
    /// # Errors
    /// Where this machine cannot run wasmtime.
    pub fn new() -> Result<Arc<Self>, VmError> {
        Self::compiling(Compilation::default())
    }

    /// The same, compiling as told.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn compiling(compilation: Compilation) -> Result<Arc<Self>, VmError> {
        let engine = engine()?;
        let linker = abi::linker(&engine).map_err(VmError::engine)?;
        let this = Arc::new(Self {
            engine,
            linker,
            ticks: Arc::default(),
            modules: Mutex::default(),
            compilation,
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
                self.compile(&bytes).map_err(|error| error.of(code))
            }
        }
    }

    /// Compiles a guest's bytes.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn compile(&self, bytes: &[u8]) -> Result<Arc<Compiled>, VmError> {
        let digest = Digest::of(bytes);
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = modules.get(&digest).and_then(Weak::upgrade) {
            return Ok(compiled);
        }
        if let Some(what) = inspect::not_a_module(bytes) {
            return Err(VmError::Compile(what));
        }
        let module = self.module(bytes)?;
        let version = abi::check(&module)?;
        let pre = self
            .linker
            .instantiate_pre(&module)
            .map_err(|error| VmError::Imports(escaped(&format!("{error:#}")).into_owned()))?;
        let compiled = Arc::new(Compiled {
            pre,
            version,
            ticks: self.ticks.clone(),
            digest,
        });
        modules.retain(|_, module| module.strong_count() > 0);
        modules.insert(digest, Arc::downgrade(&compiled));
        Ok(compiled)
    }
}

impl Engine {
    fn module(&self, bytes: &[u8]) -> Result<Module, VmError> {
        let with_entries = entry::add(bytes);
        let whole = with_entries.as_deref().unwrap_or(bytes);
        // Of what is compiled: the entries are this program's, and change with it.
        let key = Key::new(whole, self.identity());
        if let Some(module) = self.kept(key) {
            return Ok(module);
        }
        let Compilation { program, cache } = &self.compilation;
        let code = match (program, cache) {
            (Some(program), _) => compile_apart(program, bytes)?,
            (None, Some(_)) => self.engine.precompile_module(whole).map_err(not_compiled)?,
            (None, None) => return Module::new(&self.engine, whole).map_err(not_compiled),
        };
        if let Some(cache) = cache
            && let Err(error) = cache.put(key, &code)
        {
            tracing::warn!("a compiled module is not kept: {error}");
        }
        self.native(&code).map_err(not_compiled)
    }

    /// What tells this engine from one that needs other native code.
    fn identity(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.engine
            .precompile_compatibility_hash()
            .hash(&mut hasher);
        hasher.finish()
    }

    /// The module that was compiled before, where it may be used.
    fn kept(&self, key: Key) -> Option<Module> {
        let code = match self.compilation.cache.as_ref()?.get(key) {
            Ok(code) => code?,
            Err(error) => {
                tracing::warn!("a compiled module is not used, and made anew: {error}");
                return None;
            }
        };
        self.native(&code)
            .inspect_err(|error| tracing::info!("a compiled module is made anew: {error:#}"))
            .ok()
    }

    /// Native code as this program has made it: just now, or before and kept where nobody else can write.
    fn native(&self, code: &[u8]) -> wasmtime::Result<Module> {
        // SAFETY: the bytes are what `precompile_module` gave, in this process, in a child that is this very program, or
        // before; the cache has checked that they are unchanged and that nobody else could have put them there. The
        // engine checks version and configuration.
        #[expect(unsafe_code, reason = "the only way to load what was compiled before")]
        unsafe {
            Module::deserialize(&self.engine, code)
        }
    }
}

fn precompile_with(engine: &wasmtime::Engine, module: &[u8]) -> Result<Vec<u8>, VmError> {
    match entry::add(module) {
        Some(module) => engine.precompile_module(&module).map_err(not_compiled),
        None => engine.precompile_module(module).map_err(not_compiled),
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
                // Whoever sees the epoch sees the tick.
                engine.ticks.0.fetch_add(1, Ordering::Relaxed);
                engine.engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        })
        .map_err(|error| VmError::Engine(error.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_what_others_call_them() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), abc);
    }
}
