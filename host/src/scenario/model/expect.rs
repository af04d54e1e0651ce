//! What is expected.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::short::{Short, Shorten};
use super::value::{Amount, Match, Span};

/// What is expected after a step. Of a request that is sent several times, what is said of it holds for each of them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Expect {
    /// The request as the last attempt's upstream got it; `none` where none was to get it.
    pub(in super::super) upstream: Option<Short<Upstream>>,
    /// All attempts, in order. A cluster's name by itself will do.
    pub(in super::super) attempts: Option<Vec<Short<Received>>>,
    /// What the client got. A status by itself will do.
    pub(in super::super) response: Option<Short<Responded>>,
    /// Whether the exchange was broken off.
    pub(in super::super) reset: Option<bool>,
    /// Whether a filter holds the request; after a request that is `open`. A plugin's name is who holds it.
    pub(in super::super) paused: Option<Short<Paused>>,
    /// Whether the filter refused its configuration; after `configure`, which else must be accepted.
    #[serde(default)]
    pub(in super::super) refused: bool,
    /// How long the step took, by the virtual clock.
    pub(in super::super) took: Option<Short<Amount<Span>>>,
    /// How often guests trapped in this step; 0 if it is left out, or what `trap` steps ordered.
    pub(in super::super) traps: Option<Short<Amount<u64>>>,
    /// What guests logged in this step; in one without a thing that happens, since the start. A text by itself is part of
    /// a line.
    #[serde(default)]
    pub(in super::super) logs: Vec<Short<LogLines>>,
    /// Metrics: a counter's or gauge's value, or how many values a histogram has. The name is the one that the guest
    /// defined; of `name;label=value` all metrics with this label are added up, whatever other labels they have. One that
    /// is not there is 0.
    #[serde(default)]
    pub(in super::super) metrics: BTreeMap<String, Short<Amount<u64>>>,
    /// Shared data of the filter under test, by key.
    #[serde(default)]
    pub(in super::super) shared_data: BTreeMap<String, Short<Match>>,
    /// Callouts that guests made in this step; in one without a thing that happens, since the start.
    #[serde(default)]
    pub(in super::super) callouts: Vec<Callouts>,
    /// gRPC callouts that guests made in this step; in one without a thing that happens, since the start.
    #[serde(default)]
    pub(in super::super) grpc: Vec<GrpcCallouts>,
    /// How requests were distributed.
    pub(in super::super) shares: Option<Shares>,
}

/// A request as an upstream is to get it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Received {
    /// The cluster of the host that got it.
    pub(in super::super) cluster: Option<Short<Match>>,
    /// The route's name.
    pub(in super::super) route: Option<Short<Match>>,
    /// The cluster that the route names.
    pub(in super::super) route_cluster: Option<Short<Match>>,
    /// The method.
    pub(in super::super) method: Option<Short<Match>>,
    /// The path, with the query.
    pub(in super::super) path: Option<Short<Match>>,
    /// Headers; `host` is `:authority`. Others may be there too.
    #[serde(default)]
    pub(in super::super) headers: BTreeMap<String, Short<Match>>,
    /// The body, its parts put together.
    pub(in super::super) body: Option<Short<Match>>,
    /// Trailers. Others may be there too.
    #[serde(default)]
    pub(in super::super) trailers: BTreeMap<String, Short<Match>>,
}

/// The request as the last upstream got it, or `none`.
#[derive(Debug, Clone)]
pub(in super::super) struct Upstream(pub(in super::super) Option<Received>);

/// A response as the client is to get it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Responded {
    /// The status.
    pub(in super::super) status: Option<u16>,
    /// Headers. Others may be there too.
    #[serde(default)]
    pub(in super::super) headers: BTreeMap<String, Short<Match>>,
    /// The body, its parts put together.
    pub(in super::super) body: Option<Short<Match>>,
    /// Trailers. Others may be there too.
    #[serde(default)]
    pub(in super::super) trailers: BTreeMap<String, Short<Match>>,
    /// Envoy's response code details, such as `via_upstream`.
    pub(in super::super) details: Option<Short<Match>>,
}

/// Who holds a request.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Paused {
    /// Whether anybody does; true if it is left out.
    #[serde(default)]
    pub(in super::super) not: bool,
    /// The plugin's name.
    pub(in super::super) plugin: Option<String>,
}

/// Log lines.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct LogLines {
    /// Conditions on a line.
    pub(in super::super) text: Option<Short<Match>>,
    /// Its level.
    pub(in super::super) level: Option<Level>,
    /// The plugin that logged it.
    pub(in super::super) plugin: Option<String>,
    /// How many such lines there are; at least 1 if it is left out.
    pub(in super::super) count: Option<Short<Amount<u64>>>,
}

/// A log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// Callouts.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Callouts {
    /// The cluster that was asked.
    pub(in super::super) cluster: Option<Short<Match>>,
    /// The method.
    pub(in super::super) method: Option<Short<Match>>,
    /// The path, with the query.
    pub(in super::super) path: Option<Short<Match>>,
    /// Headers; `host` is `:authority`. Others may be there too.
    #[serde(default)]
    pub(in super::super) headers: BTreeMap<String, Short<Match>>,
    /// The body.
    pub(in super::super) body: Option<Short<Match>>,
    /// The time-out that the guest asked for.
    pub(in super::super) timeout: Option<Short<Amount<Span>>>,
    /// The worker whose guest asked, from 0.
    pub(in super::super) worker: Option<usize>,
    /// How many such callouts there are; at least 1 if it is left out.
    pub(in super::super) count: Option<Short<Amount<u64>>>,
}

/// gRPC callouts.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct GrpcCallouts {
    /// The cluster that was asked.
    pub(in super::super) cluster: Option<Short<Match>>,
    /// `/SERVICE/METHOD`.
    pub(in super::super) path: Option<Short<Match>>,
    /// The metadata ahead of the messages.
    #[serde(default)]
    pub(in super::super) headers: BTreeMap<String, Short<Match>>,
    /// The messages that the guest has sent so far, without gRPC's frames.
    pub(in super::super) messages: Option<Vec<Short<Match>>>,
    /// Whether the guest goes on with it.
    pub(in super::super) state: Option<GrpcState>,
    /// How many such callouts there are; at least 1 if it is left out.
    pub(in super::super) count: Option<Short<Amount<u64>>>,
}

/// Whether a guest goes on with a gRPC callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum GrpcState {
    /// More messages may come from it.
    Open,
    /// It has sent all.
    Closed,
    /// It wants no answer any more.
    Cancelled,
}

/// How requests were distributed.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Shares {
    /// What tells them apart.
    pub(in super::super) by: By,
    /// How many there are to be of each: a number, a share such as `95%`, or `at_least` and `at_most`. A value that is not named here must not occur.
    pub(in super::super) expect: BTreeMap<String, Short<Share>>,
    /// How far off a share may be: a share of all requests such as `1%`; less than one request if it is left out.
    pub(in super::super) within: Option<Short<Share>>,
}

/// What tells requests apart.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum By {
    /// The response's status; empty where the client got none.
    Status,
    /// The cluster of the last attempt; empty where there was none.
    Cluster,
    /// The name of the route; empty where there was no attempt.
    Route,
    /// A header of the response; empty where it has none.
    ResponseHeader(String),
    /// A header as the first attempt's upstream got it; empty where it got none.
    UpstreamHeader(String),
}

/// A number of requests; all that is said must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Share {
    /// So many of a hundred.
    pub(in super::super) percent: Option<f64>,
    /// No less.
    pub(in super::super) at_least: Option<u64>,
    /// No more.
    pub(in super::super) at_most: Option<u64>,
}

impl<'de> Deserialize<'de> for Upstream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Received::deserialize(deserializer).map(|received| Self(Some(received)))
    }
}

impl JsonSchema for Upstream {
    fn schema_name() -> Cow<'static, str> {
        Received::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        Received::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Received::json_schema(generator)
    }
}

impl Shorten for Received {
    const EXPECTED: &'static str = "a cluster's name, or a mapping";

    fn short() -> Schema {
        json_schema!({"type": "string"})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        let cluster = Match::from_text(text).and_then(Result::ok).map(Short);
        Some(Ok(Self {
            cluster,
            ..Self::default()
        }))
    }
}

impl Shorten for Upstream {
    const EXPECTED: &'static str = "none, or a mapping";

    fn short() -> Schema {
        json_schema!({"const": "none"})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(match text {
            "none" => Ok(Self(None)),
            _ => Err(format!("expected {}, found {text:?}", Self::EXPECTED)),
        })
    }
}

impl Shorten for Responded {
    const EXPECTED: &'static str = "a status, or a mapping";

    fn short() -> Schema {
        json_schema!({"type": "integer", "minimum": 100, "maximum": 599})
    }

    fn from_number(number: u64) -> Option<Result<Self, String>> {
        Some(match u16::try_from(number) {
            Ok(status @ 100..=599) => Ok(Self {
                status: Some(status),
                ..Self::default()
            }),
            _ => Err(format!("expected {}, found {number}", Self::EXPECTED)),
        })
    }
}

impl Shorten for Paused {
    const EXPECTED: &'static str = "true, false, or a plugin's name";

    fn short() -> Schema {
        json_schema!({"type": ["boolean", "string"]})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(Ok(Self {
            not: false,
            plugin: Some(text.to_owned()),
        }))
    }

    fn from_bool(value: bool) -> Option<Result<Self, String>> {
        Some(Ok(Self {
            not: !value,
            plugin: None,
        }))
    }
}

impl Shorten for LogLines {
    const EXPECTED: &'static str = "part of a line, or a mapping";

    fn short() -> Schema {
        json_schema!({"type": "string"})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(Ok(Self {
            text: Some(Short(Match::containing(text))),
            ..Self::default()
        }))
    }
}

impl Shorten for Share {
    const EXPECTED: &'static str = "a number, a share such as 95%, or at_least and at_most";

    fn short() -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$"},
        ]})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        let percent = text.strip_suffix('%').and_then(|text| text.parse().ok());
        Some(match percent {
            Some(percent @ 0.0..=100.0) => Ok(Self {
                percent: Some(percent),
                ..Self::default()
            }),
            _ => Err(format!("expected {}, found {text:?}", Self::EXPECTED)),
        })
    }

    fn from_number(number: u64) -> Option<Result<Self, String>> {
        Some(Ok(Self {
            percent: None,
            at_least: Some(number),
            at_most: Some(number),
        }))
    }
}
