//! Switchover as a Proxy-Wasm filter: carries out what `switchover-core` decides.
