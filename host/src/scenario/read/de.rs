//! A tree as serde reads it; errors know their places.

use std::collections::HashSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{Step, path_text};
use crate::config::{Tree, TreeValue};

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

/// Reads a tree, passing over some of its nodes.
pub(super) fn read<T: DeserializeOwned>(tree: &Tree, without: &HashSet<Id>) -> Result<T, Error> {
    let de = Node { tree, without };
    T::deserialize(de).map_err(|error| error.at(tree))
}

/// A value of the tree.
#[derive(Clone, Copy)]
struct Node<'a> {
    tree: &'a Tree,
    without: &'a HashSet<Id>,
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (String, Tree)>,
    without: &'a HashSet<Id>,
    value: Option<&'a (String, Tree)>,
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Tree>>,
    without: &'a HashSet<Id>,
}

/// A variant: its name, and its value if it has one.
struct Variant<'a> {
    name: &'a str,
    value: Option<Node<'a>>,
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
    fn at(mut self, tree: &Tree) -> Self {
        if self.node.is_none() {
            self.node = Some(tree);
            self.line = tree.line;
        }
        self
    }

    fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    /// An error of this mapping itself, which may only miss what was passed over.
    fn judged(mut self, entries: &[(String, Tree)], without: &HashSet<Id>) -> Self {
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

// === impl Node ===

impl Node<'_> {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.tree.value {
            TreeValue::Null => visitor.visit_unit(),
            TreeValue::Bool(value) => visitor.visit_bool(*value),
            TreeValue::Number(value) => number(*value, visitor),
            TreeValue::Text { text, .. } => visitor.visit_str(text),
            TreeValue::List(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
                without: self.without,
            }),
            TreeValue::Map(entries) => {
                let read = visitor.visit_map(Entries {
                    entries: entries.iter(),
                    without: self.without,
                    value: None,
                });
                read.map_err(|error| error.judged(entries, self.without))
            }
        }
    }
}

/// Whole numbers are told as such.
fn number<'de, V: Visitor<'de>>(value: f64, visitor: V) -> Result<V::Value, Error> {
    /// Beyond it not every whole number has a value of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() != 0.0 || value.abs() > EXACT {
        return visitor.visit_f64(value);
    }
    // Through text: there is no lossless conversion to use.
    match format!("{value:.0}").parse::<i64>() {
        Ok(whole) => match u64::try_from(whole) {
            Ok(whole) => visitor.visit_u64(whole),
            Err(_) => visitor.visit_i64(whole),
        },
        Err(_) => visitor.visit_f64(value),
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.tree.value {
            TreeValue::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.tree.value {
            TreeValue::Text { text, .. } => visitor.visit_enum(Variant {
                name: text,
                value: None,
            }),
            TreeValue::Map(entries) => match &entries[..] {
                [(name, tree)] => {
                    let value = Some(Node {
                        tree,
                        without: self.without,
                    });
                    let read = visitor.visit_enum(Variant { name, value });
                    read.map_err(|error| error.at(tree).under(Step::Key(name.clone())))
                }
                _ => Err(de::Error::custom(format!(
                    "expected exactly one of {}",
                    variants.join(", ")
                ))),
            },
            other => Err(de::Error::custom(format!(
                "expected one of {}, found {}",
                variants.join(", "),
                other.describe()
            ))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

// === impl Entries ===

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let entry = loop {
            let Some(entry) = self.entries.next() else {
                return Ok(None);
            };
            if !self.without.contains(&std::ptr::from_ref(&entry.1)) {
                break entry;
            }
        };
        self.value = Some(entry);
        let key: StrDeserializer<'_, Error> = entry.0.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| error.at(&entry.1).under(Step::Key(entry.0.clone())))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let Some((key, tree)) = self.value.take() else {
            return Err(de::Error::custom("a value without a key"));
        };
        let node = Node {
            tree,
            without: self.without,
        };
        seed.deserialize(node)
            .map_err(|error| error.at(tree).under(Step::Key(key.clone())))
    }
}

// === impl Items ===

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        loop {
            let Some((index, tree)) = self.items.next() else {
                return Ok(None);
            };
            if self.without.contains(&std::ptr::from_ref(tree)) {
                continue;
            }
            let node = Node {
                tree,
                without: self.without,
            };
            return seed
                .deserialize(node)
                .map(Some)
                .map_err(|error| error.at(tree).under(Step::Index(index)));
        }
    }
}

// === impl Variant ===

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: StrDeserializer<'_, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.value {
            None => Ok(()),
            Some(_) => Err(de::Error::custom(format!("{} takes no value", self.name))),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        match self.value {
            Some(value) => seed.deserialize(value),
            None => Err(de::Error::custom(format!("{} wants a value", self.name))),
        }
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Some(value) => value.visit(visitor),
            None => Err(de::Error::custom(format!("{} wants a list", self.name))),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Some(value) => value.visit(visitor),
            None => Err(de::Error::custom(format!("{} wants a mapping", self.name))),
        }
    }
}
