//! One integration binary: each behaviour on both engines.

mod bad_input;
mod drain;
mod failures;
mod guests;
mod http;
