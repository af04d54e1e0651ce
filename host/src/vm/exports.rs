//! The callbacks that a guest exports.

use wasmtime::{Instance, Store, TypedFunc, WasmParams, WasmResults};

use super::entry;
use super::state::State;

/// Root, token, and the sizes of headers, body and trailers.
pub(super) type CalloutParams = (u32, u32, u32, u32, u32);

/// A callback, where the guest has it.
pub(super) struct Export<P, R> {
    pub(super) name: &'static str,
    pub(super) function: Option<TypedFunc<P, R>>,
}

/// The callbacks a guest exports; absent ones are passed over.
pub(super) struct Exports {
    pub(super) context_create: Export<(u32, u32), ()>,
    pub(super) vm_start: Export<(u32, u32), u32>,
    pub(super) configure: Export<(u32, u32), u32>,
    pub(super) tick: Export<u32, ()>,
    pub(super) queue_ready: Export<(u32, u32), ()>,
    pub(super) request_headers: Export<(u32, u32, u32), u32>,
    pub(super) request_headers_0_1: Export<(u32, u32), u32>,
    pub(super) request_body: Export<(u32, u32, u32), u32>,
    pub(super) request_trailers: Export<(u32, u32), u32>,
    pub(super) response_headers: Export<(u32, u32, u32), u32>,
    pub(super) response_headers_0_1: Export<(u32, u32), u32>,
    pub(super) response_body: Export<(u32, u32, u32), u32>,
    pub(super) response_trailers: Export<(u32, u32), u32>,
    pub(super) http_call_response: Export<CalloutParams, ()>,
    pub(super) grpc_initial: Export<(u32, u32, u32), ()>,
    pub(super) grpc_message: Export<(u32, u32, u32), ()>,
    pub(super) grpc_trailing: Export<(u32, u32, u32), ()>,
    pub(super) grpc_close: Export<(u32, u32, u32), ()>,
    pub(super) begin: Export<(u32, u32, u32, u32), u32>,
    pub(super) end: Export<(u32, u32), u32>,
    pub(super) done: Export<u32, u32>,
    pub(super) log: Export<u32, ()>,
    pub(super) delete: Export<u32, ()>,
}

/// Which body callbacks a guest has: where it has none, bodies stream past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interests {
    /// `proxy_on_request_body` or `proxy_on_request_trailers`.
    pub request_body: bool,
    /// `proxy_on_response_body` or `proxy_on_response_trailers`.
    pub response_body: bool,
}

// === impl Exports ===

impl Exports {
    pub(super) fn find(store: &mut Store<State>, instance: &Instance) -> Self {
        fn get<P: WasmParams, R: WasmResults>(
            store: &mut Store<State>,
            instance: &Instance,
            name: &'static str,
        ) -> Export<P, R> {
            Export {
                name,
                function: instance.get_typed_func(store, name).ok(),
            }
        }
        Self {
            context_create: get(store, instance, "proxy_on_context_create"),
            vm_start: get(store, instance, "proxy_on_vm_start"),
            configure: get(store, instance, "proxy_on_configure"),
            tick: get(store, instance, "proxy_on_tick"),
            queue_ready: get(store, instance, "proxy_on_queue_ready"),
            request_headers: get(store, instance, "proxy_on_request_headers"),
            request_headers_0_1: get(store, instance, "proxy_on_request_headers"),
            request_body: get(store, instance, "proxy_on_request_body"),
            request_trailers: get(store, instance, "proxy_on_request_trailers"),
            response_headers: get(store, instance, "proxy_on_response_headers"),
            response_headers_0_1: get(store, instance, "proxy_on_response_headers"),
            response_body: get(store, instance, "proxy_on_response_body"),
            response_trailers: get(store, instance, "proxy_on_response_trailers"),
            http_call_response: get(store, instance, "proxy_on_http_call_response"),
            grpc_initial: get(store, instance, "proxy_on_grpc_receive_initial_metadata"),
            grpc_message: get(store, instance, "proxy_on_grpc_receive"),
            grpc_trailing: get(store, instance, "proxy_on_grpc_receive_trailing_metadata"),
            grpc_close: get(store, instance, "proxy_on_grpc_close"),
            begin: get(store, instance, entry::BEGIN),
            end: get(store, instance, entry::END),
            done: get(store, instance, "proxy_on_done"),
            log: get(store, instance, "proxy_on_log"),
            delete: get(store, instance, "proxy_on_delete"),
        }
    }

    /// Which bodies the guest wants to see.
    pub(super) fn interests(&self) -> Interests {
        Interests {
            request_body: self.request_body.function.is_some()
                || self.request_trailers.function.is_some(),
            response_body: self.response_body.function.is_some()
                || self.response_trailers.function.is_some(),
        }
    }
}
