//! A module's sections, read one after the other, as far as they can be.

mod read;

use serde::Serialize;
use wasmparser::FuncType;

use super::build::Build;

/// What a module is made of.
#[derive(Debug, Default, Serialize)]
pub struct Module {
    /// The markers it exports.
    pub abi: WasmAbi,
    /// What it imports, in its order.
    pub imports: Vec<Import>,
    /// What it exports, in its order.
    pub exports: Vec<Export>,
    /// Its sections, in its order.
    pub sections: Vec<Section>,
    /// Functions of its own.
    pub functions: u32,
    /// Bytes of the greatest of them.
    pub greatest_function: usize,
    /// Functions that the name section names.
    pub named_functions: u32,
    /// Its memories.
    pub memories: Vec<Memory>,
    /// Data segments.
    pub data_segments: u32,
    /// Bytes in them.
    pub data_bytes: usize,
    /// Its tables.
    pub tables: Vec<Table>,
    /// Globals of its own.
    pub globals: u32,
    /// Those that can be changed.
    pub mutable_globals: u32,
    /// What runs when it is instantiated.
    pub start: Option<Start>,
    /// Custom sections.
    pub custom: Vec<Custom>,
    /// What its maker wrote into it about its build.
    pub build: Option<Build>,
    /// What the producers section says: language, tools, SDK, with versions.
    pub producers: Vec<(String, String)>,
    /// Names of functions, for whoever guesses what it was written in.
    #[serde(skip)]
    pub(super) names: Vec<String>,
    /// The data segments' bytes, one after the other.
    #[serde(skip)]
    pub(super) data: Vec<u8>,
    #[serde(skip)]
    types: Vec<Option<FuncType>>,
    /// Types of all functions, imported ones first.
    #[serde(skip)]
    function_types: Vec<u32>,
}

/// The versions of the Proxy-Wasm ABI that it says it is of.
#[derive(Debug, Default, Serialize)]
pub struct WasmAbi {
    /// Its markers: exports whose names begin with `proxy_abi_version_`.
    pub markers: Vec<String>,
}

/// An import.
#[derive(Debug, Serialize)]
pub struct Import {
    /// The module that is to have it.
    pub module: String,
    /// Its name there.
    pub name: String,
    /// What kind of interface it is part of.
    pub group: Group,
    /// A function's signature, or what else it is.
    pub signature: String,
    /// Whether this host has something of that name.
    pub here: bool,
    /// Whether Envoy has.
    pub in_envoy: bool,
    /// Whether it is a function.
    #[serde(skip)]
    pub(super) is_function: bool,
}

/// What kind of interface an import is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Proxy-Wasm's hostcalls.
    ProxyWasm,
    /// WASI preview 1.
    Wasi,
    /// Anything else.
    Other,
}

/// An export.
#[derive(Debug, Serialize)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// A function's signature, or what else it is.
    pub signature: String,
}

/// A section.
#[derive(Debug, Serialize)]
pub struct Section {
    /// Its name: the specification's, or the custom section's own.
    pub name: String,
    /// Bytes, without the section's header.
    pub bytes: usize,
}

/// A memory.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// Bytes at the start.
    pub initial: u64,
    /// The most it may become; `None` where the module does not say.
    pub maximum: Option<u64>,
    /// Whether it is imported.
    pub imported: bool,
    /// Whether threads share it.
    pub shared: bool,
    /// Whether its addresses have 64 bits.
    pub wide: bool,
}

/// A table.
#[derive(Debug, Serialize)]
pub struct Table {
    /// Of what.
    pub element: String,
    /// Entries, at the start and at most.
    #[serde(flatten)]
    pub limits: Limits,
}

/// From where to where.
#[derive(Debug, Serialize)]
pub struct Limits {
    /// At the start.
    pub initial: u64,
    /// At most; `None` where the module does not say.
    pub maximum: Option<u64>,
}

/// What runs when a module is instantiated.
#[derive(Debug, Serialize)]
pub struct Start {
    /// The function's number.
    pub function: u32,
    /// Its name, where the name section has one.
    pub name: Option<String>,
}

/// A custom section.
#[derive(Debug, Serialize)]
pub struct Custom {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub bytes: usize,
    /// Its contents, where they are short text.
    pub text: Option<String>,
}
