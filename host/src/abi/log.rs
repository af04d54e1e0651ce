//! `proxy_log`, `proxy_get_log_level`.

use std::sync::PoisonError;

use wasmtime::Caller;

use super::import::family;
use super::memory::{Span, split};
use super::{Outcome, Status};
use crate::process::{GuestLog, LogLevel, LogLine};
use crate::vm::state::State;

/// No longer message is written.
pub(super) const MAX_MESSAGE: usize = 16 * 1024;

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_log(level: LogLevel, message: Bytes) => log,
        proxy_get_log_level(level: OutU32) => log_level,
    }
}

fn log(caller: &mut Caller<'_, State>, level: u32, message: Span) -> Outcome {
    let (view, state) = split(caller)?;
    let message = view.span(message)?;
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
