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
mod callouts;
mod clock;
mod headers;
mod log;
pub mod memory;
mod metrics;
mod pairs;
mod properties;
mod shared;
mod status;
mod streams;
mod unsupported;
mod wasi;

pub use callouts::{Callout, CalloutResponse};
pub use shared::SharedData;
pub use status::Status;

use wasmtime::{Caller, Linker};

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

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// The guest's number for an outcome, or the trap.
pub(crate) fn answer(outcome: Outcome) -> wasmtime::Result<u32> {
    match outcome {
        Ok(()) => Ok(Status::Ok.code()),
        Err(Failure::Status(status)) => Ok(status.code()),
        Err(Failure::Trap(error)) => Err(error),
    }
}

/// A linker with every import the host offers.
///
/// # Errors
/// Where two imports have one name, which the start-up tests would show.
pub fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    log::link(&mut linker)?;
    clock::link(&mut linker)?;
    headers::link(&mut linker)?;
    buffers::link(&mut linker)?;
    streams::link(&mut linker)?;
    properties::link(&mut linker)?;
    metrics::link(&mut linker)?;
    shared::link(&mut linker)?;
    callouts::link(&mut linker)?;
    unsupported::link(&mut linker)?;
    wasi::link(&mut linker)?;
    Ok(linker)
}

/// Notes that a hostcall began.
#[inline]
pub(crate) fn count(caller: &mut Caller<'_, State>) {
    caller.data_mut().hostcalls += 1;
}
