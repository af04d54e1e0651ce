//! Values that may be written in a short form, and lists of which one item will do.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::value::Plain;

/// A value that may be written in a short form.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Short<T>(pub(in super::super) T);

/// A type with a short form: each function reads one kind of scalar or list.
pub(in super::super) trait Shorten: Sized + DeserializeOwned + JsonSchema {
    /// All that can be written, for messages.
    const EXPECTED: &'static str;

    /// Whether there is a long form too.
    const LONG: bool = true;

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
                match T::LONG {
                    true => T::deserialize(MapAccessDeserializer::new(map)),
                    false => Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)),
                }
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
        if !T::LONG {
            return T::short();
        }
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
