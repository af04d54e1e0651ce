//! Values: times, amounts, bodies, conditions on texts.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::short::{Several, Short, Shorten};

/// A length of time such as `250ms`, `5s`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Span(pub(in super::super) Duration);

/// A moment such as `2026-11-22T20:00:00Z`.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Wall(pub(in super::super) SystemTime);

/// Texts by name, each once or several times.
pub(in super::super) type Values = std::collections::BTreeMap<String, Several<Short<Plain>>>;

/// A text; a whole number or a boolean will do.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(in super::super) struct Plain(pub(in super::super) String);

/// Bounds of a number or a length of time.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Amount<T> {
    /// No less.
    pub(in super::super) at_least: Option<T>,
    /// No more.
    pub(in super::super) at_most: Option<T>,
}

/// A body. A text by itself will do. Filters see parts of 16 KiB, as Envoy reads them, unless `parts` says otherwise.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in super::super) enum Body {
    /// A text.
    Text(String),
    /// A value, written as JSON.
    Json(serde_json::Value),
    /// A file's contents, by its path from this file.
    File(String),
    /// Bytes in base64.
    Base64(String),
    /// Texts, each of which filters see as a part of its own.
    Parts(Vec<String>),
    /// So many bytes, all `x`.
    Size(u32),
}

/// Conditions on a text, all of which must hold. A text by itself is to be equal, `null` is to be
/// absent; a list is all values of a header, in order.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Match {
    /// It is this.
    pub(in super::super) equals: Option<Short<Plain>>,
    /// This is in it.
    pub(in super::super) contains: Option<Several<Short<Plain>>>,
    /// It starts with this.
    pub(in super::super) starts_with: Option<Short<Plain>>,
    /// It ends with this.
    pub(in super::super) ends_with: Option<Short<Plain>>,
    /// This regular expression (of the Rust crate `regex`) finds something in it; `^` and `$` tie it to the ends.
    pub(in super::super) matches: Option<Pattern>,
    /// It is JSON, and equal to this.
    pub(in super::super) json: Option<serde_json::Value>,
    /// It is JSON with at least the members of this.
    pub(in super::super) json_includes: Option<serde_json::Value>,
    /// These are all its values, in order: of a header that occurs several times.
    pub(in super::super) values: Option<Vec<String>>,
    /// `true`: it is not there at all. `false`: it is there, whatever it is.
    pub(in super::super) absent: Option<bool>,
    /// This does not hold of it.
    pub(in super::super) not: Option<Box<Short<Match>>>,
}

/// A regular expression.
#[derive(Debug, Clone)]
pub(in super::super) struct Pattern(pub(in super::super) Regex);

// === impl Match ===

impl Match {
    /// Texts with this in them.
    pub(super) fn containing(text: &str) -> Self {
        Self {
            contains: Some(Several(vec![Short(Plain(text.to_owned()))])),
            ..Self::default()
        }
    }
}

// === impl Span, Wall, Pattern ===

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "expected a length of time such as 250ms, 5s, 1h 30m";
        let text =
            String::deserialize(deserializer).map_err(|e| D::Error::custom(fix(&e, expected)))?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|error| D::Error::custom(format!("{expected}, found {text:?}: {error}")))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time such as `250ms`, `5s`, `1h 30m`.",
            "type": "string",
            "pattern": "^[0-9]",
        })
    }
}

impl<'de> Deserialize<'de> for Wall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "expected a moment such as 2026-11-22T20:00:00Z";
        let text =
            String::deserialize(deserializer).map_err(|e| D::Error::custom(fix(&e, expected)))?;
        humantime::parse_rfc3339(&text)
            .map(Self)
            .map_err(|error| D::Error::custom(format!("{expected}, found {text:?}: {error}")))
    }
}

impl JsonSchema for Wall {
    fn schema_name() -> Cow<'static, str> {
        "Wall".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A moment such as `2026-11-22T20:00:00Z`.",
            "type": "string",
            "format": "date-time",
        })
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Regex::new(&text)
            .map(Self)
            .map_err(|error| D::Error::custom(format!("not a regular expression: {error}")))
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "regex"})
    }
}

/// A message that says what would be right, in place of "expected a string".
fn fix(error: &impl fmt::Display, expected: &str) -> String {
    let text = error.to_string();
    text.replace("expected a string", expected)
}

// === short forms ===

impl Shorten for Plain {
    const EXPECTED: &'static str = "text";
    const LONG: bool = false;

    fn short() -> Schema {
        json_schema!({"type": ["string", "integer", "boolean"]})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(Ok(Self(text.to_owned())))
    }

    fn from_number(number: u64) -> Option<Result<Self, String>> {
        Some(Ok(Self(number.to_string())))
    }

    fn from_bool(value: bool) -> Option<Result<Self, String>> {
        Some(Ok(Self(value.to_string())))
    }
}

impl Shorten for Amount<u64> {
    const EXPECTED: &'static str = "a number, or at_least and at_most";

    fn short() -> Schema {
        json_schema!({"type": "integer", "minimum": 0})
    }

    fn from_number(number: u64) -> Option<Result<Self, String>> {
        Some(Ok(Self {
            at_least: Some(number),
            at_most: Some(number),
        }))
    }
}

impl Shorten for Amount<Span> {
    const EXPECTED: &'static str = "a length of time such as 5s, or at_least and at_most";

    fn short() -> Schema {
        json_schema!({"type": "string"})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(
            humantime::parse_duration(text)
                .map(|span| Self {
                    at_least: Some(Span(span)),
                    at_most: Some(Span(span)),
                })
                .map_err(|error| format!("expected {}: {error}", Self::EXPECTED)),
        )
    }
}

impl Shorten for Body {
    const EXPECTED: &'static str = "text, or exactly one of text, json, file, base64, parts, size";

    fn short() -> Schema {
        json_schema!({"type": "string"})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(Ok(Self::Text(text.to_owned())))
    }
}

impl Shorten for Match {
    const EXPECTED: &'static str = "text, a list of texts, null, or a mapping of conditions";

    fn short() -> Schema {
        json_schema!({"anyOf": [
            {"type": ["string", "integer", "boolean", "null"]},
            {"type": "array", "items": {"type": ["string", "integer", "boolean"]}},
        ]})
    }

    fn from_text(text: &str) -> Option<Result<Self, String>> {
        Some(Ok(Self {
            equals: Some(Short(Plain(text.to_owned()))),
            ..Self::default()
        }))
    }

    fn from_number(number: u64) -> Option<Result<Self, String>> {
        Self::from_text(&number.to_string())
    }

    fn from_bool(value: bool) -> Option<Result<Self, String>> {
        Self::from_text(&value.to_string())
    }

    fn from_null() -> Option<Self> {
        Some(Self {
            absent: Some(true),
            ..Self::default()
        })
    }

    fn from_list(values: Vec<String>) -> Option<Result<Self, String>> {
        Some(Ok(Self {
            values: Some(values),
            ..Self::default()
        }))
    }
}
