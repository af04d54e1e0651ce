//! A fast HTTP gateway that reads an Envoy file and runs Proxy-Wasm filters.
pub mod abi;
pub mod admin;
pub mod bench;
pub mod cli;
pub mod config;
pub mod demo;
pub mod drill;
pub mod gateway;
pub mod plan;
pub mod process;
pub mod proxy;
pub mod rollout;
pub mod simulation;
pub mod stats;
pub mod stream;
pub mod tls;
pub mod vm;
