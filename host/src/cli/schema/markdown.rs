//! The rollout document's reference as Markdown, from its JSON Schema.

use std::fmt::Write as _;

use serde_json::Value;

/// What stands before the sections.
const INTRODUCTION: &str = "# The rollout document

<!-- Written by `switchover schema --markdown > filter/DOCUMENT.md`; a test compares the two. -->

The filter's plugin configuration: JSON without comments. A field that is not listed here, a value that is not allowed
and a name that is not known are errors, all of them reported at once; a document with errors never takes the place
of a good one.
";

/// Where definitions are referred to.
const DEFINITIONS: &str = "#/$defs/";

/// A section for each definition, in the order in which they are first referred to.
pub(super) fn reference(schema: &Value) -> String {
    let mut out = INTRODUCTION.to_owned();
    // What is written most comes first: one rollout, then a list of them.
    let mut queue: Vec<&str> = ["else", "then"]
        .iter()
        .filter_map(|branch| target(&schema[branch]))
        .collect();
    let mut at = 0;
    while let Some(name) = queue.get(at).copied() {
        at += 1;
        let definition = &schema["$defs"][name];
        let _ = write!(out, "\n## {name}\n\n{}\n", text(definition));
        if let Some(words) = definition["oneOf"].as_array() {
            choice(&mut out, words);
        } else if definition["anyOf"].is_array() {
            let _ = write!(out, "\n{}\n", value(definition));
            referred(definition, &mut queue);
        } else {
            object(&mut out, definition, &mut queue);
        }
    }
    out
}

/// A choice's words.
fn choice(out: &mut String, words: &[Value]) {
    out.push('\n');
    for word in words {
        let _ = writeln!(
            out,
            "- `{}`: {}",
            word["const"].as_str().unwrap_or_default(),
            text(word)
        );
    }
}

/// An object's fields, required ones first; the definitions they refer to join the queue.
fn object<'s>(out: &mut String, definition: &'s Value, queue: &mut Vec<&'s str>) {
    let required = |name: &str| {
        let names = definition["required"].as_array();
        names.is_some_and(|names| names.iter().any(|known| known == name))
    };
    let mut fields: Vec<_> = definition["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .collect();
    fields.sort_by_key(|(name, _)| !required(name));
    out.push_str("\n| field | value | meaning |\n|---|---|---|\n");
    for (name, field) in fields {
        let mark = if required(name) { ", required" } else { "" };
        let _ = writeln!(
            out,
            "| `{name}`{mark} | {} | {} |",
            cell(&value(field)),
            cell(&text(field))
        );
        referred(field, queue);
    }
}

/// What a field may hold.
fn value(schema: &Value) -> String {
    if let Some(name) = target(schema) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let any: Vec<_> = any
            .iter()
            .filter(|schema| schema["type"] != "null")
            .map(value)
            .collect();
        return any.join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(" or ");
    }
    if let Some(title) = schema["title"].as_str() {
        return title.to_owned();
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.first().and_then(Value::as_str),
        one => one.as_str(),
    };
    match types {
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => format!(
            "an integer from {} to {}",
            schema["minimum"], schema["maximum"]
        ),
        Some("array") => format!("a list of: {}", value(&schema["items"])),
        Some("object") => format!(
            "an object from names ({}) to {}",
            value(&schema["propertyNames"]),
            value(&schema["additionalProperties"])
        ),
        _ => "nothing yet".to_owned(),
    }
}

/// Puts the definitions that a field refers to behind those that are known.
fn referred<'s>(schema: &'s Value, queue: &mut Vec<&'s str>) {
    if let Some(name) = target(schema) {
        if !queue.contains(&name) {
            queue.push(name);
        }
        return;
    }
    for inner in schema["anyOf"].as_array().into_iter().flatten() {
        referred(inner, queue);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(inner) {
            referred(inner, queue);
        }
    }
}

/// The name of the definition that a schema refers to.
fn target(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(DEFINITIONS)
}

/// A description in one line.
fn text(schema: &Value) -> String {
    schema["description"]
        .as_str()
        .unwrap_or_default()
        .replace('\n', " ")
}

/// Text within a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
