//! The decisions of Switchover: pure, without a host, returned as data.
//!
//! [`document::parse`] turns a rollout document into a [`document::Document`]; [`route`] decides what becomes of a request
//! and its response, [`attempt`] what becomes of each attempt upstream. Whoever runs this (the filter, or the host's
//! `check` and `plan`) reads the clock, the headers and the random seed, and carries out what is decided.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss
    )
)]

pub mod attempt;
mod auth;
pub mod control;
pub mod document;
pub mod guard;
mod headers;
pub mod health;
pub mod id_map;
mod json;
pub mod metrics;
pub mod models;
mod reply;
pub mod route;
pub mod scan;
pub mod schedule;
mod secret;
pub mod shadow;
mod sticky;
mod strategy;
mod time;

pub use auth::AuthOutcome;
pub use auth::keys::digest as sha256;
pub use auth::recent::Recent;
pub use headers::{Headers, Spans, serialise};
pub use reply::{Refusal, Reply, Shape};
pub use schedule::{Schedule, Share, Step};
pub use secret::Secret;
pub use sticky::CookieId;
pub use strategy::{Random, RoundRobin};
pub use time::{Duration, Timestamp};
