//! `proxy_log`, `proxy_get_log_level`.

use wasmtime::{Caller, Linker};

use super::memory::split;
use super::{Outcome, Status, answer, count};
use crate::vm::state::State;

/// No longer message is written.
const MAX_MESSAGE: usize = 16 * 1024;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_log",
        |mut caller: Caller<'_, State>, level: u32, at: u32, len: u32| {
            count(&mut caller);
            answer(log(&mut caller, level, at, len))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_log_level",
        |mut caller: Caller<'_, State>, out: u32| {
            count(&mut caller);
            answer(log_level(&mut caller, out))
        },
    )?;
    Ok(())
}

fn log(caller: &mut Caller<'_, State>, level: u32, at: u32, len: u32) -> Outcome {
    let (view, state) = split(caller)?;
    let message = view.bytes(at, len)?;
    write(state, level, message)
}

/// Writes a guest's message under the levels of the ABI: 0 trace to 5 critical.
pub(super) fn write(state: &State, level: u32, message: &[u8]) -> Outcome {
    let message = message.get(..MAX_MESSAGE).unwrap_or(message);
    let message = String::from_utf8_lossy(message);
    let plugin = state.plugin_name();
    match level {
        0 => tracing::trace!(target: "guest", plugin, "{message}"),
        1 => tracing::debug!(target: "guest", plugin, "{message}"),
        2 => tracing::info!(target: "guest", plugin, "{message}"),
        3 => tracing::warn!(target: "guest", plugin, "{message}"),
        4 | 5 => tracing::error!(target: "guest", plugin, "{message}"),
        _ => return Err(Status::BadArgument.into()),
    }
    Ok(())
}

fn log_level(caller: &mut Caller<'_, State>, out: u32) -> Outcome {
    use tracing::Level;
    let level = if tracing::enabled!(target: "guest", Level::TRACE) {
        0
    } else if tracing::enabled!(target: "guest", Level::DEBUG) {
        1
    } else if tracing::enabled!(target: "guest", Level::INFO) {
        2
    } else if tracing::enabled!(target: "guest", Level::WARN) {
        3
    } else {
        4
    };
    split(caller)?.0.write_u32(out, level)
}
