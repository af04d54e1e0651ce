// The filter of ../README.md in AssemblyScript, against the ABI.

@external("env", "proxy_log")
declare function proxy_log(level: u32, at: usize, size: usize): u32;
@external("env", "proxy_set_tick_period_milliseconds")
declare function proxy_set_tick_period_milliseconds(period: u32): u32;
@external("env", "proxy_set_effective_context")
declare function proxy_set_effective_context(context: u32): u32;
@external("env", "proxy_continue_stream")
declare function proxy_continue_stream(stream: u32): u32;
@external("env", "proxy_get_header_map_value")
declare function proxy_get_header_map_value(map: u32, name: usize, nameSize: usize, at: usize, size: usize): u32;
@external("env", "proxy_replace_header_map_value")
declare function proxy_replace_header_map_value(map: u32, name: usize, nameSize: usize, at: usize, size: usize): u32;
@external("env", "proxy_remove_header_map_value")
declare function proxy_remove_header_map_value(map: u32, name: usize, nameSize: usize): u32;
@external("env", "proxy_get_buffer_bytes")
declare function proxy_get_buffer_bytes(buffer: u32, start: usize, max: usize, at: usize, size: usize): u32;
@external("env", "proxy_set_buffer_bytes")
declare function proxy_set_buffer_bytes(buffer: u32, start: usize, max: usize, at: usize, size: usize): u32;
@external("env", "proxy_define_metric")
declare function proxy_define_metric(kind: u32, name: usize, size: usize, metric: usize): u32;
@external("env", "proxy_increment_metric")
declare function proxy_increment_metric(metric: u32, by: i64): u32;
@external("env", "proxy_send_local_response")
declare function proxy_send_local_response(
  code: u32, details: usize, detailsSize: usize, body: usize, bodySize: usize, headers: usize, headersSize: usize,
  grpcStatus: i32,
): u32;

const LANGUAGE = "assemblyscript";
const CONTINUE: u32 = 0;
const PAUSE: u32 = 1;
const INFO: u32 = 2;
const REQUEST_HEADERS: u32 = 0;
const REQUEST_BODY: u32 = 0;
const REQUEST: u32 = 0;
const COUNTER: u32 = 0;

// Where the host writes address, length and numbers.
const out = memory.data(8);

let requestsMetric: u32 = 0;
let deferred: u32[] = [];

// What the host wrote into memory that it got from malloc.
function taken(): ArrayBuffer {
  const at = load<usize>(out);
  const size = load<u32>(out, 4);
  const bytes = new ArrayBuffer(size);
  memory.copy(changetype<usize>(bytes), at, size);
  if (at != 0) heap.free(at);
  return bytes;
}

function header(name: string): string {
  const bytes = String.UTF8.encode(name);
  store<u64>(out, 0);
  proxy_get_header_map_value(REQUEST_HEADERS, changetype<usize>(bytes), bytes.byteLength, out, out + 4);
  return String.UTF8.decode(taken());
}

function setHeader(name: string, value: string): void {
  const n = String.UTF8.encode(name);
  const v = String.UTF8.encode(value);
  proxy_replace_header_map_value(
    REQUEST_HEADERS, changetype<usize>(n), n.byteLength, changetype<usize>(v), v.byteLength,
  );
}

function removeHeader(name: string): void {
  const bytes = String.UTF8.encode(name);
  proxy_remove_header_map_value(REQUEST_HEADERS, changetype<usize>(bytes), bytes.byteLength);
}

export function proxy_abi_version_0_2_1(): void {}
export function malloc(size: usize): usize {
  return heap.alloc(size);
}
export function proxy_on_context_create(context: u32, root: u32): void {}
export function proxy_on_vm_start(root: u32, size: u32): u32 {
  return 1;
}

export function proxy_on_configure(root: u32, size: u32): u32 {
  const name = String.UTF8.encode("languages.assemblyscript.requests");
  proxy_define_metric(COUNTER, changetype<usize>(name), name.byteLength, out);
  requestsMetric = load<u32>(out);
  proxy_set_tick_period_milliseconds(10);
  return 1;
}

export function proxy_on_tick(root: u32): void {
  const waiting = deferred;
  deferred = [];
  for (let i = 0; i < waiting.length; i++) {
    proxy_set_effective_context(waiting[i]);
    proxy_continue_stream(REQUEST);
  }
}

export function proxy_on_request_headers(context: u32, fields: u32, end: u32): u32 {
  const path = header(":path");
  const line = String.UTF8.encode(LANGUAGE + " saw " + path);
  proxy_log(INFO, changetype<usize>(line), line.byteLength);
  proxy_increment_metric(requestsMetric, 1);
  if (path == "/local") {
    const body = String.UTF8.encode(LANGUAGE);
    proxy_send_local_response(200, 0, 0, changetype<usize>(body), body.byteLength, 0, 0, -1);
    return PAUSE;
  }
  setHeader("x-new", header("x-old"));
  removeHeader("x-old");
  removeHeader("content-length");
  setHeader("x-language", LANGUAGE);
  if (path == "/defer") {
    deferred.push(context);
    return PAUSE;
  }
  return CONTINUE;
}

export function proxy_on_request_body(context: u32, size: u32, end: u32): u32 {
  if (end == 0) return PAUSE;
  store<u64>(out, 0);
  proxy_get_buffer_bytes(REQUEST_BODY, 0, size, out, out + 4);
  const body = Uint8Array.wrap(taken());
  for (let i = 0; i < body.length; i++) {
    if (body[i] >= 0x61 && body[i] <= 0x7a) body[i] -= 0x20;
  }
  proxy_set_buffer_bytes(REQUEST_BODY, 0, size, body.dataStart, body.byteLength);
  return CONTINUE;
}

export function proxy_on_done(context: u32): u32 {
  return 1;
}
export function proxy_on_log(context: u32): void {}
export function proxy_on_delete(context: u32): void {}
