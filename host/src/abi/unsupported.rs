//! Functions of the ABI that the host does not carry out: gRPC callouts, shared queues, foreign functions.
//!
//! A guest that imports them loads; a call answers `InternalFailure`, a status that SDKs handle, and says so once.

use std::sync::Once;

use wasmtime::{Caller, Linker};

use super::{Status, count};
use crate::vm::state::State;

fn refuse(caller: &mut Caller<'_, State>, name: &str, once: &Once) -> u32 {
    count(caller);
    once.call_once(|| {
        tracing::warn!(
            plugin = caller.data().plugin_name(),
            "a filter called {name}, which this host does not offer"
        )
    });
    Status::InternalFailure.code()
}

/// Links a function of `u32` arguments that is refused.
macro_rules! refuse {
    ($linker:expr, $name:literal, $($argument:ident),*) => {
        $linker.func_wrap("env", $name, |mut caller: Caller<'_, State>, $($argument: u32),*| -> u32 {
            static ONCE: Once = Once::new();
            let _ = ($($argument,)*);
            refuse(&mut caller, $name, &ONCE)
        })?
    };
}

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    refuse!(
        linker,
        "proxy_grpc_call",
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        i,
        j,
        k,
        l
    );
    refuse!(linker, "proxy_grpc_stream", a, b, c, d, e, f, g, h, i);
    refuse!(linker, "proxy_grpc_send", a, b, c, d);
    refuse!(linker, "proxy_grpc_cancel", a);
    refuse!(linker, "proxy_grpc_close", a);
    refuse!(linker, "proxy_get_status", a, b, c);
    refuse!(linker, "proxy_register_shared_queue", a, b, c);
    refuse!(linker, "proxy_resolve_shared_queue", a, b, c, d, e);
    refuse!(linker, "proxy_enqueue_shared_queue", a, b, c);
    refuse!(linker, "proxy_dequeue_shared_queue", a, b, c);
    refuse!(linker, "proxy_call_foreign_function", a, b, c, d, e, f);
    Ok(())
}
