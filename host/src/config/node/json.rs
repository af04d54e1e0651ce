//! JSON with lines.
//!
//! `serde_json` parses; the raw slices that it lends say where in the text each value stands.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{MAX_DEPTH, Node, SyntaxError, Value};

/// Reads one JSON document.
///
/// # Errors
/// Broken syntax, a key that occurs twice, nesting beyond [`MAX_DEPTH`].
pub(in super::super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|e| SyntaxError {
        line: e.line().max(1),
        message: format!("not JSON: {e}"),
    })?;
    node(raw.get(), &Source::new(text), 0)
}

/// The whole text, to tell a slice's line.
struct Source<'a> {
    text: &'a str,
    /// The offset of each line's end.
    ends: Vec<usize>,
}

/// A mapping's or a sequence's parts, unread.
struct Parts<'a>(Vec<(String, &'a RawValue)>);

// === impl Source ===

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        Source {
            text,
            ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        }
    }

    /// The line on which a slice of the text starts.
    fn line(&self, slice: &str) -> usize {
        let offset = (slice.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        1 + self.ends.partition_point(|end| *end < offset)
    }

    fn not_json(&self, slice: &str, error: &serde_json::Error) -> SyntaxError {
        self.error(slice, format!("not JSON: {error}"))
    }

    fn error(&self, slice: &str, message: String) -> SyntaxError {
        SyntaxError {
            line: self.line(slice),
            message,
        }
    }
}

fn node(raw: &str, source: &Source<'_>, depth: usize) -> Result<Node, SyntaxError> {
    if depth > MAX_DEPTH {
        return Err(source.error(raw, format!("nested deeper than {MAX_DEPTH} levels")));
    }
    let value = match raw.as_bytes().first() {
        Some(b'{') => {
            let mut entries: Vec<(String, Node)> = Vec::new();
            for (key, part) in parts(raw).map_err(|e| source.not_json(raw, &e))? {
                if entries.iter().any(|(k, _)| *k == key) {
                    let message = format!("the key {key:?} occurs twice in this object");
                    return Err(source.error(part.get(), message));
                }
                entries.push((key, node(part.get(), source, depth + 1)?));
            }
            Value::Map(entries)
        }
        Some(b'[') => {
            let parts = parts(raw)
                .map_err(|e| source.not_json(raw, &e))?
                .into_iter();
            Value::List(
                parts
                    .map(|(_, part)| node(part.get(), source, depth + 1))
                    .collect::<Result<_, _>>()?,
            )
        }
        Some(b'"') => Value::Text {
            text: serde_json::from_str(raw).map_err(|e| source.error(raw, e.to_string()))?,
            literal: false,
        },
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'n') => Value::Null,
        _ => Value::Number(
            raw.parse()
                .map_err(|_| source.error(raw, format!("{raw} is no number")))?,
        ),
    };
    Ok(Node {
        line: source.line(raw),
        value,
    })
}

/// The members of an object, or the items of an array with empty names, each as the text lends it.
///
/// # Errors
/// The text is neither.
pub(crate) fn parts(raw: &str) -> serde_json::Result<Vec<(String, &RawValue)>> {
    serde_json::Deserializer::from_str(raw)
        .deserialize_any(Parts(Vec::new()))
        .map(|parts| parts.0)
}

// === impl Parts ===

impl<'de> Visitor<'de> for Parts<'de> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(entry) = map.next_entry()? {
            self.0.push(entry);
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self, A::Error> {
        while let Some(item) = list.next_element()? {
            self.0.push((String::new(), item));
        }
        Ok(self)
    }
}
