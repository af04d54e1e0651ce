//! The callbacks of HTTP filters: names and arguments, for those who call, inspect or trace.

use super::version::Version;

/// A callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallbackInfo {
    /// The export's name.
    pub name: &'static str,
    /// Names of its arguments, all of them `i32`.
    pub parameters: &'static [&'static str],
    /// What its result, an `i32`, means; `None` where it has none.
    pub returns: Option<CallbackResult>,
    /// The first version that has it so.
    pub since: Version,
    /// The last version that has it so, if a later one has it otherwise.
    pub until: Option<Version>,
    /// Whether the host calls it. Those that it does not are here for what they must look like, which Envoy checks too.
    pub called: bool,
}

/// What a callback's result means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackResult {
    /// 0 to go on, else to wait.
    Action,
    /// 0 for no.
    Flag,
}

const ACTION: Option<CallbackResult> = Some(CallbackResult::Action);
const FLAG: Option<CallbackResult> = Some(CallbackResult::Flag);

const fn callback(
    name: &'static str,
    parameters: &'static [&'static str],
    returns: Option<CallbackResult>,
) -> CallbackInfo {
    CallbackInfo {
        name,
        parameters,
        returns,
        since: Version::V0_1_0,
        until: None,
        called: true,
    }
}

/// A callback that Envoy knows and the host never calls.
const fn uncalled(
    name: &'static str,
    parameters: &'static [&'static str],
    returns: Option<CallbackResult>,
) -> CallbackInfo {
    CallbackInfo {
        called: false,
        ..callback(name, parameters, returns)
    }
}

/// A callback that began with 0.2.0.
const fn later(
    name: &'static str,
    parameters: &'static [&'static str],
    returns: Option<CallbackResult>,
) -> CallbackInfo {
    CallbackInfo {
        since: Version::V0_2_0,
        ..callback(name, parameters, returns)
    }
}

/// A callback that was otherwise after 0.1.0.
const fn earlier(
    name: &'static str,
    parameters: &'static [&'static str],
    returns: Option<CallbackResult>,
) -> CallbackInfo {
    CallbackInfo {
        until: Some(Version::V0_1_0),
        ..callback(name, parameters, returns)
    }
}

/// All of them.
pub static CALLBACKS: &[CallbackInfo] = &[
    callback("proxy_on_context_create", &["context", "parent"], None),
    callback("proxy_on_vm_start", &["root", "configuration_size"], FLAG),
    // Envoy looks it up and never calls it; no version of the specification has it.
    uncalled(
        "proxy_validate_configuration",
        &["root", "configuration_size"],
        FLAG,
    ),
    callback("proxy_on_configure", &["root", "configuration_size"], FLAG),
    callback("proxy_on_tick", &["root"], None),
    callback("proxy_on_queue_ready", &["root", "queue"], None),
    earlier("proxy_on_request_headers", &["context", "headers"], ACTION),
    later(
        "proxy_on_request_headers",
        &["context", "headers", "end_of_stream"],
        ACTION,
    ),
    callback(
        "proxy_on_request_body",
        &["context", "body_size", "end_of_stream"],
        ACTION,
    ),
    callback(
        "proxy_on_request_trailers",
        &["context", "trailers"],
        ACTION,
    ),
    earlier("proxy_on_response_headers", &["context", "headers"], ACTION),
    later(
        "proxy_on_response_headers",
        &["context", "headers", "end_of_stream"],
        ACTION,
    ),
    callback(
        "proxy_on_response_body",
        &["context", "body_size", "end_of_stream"],
        ACTION,
    ),
    callback(
        "proxy_on_response_trailers",
        &["context", "trailers"],
        ACTION,
    ),
    callback(
        "proxy_on_http_call_response",
        &["root", "call", "headers", "body_size", "trailers"],
        None,
    ),
    callback(
        "proxy_on_grpc_receive_initial_metadata",
        &["root", "call", "fields"],
        None,
    ),
    callback(
        "proxy_on_grpc_receive",
        &["root", "call", "message_size"],
        None,
    ),
    callback(
        "proxy_on_grpc_receive_trailing_metadata",
        &["root", "call", "fields"],
        None,
    ),
    callback("proxy_on_grpc_close", &["root", "call", "status"], None),
    // Of METADATA frames, which HTTP/2 does not have: Envoy takes and sends them where the file says `allow_metadata`.
    uncalled(
        "proxy_on_request_metadata",
        &["context", "elements"],
        ACTION,
    ),
    uncalled(
        "proxy_on_response_metadata",
        &["context", "elements"],
        ACTION,
    ),
    callback("proxy_on_done", &["context"], FLAG),
    callback("proxy_on_log", &["context"], None),
    callback("proxy_on_delete", &["context"], None),
];
