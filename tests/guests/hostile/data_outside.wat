;; A data segment that lies outside its memory.
(module
  (memory (export "memory") 1)
  (data (i32.const 70000) "outside")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096)))
