//! Values: times, amounts, bodies, conditions on texts; and short forms.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::{Duration, SystemTime};

use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A value that may be written in a short form.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Short<T>(pub(in super::super) T);

/// A type with a short form: each function reads one kind of scalar or list.
pub(in super::super) trait Shorten: Sized + DeserializeOwned + JsonSchema {
    /// All that can be written, for messages.
    const EXPECTED: &'static str;

    /// Its short forms' schema.
    fn short() -> Schema;

    /// From a text.
    fn from_text(_: &str) -> Option<Result<Self, String>> {
        None
    }

    /// From a whole number that is not negative.
    fn from_number(_: u64) -> Option<Result<Self, String>> {
        None
    }

    /// From true or false.
    fn from_bool(_: bool) -> Option<Result<Self, String>> {
        None
    }

    /// From nothing at all: `null`.
    fn from_null() -> Option<Self> {
        None
    }

    /// From a list of texts.
    fn from_list(_: Vec<String>) -> Option<Result<Self, String>> {
        None
    }
}

/// One, or a list of them.
#[derive(Debug, Clone)]
pub(in super::super) struct Several<T>(pub(in super::super) Vec<T>);

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

/// A body. A text by itself is one part.
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

// === impl Short ===

impl<T> Deref for Short<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Shorten> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<'de, T: Shorten> Visitor<'de> for Reader<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
                match T::from_text(text) {
                    Some(read) => read.map_err(E::custom),
                    None => Err(E::invalid_type(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<T, E> {
                match T::from_number(number) {
                    Some(read) => read.map_err(E::custom),
                    None => Err(E::invalid_type(
                        serde::de::Unexpected::Unsigned(number),
                        &self,
                    )),
                }
            }

            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<T, E> {
                match T::from_bool(value) {
                    Some(read) => read.map_err(E::custom),
                    None => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
                }
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<T, E> {
                T::from_null().ok_or_else(|| E::invalid_type(serde::de::Unexpected::Unit, &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
                if T::from_list(Vec::new()).is_none() {
                    return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
                }
                let list = Vec::<Short<Plain>>::deserialize(SeqAccessDeserializer::new(list))?;
                let list = list.into_iter().map(|Short(Plain(text))| text).collect();
                match T::from_list(list) {
                    Some(read) => read.map_err(A::Error::custom),
                    None => Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(Reader(PhantomData)).map(Short)
    }
}

impl<T: Shorten> JsonSchema for Short<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("ShortOr{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let long = generator.subschema_for::<T>();
        json_schema!({"anyOf": [T::short(), long]})
    }
}

// === impl Several ===

impl<T> Deref for Several<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for Reader<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one, or a list of them")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|one| vec![one])
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Vec<T>, E> {
                T::deserialize(serde::de::value::U64Deserializer::new(number)).map(|one| vec![one])
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Vec<T>, E> {
                T::deserialize(serde::de::value::I64Deserializer::new(number)).map(|one| vec![one])
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Vec<T>, E> {
                T::deserialize(serde::de::value::F64Deserializer::new(number)).map(|one| vec![one])
            }

            fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Vec<T>, E> {
                T::deserialize(serde::de::value::BoolDeserializer::new(value)).map(|one| vec![one])
            }
        }

        deserializer
            .deserialize_any(Reader(PhantomData))
            .map(Several)
    }
}

impl<T: JsonSchema> JsonSchema for Several<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("SeveralOf{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

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
