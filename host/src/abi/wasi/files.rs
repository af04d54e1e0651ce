//! Files, directories and sockets, of which there are none: what each function answers instead.

use wasmtime::Caller;

use super::super::import::family;
use super::super::memory::split;
use super::{BAD_FILE, Errno, NOT_IMPLEMENTED, NOT_SUPPORTED, Wasi};
use crate::vm::state::State;

const NO_SUCH_FILE: Errno = Errno(44);
/// What Envoy answers, though it is another error (`BUSY` is 10, `NOTDIR` 54 in WASI; 20 is Linux's number).
const NOT_A_DIRECTORY: Errno = Errno(20);

/// A body that answers one thing, whatever the arguments.
macro_rules! always {
    ($answer:expr; $($argument:ident),*) => {
        |_: &mut Caller<'_, State>, $(_: always!(@ $argument)),*| -> Wasi { $answer }
    };
    (@ wide) => { u64 };
    (@ pair) => { (u32, u32) };
    (@ $number:ident) => { u32 };
}

family! {
    /// All of them.
    pub(in crate::abi) static FAMILY: Errno in WASI {
        fd_read(fd: Number, vectors: Address, count: Number, read: OutU32)
            => always!(Err(NOT_IMPLEMENTED); n, n, n, n),
        fd_pread(fd: Number, vectors: Address, count: Number, offset: Wide, read: OutU32)
            => always!(Err(NOT_IMPLEMENTED); n, n, n, wide, n),
        fd_seek(fd: Number, offset: Wide, whence: Number, position: OutU64) => always!(Ok(()); n, wide, n, n),
        fd_close(fd: Number) => always!(Ok(()); n),
        fd_advise(fd: Number, offset: Wide, length: Wide, advice: Number) => always!(Ok(()); n, wide, wide, n),
        fd_allocate(fd: Number, offset: Wide, length: Wide)
            => |_: &mut Caller<'_, State>, fd, _: u64, _: u64| standard(fd),
        fd_datasync(fd: Number) => |_: &mut Caller<'_, State>, fd| standard(fd),
        fd_sync(fd: Number) => |_: &mut Caller<'_, State>, fd| standard(fd),
        fd_tell(fd: Number, position: OutU64) => fd_tell,
        fd_renumber(from: Number, to: Number) => fd_renumber,
        fd_readdir(fd: Number, buffer: Address, length: Number, cookie: Wide, used: OutU32) => fd_readdir,
        fd_fdstat_set_flags(fd: Number, flags: Number) => always!(Err(NOT_IMPLEMENTED); n, n),
        fd_fdstat_set_rights(fd: Number, base: Wide, inheriting: Wide)
            => |_: &mut Caller<'_, State>, fd, _: u64, _: u64| standard(fd),
        fd_filestat_get(fd: Number, status: Address) => always!(Err(BAD_FILE); n, n),
        fd_filestat_set_size(fd: Number, size: Wide) => |_: &mut Caller<'_, State>, fd, _: u64| standard(fd),
        fd_filestat_set_times(fd: Number, accessed: Wide, modified: Wide, flags: Number)
            => |_: &mut Caller<'_, State>, fd, _: u64, _: u64, _: u32| standard(fd),
        fd_prestat_get(fd: Number, status: Address) => always!(Err(BAD_FILE); n, n),
        fd_prestat_dir_name(fd: Number, path: Bytes) => always!(Err(NOT_IMPLEMENTED); n, pair),
        path_open(
            fd: Number, lookup: Number, path: Bytes, flags: Number, base: Wide, inheriting: Wide,
            fd_flags: Number, opened: OutU32,
        ) => always!(Err(NO_SUCH_FILE); n, n, pair, n, wide, wide, n, n),
        path_create_directory(fd: Number, path: Bytes) => always!(Err(NOT_SUPPORTED); n, pair),
        path_filestat_get(fd: Number, flags: Number, path: Bytes, status: Address)
            => always!(Err(NOT_SUPPORTED); n, n, pair, n),
        path_filestat_set_times(
            fd: Number, lookup: Number, path: Bytes, accessed: Wide, modified: Wide, flags: Number,
        ) => always!(Err(NOT_SUPPORTED); n, n, pair, wide, wide, n),
        path_link(old_fd: Number, flags: Number, old_path: Bytes, new_fd: Number, new_path: Bytes)
            => always!(Err(NOT_SUPPORTED); n, n, pair, n, pair),
        path_readlink(fd: Number, path: Bytes, buffer: Bytes, used: OutU32) => path_readlink,
        path_remove_directory(fd: Number, path: Bytes) => always!(Err(NOT_SUPPORTED); n, pair),
        path_rename(fd: Number, old_path: Bytes, new_fd: Number, new_path: Bytes)
            => always!(Err(NOT_SUPPORTED); n, pair, n, pair),
        path_symlink(old_path: Bytes, fd: Number, new_path: Bytes)
            => always!(Err(NOT_SUPPORTED); pair, n, pair),
        path_unlink_file(fd: Number, path: Bytes) => always!(Err(NOT_SUPPORTED); n, pair),
        sock_accept(fd: Number, flags: Number, accepted: OutU32) => sock_accept,
        sock_recv(fd: Number, vectors: Address, count: Number, flags: Number, received: OutU32, out_flags: Address)
            => sock_recv,
        sock_send(fd: Number, vectors: Address, count: Number, flags: Number, sent: OutU32) => sock_send,
        sock_shutdown(fd: Number, how: Number) => always!(Err(NOT_SUPPORTED); n, n),
    }
}

/// Nothing needs to be done for standard output and error; others are not open.
fn standard(fd: u32) -> Wasi {
    match fd {
        1 | 2 => Ok(()),
        _ => Err(BAD_FILE),
    }
}

fn fd_tell(caller: &mut Caller<'_, State>, fd: u32, out: u32) -> Wasi {
    standard(fd)?;
    Ok(split(caller)?.0.write_u64(out, 0)?)
}

fn fd_renumber(_: &mut Caller<'_, State>, from: u32, to: u32) -> Wasi {
    standard(from)?;
    standard(to)?;
    Err(NOT_SUPPORTED)
}

fn fd_readdir(caller: &mut Caller<'_, State>, _: u32, _: u32, _: u32, _: u64, out: u32) -> Wasi {
    split(caller)?.0.write_u32(out, 0)?;
    Err(NOT_A_DIRECTORY)
}

fn path_readlink(
    caller: &mut Caller<'_, State>,
    _: u32,
    _: (u32, u32),
    _: (u32, u32),
    out: u32,
) -> Wasi {
    split(caller)?.0.write_u32(out, 0)?;
    Err(NOT_SUPPORTED)
}

fn sock_accept(caller: &mut Caller<'_, State>, _: u32, _: u32, out: u32) -> Wasi {
    split(caller)?.0.write_u32(out, 0)?;
    Err(NOT_SUPPORTED)
}

fn sock_recv(
    caller: &mut Caller<'_, State>,
    _: u32,
    _: u32,
    _: u32,
    _: u32,
    out: u32,
    out_flags: u32,
) -> Wasi {
    let (mut view, _) = split(caller)?;
    view.write_u32(out, 0)?;
    view.write(out_flags, &[0, 0])?;
    Err(NOT_SUPPORTED)
}

fn sock_send(caller: &mut Caller<'_, State>, _: u32, _: u32, _: u32, _: u32, out: u32) -> Wasi {
    split(caller)?.0.write_u32(out, 0)?;
    Err(NOT_SUPPORTED)
}
