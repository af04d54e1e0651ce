// The filter of ../README.md in C++, against the ABI.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#define IMPORT(name) __attribute__((import_module("env"), import_name(#name)))
#define EXPORT(name) extern "C" __attribute__((export_name(#name)))

extern "C" {
IMPORT(proxy_log) uint32_t proxy_log(uint32_t level, const char* at, size_t size);
IMPORT(proxy_set_tick_period_milliseconds) uint32_t proxy_set_tick_period_milliseconds(uint32_t period);
IMPORT(proxy_set_effective_context) uint32_t proxy_set_effective_context(uint32_t context);
IMPORT(proxy_continue_stream) uint32_t proxy_continue_stream(uint32_t stream);
IMPORT(proxy_get_header_map_value)
uint32_t proxy_get_header_map_value(uint32_t map, const char* name, size_t name_size, char** at, size_t* size);
IMPORT(proxy_replace_header_map_value)
uint32_t proxy_replace_header_map_value(uint32_t map, const char* name, size_t name_size, const char* at, size_t size);
IMPORT(proxy_remove_header_map_value)
uint32_t proxy_remove_header_map_value(uint32_t map, const char* name, size_t name_size);
IMPORT(proxy_get_buffer_bytes)
uint32_t proxy_get_buffer_bytes(uint32_t buffer, size_t start, size_t max, char** at, size_t* size);
IMPORT(proxy_set_buffer_bytes)
uint32_t proxy_set_buffer_bytes(uint32_t buffer, size_t start, size_t max, const char* at, size_t size);
IMPORT(proxy_define_metric)
uint32_t proxy_define_metric(uint32_t kind, const char* name, size_t size, uint32_t* metric);
IMPORT(proxy_increment_metric) uint32_t proxy_increment_metric(uint32_t metric, int64_t by);
IMPORT(proxy_send_local_response)
uint32_t proxy_send_local_response(uint32_t code, const char* details, size_t details_size, const char* body,
                                   size_t body_size, const char* headers, size_t headers_size, int32_t grpc_status);
}

namespace {

enum Action : uint32_t { Continue = 0, Pause = 1 };
constexpr uint32_t kInfo = 2, kRequestHeaders = 0, kRequestBody = 0, kRequest = 0, kCounter = 0;
constexpr std::string_view kLanguage = "cpp";

uint32_t requests_metric;
std::vector<uint32_t> deferred;

// What the host wrote into memory that it got from malloc.
std::string taken(char* at, size_t size) {
  std::string text(at == nullptr ? "" : at, size);
  std::free(at);
  return text;
}

std::string header(std::string_view name) {
  char* at = nullptr;
  size_t size = 0;
  proxy_get_header_map_value(kRequestHeaders, name.data(), name.size(), &at, &size);
  return taken(at, size);
}

void set_header(std::string_view name, std::string_view value) {
  proxy_replace_header_map_value(kRequestHeaders, name.data(), name.size(), value.data(), value.size());
}

void remove_header(std::string_view name) { proxy_remove_header_map_value(kRequestHeaders, name.data(), name.size()); }

}  // namespace

EXPORT(proxy_abi_version_0_2_1) void abi_version() {}
EXPORT(proxy_on_context_create) void on_context_create(uint32_t, uint32_t) {}
EXPORT(proxy_on_vm_start) uint32_t on_vm_start(uint32_t, uint32_t) { return 1; }

EXPORT(proxy_on_configure) uint32_t on_configure(uint32_t, uint32_t) {
  constexpr std::string_view name = "languages.cpp.requests";
  proxy_define_metric(kCounter, name.data(), name.size(), &requests_metric);
  proxy_set_tick_period_milliseconds(10);
  return 1;
}

EXPORT(proxy_on_tick) void on_tick(uint32_t) {
  for (uint32_t context : std::exchange(deferred, {})) {
    proxy_set_effective_context(context);
    proxy_continue_stream(kRequest);
  }
}

EXPORT(proxy_on_request_headers) uint32_t on_request_headers(uint32_t context, uint32_t, uint32_t) {
  const std::string path = header(":path");
  const std::string line = std::string(kLanguage) + " saw " + path;
  proxy_log(kInfo, line.data(), line.size());
  proxy_increment_metric(requests_metric, 1);
  if (path == "/local") {
    proxy_send_local_response(200, nullptr, 0, kLanguage.data(), kLanguage.size(), nullptr, 0, -1);
    return Pause;
  }
  set_header("x-new", header("x-old"));
  remove_header("x-old");
  remove_header("content-length");
  set_header("x-language", kLanguage);
  if (path == "/defer") {
    deferred.push_back(context);
    return Pause;
  }
  return Continue;
}

EXPORT(proxy_on_request_body) uint32_t on_request_body(uint32_t, uint32_t size, uint32_t end) {
  if (!end) return Pause;
  char* at = nullptr;
  size_t read = 0;
  proxy_get_buffer_bytes(kRequestBody, 0, size, &at, &read);
  std::string body = taken(at, read);
  for (char& letter : body) {
    if (letter >= 'a' && letter <= 'z') letter -= 'a' - 'A';
  }
  proxy_set_buffer_bytes(kRequestBody, 0, size, body.data(), body.size());
  return Continue;
}

EXPORT(proxy_on_done) uint32_t on_done(uint32_t) { return 1; }
EXPORT(proxy_on_log) void on_log(uint32_t) {}
EXPORT(proxy_on_delete) void on_delete(uint32_t) {}
