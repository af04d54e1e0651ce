//! The schema and the reader know the same fields.

use serde_json::Value;

use crate::document::raw;
use crate::document::read::Object;
use crate::document::schema;

fn definition<'a>(schema: &'a Value, name: &str) -> &'a Value {
    &schema["$defs"][name]
}

fn check<T: Object + schemars::JsonSchema>(schema: &Value) {
    let name = T::schema_name();
    let own = definition(schema, &name);
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let listed = |names: &[&str]| sorted(names.iter().map(|name| (*name).to_owned()).collect());
    let properties = own["properties"]
        .as_object()
        .unwrap_or_else(|| panic!("{name} is not in the schema"));
    assert_eq!(
        sorted(properties.keys().cloned().collect()),
        listed(T::FIELDS),
        "{name}"
    );
    let required = own["required"].as_array().into_iter().flatten();
    assert_eq!(
        sorted(
            required
                .map(|name| name.as_str().unwrap().to_owned())
                .collect()
        ),
        listed(T::REQUIRED),
        "{name}"
    );
    assert_eq!(own["additionalProperties"], false, "{name}");
    for (field, property) in properties {
        assert!(
            property["description"].is_string(),
            "{name}.{field} has no description"
        );
    }
}

#[test]
fn schema_and_reader_know_the_same_fields() {
    let schema = schema();
    check::<raw::Rollouts>(&schema);
    check::<raw::Rollout>(&schema);
    check::<raw::Environment>(&schema);
    check::<raw::Credential>(&schema);
    check::<raw::Sticky>(&schema);
    check::<raw::KeyField>(&schema);
    check::<raw::sticky::SetCookie>(&schema);
    check::<raw::Override>(&schema);
    check::<raw::Auth>(&schema);
    check::<raw::Source>(&schema);
    check::<raw::Consumer>(&schema);
    check::<raw::Key>(&schema);
    check::<raw::auth::Exempt>(&schema);
    check::<raw::Match>(&schema);
    // Every definition is one of those, or a choice of words.
    let objects = schema["$defs"]
        .as_object()
        .unwrap()
        .values()
        .filter(|own| own["type"] == "object")
        .count();
    assert_eq!(objects, 14);
}
