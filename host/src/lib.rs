//! A fast HTTP gateway that reads an Envoy file and runs Proxy-Wasm filters.
pub mod cli;
pub mod config;
