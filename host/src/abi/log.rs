//! `proxy_log`, `proxy_get_log_level`.

use std::sync::PoisonError;

use wasmtime::{Caller, Linker};

use super::memory::split;
use super::{Outcome, Status, answer, count};
use crate::process::{GuestLog, LogLevel, LogLine};
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
    let level = LogLevel::from_code(level).ok_or(Status::BadArgument)?;
    write(state, level, message);
    Ok(())
}

/// Writes a guest's message.
pub(super) fn write(state: &State, level: LogLevel, message: &[u8]) {
    let message = message.get(..MAX_MESSAGE).unwrap_or(message);
    let message = String::from_utf8_lossy(message);
    let plugin = state.plugin_name();
    if let GuestLog::Kept(lines) = &state.process.guest_log {
        let line = LogLine {
            at: state.process.clock.wall(),
            plugin: plugin.to_owned(),
            level,
            text: message.into_owned(),
        };
        lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
        return;
    }
    match level {
        LogLevel::Trace => tracing::trace!(target: "guest", plugin, "{message}"),
        LogLevel::Debug => tracing::debug!(target: "guest", plugin, "{message}"),
        LogLevel::Info => tracing::info!(target: "guest", plugin, "{message}"),
        LogLevel::Warn => tracing::warn!(target: "guest", plugin, "{message}"),
        LogLevel::Error | LogLevel::Critical => {
            tracing::error!(target: "guest", plugin, "{message}");
        }
    }
}

fn log_level(caller: &mut Caller<'_, State>, out: u32) -> Outcome {
    use tracing::Level;
    let kept = matches!(caller.data().process.guest_log, GuestLog::Kept(_));
    let level = if kept || tracing::enabled!(target: "guest", Level::TRACE) {
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
