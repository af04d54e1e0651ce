//! Switchover as a Proxy-Wasm filter: the functions that a host calls. Decisions are `switchover-core`'s.
//!
//! Only callbacks that are used are exported, for a host passes over what is not there. In particular there is no
//! `proxy_on_done`: it would be one crossing more for each request.
#![deny(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss
)]

mod attempt;
mod ffi;
mod library;
mod memory;
mod meters;
mod route;
mod vm;

/// The exports. Natively they keep Rust's names: nobody's `malloc` shall be replaced.
pub mod exports {
    #![allow(unsafe_code, reason = "exported names are global")]

    use crate::memory;
    use crate::vm::{Action, with};

    /// The ABI's version: 0.2.1.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_abi_version_0_2_1() {}

    /// Room for data that the host returns.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn malloc(size: usize) -> *mut u8 {
        memory::give(size)
    }

    /// A root or stream context begins.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
        with((), |vm| vm.create(context, parent));
    }

    /// The VM begins.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_vm_start(_context: u32, _size: usize) -> u32 {
        with((), crate::vm::Vm::start);
        1
    }

    /// A root context gets its configuration; 0 rejects it.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_configure(context: u32, size: usize) -> u32 {
        with(false, |vm| vm.configure(context, size)).into()
    }

    /// A root context's timer.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_tick(context: u32) {
        with((), |vm| vm.tick(context));
    }

    /// A request's headers are there.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_request_headers(
        context: u32,
        _count: usize,
        _end_of_stream: u32,
    ) -> u32 {
        with(Action::Continue, |vm| vm.request(context)) as u32
    }

    /// A response's headers are there.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_response_headers(
        context: u32,
        _count: usize,
        _end_of_stream: u32,
    ) -> u32 {
        with((), |vm| vm.response(context));
        Action::Continue as u32
    }

    /// A context ends.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_delete(context: u32) {
        with((), |vm| vm.delete(context));
    }
}
