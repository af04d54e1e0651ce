//! `schema`: it describes what is used, and the pages made of it are in step.

use serde_json::{Value, json};
use switchover_tests::programs;
use switchover_tests::setup::demo_document;

use super::{stdout, switchover};

/// Every field of the demo's document, and of what the README shows, is described.
#[test]
fn the_schema_describes_the_demo() {
    let schema: Value = serde_json::from_slice(&switchover(&["schema"]).stdout).unwrap();
    let smallest = json!({"routing": {"blue": {"weight": 95}, "green": {"weight": 5}}, "strategy": "weighted_round_robin"});
    for document in [demo_document(), smallest] {
        let mut described = 0;
        describes(
            &schema,
            &schema["$defs"]["Rollout"],
            &document,
            "",
            &mut described,
        );
        assert!(described >= 4, "only {described} fields of {document}");
    }
}

/// Walks a value and its schema together; each member of an object must have a description.
fn describes(root: &Value, schema: &Value, value: &Value, path: &str, described: &mut u32) {
    let resolved = |schema: &Value| match schema["$ref"].as_str() {
        Some(name) => root.pointer(name.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    let choices = schema["anyOf"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![schema.clone()]);
    let schema = choices
        .iter()
        .map(resolved)
        .find(|s| s["type"] != "null")
        .unwrap();
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = format!("{path}.{name}");
                if let Some(field) = schema["properties"].get(name) {
                    assert!(
                        field["description"].as_str().is_some_and(|d| !d.is_empty()),
                        "{path}"
                    );
                    *described += 1;
                    describes(root, field, value, &path, described);
                } else {
                    let names = &schema["additionalProperties"];
                    assert!(names.is_object(), "{path} is not in the schema");
                    describes(root, names, value, &path, described);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                describes(
                    root,
                    &schema["items"],
                    item,
                    &format!("{path}[]"),
                    described,
                );
            }
        }
        _ => {}
    }
}

#[test]
fn the_reference_is_in_step() {
    let printed = switchover(&["schema", "--markdown"]);
    let committed = std::fs::read_to_string(programs::root().join("filter/DOCUMENT.md")).unwrap();
    assert!(
        stdout(&printed) == committed,
        "run `switchover schema --markdown > filter/DOCUMENT.md`"
    );
}

/// What the operators' page says about members is what there is.
#[test]
fn the_table_of_members_is_in_step() {
    let page = std::fs::read_to_string(programs::root().join("envoy/OPERATE.md")).unwrap();
    let schema: Value = serde_json::from_slice(&switchover(&["schema"]).stdout).unwrap();
    let members = page
        .split("| member |")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let named = |cell: &str| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let cells: Vec<String> = members
        .lines()
        .skip(2)
        .flat_map(|row| named(row.split('|').nth(1).unwrap()))
        .collect();
    assert!(cells.len() > 5, "{cells:?}");
    for member in cells {
        assert!(
            schema["$defs"]["Rollout"]["properties"]
                .get(&member)
                .is_some(),
            "{member}"
        );
    }
}
