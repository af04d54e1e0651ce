//! Whether this host loads a module, and whether Envoy does: with all reasons where not.

use serde::Serialize;

use super::Report;
use super::module::{Group, Module};
use crate::abi;
use crate::process::GuestLimits;
use crate::vm::engine::Engine;

/// The Envoy that the verdict is about.
pub const ENVOY_VERSION: &str = "1.40";

/// Whether a host loads a module.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// Whether it does. What its code does when it starts is not looked at.
    pub loads: bool,
    /// Why not, all of it; empty where it does.
    pub reasons: Vec<String>,
}

/// Markers that Envoy knows, with the hostcalls that only modules of that version may import. Source: the C++ host's
/// `registerCallbacks`.
const MARKERS: [(&str, &[&str]); 3] = [
    (
        "proxy_abi_version_0_1_0",
        &[
            "proxy_get_configuration",
            "proxy_continue_request",
            "proxy_continue_response",
            "proxy_clear_route_cache",
        ],
    ),
    (
        "proxy_abi_version_0_2_0",
        &["proxy_continue_stream", "proxy_close_stream"],
    ),
    (
        "proxy_abi_version_0_2_1",
        &[
            "proxy_continue_stream",
            "proxy_close_stream",
            "proxy_get_log_level",
        ],
    ),
];

/// Hostcalls that modules of all versions may import, without `proxy_`. Source: the C++ host's `exports.h`.
const HOSTCALLS: [&str; 36] = [
    "log",
    "get_status",
    "set_property",
    "get_property",
    "send_local_response",
    "get_shared_data",
    "set_shared_data",
    "register_shared_queue",
    "resolve_shared_queue",
    "dequeue_shared_queue",
    "enqueue_shared_queue",
    "get_header_map_value",
    "add_header_map_value",
    "replace_header_map_value",
    "remove_header_map_value",
    "get_header_map_pairs",
    "set_header_map_pairs",
    "get_header_map_size",
    "get_buffer_status",
    "get_buffer_bytes",
    "set_buffer_bytes",
    "http_call",
    "grpc_call",
    "grpc_stream",
    "grpc_close",
    "grpc_cancel",
    "grpc_send",
    "set_tick_period_milliseconds",
    "get_current_time_nanoseconds",
    "define_metric",
    "increment_metric",
    "record_metric",
    "get_metric",
    "set_effective_context",
    "done",
    "call_foreign_function",
];

/// WASI's functions. Source: the C++ host's `exports.h`.
const WASI: [&str; 45] = [
    "fd_write",
    "fd_read",
    "fd_seek",
    "fd_close",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "environ_get",
    "environ_sizes_get",
    "args_get",
    "args_sizes_get",
    "clock_time_get",
    "clock_res_get",
    "fd_advise",
    "fd_allocate",
    "fd_datasync",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_pwrite",
    "fd_readdir",
    "fd_renumber",
    "fd_sync",
    "fd_tell",
    "path_create_directory",
    "path_filestat_set_times",
    "path_link",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
    "random_get",
    "sched_yield",
    "poll_oneoff",
    "proc_exit",
    "path_open",
    "fd_prestat_get",
    "fd_prestat_dir_name",
    "path_filestat_get",
    "fd_filestat_get",
];

/// What Emscripten imports besides. Source: the C++ host's `registerCallbacks`.
const EMSCRIPTEN: [&str; 2] = ["pthread_equal", "emscripten_notify_memory_growth"];

/// WASI's functions that Envoy declares with an argument less than WASI does: no guest that imports them loads there.
/// Source: the C++ host's `exports.h`.
const MISDECLARED: [(&str, &str); 2] = [
    ("path_link", "(i32, i32, i32, i32, i32, i32) -> i32"),
    ("path_symlink", "(i32, i32, i32, i32) -> i32"),
];

/// Proposals that Envoy's V8 does not take. Found by giving it modules.
const REFUSED_BY_ENVOY: [&str; 3] = ["custom-page-sizes", "stack-switching", "wide-arithmetic"];

/// No guest of Envoy begins with more memory. Source: the C++ host's limit for V8.
const ENVOYS_MEMORY: u64 = 1 << 30;

/// Nor with a longer table. Source: V8's `kV8MaxWasmTableSize`.
const ENVOYS_TABLE: u64 = 10_000_000;

/// Whether this host has an import of that name.
pub(super) fn offered_here(module: &str, name: &str) -> bool {
    abi::imports().any(|import| import.name == name && import.modules.contains(&module))
}

/// Whether Envoy has it, for modules of some version.
pub(super) fn offered_by_envoy(module: &str, name: &str) -> bool {
    match module {
        "wasi_snapshot_preview1" | "wasi_unstable" => WASI.contains(&name),
        "env" => {
            let hostcall = name.strip_prefix("proxy_").unwrap_or_default();
            EMSCRIPTEN.contains(&name)
                || HOSTCALLS.contains(&hostcall)
                || MARKERS.iter().any(|(_, own)| own.contains(&name))
        }
        _ => false,
    }
}

/// What this host says: its engine compiles and links the module.
pub(super) fn here(bytes: &[u8], report: &Report) -> Verdict {
    let mut reasons = Vec::new();
    match (&report.problem, &report.module) {
        (Some(problem), _) => reasons.push(problem.clone()),
        (None, Some(module)) => {
            missing(module, |import| import.here, &mut reasons);
            let limit = GuestLimits::default().memory as u64;
            mistaken(module, |_| true, &mut reasons);
            too_much_memory(
                module,
                limit,
                "`serve --filter-memory` raises it",
                &mut reasons,
            );
            // The linker names the first missing import only.
            if reasons.is_empty()
                && let Err(error) = Engine::new().and_then(|engine| engine.compile(bytes))
            {
                reasons.push(error.to_string());
            }
        }
        (None, None) => {}
    }
    Verdict {
        loads: reasons.is_empty(),
        reasons,
    }
}

/// What Envoy would say.
pub(super) fn in_envoy(report: &Report) -> Verdict {
    let mut reasons = Vec::new();
    if let Some(problem) = &report.problem {
        reasons.push(problem.clone());
    } else if let Some(module) = &report.module {
        marker(module, &mut reasons);
        missing(module, |import| import.in_envoy, &mut reasons);
        misdeclared(module, &mut reasons);
        let is_wasis = |name: &str| MISDECLARED.iter().all(|(own, _)| *own != name);
        mistaken(module, is_wasis, &mut reasons);
        if !module.exports("malloc") && !module.exports("proxy_on_memory_allocate") {
            reasons.push("it exports neither malloc nor proxy_on_memory_allocate".to_owned());
        }
        for feature in report
            .features
            .iter()
            .filter(|f| REFUSED_BY_ENVOY.contains(f))
        {
            reasons.push(format!("it needs {feature}, which V8 does not take"));
        }
        too_much_memory(module, ENVOYS_MEMORY, "it cannot be raised", &mut reasons);
        for table in module
            .tables
            .iter()
            .filter(|table| table.limits.initial > ENVOYS_TABLE)
        {
            reasons.push(format!(
                "it begins with a table of {} entries, and the limit is {ENVOYS_TABLE}",
                table.limits.initial
            ));
        }
    }
    Verdict {
        loads: reasons.is_empty(),
        reasons,
    }
}

/// The first marker that Envoy knows decides which hostcalls there are.
fn marker(module: &Module, reasons: &mut Vec<String>) {
    let known = module
        .abi
        .markers
        .iter()
        .find_map(|marker| MARKERS.iter().find(|(name, _)| name == marker));
    let Some((marker, own)) = known else {
        let found = match module.abi.markers.as_slice() {
            [] => "it exports no ABI marker".to_owned(),
            markers => format!("its ABI marker is {}", markers.join(", ")),
        };
        reasons.push(format!(
            "{found}; it must export proxy_abi_version_0_2_1, _0_2_0 or _0_1_0"
        ));
        return;
    };
    for import in module.imports.iter().filter(|i| i.module == "env") {
        let name = import.name.as_str();
        let is_of_another = MARKERS.iter().any(|(_, others)| others.contains(&name));
        if is_of_another && !own.contains(&name) {
            reasons.push(format!(
                "it imports env.{name}, which modules with {marker} may not"
            ));
        }
    }
}

fn missing(module: &Module, is_there: impl Fn(&super::Import) -> bool, reasons: &mut Vec<String>) {
    for import in module.imports.iter().filter(|import| !is_there(import)) {
        let what = if import.is_function {
            ""
        } else {
            ", no function"
        };
        reasons.push(format!(
            "nobody offers {}.{}{what}",
            import.module, import.name
        ));
    }
}

fn misdeclared(module: &Module, reasons: &mut Vec<String>) {
    for import in module
        .imports
        .iter()
        .filter(|import| import.group == Group::Wasi)
    {
        let declared = MISDECLARED.iter().find(|(name, _)| *name == import.name);
        if let Some((name, signature)) = declared
            && import.signature != *signature
        {
            let own = &import.signature;
            reasons.push(format!(
                "it imports {name} as {own}, as WASI has it, and Envoy has it as {signature}"
            ));
        }
    }
}

/// Hostcalls that it imports with another signature than they have, here and in Envoy.
fn mistaken(module: &Module, concerns: impl Fn(&str) -> bool, reasons: &mut Vec<String>) {
    let functions = module.imports.iter().filter(|i| i.is_function);
    for import in functions.filter(|import| concerns(&import.name)) {
        let (own, name) = (&import.signature, &import.name);
        let known = abi::imports()
            .find(|known| known.name == name && known.modules.contains(&&*import.module));
        if let Some(known) = known
            && known.signature() != *own
        {
            let signature = known.signature();
            let module = &import.module;
            reasons.push(format!(
                "it imports {module}.{name} as {own}, and it is {signature}"
            ));
        }
    }
}

fn too_much_memory(module: &Module, limit: u64, advice: &str, reasons: &mut Vec<String>) {
    for memory in module
        .memories
        .iter()
        .filter(|memory| memory.initial > limit)
    {
        reasons.push(format!(
            "it begins with {} MiB of memory, and the limit is {} MiB ({advice})",
            memory.initial >> 20,
            limit >> 20
        ));
    }
}
