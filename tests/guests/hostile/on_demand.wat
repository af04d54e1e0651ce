;; A guest that misbehaves on demand. The first letter of the request header `x-guest` says how:
;; t(rap), l(oop), g(row memory until it may not, then trap), b(uffer the request's body),
;; s(et the header `x-guest-was: here`); anything else passes.
(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 4096))
  (data (i32.const 16) "x-guest")
  (data (i32.const 32) "x-guest-was")
  (data (i32.const 48) "here")
  (func (export "proxy_abi_version_0_2_1"))
  ;; A bump allocator; what the host wrote is used before the next callback begins.
  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  ;; The first letter of `x-guest`, or 0.
  (func $command (result i32)
    (global.set $next (i32.const 4096))
    (i32.store (i32.const 0) (i32.const 0))
    (i32.store (i32.const 4) (i32.const 0))
    (drop (call $get (i32.const 0) (i32.const 16) (i32.const 7) (i32.const 0) (i32.const 4)))
    (if (result i32) (i32.load (i32.const 4))
      (then (i32.load8_u (i32.load (i32.const 0))))
      (else (i32.const 0))))
  ;; Where a context's letter is kept.
  (func $slot (param $context i32) (result i32)
    (i32.add (i32.const 1024) (i32.and (local.get $context) (i32.const 1023))))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
  (func (export "proxy_on_request_headers") (param $context i32) (param $headers i32) (param $end i32) (result i32)
    (local $command i32)
    (local.set $command (call $command))
    (i32.store8 (call $slot (local.get $context)) (local.get $command))
    (if (i32.eq (local.get $command) (i32.const 116)) (then unreachable))
    (if (i32.eq (local.get $command) (i32.const 108)) (then (loop $forever (br $forever))))
    (if (i32.eq (local.get $command) (i32.const 103))
      (then
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        unreachable))
    (if (i32.eq (local.get $command) (i32.const 115))
      (then (drop (call $add (i32.const 0) (i32.const 32) (i32.const 11) (i32.const 48) (i32.const 4)))))
    (i32.const 0))
  ;; The headers cannot be read any more once they have gone on: the letter is kept for each context.
  (func (export "proxy_on_request_body") (param $context i32) (param $size i32) (param $end i32) (result i32)
    (i32.and
      (i32.eqz (local.get $end))
      (i32.eq (i32.load8_u (call $slot (local.get $context))) (i32.const 98))))
)
