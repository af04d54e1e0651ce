//! One integration binary: each behaviour on both engines.

mod auth;
mod bad_input;
mod cli;
mod contexts;
mod credentials;
mod demo;
mod drain;
mod failover;
mod failures;
mod guard;
mod guests;
mod health;
mod http;
mod operate;
mod overrides;
mod reload;
mod scenarios;
mod sdk;
mod secrets;
mod simulation;
mod sticky;
mod traffic;
mod verbs;
