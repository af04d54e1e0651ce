//! The data path: connections, exchanges, filters, routes, attempts, upstreams.
//!
//! Each worker is one thread with its own runtime and socket; nothing on a request's path is locked.

pub mod access_log;
pub mod attempt;
pub mod body;
mod callout;
mod connection_limit;
mod deadline;
pub mod downstream;
pub mod exchange;
pub mod filters;
pub(crate) mod grpc;
mod mirror;
mod otel;
pub mod pump;
pub mod reply;
pub mod response;
pub mod retry;
pub mod router;
pub mod socket;
mod target;
pub mod tunnel;
pub mod upstream;
pub mod worker;

/// The connection is closed without an answer.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the exchange was broken off")]
pub struct Reset;
