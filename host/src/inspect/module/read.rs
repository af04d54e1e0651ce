//! Reads a module's sections.

use wasmparser::{DataKind, ExternalKind, KnownCustom, Name, Parser, Payload, TypeRef};

use super::*;
use crate::inspect::build;
use crate::inspect::verdict::offered_here;

/// What the parser says where there are no more bytes.
const CUT_OFF: &str = "unexpected end-of-file";
/// The longest custom section that is shown as text.
const LONGEST_TEXT: usize = 4096;

// === impl Module ===

impl Module {
    /// Reads a module; where that breaks off, why.
    pub(in crate::inspect) fn read(bytes: &[u8]) -> (Self, Option<String>) {
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
                _ => is_function && crate::inspect::verdict::offered_by_envoy(module, name),
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
    pub(in crate::inspect) fn exports(&self, name: &str) -> bool {
        self.exports.iter().any(|export| export.name == name)
    }
}

/// As `(i32, i32) -> i32`.
pub(in crate::inspect) fn signature<T: std::fmt::Display>(params: &[T], results: &[T]) -> String {
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
