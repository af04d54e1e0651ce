//! What is wrong with a tree, and where.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Unexpected};

use super::{Step, path_text};
use crate::config::Tree;

/// A node's address: what tells nodes of one tree apart.
pub(super) type Id = *const Tree;

/// What is wrong, and where.
#[derive(Debug, Clone)]
pub(super) struct Error {
    /// Line, from 1.
    pub(super) line: usize,
    /// What was wrong and what would be right.
    pub(super) message: String,
    /// The node that is wrong.
    pub(super) node: Option<Id>,
    /// It only misses what may have been passed over: no news.
    pub(super) follows: bool,
    /// From the inside out.
    path: Vec<Step>,
    /// What is missed: a field, or the one entry of an enum.
    misses: Option<Missed>,
}

/// What is not there.
#[derive(Debug, Clone, Copy)]
enum Missed {
    Field(&'static str),
    Entry,
}

// === impl Error ===

impl Error {
    fn new(message: String) -> Self {
        Self {
            line: 0,
            message,
            node: None,
            follows: false,
            path: Vec::new(),
            misses: None,
        }
    }

    /// An error of this node, unless one within it is to blame.
    pub(super) fn at(mut self, tree: &Tree) -> Self {
        if self.node.is_none() {
            self.node = Some(tree);
            self.line = tree.line;
        }
        self
    }

    pub(super) fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    /// An error of this mapping itself, which may only miss what was passed over.
    pub(super) fn judged(mut self, entries: &[(String, Tree)], without: &HashSet<Id>) -> Self {
        if self.node.is_none()
            && let Some(missed) = self.misses
        {
            let mut passed_over = entries
                .iter()
                .filter(|(_, tree)| without.contains(&std::ptr::from_ref(tree)));
            self.follows = passed_over.any(|(name, _)| match missed {
                Missed::Field(field) => field == name,
                Missed::Entry => true,
            });
        }
        self
    }

    /// The path as people write it.
    pub(super) fn path(&self) -> String {
        let path: Vec<_> = self.path.iter().rev().cloned().collect();
        path_text(&path)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = match expected.to_string().as_str() {
            "enum" => {
                return Self {
                    misses: Some(Missed::Entry),
                    ..Self::new("expected a mapping with exactly one key".to_owned())
                };
            }
            "a string" => "text".to_owned(),
            "a boolean" => "true or false".to_owned(),
            "a sequence" => "a list".to_owned(),
            "a map" => "a mapping".to_owned(),
            "usize" | "u16" | "u32" | "u64" => "a whole number".to_owned(),
            other => match other.strip_prefix("struct ") {
                Some(_) => "a mapping".to_owned(),
                None => other.to_owned(),
            },
        };
        Self::new(format!("expected {expected}, found {}", described(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(match expected {
            [] => "is not known here; nothing is allowed".to_owned(),
            _ => format!("is not known here; allowed: {}", expected.join(", ")),
        })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let expected = expected.join(", ");
        Self::new(format!(
            "{variant:?} is not known here; allowed: {expected}"
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            misses: Some(Missed::Field(field)),
            ..Self::new(format!("the field {field} is missing"))
        }
    }
}

fn described(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("the boolean {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Unit => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}
