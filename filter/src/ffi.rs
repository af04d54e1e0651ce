//! The functions of the host (Proxy-Wasm ABI 0.2.1 and three of WASI preview 1), made safe: the only file that calls them.
//!
//! Every status other than OK is an `Option` or a `bool`; nothing here panics, whatever the host answers.
#![allow(unsafe_code, reason = "hostcalls take raw pointers")]

use std::ptr;

use switchover_core::{Reply, serialise};

use crate::memory::{self, Buffer};

const OK: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;

/// A header map.
#[derive(Clone, Copy)]
pub(crate) enum Map {
    Request = 0,
    Response = 2,
    CallResponse = 6,
}

/// The body of a stream.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    Request = 0,
    Response = 1,
}

/// A log level.
#[derive(Clone, Copy)]
pub(crate) enum Level {
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// What a metric does with its values.
#[derive(Clone, Copy)]
pub(crate) enum MetricKind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(nanos: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(millis: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(
        buffer: u32,
        start: usize,
        length: usize,
        data: *const u8,
        size: usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, data: *const u8, size: usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        data: *const u8,
        size: usize,
        cas: u32,
    ) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout_millis: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    fn environ_get(pointers: *mut *mut u8, bytes: *mut u8) -> u32;
    fn random_get(bytes: *mut u8, size: usize) -> u32;
}

/// Writes a line to the host's log.
pub(crate) fn log(level: Level, text: &str) {
    // SAFETY: the host reads `text` only during the call; so it is with every slice below.
    unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// The wall clock, in nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let mut nanos = 0;
    // SAFETY: the host writes to `nanos` only during the call.
    unsafe { proxy_get_current_time_nanoseconds(&raw mut nanos) };
    nanos
}

/// Asks for a tick each so many milliseconds.
pub(crate) fn set_tick_period(millis: u32) {
    // SAFETY: no pointers.
    unsafe { proxy_set_tick_period_milliseconds(millis) };
}

/// The plugin's configuration; `None` if it has none.
pub(crate) fn configuration(size: usize) -> Option<Buffer> {
    // SAFETY: see `returned`.
    returned(|data, length| unsafe {
        proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, data, length)
    })
}

/// So many bytes of the part of the request's body that is there.
pub(crate) fn request_body(size: usize) -> Option<Buffer> {
    body_part(Body::Request, 0, size)
}

/// At most so many bytes from `start` of what is there of a body; `None` where there are none.
pub(crate) fn body_part(body: Body, start: usize, most: usize) -> Option<Buffer> {
    // SAFETY: see `returned`.
    returned(|data, length| unsafe {
        proxy_get_buffer_bytes(body as u32, start, most, data, length)
    })
}

/// Replaces so many bytes at the start of what is there of a body.
pub(crate) fn set_body(body: Body, length: usize, bytes: &[u8]) {
    // SAFETY: see `log`.
    unsafe { proxy_set_buffer_bytes(body as u32, 0, length, bytes.as_ptr(), bytes.len()) };
}

/// Writes bytes behind what is there of a body.
pub(crate) fn append_body(body: Body, bytes: &[u8]) {
    // Whatever is not before the end is behind it.
    let end = usize::MAX;
    // SAFETY: see `log`.
    unsafe { proxy_set_buffer_bytes(body as u32, end, 0, bytes.as_ptr(), bytes.len()) };
}

/// A header; the first where there are several. `None` where there is none, or it is empty.
pub(crate) fn header(map: Map, name: &str) -> Option<Buffer> {
    // SAFETY: see `returned` and `log`.
    returned(|data, size| unsafe {
        proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    })
}

/// A whole header map, serialised; `None` where there is none.
pub(crate) fn header_pairs(map: Map) -> Option<Buffer> {
    // SAFETY: see `returned`.
    returned(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
}

/// Adds a header.
pub(crate) fn add_header(map: Map, name: &str, value: &[u8]) {
    // SAFETY: see `log`.
    unsafe {
        proxy_add_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
}

/// Sets a header; Envoy sets the first where there are several.
pub(crate) fn set_header(map: Map, name: &str, value: &[u8]) {
    // SAFETY: see `log`.
    unsafe {
        proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
}

/// Removes a header.
pub(crate) fn remove_header(map: Map, name: &str) {
    // SAFETY: see `log`.
    unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
}

/// A property; its path's parts are separated by zero bytes. `None` where it does not exist or is empty.
pub(crate) fn property(path: &str) -> Option<Buffer> {
    // SAFETY: see `returned` and `log`.
    returned(|data, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// Leaves a value in the stream for other filters.
pub(crate) fn set_property(name: &str, value: &[u8]) {
    // SAFETY: see `log`.
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
}

/// Data shared by all VMs of a `vm_id`, and the number of its version; `None` where it does not exist or is empty.
pub(crate) fn shared_data(key: &str) -> Option<(Buffer, u32)> {
    let mut version = 0;
    // SAFETY: see `returned` and `log`; the host writes to `version` only during the call.
    let value = returned(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version)
    });
    value.map(|value| (value, version))
}

/// Shares data with all VMs of a `vm_id`, whatever was there.
pub(crate) fn set_shared_data(key: &str, value: &[u8]) {
    // SAFETY: see `log`.
    unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), 0) };
}

/// Shares data if nobody has since the version that was read, or since there was none; whether that was so.
pub(crate) fn swap_shared_data(key: &str, value: &[u8], version: Option<u32>) -> bool {
    // Zero would overwrite; any other number creates what is missing, and no version is as high as this one.
    let version = version.filter(|version| *version != 0).unwrap_or(u32::MAX);
    // SAFETY: see `log`.
    let status = unsafe {
        proxy_set_shared_data(
            key.as_ptr(),
            key.len(),
            value.as_ptr(),
            value.len(),
            version,
        )
    };
    status == OK
}

/// Makes the following calls act for another context, until the callback returns.
pub(crate) fn set_effective_context(context: u32) {
    // SAFETY: no pointers.
    unsafe { proxy_set_effective_context(context) };
}

/// Sends a request to a cluster, for the effective context; its answer comes as a callback with the number that is given.
/// `None` where the host does not send it, as to a cluster that does not exist.
pub(crate) fn http_call(
    cluster: &str,
    headers: &[u8],
    body: &[u8],
    timeout_millis: u32,
) -> Option<u32> {
    let mut token = 0;
    // SAFETY: see `log`; the host writes to `token` only during the call.
    let status = unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            ptr::null(),
            0,
            timeout_millis,
            &raw mut token,
        )
    };
    (status == OK).then_some(token)
}

/// Defines a metric, or finds it again.
pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Option<u32> {
    let mut id = 0;
    // SAFETY: see `log`; the host writes to `id` only during the call.
    let status =
        unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) };
    (status == OK).then_some(id)
}

/// Adds to a counter.
pub(crate) fn increment_metric(id: u32, by: u64) {
    // SAFETY: no pointers.
    unsafe { proxy_increment_metric(id, i64::try_from(by).unwrap_or(i64::MAX)) };
}

/// Records a value in a histogram, or sets a gauge.
pub(crate) fn record_metric(id: u32, value: u64) {
    // SAFETY: no pointers.
    unsafe { proxy_record_metric(id, value) };
}

/// Answers the request.
pub(crate) fn reply(reply: &Reply) {
    const NO_GRPC_STATUS: i32 = -1;
    let headers = reply.headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let headers = serialise(&headers);
    let (details, body) = (reply.details, &reply.body);
    // SAFETY: see `log`.
    unsafe {
        proxy_send_local_response(
            u32::from(reply.status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    };
}

/// The VM's environment variables; those that are not UTF-8 are left out.
pub(crate) fn environment() -> Vec<(String, String)> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: the host writes to both only during the call.
    if unsafe { environ_sizes_get(&raw mut count, &raw mut size) } != OK {
        return Vec::new();
    }
    let mut pointers = vec![ptr::null_mut(); count];
    let mut bytes = vec![0; size];
    // SAFETY: the room is what `environ_sizes_get` asked for.
    if unsafe { environ_get(pointers.as_mut_ptr(), bytes.as_mut_ptr()) } != OK {
        return Vec::new();
    }
    let texts = bytes
        .split(|byte| *byte == 0)
        .filter_map(|text| str::from_utf8(text).ok());
    let pairs = texts.filter_map(|text| text.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Random bits from the host, or the clock's where it has none.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the room is as large as is said.
    match unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) } {
        OK => u64::from_le_bytes(bytes),
        _ => now(),
    }
}

/// Makes a call that returns data, and takes the data over. The host asks `proxy_on_memory_allocate` or `malloc` for room
/// during the call, fills it, and writes where it is and how much; nothing holds on to the room but [`memory`].
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Buffer> {
    let mut data = ptr::null_mut();
    let mut size = 0;
    let status = call(&raw mut data, &raw mut size);
    let buffer = memory::take(data, size);
    buffer.filter(|_| status == OK && size > 0)
}
