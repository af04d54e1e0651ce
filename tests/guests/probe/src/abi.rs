//! The host functions of ABI 0.2.1, declared by hand: no SDK stands between a script and the host.

/// Declares the functions, and [`call`], which calls one of them by its name.
macro_rules! functions {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        #[link(wasm_import_module = "env")]
        unsafe extern "C" {
            $(fn $name($($argument: $kind),*) -> u32;)*
        }

        /// Calls a host function with its arguments as they are.
        ///
        /// # Errors
        /// An unknown name, or another number of arguments.
        pub fn call(name: &str, arguments: &[u64]) -> Result<u32, &'static str> {
            match name {
                $(stringify!($name) => {
                    let [$($argument),*] = arguments else {
                        return Err("another number of arguments");
                    };
                    // SAFETY: the host checks every argument; that it does is what scripts find out.
                    Ok(unsafe { $name($(*$argument as $kind),*) })
                })*
                _ => Err("no such function"),
            }
        }
    };
}

functions! {
    proxy_log(level: u32, at: u32, len: u32);
    proxy_get_log_level(out: u32);
    proxy_get_current_time_nanoseconds(out: u32);
    proxy_set_tick_period_milliseconds(period: u32);
    proxy_set_effective_context(context: u32);
    proxy_done();
    proxy_get_buffer_bytes(buffer: u32, start: u32, max: u32, out_at: u32, out_len: u32);
    proxy_set_buffer_bytes(buffer: u32, start: u32, size: u32, at: u32, len: u32);
    proxy_get_buffer_status(buffer: u32, out_len: u32, out_flags: u32);
    proxy_get_header_map_size(map: u32, out: u32);
    proxy_get_header_map_pairs(map: u32, out_at: u32, out_len: u32);
    proxy_set_header_map_pairs(map: u32, at: u32, len: u32);
    proxy_get_header_map_value(map: u32, name_at: u32, name_len: u32, out_at: u32, out_len: u32);
    proxy_add_header_map_value(map: u32, name_at: u32, name_len: u32, at: u32, len: u32);
    proxy_replace_header_map_value(map: u32, name_at: u32, name_len: u32, at: u32, len: u32);
    proxy_remove_header_map_value(map: u32, name_at: u32, name_len: u32);
    proxy_continue_stream(stream: u32);
    proxy_close_stream(stream: u32);
    proxy_get_status(out_code: u32, out_at: u32, out_len: u32);
    proxy_send_local_response(
        code: u32, details_at: u32, details_len: u32, body_at: u32, body_len: u32, headers_at: u32, headers_len: u32,
        grpc_status: u32
    );
    proxy_http_call(
        upstream_at: u32, upstream_len: u32, headers_at: u32, headers_len: u32, body_at: u32, body_len: u32,
        trailers_at: u32, trailers_len: u32, timeout: u32, out_token: u32
    );
    proxy_grpc_call(
        service_at: u32, service_len: u32, name_at: u32, name_len: u32, method_at: u32, method_len: u32,
        metadata_at: u32, metadata_len: u32, message_at: u32, message_len: u32, timeout: u32, out_token: u32
    );
    proxy_grpc_stream(
        service_at: u32, service_len: u32, name_at: u32, name_len: u32, method_at: u32, method_len: u32,
        metadata_at: u32, metadata_len: u32, out_token: u32
    );
    proxy_grpc_send(token: u32, at: u32, len: u32, end: u32);
    proxy_grpc_cancel(token: u32);
    proxy_grpc_close(token: u32);
    proxy_get_shared_data(key_at: u32, key_len: u32, out_at: u32, out_len: u32, out_cas: u32);
    proxy_set_shared_data(key_at: u32, key_len: u32, at: u32, len: u32, cas: u32);
    proxy_register_shared_queue(name_at: u32, name_len: u32, out: u32);
    proxy_resolve_shared_queue(vm_at: u32, vm_len: u32, name_at: u32, name_len: u32, out: u32);
    proxy_enqueue_shared_queue(queue: u32, at: u32, len: u32);
    proxy_dequeue_shared_queue(queue: u32, out_at: u32, out_len: u32);
    proxy_define_metric(kind: u32, name_at: u32, name_len: u32, out: u32);
    proxy_increment_metric(metric: u32, by: u64);
    proxy_record_metric(metric: u32, value: u64);
    proxy_get_metric(metric: u32, out: u32);
    proxy_get_property(path_at: u32, path_len: u32, out_at: u32, out_len: u32);
    proxy_set_property(path_at: u32, path_len: u32, at: u32, len: u32);
    proxy_call_foreign_function(
        name_at: u32, name_len: u32, at: u32, len: u32, out_at: u32, out_len: u32
    );
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn environ_sizes_get(count: *mut u32, size: *mut u32) -> u32;
    fn environ_get(pointers: *mut *mut u8, bytes: *mut u8) -> u32;
}

/// Writes a line to the host's log.
pub fn log(line: &str) {
    // SAFETY: the line outlives the call, which only reads it.
    unsafe { proxy_log(2, line.as_ptr() as u32, line.len() as u32) };
}

/// A header of the request, where it can be read now.
pub fn request_header(name: &str) -> Option<String> {
    let (mut at, mut len) = (0u32, 0u32);
    let (out_at, out_len) = (&raw mut at as u32, &raw mut len as u32);
    // SAFETY: name and results are there for the call.
    let status = unsafe {
        proxy_get_header_map_value(0, name.as_ptr() as u32, name.len() as u32, out_at, out_len)
    };
    if status != 0 {
        return None;
    }
    // SAFETY: the host may have written them, which the compiler cannot know.
    let (at, len) = unsafe {
        (
            (&raw const at).read_volatile(),
            (&raw const len).read_volatile(),
        )
    };
    String::from_utf8(taken(at, len)).ok()
}

/// A variable of the VM's environment.
pub fn variable(name: &str) -> Option<String> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: both are there to be written.
    unsafe { environ_sizes_get(&mut count, &mut size) };
    let (mut pointers, mut bytes) = (
        vec![std::ptr::null_mut(); count as usize],
        vec![0; size as usize],
    );
    // SAFETY: both are as large as the host said.
    unsafe { environ_get(pointers.as_mut_ptr(), bytes.as_mut_ptr()) };
    let entries = bytes
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok());
    entries
        .filter_map(|entry| entry.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// Gives the host memory to write an answer into. Exported under the name that Envoy's host looks for first.
#[unsafe(no_mangle)]
extern "C" fn malloc(size: u32) -> *mut u8 {
    Vec::<u8>::with_capacity(size as usize).leak().as_mut_ptr()
}

/// Takes back what [`malloc`] gave; none where the host wrote nothing there.
pub fn taken(at: u32, len: u32) -> Vec<u8> {
    if at == 0 {
        return Vec::new();
    }
    // SAFETY: the host got `at` from `malloc`, for just `len` bytes, and has written all of them.
    unsafe { Vec::from_raw_parts(at as *mut u8, len as usize, len as usize) }
}
