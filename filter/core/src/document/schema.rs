//! The JSON Schema of the rollout document, from the types that read it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::document::raw::models::Prices;
use crate::document::raw::{
    Aliases, ByName, Document, Items, KeyField, KeySource, Price, Rollout, Rollouts,
};
use crate::document::text::{ModelName, ModelPattern, Name, Usd};

/// The JSON Schema of the rollout document (draft 2020-12).
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<Document>();
    schema.insert("title".into(), "Switchover rollout document".into());
    schema.to_value()
}

impl JsonSchema for Document {
    fn schema_name() -> Cow<'static, str> {
        "Document".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Rollout>();
        let many = generator.subschema_for::<Rollouts>();
        json_schema!({
            "description": "One rollout, or several in `rollouts`.",
            "if": { "type": "object", "required": ["rollouts"] },
            "then": many,
            "else": one,
        })
    }
}

impl<T: JsonSchema> JsonSchema for Items<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("ListOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<T>() })
    }
}

impl<T: JsonSchema> JsonSchema for ByName<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}ByName", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": Name::json_schema(generator),
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

impl JsonSchema for KeySource {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "KeySource".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["consumer", "source_address"] },
            generator.subschema_for::<KeyField>(),
        ] })
    }
}

impl JsonSchema for Price {
    fn schema_name() -> Cow<'static, str> {
        "Price".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What a million tokens cost: one price for all, or one for each kind.",
            "anyOf": [Usd::json_schema(generator), generator.subschema_for::<Prices>()],
        })
    }
}

impl JsonSchema for Aliases {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Aliases".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": ModelPattern::json_schema(generator),
            "additionalProperties": ModelName::json_schema(generator),
        })
    }
}

#[cfg(test)]
mod tests;
