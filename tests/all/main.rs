//! One integration binary: each behaviour on both engines.

mod auth;
mod bad_input;
mod cli;
mod contexts;
mod credentials;
mod demo;
mod drain;
mod drill;
mod failover;
mod failures;
mod fleet;
mod guard;
mod guests;
mod health;
mod http;
mod operate;
mod overrides;
mod reload;
mod rollouts;
mod scenarios;
mod sdk;
mod secrets;
mod simulation;
mod sticky;
mod traffic;
mod verbs;
