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
mod callouts;
mod ffi;
mod guard;
mod library;
mod memory;
mod meters;
mod models;
mod probes;
mod route;
mod routed;
mod shadow;
mod spending;

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
        end_of_stream: u32,
    ) -> u32 {
        with(Action::Continue, |vm| {
            vm.request(context, end_of_stream != 0)
        }) as u32
    }

    /// A part of a request's body is there; it is held back where it is to be looked through.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_request_body(context: u32, size: usize, end_of_stream: u32) -> u32 {
        with(Action::Continue, |vm| {
            vm.request_body(context, size, end_of_stream != 0)
        }) as u32
    }

    /// A request's trailers are there, its end.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_request_trailers(context: u32, _count: usize) -> u32 {
        with(Action::Continue, |vm| vm.request_body(context, 0, true)) as u32
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

    /// A part of a response's body is there; it is never held back.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_response_body(context: u32, size: usize, end_of_stream: u32) -> u32 {
        with((), |vm| vm.response_body(context, size, end_of_stream != 0));
        Action::Continue as u32
    }

    /// The answer to a callout, or that none comes: then there are no headers.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_http_call_response(
        _context: u32,
        token: u32,
        headers: usize,
        _body_size: usize,
        _trailers: usize,
    ) {
        with((), |vm| vm.answer(token, headers > 0));
    }

    /// A context ends.
    #[cfg_attr(target_arch = "wasm32", unsafe(no_mangle))]
    pub extern "C" fn proxy_on_delete(context: u32) {
        with((), |vm| vm.delete(context));
    }
}
