//! What a Wasm file is, as far as a Proxy-Wasm host cares: read from its bytes alone, nothing of it runs.
//!
//! Files that cannot be loaded are what this is for: whatever could be read is told, and why the rest could not.

mod build;
mod callbacks;
mod features;
mod module;
mod strings;
mod toolchain;
mod verdict;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use build::{Build, SECTION as BUILD_SECTION};
pub use callbacks::Callbacks;
pub use module::{
    Custom, Export, Group, Import, Limits, Memory, Module, Section, Start, Table, WasmAbi,
};
pub use toolchain::{Evidence, Toolchain};
pub use verdict::{ENVOY_VERSION, Verdict};

/// What a file is.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Bytes.
    pub size: usize,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// What its first bytes say.
    pub kind: FileKind,
    /// Why not all of it could be read, with what would be right.
    pub problem: Option<String>,
    /// What was read, of a module.
    pub module: Option<Module>,
    /// The callbacks that it has, and has not.
    pub callbacks: Option<Callbacks>,
    /// Proposals beyond the first version of WebAssembly that it needs; empty where it is not valid.
    pub features: Vec<&'static str>,
    /// What it was written in and built with.
    pub toolchain: Option<Toolchain>,
    /// Whether this host loads it.
    pub loads_here: Verdict,
    /// Whether Envoy does.
    pub loads_in_envoy: Verdict,
}

/// What a file's first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A WebAssembly module.
    Module,
    /// A WebAssembly component.
    Component,
    /// WebAssembly's text format.
    Text,
    /// A module that this or another engine has compiled already.
    Compiled,
    /// Packed by gzip, as layers of images are.
    Gzip,
    /// Nothing of these.
    Other,
}

/// What a file is that is no module, with what would be right.
#[must_use]
pub fn not_a_module(bytes: &[u8]) -> Option<String> {
    FileKind::of(bytes).problem(bytes)
}

/// Looks at a file's bytes.
#[must_use]
pub fn inspect(bytes: &[u8]) -> Report {
    let kind = FileKind::of(bytes);
    let sha256 = Sha256::digest(bytes);
    let mut report = Report {
        size: bytes.len(),
        sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        kind,
        problem: kind.problem(bytes),
        module: None,
        callbacks: None,
        features: Vec::new(),
        toolchain: None,
        loads_here: Verdict::default(),
        loads_in_envoy: Verdict::default(),
    };
    if kind == FileKind::Module {
        let (module, broken) = Module::read(bytes);
        report.problem = broken.or_else(|| features::invalid(bytes));
        if report.problem.is_none() {
            report.features = features::used(bytes);
        }
        report.toolchain = Some(Toolchain::guess(&module));
        report.callbacks = Some(Callbacks::of(&module));
        report.module = Some(module);
    }
    report.loads_here = verdict::here(bytes, &report);
    report.loads_in_envoy = verdict::in_envoy(&report);
    report
}

// === impl FileKind ===

impl FileKind {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Self::Module,
            [0, b'a', b's', b'm', _, 0, 1, 0, ..] => Self::Component,
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x7f, b'E', b'L', b'F', ..] => Self::Compiled,
            _ if is_text(bytes) => Self::Text,
            _ => Self::Other,
        }
    }

    /// Why a file of this kind cannot be read as a module.
    fn problem(self, bytes: &[u8]) -> Option<String> {
        let text = match self {
            Self::Module => return None,
            Self::Component => {
                "a WebAssembly component, not a module: build a core module \
                (Rust: target wasm32-wasip1 or wasm32-unknown-unknown, not wasm32-wasip2)"
            }
            Self::Text => "WebAssembly's text format: assemble it first, as with `wat2wasm FILE`",
            Self::Compiled => {
                "an ELF file: a program, a library, or a module that was compiled ahead of time; \
                give the module itself"
            }
            Self::Gzip => "packed by gzip: unpack it first; a filter in an image is in its layer",
            Self::Other if bytes.is_empty() => "the file is empty",
            Self::Other if bytes.starts_with(b"\0asm") => {
                "WebAssembly of a version that is not 1, or cut off in its first 8 bytes"
            }
            Self::Other => {
                "not WebAssembly: a module begins with the bytes 00 61 73 6d 01 00 00 00"
            }
        };
        Some(text.to_owned())
    }
}

/// Whether it looks like `(module …)` or `(component …)`, behind white space and comments.
fn is_text(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(";;"));
    first.is_some_and(|line| line.starts_with("(module") || line.starts_with("(component"))
}

#[cfg(test)]
mod tests;
