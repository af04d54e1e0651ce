//! The eight WASI preview 1 functions of the ABI: clock, random, environment, arguments, standard output, exit.

use wasmtime::{Caller, Linker};

use super::memory::{View, split};
use super::{Failure, count, log};
use crate::process::LogLevel;
use crate::vm::state::State;

/// WASI's error numbers, as far as they are needed. Source: WASI preview 1, `errno`.
const SUCCESS: u32 = 0;
const BAD_FILE: u32 = 8;
const FAULT: u32 = 21;
const INVALID: u32 = 28;

/// No more random bytes in one call. Source: Envoy's host.
const MAX_RANDOM: u32 = 64 * 1024;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        link_as(linker, module)?;
    }
    Ok(())
}

fn link_as(linker: &mut Linker<State>, module: &str) -> wasmtime::Result<()> {
    linker.func_wrap(
        module,
        "fd_write",
        |mut c: Caller<'_, State>, fd: u32, vectors: u32, n: u32, out: u32| {
            count(&mut c);
            errno(fd_write(&mut c, fd, vectors, n, out))
        },
    )?;
    linker.func_wrap(
        module,
        "clock_time_get",
        |mut c: Caller<'_, State>, id: u32, _precision: u64, out: u32| {
            count(&mut c);
            errno(clock_time_get(&mut c, id, out))
        },
    )?;
    linker.func_wrap(
        module,
        "random_get",
        |mut c: Caller<'_, State>, at: u32, len: u32| {
            count(&mut c);
            errno(random_get(&mut c, at, len))
        },
    )?;
    linker.func_wrap(
        module,
        "environ_sizes_get",
        |mut c: Caller<'_, State>, out_n: u32, out_size: u32| {
            count(&mut c);
            errno(environ_sizes_get(&mut c, out_n, out_size))
        },
    )?;
    linker.func_wrap(
        module,
        "environ_get",
        |mut c: Caller<'_, State>, pointers: u32, bytes: u32| {
            count(&mut c);
            errno(environ_get(&mut c, pointers, bytes))
        },
    )?;
    linker.func_wrap(
        module,
        "args_sizes_get",
        |mut c: Caller<'_, State>, out_n: u32, out_size: u32| {
            count(&mut c);
            errno(none(&mut c, out_n, out_size))
        },
    )?;
    linker.func_wrap(
        module,
        "args_get",
        |mut c: Caller<'_, State>, _pointers: u32, _bytes: u32| -> u32 {
            count(&mut c);
            SUCCESS
        },
    )?;
    linker.func_wrap(
        module,
        "proc_exit",
        |mut c: Caller<'_, State>, code: u32| -> wasmtime::Result<()> {
            count(&mut c);
            Err(wasmtime::Error::msg(format!(
                "the guest called proc_exit({code})"
            )))
        },
    )?;
    Ok(())
}

/// A WASI function's outcome: `Err` holds the error number.
type Wasi = Result<(), u32>;

fn errno(outcome: Wasi) -> u32 {
    outcome.err().unwrap_or(SUCCESS)
}

/// A bad pointer is `FAULT`.
fn fault(_: Failure) -> u32 {
    FAULT
}

fn fd_write(caller: &mut Caller<'_, State>, fd: u32, vectors: u32, n: u32, out: u32) -> Wasi {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Err(BAD_FILE),
    };
    let (mut view, state) = split(caller).map_err(fault)?;
    let mut message = Vec::new();
    for i in 0..n.min(1024) {
        let (at, len) = vector(&view, vectors, i)?;
        message.extend_from_slice(view.bytes(at, len).map_err(fault)?);
    }
    let written = u32::try_from(message.len()).map_err(|_| INVALID)?;
    let text = message.strip_suffix(b"\n").unwrap_or(&message);
    log::write(state, level, text);
    view.write_u32(out, written).map_err(fault)
}

/// The `i`th (address, length) of a list.
fn vector(view: &View<'_>, vectors: u32, i: u32) -> Result<(u32, u32), u32> {
    let at = i
        .checked_mul(8)
        .and_then(|offset| vectors.checked_add(offset))
        .ok_or(FAULT)?;
    let length_at = at.checked_add(4).ok_or(FAULT)?;
    Ok((
        view.read_u32(at).map_err(fault)?,
        view.read_u32(length_at).map_err(fault)?,
    ))
}

/// Wall clock (0) and monotonic clock (1) only.
fn clock_time_get(caller: &mut Caller<'_, State>, id: u32, out: u32) -> Wasi {
    let (mut view, state) = split(caller).map_err(fault)?;
    let clock = &state.process.clock;
    let nanoseconds = match id {
        0 => clock.wall(),
        1 => u64::try_from(clock.monotonic().as_nanos()).map_err(|_| INVALID)?,
        _ => return Err(INVALID),
    };
    view.write_u64(out, nanoseconds).map_err(fault)
}

fn random_get(caller: &mut Caller<'_, State>, at: u32, len: u32) -> Wasi {
    if len > MAX_RANDOM {
        return Err(INVALID);
    }
    let (mut view, state) = split(caller).map_err(fault)?;
    let bytes = view.bytes_mut(at, len).map_err(fault)?;
    state.process.random.fill(bytes).map_err(|_| INVALID)
}

fn environ_sizes_get(caller: &mut Caller<'_, State>, out_n: u32, out_size: u32) -> Wasi {
    let (mut view, state) = split(caller).map_err(fault)?;
    let environment = &state.vm.environment;
    let n = u32::try_from(environment.len()).map_err(|_| INVALID)?;
    // "KEY=VALUE" and a NUL
    let size: usize = environment
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2)
        .sum();
    view.write_u32(out_n, n).map_err(fault)?;
    view.write_u32(out_size, u32::try_from(size).map_err(|_| INVALID)?)
        .map_err(fault)
}

fn environ_get(caller: &mut Caller<'_, State>, pointers: u32, bytes: u32) -> Wasi {
    let (mut view, state) = split(caller).map_err(fault)?;
    let (mut pointer, mut at) = (pointers, bytes);
    for (key, value) in &state.vm.environment {
        let entry = format!("{key}={value}\0");
        view.write_u32(pointer, at).map_err(fault)?;
        view.write(at, entry.as_bytes()).map_err(fault)?;
        pointer = pointer.checked_add(4).ok_or(FAULT)?;
        at = u32::try_from(entry.len())
            .ok()
            .and_then(|len| at.checked_add(len))
            .ok_or(FAULT)?;
    }
    Ok(())
}

fn none(caller: &mut Caller<'_, State>, out_n: u32, out_size: u32) -> Wasi {
    let (mut view, _) = split(caller).map_err(fault)?;
    view.write_u32(out_n, 0).map_err(fault)?;
    view.write_u32(out_size, 0).map_err(fault)
}
