//! What a file of scenarios says. These types are the format: the reader, the JSON Schema and its descriptions follow from
//! them.

mod expect;
mod setup;
mod short;
mod step;
mod value;

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use expect::{
    By, Callouts, Expect, GrpcCallouts, GrpcState, Level, LogLines, Received, Responded, Share,
    Shares,
};
pub(super) use setup::{Cluster, Mode, Plugin, Policy, Retry, Route, Setup, Vm};
pub(super) use short::Short;
pub(super) use step::{Answer, Answered, Asked, Configure, Request, Step, Trap, Workers};
pub(super) use value::{Amount, Body, Match, Span, Values};

/// A file of scenarios for Proxy-Wasm HTTP filters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// What all scenarios of the file start from.
    #[serde(default)]
    pub(super) defaults: Setup,
    /// The scenarios. Each has guests, clock and world of its own.
    pub(super) scenarios: Vec<Scenario>,
}

/// One scenario.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// Says what holds; unique in its file.
    pub(super) name: String,
    /// What is different from the file's defaults: fields given here count, `clusters` are joined.
    #[serde(default)]
    pub(super) with: Setup,
    /// The filter is to refuse its configuration, or fail to start. Steps can only look at what it logged.
    #[serde(default)]
    pub(super) refused: bool,
    /// What happens, in the order of time, and what is expected of it.
    #[serde(default)]
    pub(super) steps: Vec<Step>,
}
