//! Words for the ABI's numbers.

use crate::abi::callbacks::{CALLBACKS, CallbackResult};
use crate::abi::{ImportInfo, Returns};

/// Names of a callback's arguments: those of the version that has so many.
pub(super) fn arguments(callback: &str, count: usize) -> &'static [&'static str] {
    let mut known = CALLBACKS.iter();
    let found = known.find(|known| known.name == callback && known.parameters.len() == count);
    found.map_or(&[], |known| known.parameters)
}

/// Whether an argument of a callback is yes or no.
pub(super) fn is_flag(argument: &str) -> bool {
    argument == "end_of_stream"
}

/// What a callback's result means.
pub(super) fn result(callback: &str, result: u64) -> String {
    let known = CALLBACKS.iter().find(|known| known.name == callback);
    let text = match (known.and_then(|known| known.returns), result) {
        (Some(CallbackResult::Action), 0) => "CONTINUE",
        (Some(CallbackResult::Action), 1) => "PAUSE",
        (Some(CallbackResult::Flag), 0) => "false",
        (Some(CallbackResult::Flag), 1) => "true",
        _ => return result.to_string(),
    };
    text.to_owned()
}

/// What a hostcall's result means.
pub(super) fn status(import: &ImportInfo, result: u32) -> String {
    let text = match (import.returns, result) {
        (Returns::Number | Returns::Nothing, _) => return result.to_string(),
        (_, 0) => "OK",
        (Returns::Errno, 8) => "EBADF",
        (Returns::Errno, 21) => "EFAULT",
        (Returns::Errno, 28) => "EINVAL",
        (Returns::Errno, 52) => "ENOSYS",
        (Returns::Errno, 58) => "ENOTSUP",
        (Returns::Errno, _) => return format!("errno {result}"),
        (Returns::Status, 1) => "NOT_FOUND",
        (Returns::Status, 2) => "BAD_ARGUMENT",
        (Returns::Status, 3) => "SERIALIZATION_FAILURE",
        (Returns::Status, 4) => "PARSE_FAILURE",
        (Returns::Status, 6) => "INVALID_MEMORY_ACCESS",
        (Returns::Status, 7) => "EMPTY",
        (Returns::Status, 8) => "CAS_MISMATCH",
        (Returns::Status, 10) => "INTERNAL_FAILURE",
        (Returns::Status, 12) => "UNIMPLEMENTED",
        (Returns::Status, _) => return format!("status {result}"),
    };
    text.to_owned()
}

/// The number's name, where it has one.
pub(super) fn word(names: &[&'static str], number: u64) -> Option<&'static str> {
    names.get(usize::try_from(number).ok()?).copied()
}

/// `proxy_log_level_t`.
pub(super) const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"];
/// `proxy_header_map_type_t`.
pub(super) const MAPS: [&str; 8] = [
    "REQUEST_HEADERS",
    "REQUEST_TRAILERS",
    "RESPONSE_HEADERS",
    "RESPONSE_TRAILERS",
    "GRPC_RECEIVE_INITIAL_METADATA",
    "GRPC_RECEIVE_TRAILING_METADATA",
    "HTTP_CALL_RESPONSE_HEADERS",
    "HTTP_CALL_RESPONSE_TRAILERS",
];
/// `proxy_buffer_type_t`.
pub(super) const BUFFERS: [&str; 9] = [
    "REQUEST_BODY",
    "RESPONSE_BODY",
    "DOWNSTREAM_DATA",
    "UPSTREAM_DATA",
    "HTTP_CALL_RESPONSE_BODY",
    "GRPC_CALL_MESSAGE",
    "VM_CONFIGURATION",
    "PLUGIN_CONFIGURATION",
    "FOREIGN_FUNCTION_ARGUMENTS",
];
/// `proxy_stream_type_t`.
pub(super) const STREAMS: [&str; 4] = ["REQUEST", "RESPONSE", "DOWNSTREAM", "UPSTREAM"];
/// `proxy_metric_type_t`.
pub(super) const METRICS: [&str; 3] = ["COUNTER", "GAUGE", "HISTOGRAM"];
