//! The format: its page, its schema and the command agree.

use std::process::Command;

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Value, json};
use switchover_tests::programs;

use super::{test, told};

/// The YAML blocks of the page that describes the format.
fn examples() -> Vec<String> {
    let page = std::fs::read_to_string(programs::root().join("host/SCENARIOS.md")).unwrap();
    let blocks = page.split("```yaml\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap().to_owned());
    blocks.collect()
}

#[test]
fn the_pages_examples_pass() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(
        programs::guest("sdk"),
        directory.path().join("my_filter.wasm"),
    )
    .unwrap();
    let examples = examples();
    assert!(examples.len() >= 8, "{}", examples.len());
    for (number, example) in examples.iter().enumerate() {
        std::fs::write(directory.path().join(format!("{number}.yaml")), example).unwrap();
    }
    let output = test(&[directory.path().to_str().unwrap()]);
    let (code, out, error) = told(&output);
    assert_eq!(code, 0, "{out}{error}");
}

/// All fields of the schema, which follow from the types that read the files.
#[test]
fn the_page_knows_every_field() {
    let page = std::fs::read_to_string(programs::root().join("host/SCENARIOS.md")).unwrap();
    let schema = schema();
    let definitions = schema["$defs"]
        .as_object()
        .unwrap()
        .values()
        .chain([&schema]);
    let mut fields = 0;
    for definition in definitions {
        let variants = definition["oneOf"].as_array().into_iter().flatten();
        for object in variants.chain([definition]) {
            for (name, field) in object["properties"].as_object().into_iter().flatten() {
                fields += 1;
                let written = [
                    format!("`{name}`"),
                    format!("{name}: "),
                    format!("{name}:\n"),
                ];
                assert!(
                    written.iter().any(|written| page.contains(written)),
                    "{name} is not in host/SCENARIOS.md"
                );
                // A variant's own description stands beside it.
                let described =
                    field["description"].is_string() || object["description"].is_string();
                assert!(described, "{name} has no description");
            }
        }
    }
    assert!(fields > 80, "{fields}");
}

fn schema() -> Value {
    let mut command = Command::new(programs::switchover());
    let output = command.args(["schema", "--scenarios"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// YAML as JSON.
fn json(yaml: &str) -> Value {
    fn value(yaml: &Yaml<'_>) -> Value {
        match yaml {
            Yaml::Value(Scalar::Null) => Value::Null,
            Yaml::Value(Scalar::Boolean(value)) => (*value).into(),
            Yaml::Value(Scalar::Integer(value)) => (*value).into(),
            Yaml::Value(Scalar::FloatingPoint(value)) => value.into_inner().into(),
            Yaml::Value(Scalar::String(value)) => value.as_ref().into(),
            Yaml::Sequence(items) => items.iter().map(value).collect(),
            Yaml::Mapping(entries) => entries
                .iter()
                .map(|(key, entry)| {
                    let key = value(key);
                    let key = key
                        .as_str()
                        .map_or_else(|| key.to_string(), ToOwned::to_owned);
                    (key, value(entry))
                })
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => panic!("{other:?}"),
        }
    }
    value(&Yaml::load_from_str(yaml).unwrap()[0])
}

/// What the command takes the schema takes too, and what it refuses for its fields and kinds the schema refuses.
#[test]
fn the_schema_and_the_command_agree() {
    let scenario = |step: &str| {
        format!("{{defaults: {{filter: a.wasm}}, scenarios: [{{name: one, steps: [{step}]}}]}}")
    };
    let bad = [
        "{requst: GET /}",
        "{request: 5}",
        "{request: {method: 5}}",
        "{request: {body: {jsn: 1}}}",
        "{request: {body: {text: a, size: 1}}}",
        "{advance: 5}",
        "{answers: {a: often}}",
        "{answers: {a: 99}}",
        "{trap: false}",
        "{worker: some}",
        "{times: many}",
        "{expect: {response: yes}}",
        "{expect: {response: {status: often}}}",
        "{expect: {upstream: some}}",
        "{expect: {took: 5}}",
        "{expect: {logs: [{level: loud}]}}",
        "{expect: {metrics: {a: many}}}",
        "{expect: {metrics: {a: {at_lest: 1}}}}",
        "{expect: {shares: {by: colour, expect: {}}}}",
        "{expect: {shares: {by: route, expect: {a: 1.5}}}}",
        "{expect: {response: {headers: {a: {equal: 1}}}}}",
    ];
    let mut documents = Vec::new();
    for step in bad {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bad.yaml");
        std::fs::copy(programs::guest("sdk"), directory.path().join("a.wasm")).unwrap();
        std::fs::write(&file, scenario(step)).unwrap();
        let output = test(&[file.to_str().unwrap()]);
        assert_eq!(told(&output).0, 2, "{step}: {output:?}");
        documents.push(json!({"name": step, "valid": false, "document": json(&scenario(step))}));
    }
    let mut files = vec![programs::root().join("tests/scenarios/sdk.yaml")];
    let folder = std::fs::read_dir(programs::root().join("tests/scenarios/switchover")).unwrap();
    files.extend(folder.map(|entry| entry.unwrap().path()));
    let texts = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap());
    for text in texts.chain(examples()) {
        let name = text.lines().next().unwrap().to_owned();
        documents.push(json!({"name": name, "valid": true, "document": json(&text)}));
    }
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, value: &Value| {
        let file = directory.path().join(name);
        std::fs::write(&file, value.to_string()).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let schema = write("schema.json", &schema());
    let documents = write("documents.json", &documents.into());
    let arguments = [schema.as_str(), documents.as_str()];
    switchover_tests::run(async {
        switchover_tests::python::client("schema.py", &arguments).await;
    });
}
