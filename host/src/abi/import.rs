//! How imports are declared: one table for each family, which both links the functions and says what they are.
//!
//! ```text
//! family! {
//!     pub(super) static FAMILY: Status in ENV {
//!         proxy_log(level: LogLevel, message: Bytes) => log,
//!     }
//! }
//! ```
//! A body takes the caller and one value for each argument: a `u32`, a `u64` for [`Kind::Wide`], an `i64` for
//! [`Kind::Delta`], and an (address, length) pair of `u32` for what lies in guest memory or is returned there.

use wasmtime::Linker;

use super::{Failure, Outcome, Status};
use crate::vm::state::State;

/// The module of Proxy-Wasm's own functions.
pub(super) const ENV: &[&str] = &["env"];
/// The modules of WASI preview 1: its name, and the one it had before.
pub(super) const WASI: &[&str] = &["wasi_snapshot_preview1", "wasi_unstable"];

/// A function that the host offers to guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportInfo {
    /// The modules it is offered under, most of them one.
    pub modules: &'static [&'static str],
    /// Its name.
    pub name: &'static str,
    /// Its arguments, in order.
    pub parameters: &'static [Parameter],
    /// What its result means.
    pub returns: Returns,
}

/// An argument of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, as in the specification.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// What an argument is, and so how many numbers it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A plain number.
    Number,
    /// A plain number of 64 bits.
    Wide,
    /// A signed number of 64 bits.
    Delta,
    /// A signed number of 32 bits, as `u32`.
    Signed,
    /// Milliseconds.
    Milliseconds,
    /// 0 or 1.
    Flag,
    /// A number of `proxy_log_level_t`.
    LogLevel,
    /// A number of `proxy_header_map_type_t`.
    Map,
    /// A number of `proxy_buffer_type_t`.
    Buffer,
    /// A number of `proxy_stream_type_t`.
    Stream,
    /// A number of `proxy_metric_type_t`.
    Metric,
    /// The number of a context.
    Context,
    /// A number that the host has given out: of a callout, a metric, a queue.
    Token,
    /// Address and length of bytes.
    Bytes,
    /// Address and length of a property's path: names joined by NUL.
    Path,
    /// Address and length of a header map.
    Pairs,
    /// An address in guest memory, of what the other arguments say.
    Address,
    /// Where the host writes a `u32`.
    OutU32,
    /// Where the host writes a `u64`.
    OutU64,
    /// Where the host writes address and length of bytes.
    OutBytes,
    /// Where the host writes address and length of a header map.
    OutPairs,
}

/// What the result of an import means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// A [`Status`].
    Status,
    /// An error number of WASI, 0 for none.
    Errno,
    /// A plain number.
    Number,
    /// It has none.
    Nothing,
}

/// Imports that belong together.
pub(super) struct Family {
    /// What they are.
    pub(super) imports: &'static [ImportInfo],
    /// Offers them.
    pub(super) link: fn(&mut Linker<State>) -> wasmtime::Result<()>,
}

/// What a body returns, as the guest gets it.
pub(super) trait Answer {
    /// `u32`, or nothing.
    type Wasm;

    /// The guest's number, or the trap.
    fn answer(self) -> wasmtime::Result<Self::Wasm>;

    /// The number, where there is one.
    fn number(wasm: &Self::Wasm) -> Option<u32>;
}

// === impl ImportInfo ===

impl ImportInfo {
    /// What guests import it as, such as `(i32, i64) -> i32`.
    #[must_use]
    pub fn signature(&self) -> String {
        let kinds = self.parameters.iter().map(|parameter| parameter.kind);
        let types: Vec<&str> = kinds
            .flat_map(|kind| std::iter::repeat_n(kind.type_name(), kind.width()))
            .collect();
        let result = match self.returns {
            Returns::Nothing => "",
            Returns::Status | Returns::Errno | Returns::Number => " -> i32",
        };
        format!("({}){result}", types.join(", "))
    }
}

// === impl Kind ===

impl Kind {
    /// What WebAssembly calls each of its numbers.
    fn type_name(self) -> &'static str {
        match self {
            Self::Wide | Self::Delta => "i64",
            _ => "i32",
        }
    }

    /// How many numbers of the call it takes: one, or two for an address with a length.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Bytes | Self::Path | Self::Pairs | Self::OutBytes | Self::OutPairs => 2,
            _ => 1,
        }
    }
}

// === impl Answer ===

impl Answer for Outcome {
    type Wasm = u32;

    #[inline]
    fn answer(self) -> wasmtime::Result<u32> {
        match self {
            Ok(()) => Ok(Status::Ok.code()),
            Err(Failure::Status(status)) => Ok(status.code()),
            Err(Failure::Trap(error)) => Err(error),
        }
    }

    fn number(wasm: &u32) -> Option<u32> {
        Some(*wasm)
    }
}

impl Answer for u32 {
    type Wasm = Self;

    fn answer(self) -> wasmtime::Result<Self> {
        Ok(self)
    }

    fn number(wasm: &Self) -> Option<Self> {
        Some(*wasm)
    }
}

impl Answer for wasmtime::Result<()> {
    type Wasm = ();

    fn answer(self) -> Self {
        self
    }

    fn number(_: &()) -> Option<u32> {
        None
    }
}

/// Declares a [`Family`].
macro_rules! family {
    ($(#[$meta:meta])* $vis:vis static $family:ident: $returns:ident in $modules:ident {
        $($name:ident($($arg:ident: $kind:ident),* $(,)?) => $body:expr,)*
    }) => {
        $(#[$meta])*
        $vis static $family: $crate::abi::import::Family = $crate::abi::import::Family {
            imports: {
                use $crate::abi::import::{ImportInfo, Kind, Parameter, Returns};
                static IMPORTS: &[ImportInfo] = &[$(ImportInfo {
                    modules: $crate::abi::import::$modules,
                    name: stringify!($name),
                    parameters: &[$(Parameter { name: stringify!($arg), kind: Kind::$kind }),*],
                    returns: Returns::$returns,
                }),*];
                IMPORTS
            },
            link: {
                fn link(
                    linker: &mut wasmtime::Linker<$crate::vm::state::State>,
                ) -> wasmtime::Result<()> {
                    let mut imports = $family.imports.iter();
                    $(if let Some(info) = imports.next() {
                        $crate::abi::import::offer!(linker, info, $body, [$($kind)*] -> [] []);
                    })*
                    Ok(())
                }
                link
            },
        };
    };
}

/// Links one import: spells its arguments as numbers, one kind after the other.
macro_rules! offer {
    ($linker:ident, $info:ident, $body:expr, [] -> [$($param:ident: $ty:ty,)*] [$($pass:expr,)*]) => {
        for module in $info.modules {
            $linker.func_wrap(
                module,
                $info.name,
                move |mut caller: wasmtime::Caller<'_, $crate::vm::state::State>, $($param: $ty),*| {
                    use $crate::abi::import::Answer as _;
                    let state = caller.data_mut();
                    state.hostcalls += 1;
                    state.in_time()?;
                    if !state.attended {
                        return $body(&mut caller, $($pass),*).answer();
                    }
                    $crate::abi::observe::attended(
                        &mut caller,
                        $info,
                        &[$($crate::abi::observe::Word::word($param)),*],
                        |caller| $body(caller, $($pass),*),
                    )
                },
            )?;
        }
    };
    ($l:ident, $i:ident, $b:expr, [Bytes $($rest:ident)*] -> $($more:tt)*) => {
        $crate::abi::import::offer!(@pair $l, $i, $b, [$($rest)*] -> $($more)*)
    };
    ($l:ident, $i:ident, $b:expr, [Path $($rest:ident)*] -> $($more:tt)*) => {
        $crate::abi::import::offer!(@pair $l, $i, $b, [$($rest)*] -> $($more)*)
    };
    ($l:ident, $i:ident, $b:expr, [Pairs $($rest:ident)*] -> $($more:tt)*) => {
        $crate::abi::import::offer!(@pair $l, $i, $b, [$($rest)*] -> $($more)*)
    };
    ($l:ident, $i:ident, $b:expr, [OutBytes $($rest:ident)*] -> $($more:tt)*) => {
        $crate::abi::import::offer!(@pair $l, $i, $b, [$($rest)*] -> $($more)*)
    };
    ($l:ident, $i:ident, $b:expr, [OutPairs $($rest:ident)*] -> $($more:tt)*) => {
        $crate::abi::import::offer!(@pair $l, $i, $b, [$($rest)*] -> $($more)*)
    };
    ($l:ident, $i:ident, $b:expr, [Wide $($rest:ident)*] -> [$($params:tt)*] [$($pass:tt)*]) => {
        $crate::abi::import::offer!($l, $i, $b, [$($rest)*] -> [$($params)* n: u64,] [$($pass)* n,])
    };
    ($l:ident, $i:ident, $b:expr, [Delta $($rest:ident)*] -> [$($params:tt)*] [$($pass:tt)*]) => {
        $crate::abi::import::offer!($l, $i, $b, [$($rest)*] -> [$($params)* n: i64,] [$($pass)* n,])
    };
    ($l:ident, $i:ident, $b:expr, [$kind:ident $($rest:ident)*] -> [$($params:tt)*] [$($pass:tt)*]) => {
        $crate::abi::import::offer!($l, $i, $b, [$($rest)*] -> [$($params)* n: u32,] [$($pass)* n,])
    };
    (@pair $l:ident, $i:ident, $b:expr, [$($rest:ident)*] -> [$($params:tt)*] [$($pass:tt)*]) => {
        $crate::abi::import::offer!(
            $l, $i, $b, [$($rest)*] -> [$($params)* at: u32, len: u32,] [$($pass)* (at, len),]
        )
    };
}

pub(super) use {family, offer};
