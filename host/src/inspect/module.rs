//! A module's sections, read one after the other, as far as they can be.

use serde::Serialize;
use wasmparser::{DataKind, ExternalKind, FuncType, KnownCustom, Name, Parser, Payload, TypeRef};

use super::build::{self, Build};
use super::verdict::offered_here;

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

/// What the parser says where there are no more bytes.
const CUT_OFF: &str = "unexpected end-of-file";
/// The longest custom section that is shown as text.
const LONGEST_TEXT: usize = 4096;

// === impl Module ===

impl Module {
    /// Reads a module; where that breaks off, why.
    pub(super) fn read(bytes: &[u8]) -> (Self, Option<String>) {
        let mut module = Self::default();
        let broken = |error: wasmparser::Error| {
            let (message, at) = (error.message(), error.offset());
            format!("not a valid module: {message} (at offset {at:#x})")
        };
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = match payload {
                Ok(payload) => payload,
                // Between sections the parser runs out of bytes only where the file ends too early.
                Err(error) if error.message() == CUT_OFF => {
                    let length = bytes.len();
                    let reason = format!("cut off: it ends after {length} bytes, within a section");
                    return (module, Some(reason));
                }
                Err(error) => return (module, Some(broken(error))),
            };
            if let Err(error) = module.take(payload) {
                return (module, Some(broken(error)));
            }
        }
        (module, None)
    }

    fn take(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        if let Some((_, range)) = payload.as_section() {
            self.sections.push(Section {
                name: section_name(&payload),
                bytes: range.len(),
            });
        }
        match payload {
            Payload::TypeSection(reader) => {
                for group in reader {
                    for kind in group?.into_types() {
                        let composite = kind.composite_type.inner;
                        self.types.push(match composite {
                            wasmparser::CompositeInnerType::Func(function) => Some(function),
                            _ => None,
                        });
                    }
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    self.import(&import?);
                }
            }
            Payload::FunctionSection(reader) => {
                for function in reader {
                    self.function_types.push(function?);
                    self.functions += 1;
                }
            }
            Payload::TableSection(reader) => {
                for table in reader {
                    self.table(&table?.ty);
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    self.memory(&memory?, false);
                }
            }
            Payload::GlobalSection(reader) => {
                for global in reader {
                    self.globals += 1;
                    self.mutable_globals += u32::from(global?.ty.mutable);
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    self.export(&export?);
                }
            }
            Payload::StartSection { func, .. } => {
                self.start = Some(Start {
                    function: func,
                    name: None,
                });
            }
            Payload::DataSection(reader) => {
                for segment in reader {
                    let segment = segment?;
                    self.data_segments += 1;
                    self.data_bytes += segment.data.len();
                    self.data.extend_from_slice(segment.data);
                    // Text that goes on in the next segment is only cut where they lie apart.
                    if matches!(segment.kind, DataKind::Passive) {
                        self.data.push(0);
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                self.greatest_function = self.greatest_function.max(body.range().len());
            }
            Payload::CustomSection(reader) => self.custom(&reader),
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: &wasmparser::Import<'_>) {
        let (module, name) = (import.module, import.name);
        let mut is_function = false;
        let signature = match import.ty {
            TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                is_function = true;
                self.function_types.push(index);
                self.signature(index)
            }
            TypeRef::Memory(memory) => {
                self.memory(&memory, true);
                "memory".to_owned()
            }
            TypeRef::Table(table) => {
                self.table(&table);
                "table".to_owned()
            }
            TypeRef::Global(global) => format!("global {}", global.content_type),
            TypeRef::Tag(_) => "tag".to_owned(),
        };
        self.imports.push(Import {
            module: module.to_owned(),
            name: name.to_owned(),
            group: Group::of(module, name),
            signature,
            here: is_function && offered_here(module, name),
            in_envoy: match import.ty {
                // Envoy makes them.
                TypeRef::Memory(_) | TypeRef::Table(_) => true,
                _ => is_function && super::verdict::offered_by_envoy(module, name),
            },
            is_function,
        });
    }

    fn export(&mut self, export: &wasmparser::Export<'_>) {
        if export.name.starts_with("proxy_abi_version_") {
            self.abi.markers.push(export.name.to_owned());
        }
        let index = usize::try_from(export.index).unwrap_or(usize::MAX);
        let signature = match export.kind {
            ExternalKind::Func | ExternalKind::FuncExact => match self.function_types.get(index) {
                Some(index) => self.signature(*index),
                None => "function".to_owned(),
            },
            ExternalKind::Memory => "memory".to_owned(),
            ExternalKind::Table => "table".to_owned(),
            ExternalKind::Global => "global".to_owned(),
            ExternalKind::Tag => "tag".to_owned(),
        };
        self.exports.push(Export {
            name: export.name.to_owned(),
            signature,
        });
    }

    fn memory(&mut self, memory: &wasmparser::MemoryType, imported: bool) {
        let page = 1_u64 << memory.page_size_log2.unwrap_or(16);
        self.memories.push(Memory {
            initial: memory.initial.saturating_mul(page),
            maximum: memory.maximum.map(|pages| pages.saturating_mul(page)),
            imported,
            shared: memory.shared,
            wide: memory.memory64,
        });
    }

    fn table(&mut self, table: &wasmparser::TableType) {
        self.tables.push(Table {
            element: table.element_type.to_string(),
            limits: Limits {
                initial: table.initial,
                maximum: table.maximum,
            },
        });
    }

    fn custom(&mut self, section: &wasmparser::CustomSectionReader<'_>) {
        match section.as_known() {
            // What is broken in them concerns nobody who runs the module.
            KnownCustom::Name(names) => {
                let _ = self.names(names);
            }
            KnownCustom::Producers(fields) => {
                let _ = self.producers(fields);
            }
            _ => {}
        }
        let data = section.data();
        if section.name() == build::SECTION {
            self.build = Build::read(data);
        }
        self.custom.push(Custom {
            name: section.name().to_owned(),
            bytes: data.len(),
            text: match section.as_known() {
                KnownCustom::Unknown => text(data),
                _ => None,
            },
        });
    }

    fn names(&mut self, sections: wasmparser::NameSectionReader<'_>) -> wasmparser::Result<()> {
        for section in sections {
            if let Name::Function(names) = section? {
                for naming in names {
                    let naming = naming?;
                    self.named_functions += 1;
                    self.names.push(naming.name.to_owned());
                    if let Some(start) = &mut self.start
                        && start.function == naming.index
                    {
                        start.name = Some(naming.name.to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    fn producers(
        &mut self,
        fields: wasmparser::ProducersSectionReader<'_>,
    ) -> wasmparser::Result<()> {
        for field in fields {
            let field = field?;
            for value in field.values {
                let value = value?;
                let tool = format!("{} {}", value.name, value.version);
                self.producers
                    .push((field.name.to_owned(), tool.trim().to_owned()));
            }
        }
        Ok(())
    }

    fn signature(&self, index: u32) -> String {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        match self.types.get(index) {
            Some(Some(function)) => signature(function.params(), function.results()),
            _ => "function".to_owned(),
        }
    }

    /// Whether it exports something of that name.
    pub(super) fn exports(&self, name: &str) -> bool {
        self.exports.iter().any(|export| export.name == name)
    }
}

/// As `(i32, i32) -> i32`.
pub(super) fn signature<T: std::fmt::Display>(params: &[T], results: &[T]) -> String {
    let list = |types: &[T]| -> String {
        let names: Vec<_> = types.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    match results {
        [] => format!("({})", list(params)),
        [one] => format!("({}) -> {one}", list(params)),
        _ => format!("({}) -> ({})", list(params), list(results)),
    }
}

/// A short section's text, with runs of control characters as one space; `None` where it is no text.
fn text(data: &[u8]) -> Option<String> {
    if data.is_empty() || data.len() > LONGEST_TEXT {
        return None;
    }
    let text = std::str::from_utf8(data).ok()?;
    let printable = text.chars().filter(|c| !c.is_control()).count();
    // Length prefixes are control characters; more of them are no text.
    if printable * 10 < text.chars().count() * 9 {
        return None;
    }
    let words = text.split(char::is_control).filter(|word| !word.is_empty());
    Some(words.collect::<Vec<_>>().join(" "))
}

fn section_name(payload: &Payload<'_>) -> String {
    let name = match payload {
        Payload::TypeSection(_) => "type",
        Payload::ImportSection(_) => "import",
        Payload::FunctionSection(_) => "function",
        Payload::TableSection(_) => "table",
        Payload::MemorySection(_) => "memory",
        Payload::TagSection(_) => "tag",
        Payload::GlobalSection(_) => "global",
        Payload::ExportSection(_) => "export",
        Payload::StartSection { .. } => "start",
        Payload::ElementSection(_) => "element",
        Payload::DataCountSection { .. } => "data count",
        Payload::DataSection(_) => "data",
        Payload::CodeSectionStart { .. } => "code",
        Payload::CustomSection(section) => return format!("custom {}", section.name()),
        _ => "unknown",
    };
    name.to_owned()
}

// === impl Group ===

impl Group {
    fn of(module: &str, name: &str) -> Self {
        match module {
            "env" if name.starts_with("proxy_") => Self::ProxyWasm,
            "wasi_snapshot_preview1" | "wasi_unstable" => Self::Wasi,
            _ => Self::Other,
        }
    }
}
