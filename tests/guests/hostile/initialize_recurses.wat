;; Its initialiser calls itself until the stack is full.
(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func $deeper (export "_initialize") (call $deeper) (call $deeper)))
