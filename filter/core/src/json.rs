//! JSON as an ordered tree: duplicate keys are kept, so that the reader can refuse them with their path.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// One JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number; integers are exact up to 2^53, far above every bound of the document.
    Number(f64),
    /// A string
    String(String),
    /// An array
    Array(Vec<Node>),
    /// An object, its members in the order of the text
    Object(Vec<(String, Node)>),
}

struct NodeVisitor;

// === impl Node ===

impl Node {
    /// Parses a whole text. The error says what is wrong and at which line and column.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// What the value is, for messages; never its content.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

// === impl NodeVisitor ===

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 2^53 every bound refuses the number anyway"
    )]
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 2^53 every bound refuses the number anyway"
    )]
    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Node::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_duplicate_keys_and_their_order() {
        let node = Node::parse(br#"{"b": 1, "a": [null, true, "x", 2.5], "b": 2}"#);
        let array = Node::Array(vec![
            Node::Null,
            Node::Bool(true),
            Node::String("x".into()),
            Node::Number(2.5),
        ]);
        let members = [
            ("b", Node::Number(1.0)),
            ("a", array),
            ("b", Node::Number(2.0)),
        ];
        assert_eq!(
            node,
            Ok(Node::Object(
                members.map(|(name, value)| (name.to_owned(), value)).into()
            ))
        );
    }

    #[test]
    fn an_error_names_line_and_column() {
        let error = Node::parse(b"{\n  \"a\": }").unwrap_err();
        assert!(error.contains("line 2 column 8"), "{error}");
        assert!(Node::parse(&b"[".repeat(100_000)).is_err());
    }
}
