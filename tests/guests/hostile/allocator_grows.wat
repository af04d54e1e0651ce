;; Its allocator asks for four times the memory that there may be, and each request's headers are asked for.
(module
  (import "env" "proxy_get_header_map_pairs" (func $get (param i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (drop (memory.grow (i32.const 4096))) (i32.const 4096))
  ;; The status that came of it, as 200 and so many, is the answer.
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $answer
      (i32.add (i32.const 200) (call $get (i32.const 0) (i32.const 16) (i32.const 20)))
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const -1)))
    (i32.const 1)))
