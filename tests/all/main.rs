//! One integration binary: each behaviour on both engines.

mod guests;
mod http;
