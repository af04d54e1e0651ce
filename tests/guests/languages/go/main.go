// The filter of ../README.md in Go, against the ABI.
package main

import (
	"bytes"
	"unsafe"
)

//go:wasmimport env proxy_log
func proxyLog(level uint32, at unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxySetTickPeriod(period uint32) uint32

//go:wasmimport env proxy_set_effective_context
func proxySetEffectiveContext(context uint32) uint32

//go:wasmimport env proxy_continue_stream
func proxyContinueStream(stream uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetHeader(mapType uint32, name unsafe.Pointer, nameSize uint32, at, size unsafe.Pointer) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxyReplaceHeader(mapType uint32, name unsafe.Pointer, nameSize uint32, at unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_remove_header_map_value
func proxyRemoveHeader(mapType uint32, name unsafe.Pointer, nameSize uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBuffer(buffer, start, max uint32, at, size unsafe.Pointer) uint32

//go:wasmimport env proxy_set_buffer_bytes
func proxySetBuffer(buffer, start, max uint32, at unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_define_metric
func proxyDefineMetric(kind uint32, name unsafe.Pointer, size uint32, metric unsafe.Pointer) uint32

//go:wasmimport env proxy_increment_metric
func proxyIncrementMetric(metric uint32, by int64) uint32

//go:wasmimport env proxy_send_local_response
func proxySendLocalResponse(code uint32, details unsafe.Pointer, detailsSize uint32, body unsafe.Pointer, bodySize uint32,
	headers unsafe.Pointer, headersSize uint32, grpcStatus int32) uint32

const (
	language                 = "go"
	actionContinue, pause    = uint32(0), uint32(1)
	info                     = uint32(2)
	requestHeaders, body     = uint32(0), uint32(0)
	request, counter, noGrpc = uint32(0), uint32(0), int32(-1)
)

var (
	requestsMetric uint32
	deferred       []uint32
	// Memory that the host was given and has not handed back: the collector must leave it alone.
	given = map[uintptr][]byte{}
)

func main() {}

func pointer(text string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(text)) }

// What the host wrote into memory that it was given.
func taken(at, size uint32) []byte {
	bytes := given[uintptr(at)]
	delete(given, uintptr(at))
	return bytes[:size]
}

func header(name string) string {
	var at, size uint32
	proxyGetHeader(requestHeaders, pointer(name), uint32(len(name)), unsafe.Pointer(&at), unsafe.Pointer(&size))
	return string(taken(at, size))
}

func setHeader(name, value string) {
	proxyReplaceHeader(requestHeaders, pointer(name), uint32(len(name)), pointer(value), uint32(len(value)))
}

func removeHeader(name string) { proxyRemoveHeader(requestHeaders, pointer(name), uint32(len(name))) }

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) unsafe.Pointer {
	bytes := make([]byte, size)
	at := unsafe.Pointer(unsafe.SliceData(bytes))
	given[uintptr(at)] = bytes
	return at
}

//go:wasmexport proxy_on_context_create
func onContextCreate(context, root uint32) {}

//go:wasmexport proxy_on_vm_start
func onVMStart(root, size uint32) uint32 { return 1 }

//go:wasmexport proxy_on_configure
func onConfigure(root, size uint32) uint32 {
	name := "languages.go.requests"
	proxyDefineMetric(counter, pointer(name), uint32(len(name)), unsafe.Pointer(&requestsMetric))
	proxySetTickPeriod(10)
	return 1
}

//go:wasmexport proxy_on_tick
func onTick(root uint32) {
	waiting := deferred
	deferred = nil
	for _, context := range waiting {
		proxySetEffectiveContext(context)
		proxyContinueStream(request)
	}
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(context, fields, end uint32) uint32 {
	path := header(":path")
	line := language + " saw " + path
	proxyLog(info, pointer(line), uint32(len(line)))
	proxyIncrementMetric(requestsMetric, 1)
	if path == "/local" {
		proxySendLocalResponse(200, nil, 0, pointer(language), uint32(len(language)), nil, 0, noGrpc)
		return pause
	}
	setHeader("x-new", header("x-old"))
	removeHeader("x-old")
	removeHeader("content-length")
	setHeader("x-language", language)
	if path == "/defer" {
		deferred = append(deferred, context)
		return pause
	}
	return actionContinue
}

//go:wasmexport proxy_on_request_body
func onRequestBody(context, size, end uint32) uint32 {
	if end == 0 {
		return pause
	}
	var at, read uint32
	proxyGetBuffer(body, 0, size, unsafe.Pointer(&at), unsafe.Pointer(&read))
	capitals := bytes.ToUpper(taken(at, read))
	proxySetBuffer(body, 0, size, unsafe.Pointer(unsafe.SliceData(capitals)), uint32(len(capitals)))
	return actionContinue
}

//go:wasmexport proxy_on_done
func onDone(context uint32) uint32 { return 1 }

//go:wasmexport proxy_on_log
func onLog(context uint32) {}

//go:wasmexport proxy_on_delete
func onDelete(context uint32) {}
