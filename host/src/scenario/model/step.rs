//! What happens in a scenario.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::expect::Expect;
use super::short::{Several, Short, Shorten};
use super::value::{Body, Match, Span, Values, Wall};

/// One step: at most one thing that happens, and what is expected then.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Step {
    /// For reports.
    pub(in super::super) name: Option<String>,
    /// What clusters answer from now on, by their names. It replaces what they answered before.
    #[serde(default)]
    pub(in super::super) answers: BTreeMap<String, Several<Short<Answer>>>,

    /// A client sends a request, and the clock goes on until it is over. `GET /path` by itself will do.
    pub(in super::super) request: Option<Short<Request>>,
    /// With `request`: it stays under way, under this name, for `finish` or `leave`. No time passes.
    pub(in super::super) open: Option<String>,
    /// The clock goes on until the request of that name is over.
    pub(in super::super) finish: Option<String>,
    /// The client of the request of that name goes away.
    pub(in super::super) leave: Option<String>,
    /// Time passes.
    pub(in super::super) advance: Option<Span>,
    /// Time passes until so much has passed since the start.
    pub(in super::super) advance_to: Option<Span>,
    /// The wall clock is set, as by an operator. Ticks and time-outs do not notice.
    pub(in super::super) wall_clock: Option<Wall>,
    /// A filter gets another configuration.
    pub(in super::super) configure: Option<Configure>,
    /// The next callback of a filter's VM ends in a trap. `true` is the filter under test's.
    pub(in super::super) trap: Option<Short<Trap>>,
    /// Values are put into the shared data of the filter under test.
    pub(in super::super) shared_data: Option<BTreeMap<String, String>>,
    /// The oldest open callout that fits is answered now.
    pub(in super::super) answer: Option<Answered>,
    /// These steps happen, one after another.
    pub(in super::super) steps: Option<Vec<Step>>,

    /// With `request` or `steps`: it happens so often. `${n}` in a request's path and headers is its number, from 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in super::super) times: Option<u32>,
    /// With `request` or `trap`: the worker, from 0; `each` is one after another. 0 if it is left out.
    pub(in super::super) worker: Option<Short<Workers>>,

    /// What is expected then.
    pub(in super::super) expect: Option<Expect>,
}

/// A request. `GET /path`, or a path, by itself will do.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Request {
    /// `GET` if it is left out, or `POST` if there is a body.
    pub(in super::super) method: Option<String>,
    /// With its query; `/` if it is left out.
    pub(in super::super) path: Option<String>,
    /// `http` (the default) or `https`.
    pub(in super::super) scheme: Option<String>,
    /// Headers; `host` is `gateway.test` if it is left out. A list is a header that occurs several times.
    #[serde(default)]
    pub(in super::super) headers: Values,
    /// The body.
    pub(in super::super) body: Option<Short<Body>>,
    /// Trailers.
    pub(in super::super) trailers: Option<Values>,
    /// The client's address, with or without a port; `192.0.2.1:40000` if it is left out.
    pub(in super::super) client: Option<String>,
}

/// What a cluster answers. A status by itself will do, or `reset`, or `never`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Answer {
    /// Only requests (or callouts) like this get it.
    #[serde(rename = "match")]
    pub(in super::super) asked: Option<Asked>,
    /// The status; 200 if it is left out.
    #[schemars(range(min = 100, max = 599))]
    pub(in super::super) status: Option<u16>,
    /// Headers.
    #[serde(default)]
    pub(in super::super) headers: Values,
    /// The body.
    pub(in super::super) body: Option<Short<Body>>,
    /// Trailers.
    pub(in super::super) trailers: Option<Values>,
    /// How long it takes, by the virtual clock; `0s` if it is left out.
    pub(in super::super) after: Option<Span>,
    /// Instead of an HTTP answer, to a gRPC callout: what comes of a call, or of a message on a stream.
    pub(in super::super) grpc: Option<Grpc>,
    /// Instead of an answer: the connection breaks, or nobody listens. With a `status`: it breaks behind the body's last part.
    #[serde(default)]
    pub(in super::super) reset: bool,
    /// Instead of an answer: nothing, until a time-out. A callout may be answered by a step then.
    #[serde(default)]
    pub(in super::super) never: bool,
    /// Instead of an answer: the gateway gives up for the request's sake and answers with this status, as for a body that
    /// turns out to be invalid (400), too slow (408) or too long (413).
    #[schemars(range(min = 400, max = 599))]
    pub(in super::super) given_up: Option<u16>,
}

/// What comes back of a gRPC callout.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Grpc {
    /// The metadata ahead of a stream's messages; a call's is not shown to guests.
    #[serde(default)]
    pub(in super::super) metadata: Values,
    /// The messages, of which a call has one.
    #[serde(default)]
    pub(in super::super) messages: Vec<Short<Body>>,
    /// The end, by gRPC's number. A call that is told nothing ends with 0; a stream goes on.
    pub(in super::super) status: Option<u32>,
    /// The end in words.
    #[serde(default)]
    pub(in super::super) message: String,
    /// The metadata behind a stream's messages.
    #[serde(default)]
    pub(in super::super) trailers: Values,
}

/// Conditions on a request or a callout.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Asked {
    /// Its method.
    pub(in super::super) method: Option<Short<Match>>,
    /// Its path, with the query.
    pub(in super::super) path: Option<Short<Match>>,
    /// Its headers.
    #[serde(default)]
    pub(in super::super) headers: BTreeMap<String, Short<Match>>,
    /// Its body.
    pub(in super::super) body: Option<Short<Match>>,
    /// The number of the attempt, from 1; a callout has none.
    pub(in super::super) attempt: Option<u32>,
}

/// Another configuration for a filter. What is left out stays as it is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Configure {
    /// The plugin's name; the filter under test if it is left out.
    pub(in super::super) plugin: Option<String>,
    /// What the guest gets in `proxy_on_configure`: a text as it is, anything else as JSON.
    pub(in super::super) configuration: Option<serde_json::Value>,
    /// The same from a file, by its path from this one.
    pub(in super::super) configuration_file: Option<String>,
    /// Changes to the configuration that the scenario started with: an RFC 7396 merge patch.
    pub(in super::super) merge: Option<serde_json::Value>,
    /// Another module, by its path from this file.
    pub(in super::super) file: Option<String>,
}

/// A trap to come.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Trap {
    /// The plugin's name; the filter under test if it is left out.
    pub(in super::super) plugin: Option<String>,
}

/// A callout's answer, given by hand.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Answered {
    /// The cluster that was asked.
    pub(in super::super) cluster: Option<String>,
    /// Conditions on the callout.
    #[serde(rename = "match")]
    pub(in super::super) asked: Option<Asked>,
    /// The answer.
    #[serde(default, rename = "with")]
    pub(in super::super) answer: Short<Answer>,
}

/// Which workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Workers {
    /// That one.
    Number(usize),
    /// One after another.
    Each,
}

impl Shorten for Request {
    const EXPECTED: &'static str = "METHOD /path, /path, or a mapping";

    fn short() -> Schema {
        json_schema!({"type": "string"})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method.to_owned()), path.trim()),
            None => (None, text),
        };
        Some(match path.starts_with('/') || path == "*" {
            true => Ok(Self {
                method,
                path: Some(path.to_owned()),
                ..Self::default()
            }),
            false => Err(format!("expected {}, found {text:?}", Self::EXPECTED)),
        })
    }
}

impl Shorten for Answer {
    const EXPECTED: &'static str = "a status, reset, never, or a mapping";

    fn short() -> Schema {
        json_schema!({"anyOf": [{"enum": ["reset", "never"]}, {"type": "integer", "minimum": 100, "maximum": 599}]})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(match text {
            "reset" => Ok(Self {
                reset: true,
                ..Self::default()
            }),
            "never" => Ok(Self {
                never: true,
                ..Self::default()
            }),
            _ => Err(format!("expected {}, found {text:?}", Self::EXPECTED)),
        })
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

impl Shorten for Trap {
    const EXPECTED: &'static str = "true, a plugin's name, or a mapping";

    fn short() -> Schema {
        json_schema!({"anyOf": [{"const": true}, {"type": "string"}]})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(Ok(Self {
            plugin: Some(text.to_owned()),
        }))
    }

    fn from_bool(value: bool) -> Option<Result<Self, String>> {
        value.then(|| Ok(Self::default()))
    }
}

impl Shorten for Workers {
    const EXPECTED: &'static str = "a worker's number, or each";
    const LONG: bool = false;

    fn short() -> Schema {
        json_schema!({"anyOf": [{"const": "each"}, {"type": "integer", "minimum": 0}]})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(match text {
            "each" => Ok(Self::Each),
            _ => Err(format!("expected {}, found {text:?}", Self::EXPECTED)),
        })
    }

    fn from_number(number: u64) -> Option<Result<Self, String>> {
        Some(
            usize::try_from(number)
                .map(Self::Number)
                .map_err(|_| format!("expected {}, found {number}", Self::EXPECTED)),
        )
    }
}
