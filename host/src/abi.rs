//! The Proxy-Wasm ABI 0.2.1 as guests import it: one file for each family of hostcalls.
//!
//! A hostcall answers a [`Status`]; a nested guest call that traps ends the callback instead.
//! Guest memory is touched in [`memory`] only.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

mod buffers;
pub mod callbacks;
mod callouts;
mod clock;
pub mod foreign;
mod grpc;
mod headers;
mod import;
pub mod lint;
mod log;
pub mod memory;
mod metrics;
pub mod observe;
mod options;
mod pairs;
mod properties;
pub mod queues;
mod reach;
mod reply;
mod restriction;
mod shared;
pub mod status;
mod streams;
#[cfg(test)]
mod tests;
mod version;
mod wasi;

pub use callouts::{Callout, CalloutResponse};
pub use grpc::{GrpcAction, GrpcEffect, GrpcStart, MAX_MESSAGE};
pub use import::{ImportInfo, Kind, Parameter, Returns};
pub use options::{Mode, Options};
pub(crate) use pairs::parse as read_pairs;
pub use queues::Queues;
pub use reach::Reach;
pub use restriction::Restriction;
pub use shared::SharedData;
pub use status::Status;
pub use version::{Version, check};

use wasmtime::Linker;

use import::Family;

use crate::vm::state::State;

/// Why a hostcall ended without doing its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The guest gets this status.
    Status(Status),
    /// The guest's own code trapped while it served the call (its allocator): the callback ends.
    Trap(wasmtime::Error),
}

/// What a hostcall's body returns.
pub(crate) type Outcome = Result<(), Failure>;

impl From<wasmtime::Trap> for Failure {
    fn from(trap: wasmtime::Trap) -> Self {
        Self::Trap(trap.into())
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// All that the host offers.
static FAMILIES: [&Family; 17] = [
    &log::FAMILY,
    &clock::FAMILY,
    &headers::FAMILY,
    &buffers::FAMILY,
    &streams::FAMILY,
    &properties::FAMILY,
    &metrics::FAMILY,
    &shared::FAMILY,
    &queues::FAMILY,
    &callouts::FAMILY,
    &foreign::FAMILY,
    &grpc::FAMILY,
    &wasi::FAMILY,
    &wasi::FILES,
    &wasi::EXIT,
    &wasi::EMSCRIPTEN,
    &wasi::THREADS,
];

/// The functions that the host offers to guests.
pub fn imports() -> impl Iterator<Item = &'static ImportInfo> {
    FAMILIES.iter().flat_map(|family| family.imports)
}

/// A linker with every import the host offers.
///
/// # Errors
/// Where two imports have one name, which the start-up tests would show.
pub fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    for family in FAMILIES {
        (family.link)(&mut linker)?;
    }
    Ok(linker)
}
