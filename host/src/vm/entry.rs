//! One way into the guest for several callbacks.
//!
//! Each entry from the host into a guest costs more than the callback behind it does in a small filter. What begins a
//! stream (`proxy_on_context_create`, `proxy_on_request_headers`) and what ends it (`proxy_on_log`, `proxy_on_done`,
//! `proxy_on_delete`) always follows directly, so two functions are added to a module before it is compiled, which
//! call those exports one after the other. The guest's own code stays as it is.
//!
//! Hostcalls need to know which of the callbacks makes them, since each has its own view of the stream: the functions note
//! in the global [`STAGE`] how far they are, and the first hostcall of an entry looks. A callback may also make another
//! context the effective one, which the next must not see: the host changes [`STAGE`] then, the function returns
//! after that callback, and the host calls the rest by itself.

use wasm_encoder::{
    BlockType, ConstExpr, Encode, ExportKind, FuncType, Function, GlobalType, InstructionSink,
    ValType,
};
use wasmparser::{CompositeInnerType, ExternalKind, Parser, Payload, TypeRef};
use wasmtime::{Caller, Store};

use super::state::State;
use crate::abi::{Failure, Reach};

/// `(context, root, fields, end of stream) -> action`, or [`UNFINISHED`]: creates a stream context and gives it the
/// request's head.
pub(super) const BEGIN: &str = "switchover_begin";

/// `(context, with log) -> what is left to the host`, a number of [`Left`]: log, done, delete of a stream context, in Envoy's
/// order.
pub(super) const END: &str = "switchover_end";

/// A global that says how many of an entry's callbacks are over; [`LEFT`] is the host's word for an entry that is to end.
pub(super) const STAGE: &str = "switchover_stage";
const LEFT: i32 = -1;

/// [`BEGIN`] has only created the context.
pub(super) const UNFINISHED: u32 = u32::MAX;

/// Which callbacks share the entry that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// None: each has its own.
    No,
    /// Those that begin a stream; whether the request ends with its head.
    Begin(bool),
    /// Those that end it.
    End,
}

/// What [`END`] leaves to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing.
    Nothing,
    /// To delete the context.
    Delete,
    /// That too; `proxy_on_done` has answered that the guest is still busy.
    BusyDelete,
    /// `proxy_on_done` as well.
    DoneDelete,
}

/// Finds out which callback makes a hostcall, and lets its context reach what that one does.
pub(crate) fn resolve(caller: &mut Caller<'_, State>) {
    let Some(stage) = caller.data().stage else {
        return;
    };
    let (joined, stage) = (caller.data().joined, stage.get(&mut *caller).i32());
    let state = caller.data_mut();
    match (joined, stage) {
        (Joined::Begin(end), Some(1)) => {
            state.see(Reach::REQUEST_HEADERS, Some(end));
            state.join(Joined::No);
        }
        (Joined::End, Some(0)) => state.see(Reach::LOG, None),
        (Joined::End, Some(1 | 2)) => state.lose(Reach::LOG),
        _ => {}
    }
}

/// The callback that an entry by that export is in, or was in when it trapped.
pub(super) fn callback(store: &mut Store<State>, export: &'static str) -> &'static str {
    let stage = store.data().stage;
    let stage = stage.and_then(|stage| stage.get(store).i32());
    match (export, stage) {
        (BEGIN, Some(1)) => "proxy_on_request_headers",
        (BEGIN, _) => "proxy_on_context_create",
        (END, Some(1)) => "proxy_on_done",
        (END, Some(2)) => "proxy_on_delete",
        (END, _) => "proxy_on_log",
        (own, _) => own,
    }
}

/// Ends the entry that runs after the callback that runs, since it makes another context the effective one.
pub(crate) fn leave(caller: &mut Caller<'_, State>) -> Result<(), Failure> {
    match (caller.data().joined, caller.data().stage) {
        (Joined::No, _) | (_, None) => Ok(()),
        (_, Some(stage)) => stage
            .set(&mut *caller, wasmtime::Val::I32(LEFT))
            .map_err(Failure::Trap),
    }
}

// === impl Left ===

impl Left {
    pub(super) fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Nothing,
            1 => Self::Delete,
            2 => Self::BusyDelete,
            _ => Self::DoneDelete,
        }
    }

    fn code(self) -> i32 {
        match self {
            Self::Nothing => 0,
            Self::Delete => 1,
            Self::BusyDelete => 2,
            Self::DoneDelete => 3,
        }
    }
}

/// A module's sections that grow, by their number in the binary format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Type = 1,
    Function = 3,
    Global = 6,
    Export = 7,
    Code = 10,
}

/// What is known of a module.
#[derive(Default)]
struct Outline {
    types: Vec<Option<wasmparser::FuncType>>,
    /// The type of each function, imported ones first.
    functions: Vec<u32>,
    globals: u32,
    /// Functions by the name they are exported under.
    exports: Vec<(String, u32)>,
}

/// The functions to be called.
struct Callbacks {
    create: u32,
    request: u32,
    done: Option<u32>,
    log: Option<u32>,
    delete: u32,
}

/// The module with [`BEGIN`], [`END`] and [`STAGE`]; `None` where it has not the callbacks, or is no module.
pub(super) fn add(module: &[u8]) -> Option<Vec<u8>> {
    let outline = Outline::read(module)?;
    let callbacks = outline.callbacks()?;
    let types = u32::try_from(outline.types.len()).ok()?;
    let functions = u32::try_from(outline.functions.len()).ok()?;
    let stage = outline.globals;
    let mut added = [
        (Section::Type, 2, Vec::new()),
        (Section::Function, 2, Vec::new()),
        (Section::Global, 1, Vec::new()),
        (Section::Export, 3, Vec::new()),
        (Section::Code, 2, Vec::new()),
    ];
    for (section, _, bytes) in &mut added {
        match section {
            Section::Type => {
                function_type(4, bytes);
                function_type(2, bytes);
            }
            Section::Function => {
                types.encode(bytes);
                (types + 1).encode(bytes);
            }
            Section::Global => {
                let kind = GlobalType {
                    val_type: ValType::I32,
                    mutable: true,
                    shared: false,
                };
                kind.encode(bytes);
                ConstExpr::i32_const(0).encode(bytes);
            }
            Section::Export => {
                export(BEGIN, ExportKind::Func, functions, bytes);
                export(END, ExportKind::Func, functions + 1, bytes);
                export(STAGE, ExportKind::Global, stage, bytes);
            }
            Section::Code => {
                callbacks.begin(stage).encode(bytes);
                callbacks.end(stage).encode(bytes);
            }
        }
    }
    grow(module, &added)
}

fn function_type(parameters: usize, to: &mut Vec<u8>) {
    let ty = FuncType::new(vec![ValType::I32; parameters], [ValType::I32]);
    to.push(0x60);
    ty.params().encode(to);
    ty.results().encode(to);
}

fn export(name: &str, kind: ExportKind, index: u32, to: &mut Vec<u8>) {
    name.encode(to);
    kind.encode(to);
    index.encode(to);
}

/// The module with so many more entries, given as bytes, at the end of those sections; `None` where it lacks one.
fn grow(module: &[u8], added: &[(Section, u32, Vec<u8>)]) -> Option<Vec<u8>> {
    let (preamble, mut rest) = module.split_at_checked(8)?;
    let mut out = preamble.to_vec();
    let mut grown = 0;
    while let Some((id, behind)) = rest.split_first() {
        let (size, behind) = leb128(behind)?;
        let (body, behind) = behind.split_at_checked(size as usize)?;
        out.push(*id);
        match added.iter().find(|(section, ..)| *section as u8 == *id) {
            None => body.encode(&mut out),
            Some((_, more, bytes)) => {
                let (count, entries) = leb128(body)?;
                let mut section = Vec::with_capacity(body.len() + bytes.len() + 4);
                count.checked_add(*more)?.encode(&mut section);
                section.extend_from_slice(entries);
                section.extend_from_slice(bytes);
                section.as_slice().encode(&mut out);
                grown += 1;
            }
        }
        rest = behind;
    }
    (grown == added.len()).then_some(out)
}

/// A number and what follows it.
fn leb128(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut reader = wasmparser::BinaryReader::new(bytes, 0);
    let number = reader.read_var_u32().ok()?;
    Some((number, bytes.get(reader.original_position()..)?))
}

// === impl Outline ===

impl Outline {
    fn read(module: &[u8]) -> Option<Self> {
        let mut outline = Self::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload.ok()? {
                Payload::TypeSection(types) => {
                    for group in types {
                        for ty in group.ok()?.into_types() {
                            outline.types.push(match ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => Some(ty),
                                _ => None,
                            });
                        }
                    }
                }
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        match import.ok()?.ty {
                            TypeRef::Func(ty) => outline.functions.push(ty),
                            TypeRef::Global(_) => outline.globals += 1,
                            _ => {}
                        }
                    }
                }
                Payload::FunctionSection(functions) => {
                    for ty in functions {
                        outline.functions.push(ty.ok()?);
                    }
                }
                Payload::GlobalSection(globals) => outline.globals += globals.count(),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export.ok()?;
                        if export.kind == ExternalKind::Func {
                            outline.exports.push((export.name.to_owned(), export.index));
                        }
                    }
                }
                Payload::CodeSectionStart { .. } => break,
                _ => {}
            }
        }
        Some(outline)
    }

    /// The function of that name, if it takes and gives so many numbers of 32 bits.
    fn find(&self, name: &str, parameters: usize, results: usize) -> Option<u32> {
        let (_, index) = self.exports.iter().find(|(own, _)| own == name)?;
        let ty = *self.functions.get(*index as usize)? as usize;
        let ty = self.types.get(ty)?.as_ref()?;
        let narrow = |types: &[wasmparser::ValType], count: usize| {
            types.len() == count && types.iter().all(|ty| *ty == wasmparser::ValType::I32)
        };
        (narrow(ty.params(), parameters) && narrow(ty.results(), results)).then_some(*index)
    }

    fn callbacks(&self) -> Option<Callbacks> {
        Some(Callbacks {
            create: self.find("proxy_on_context_create", 2, 0)?,
            request: self.find("proxy_on_request_headers", 3, 1)?,
            log: self.find("proxy_on_log", 1, 0),
            done: self.find("proxy_on_done", 1, 1),
            delete: self.find("proxy_on_delete", 1, 0)?,
        })
    }
}

// === impl Callbacks ===

impl Callbacks {
    fn begin(&self, stage: u32) -> Function {
        let mut function = Function::new([]);
        let mut code = function.instructions();
        code.i32_const(0).global_set(stage);
        code.local_get(0).local_get(1).call(self.create);
        return_if_left(&mut code, stage, UNFINISHED.cast_signed());
        code.i32_const(1).global_set(stage);
        code.local_get(0).local_get(2).local_get(3);
        code.call(self.request).end();
        function
    }

    fn end(&self, stage: u32) -> Function {
        let mut function = Function::new([]);
        let mut code = function.instructions();
        if let Some(log) = self.log {
            code.i32_const(0).global_set(stage);
            code.local_get(1).if_(BlockType::Empty);
            code.local_get(0).call(log);
            return_if_left(&mut code, stage, Left::DoneDelete.code());
            code.end();
        }
        code.i32_const(1).global_set(stage);
        if let Some(done) = self.done {
            code.local_get(0).call(done).i32_eqz();
            code.if_(BlockType::Empty);
            code.i32_const(Left::BusyDelete.code()).return_().end();
            return_if_left(&mut code, stage, Left::Delete.code());
        }
        code.i32_const(2).global_set(stage);
        code.local_get(0).call(self.delete);
        code.i32_const(Left::Nothing.code()).end();
        function
    }
}

fn return_if_left(code: &mut InstructionSink<'_>, stage: u32, value: i32) {
    code.global_get(stage).i32_const(0).i32_lt_s();
    code.if_(BlockType::Empty);
    code.i32_const(value).return_().end();
}
