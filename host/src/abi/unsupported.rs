//! Functions of the ABI that the host does not carry out: shared queues, foreign functions.
//!
//! A guest that imports them loads; a call answers `InternalFailure`, a status that SDKs handle, and says so once.

use std::sync::Once;

use wasmtime::Caller;

use super::import::family;
use super::memory::Span;
use super::{Outcome, Status};
use crate::vm::state::State;

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_register_shared_queue(name: Bytes, queue: OutU32) => register_shared_queue,
        proxy_resolve_shared_queue(vm_id: Bytes, name: Bytes, queue: OutU32) => resolve_shared_queue,
        proxy_enqueue_shared_queue(queue: Token, value: Bytes) => enqueue_shared_queue,
        proxy_dequeue_shared_queue(queue: Token, value: OutBytes) => dequeue_shared_queue,
        proxy_call_foreign_function(name: Bytes, arguments: Bytes, results: OutBytes) => call_foreign_function,
    }
}

fn refuse(caller: &Caller<'_, State>, name: &str, once: &Once) -> Outcome {
    once.call_once(|| {
        tracing::warn!(
            plugin = caller.data().plugin_name(),
            "a filter called {name}, which this host does not offer"
        );
    });
    Err(Status::InternalFailure.into())
}

/// A body that refuses.
macro_rules! refused {
    ($name:ident, $import:literal, $($argument:ty),*) => {
        #[allow(clippy::too_many_arguments, reason = "the ABI has so many")]
        fn $name(caller: &mut Caller<'_, State>, $(_: $argument),*) -> Outcome {
            static ONCE: Once = Once::new();
            refuse(caller, $import, &ONCE)
        }
    };
}

refused!(
    register_shared_queue,
    "proxy_register_shared_queue",
    Span,
    u32
);
refused!(
    resolve_shared_queue,
    "proxy_resolve_shared_queue",
    Span,
    Span,
    u32
);
refused!(
    enqueue_shared_queue,
    "proxy_enqueue_shared_queue",
    u32,
    Span
);
refused!(
    dequeue_shared_queue,
    "proxy_dequeue_shared_queue",
    u32,
    Span
);
refused!(
    call_foreign_function,
    "proxy_call_foreign_function",
    Span,
    Span,
    Span
);
