//! WASI preview 1, as much of it as Envoy's host offers: what toolchains import, with no file or socket behind it.
//!
//! Standard output and error go to the log. Clock, random, environment and arguments work; all other functions answer
//! as in Envoy, most of them that they are not supported ([`files`]).

mod files;

use wasmtime::Caller;

use super::import::{Answer, family};
use super::memory::{Span, View, split};
use super::{Failure, log};
use crate::process::LogLevel;
use crate::vm::state::State;

pub(super) use files::FAMILY as FILES;

/// An error number. Source: WASI preview 1, `errno`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Errno(u32);

const BAD_FILE: Errno = Errno(8);
const FAULT: Errno = Errno(21);
const INVALID: Errno = Errno(28);
const NOT_IMPLEMENTED: Errno = Errno(52);
const NOT_SUPPORTED: Errno = Errno(58);

/// What a function of WASI returns.
type Wasi = Result<(), Errno>;

/// No more random bytes in one call. Source: Envoy's host.
const MAX_RANDOM: u32 = 64 * 1024;
/// No more parts in one write. Source: Linux's limit for `writev`.
const MAX_VECTORS: u32 = 1024;

family! {
    /// What works.
    pub(super) static FAMILY: Errno in WASI {
        fd_write(fd: Number, vectors: Address, count: Number, written: OutU32) => fd_write,
        fd_pwrite(fd: Number, vectors: Address, count: Number, offset: Wide, written: OutU32) => fd_pwrite,
        fd_fdstat_get(fd: Number, status: Address) => fd_fdstat_get,
        clock_time_get(clock: Number, precision: Wide, time: OutU64) => clock_time_get,
        clock_res_get(clock: Number, resolution: OutU64) => clock_res_get,
        random_get(buffer: Address, length: Number) => random_get,
        environ_sizes_get(count: OutU32, size: OutU32) => environ_sizes_get,
        environ_get(pointers: Address, buffer: Address) => environ_get,
        args_sizes_get(count: OutU32, size: OutU32) => args_sizes_get,
        args_get(pointers: Address, buffer: Address) => |_: &mut Caller<'_, State>, _, _| -> Wasi { Ok(()) },
        sched_yield() => |_: &mut Caller<'_, State>| -> Wasi { Ok(()) },
        poll_oneoff(subscriptions: Address, events: Address, count: Number, ready: OutU32) => poll_oneoff,
    }
}

family! {
    /// What ends the guest.
    pub(super) static EXIT: Nothing in WASI {
        proc_exit(code: Number) => proc_exit,
    }
}

family! {
    /// What Emscripten imports beside WASI.
    pub(super) static EMSCRIPTEN: Nothing in ENV {
        emscripten_notify_memory_growth(memory: Number) => |_: &mut Caller<'_, State>, _| -> wasmtime::Result<()> {
            Ok(())
        },
    }
}

family! {
    /// Threads, of which there is one.
    pub(super) static THREADS: Number in ENV {
        pthread_equal(left: Number, right: Number) => |_: &mut Caller<'_, State>, left: u32, right: u32| -> u32 {
            u32::from(left == right)
        },
    }
}

impl Answer for Wasi {
    type Wasm = u32;

    fn answer(self) -> wasmtime::Result<u32> {
        Ok(self.err().map_or(0, |errno| errno.0))
    }

    fn number(wasm: &u32) -> Option<u32> {
        Some(*wasm)
    }
}

/// A bad pointer.
impl From<Failure> for Errno {
    fn from(_: Failure) -> Self {
        FAULT
    }
}

/// Envoy's host ignores it and lets the guest run into what its compiler put behind (`unreachable`, a trap).
fn proc_exit(_: &mut Caller<'_, State>, code: u32) -> wasmtime::Result<()> {
    Err(wasmtime::Error::msg(format!(
        "the guest called proc_exit({code})"
    )))
}

fn fd_write(caller: &mut Caller<'_, State>, fd: u32, vectors: u32, n: u32, out: u32) -> Wasi {
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Error,
        _ => return Err(BAD_FILE),
    };
    let (mut view, state) = split(caller)?;
    let (mut message, mut written) = (Vec::new(), 0_u32);
    for i in 0..n.min(MAX_VECTORS) {
        let (at, len) = vector(&view, vectors, i)?;
        let part = view.bytes(at, len)?;
        written = written.checked_add(len).ok_or(INVALID)?;
        if message.len() < log::MAX_MESSAGE {
            message.extend_from_slice(part.get(..log::MAX_MESSAGE).unwrap_or(part));
        }
    }
    if written > 0 {
        log::write(
            state,
            level,
            message.strip_suffix(b"\n").unwrap_or(&message),
        );
    }
    Ok(view.write_u32(out, written)?)
}

/// The offset means nothing to a log.
fn fd_pwrite(
    caller: &mut Caller<'_, State>,
    fd: u32,
    vectors: u32,
    n: u32,
    _offset: u64,
    out: u32,
) -> Wasi {
    fd_write(caller, fd, vectors, n, out)
}

/// The `i`th (address, length) of a list.
fn vector(view: &View<'_>, vectors: u32, i: u32) -> Result<Span, Errno> {
    let at = i
        .checked_mul(8)
        .and_then(|offset| vectors.checked_add(offset))
        .ok_or(FAULT)?;
    let length_at = at.checked_add(4).ok_or(FAULT)?;
    Ok((view.read_u32(at)?, view.read_u32(length_at)?))
}

/// Standard output and error may be written to; that is all there is.
fn fd_fdstat_get(caller: &mut Caller<'_, State>, fd: u32, out: u32) -> Wasi {
    /// `rights.fd_write`.
    const MAY_WRITE: u64 = 1 << 6;
    if fd != 1 && fd != 2 {
        return Err(BAD_FILE);
    }
    let mut status = [0; 24];
    if let Some(rights) = status.get_mut(8..16) {
        rights.copy_from_slice(&MAY_WRITE.to_le_bytes());
    }
    Ok(split(caller)?.0.write(out, &status)?)
}

/// Wall clock (0) and monotonic clock (1) only.
fn clock_time_get(caller: &mut Caller<'_, State>, id: u32, _precision: u64, out: u32) -> Wasi {
    let (mut view, state) = split(caller)?;
    let clock = &state.process.clock;
    let nanoseconds = match id {
        0 => clock.wall(),
        1 => u64::try_from(clock.monotonic().as_nanos()).map_err(|_| INVALID)?,
        _ => return Err(NOT_SUPPORTED),
    };
    Ok(view.write_u64(out, nanoseconds)?)
}

/// A nanosecond.
fn clock_res_get(caller: &mut Caller<'_, State>, id: u32, out: u32) -> Wasi {
    if id > 1 {
        return Err(NOT_SUPPORTED);
    }
    Ok(split(caller)?.0.write_u64(out, 1)?)
}

fn random_get(caller: &mut Caller<'_, State>, at: u32, len: u32) -> Wasi {
    if len > MAX_RANDOM {
        return Err(INVALID);
    }
    let (mut view, state) = split(caller)?;
    let bytes = view.bytes_mut(at, len)?;
    state.process.random.fill(bytes).map_err(|_| INVALID)
}

fn environ_sizes_get(caller: &mut Caller<'_, State>, out_n: u32, out_size: u32) -> Wasi {
    let (mut view, state) = split(caller)?;
    let environment = &state.vm.environment;
    let n = u32::try_from(environment.len()).map_err(|_| INVALID)?;
    // "KEY=VALUE" and a NUL
    let size: usize = environment
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2)
        .sum();
    view.write_u32(out_n, n)?;
    Ok(view.write_u32(out_size, u32::try_from(size).map_err(|_| INVALID)?)?)
}

fn environ_get(caller: &mut Caller<'_, State>, pointers: u32, bytes: u32) -> Wasi {
    let (mut view, state) = split(caller)?;
    let (mut pointer, mut at) = (pointers, bytes);
    for (key, value) in &state.vm.environment {
        let entry = format!("{key}={value}\0");
        view.write_u32(pointer, at)?;
        view.write(at, entry.as_bytes())?;
        pointer = pointer.checked_add(4).ok_or(FAULT)?;
        at = u32::try_from(entry.len())
            .ok()
            .and_then(|len| at.checked_add(len))
            .ok_or(FAULT)?;
    }
    Ok(())
}

/// There are none.
fn args_sizes_get(caller: &mut Caller<'_, State>, out_n: u32, out_size: u32) -> Wasi {
    let (mut view, _) = split(caller)?;
    view.write_u32(out_n, 0)?;
    Ok(view.write_u32(out_size, 0)?)
}

/// Nothing is ever waited for: no event is ready, at once. Go's runtime calls it to sleep and wants a success.
fn poll_oneoff(caller: &mut Caller<'_, State>, _in: u32, _out: u32, _n: u32, ready: u32) -> Wasi {
    Ok(split(caller)?.0.write_u32(ready, 0)?)
}
