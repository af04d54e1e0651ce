//! A file as a tree of values that know their lines.
//!
//! Scalars mean what they mean to Envoy, which reads YAML 1.1 through yaml-cpp and then maps the result to
//! protobuf JSON: plain `y`, `no`, `On` are booleans, `010` is eight and `0x1f` is 31, while a plain `0.5` and an
//! integer beyond 32 bits are handed on as text. Checked against Envoy 1.40.

mod json;
mod yaml;

use std::path::Path;

/// How deep values may be nested; protobuf's own limit for messages is 100.
const MAX_DEPTH: usize = 100;

/// One value of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Line, from 1.
    pub(crate) line: usize,
    /// The value.
    pub(crate) value: Value,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing, or `null`: to protobuf the same as leaving the field out.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number: in YAML an integer of 32 bits.
    Number(f64),
    /// Text, or a number that is handed on as text.
    Text {
        /// The text.
        text: String,
        /// Whether it is a literal block (`|`), whose lines are those of the file, starting on the next one.
        literal: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the file's order; keys are unique.
    Map(Vec<(String, Node)>),
}

/// Why a text is not a tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Line, from 1.
    pub(crate) line: usize,
    /// What was wrong.
    pub(crate) message: String,
}

/// What plain scalars of YAML mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// What they mean to Envoy.
    Envoy,
    /// What YAML 1.2 says.
    Core,
}

/// Reads a file's text; as in Envoy, `.yaml` and `.yml` are YAML and every other name is JSON.
pub(super) fn parse(file: &Path, text: &str) -> Result<Node, SyntaxError> {
    if is_yaml(file) {
        yaml::parse(text, Dialect::Envoy)
    } else {
        json::parse(text).map_err(|e| SyntaxError {
            message: format!("{} (only .yaml and .yml files are YAML)", e.message),
            ..e
        })
    }
}

/// Whether a file of this name is YAML.
pub(super) fn is_yaml(file: &Path) -> bool {
    let extension = file.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"))
}

pub(super) use json::parse as parse_json;
pub(crate) use json::parts;
pub(crate) use yaml::parse as parse_yaml;

// === impl Node ===

impl Node {
    /// The levels of nesting in it; a scalar has none.
    fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => 1 + entries.iter().map(|(_, n)| n.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The number of values in it, itself included.
    fn size(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|(_, n)| n.size()).sum::<usize>(),
            _ => 1,
        }
    }

    /// The value of a mapping's key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, n)| n),
            _ => None,
        }
    }

    /// The node that a path such as `routing.green.steps[2].at` leads to, or the last one that exists on the way.
    pub(crate) fn nearest(&self, path: &str) -> &Node {
        let mut node = self;
        for step in path.split(['.', '[']).filter(|s| !s.is_empty()) {
            let step = step.trim_end_matches(']').trim_matches('"');
            let next = match &node.value {
                Value::List(items) => step.parse().ok().and_then(|i: usize| items.get(i)),
                _ => node.get(step),
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }
}

// === impl Value ===

impl Value {
    /// What it is, for "found …" in messages; text is quoted and cut.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::Null => "nothing".to_owned(),
            Value::Bool(b) => format!("the boolean {b}"),
            Value::Number(n) => format!("the number {n}"),
            Value::Text { text, .. } if text.chars().count() > 60 => {
                format!("{:?}…", text.chars().take(60).collect::<String>())
            }
            Value::Text { text, .. } => format!("{text:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}
