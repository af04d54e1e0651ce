//! `proxy_get_current_time_nanoseconds`, `proxy_set_tick_period_milliseconds`.

use std::time::Duration;

use wasmtime::Caller;

use super::Outcome;
use super::import::family;
use super::memory::split;
use crate::vm::state::{Effect, State};

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_get_current_time_nanoseconds(time: OutU64) => current_time,
        proxy_set_tick_period_milliseconds(period: Milliseconds) => set_tick_period,
    }
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
    let period = Duration::from_millis(u64::from(ms));
    Ok(state.ask(Effect::Tick { root, period })?)
}
