//! A tree as serde reads it.

use std::collections::HashSet;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::Step;
use super::error::{Error, Id};
use crate::config::{Tree, TreeValue};

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
