//! Modules that several simulations share: each is read and compiled once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::plugin::Code;
use crate::vm::VmError;
use crate::vm::cache::ModuleCache;
use crate::vm::engine::{Compilation, Compiled, Engine};

/// Compiled modules by where they come from. A file that changes meanwhile is not read again.
pub struct Modules {
    engine: Arc<Engine>,
    compiled: Mutex<HashMap<Code, Arc<Compiled>>>,
}

impl Modules {
    /// None yet.
    ///
    /// # Errors
    /// Where this machine cannot run wasmtime.
    pub fn new() -> Result<Arc<Self>, VmError> {
        Self::kept_in(None)
    }

    /// The same, with a folder of modules that were compiled before; it is done without where that cannot be used.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn kept_in(folder: Option<PathBuf>) -> Result<Arc<Self>, VmError> {
        let compilation = Compilation {
            program: None,
            cache: folder.and_then(|folder| ModuleCache::open(folder).ok()),
        };
        Ok(Arc::new(Self {
            engine: Engine::compiling(compilation)?,
            compiled: Mutex::default(),
        }))
    }

    /// A module, compiled now if it is asked for the first time.
    ///
    /// # Errors
    /// A file that cannot be read, is no module, or imports what the host does not have.
    pub fn get(&self, code: &Code) -> Result<Arc<Compiled>, VmError> {
        // Held while it compiles: whoever wants the same module waits for it rather than compile it too.
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = compiled.get(code) {
            return Ok(module.clone());
        }
        let module = self.engine.load(code)?;
        compiled.insert(code.clone(), module.clone());
        Ok(module)
    }
}
