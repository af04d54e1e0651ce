//! One integration binary: each behaviour on both engines.

mod auth;
mod bad_input;
mod cli;
mod credentials;
mod demo;
mod drain;
mod failover;
mod failures;
mod guests;
mod health;
mod http;
mod overrides;
mod reload;
mod sdk;
mod secrets;
mod sticky;
mod traffic;
