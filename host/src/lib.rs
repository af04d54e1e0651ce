//! A fast HTTP gateway that reads an Envoy file and runs Proxy-Wasm filters.
pub mod abi;
pub mod config;
pub mod process;
pub mod stats;
pub mod stream;
pub mod vm;
