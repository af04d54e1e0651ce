//! `proxy_get_current_time_nanoseconds`, `proxy_set_tick_period_milliseconds`.

use std::time::Duration;

use wasmtime::{Caller, Linker};

use super::memory::split;
use super::{Outcome, answer, count};
use crate::vm::state::{Effect, State};

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_current_time_nanoseconds",
        |mut caller: Caller<'_, State>, out: u32| {
            count(&mut caller);
            answer(current_time(&mut caller, out))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_tick_period_milliseconds",
        |mut caller: Caller<'_, State>, ms: u32| {
            count(&mut caller);
            answer(set_tick_period(&mut caller, ms))
        },
    )?;
    Ok(())
}

/// Nanoseconds since 1970.
fn current_time(caller: &mut Caller<'_, State>, out: u32) -> Outcome {
    let (mut view, state) = split(caller)?;
    view.write_u64(out, state.process.clock.wall())
}

/// Sets the tick of the effective context's root; 0 stops it.
fn set_tick_period(caller: &mut Caller<'_, State>, ms: u32) -> Outcome {
    let state = caller.data_mut();
    let root = state.effective_root();
    state.effects.push(Effect::Tick {
        root,
        period: Duration::from_millis(u64::from(ms)),
    });
    Ok(())
}
