use super::*;

const DOCUMENT: &str = "{\n  \"routing\": {\n\n    \"blue\": {\"weight\": 1}\n  }\n}";

/// An ECDS document in YAML with this text as its `value`.
fn ecds(value: &str) -> String {
    format!(
        "# before\nresources:\n- \"@type\": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig\n  name: r\n  typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n    config:\n      root_id: switchover.route\n      configuration:\n        \"@type\": type.googleapis.com/google.protobuf.StringValue\n        value: {value}\n      # after\n      vm_config: {{vm_id: 'é', code: {{local: {{filename: f.wasm}}}}}}\n"
    )
}

fn block(document: &str, end: &str) -> String {
    let lines: Vec<_> = document
        .lines()
        .map(|l| {
            if l.is_empty() {
                String::new()
            } else {
                format!("          {l}")
            }
        })
        .collect();
    format!("| # the rollout{end}{}", lines.join(end))
}

fn find(name: &str, text: &str) -> Carrier {
    Carrier::find(Path::new(name), text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn only_the_document_changes() {
    let other = DOCUMENT.replace(
        "\"weight\": 1",
        "\"weight\": 25,\n    \"version\": \"it's é\"",
    );
    let literal = ecds(&block(DOCUMENT, "\n"));
    let windows = literal.replace('\n', "\r\n");
    let one_line = DOCUMENT.replace('\n', "");
    let other_line = other.replace('\n', "");
    let single = |d: &str| ecds(&format!("'{}'", d.replace('\'', "''")));
    let double = |d: &str| ecds(&serde_json::to_string(d).unwrap());
    for (text, document, other, expected) in [
        (literal, DOCUMENT, &other, ecds(&block(&other, "\n"))),
        (
            windows,
            DOCUMENT,
            &other,
            ecds(&block(&other, "\n")).replace('\n', "\r\n"),
        ),
        (
            single(&one_line),
            one_line.as_str(),
            &other_line,
            single(&other_line),
        ),
        (double(DOCUMENT), DOCUMENT, &other, double(&other)),
    ] {
        let carrier = find("f.yaml", &text);
        assert_eq!(carrier.document().trim_end(), document);
        assert_eq!(carrier.replace(&text, other).unwrap(), expected);
    }
    let plain = format!("{DOCUMENT}\n");
    assert_eq!(
        find("f.json", &plain).replace(&plain, &other).unwrap(),
        other
    );
}

#[test]
fn the_string_of_a_json_file() {
    let yaml = ecds(&block(DOCUMENT, "\n"));
    let node: serde_json::Value = serde_json::json!({"resources": [{
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": "r", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": {
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": DOCUMENT},
            "vm_config": {"code": {"local": {"filename": "f.wasm"}}}}}}]});
    let text = format!("{node:#}\n\n");
    let carrier = find("f.json", &text);
    assert_eq!(carrier.document(), DOCUMENT);
    let other = DOCUMENT.replace('1', "2");
    let expected = text.replace("\\\"weight\\\": 1", "\\\"weight\\\": 2");
    assert_ne!(text, expected);
    assert_eq!(carrier.replace(&text, &other).unwrap(), expected);
    assert!(
        Carrier::find(Path::new("f.json"), &yaml).is_err(),
        "a .json file is JSON"
    );
}

#[test]
fn what_cannot_be_changed_safely_is_refused() {
    let one_line = DOCUMENT.replace('\n', "");
    let folded = ecds(&block(DOCUMENT, "\n").replacen('|', ">", 1));
    let anchored = ecds(&format!("&a '{one_line}'"));
    let several = ecds(&format!("'{}'", DOCUMENT.replace('\n', "\n            ")));
    let bytes = ecds("e30=").replace("StringValue", "BytesValue");
    let aliased = ecds("*a").replacen("name: r", "name: &a '{}'", 1);
    let attempt = ecds(&block(DOCUMENT, "\n")).replace("switchover.route", "switchover.attempt");
    let nothing = ecds("''").replace("value: ''", "");
    let bootstrap = "static_resources: {}".to_owned();
    let foreign = "routes: {}".to_owned();
    for (text, expected) in [
        (folded, "folded"),
        (anchored, "anchor"),
        (several, "several lines"),
        (bytes, "literal block"),
        (aliased, "alias"),
        (attempt, "attempt role"),
        (nothing, "literal block"),
        (bootstrap, "name the ECDS document"),
        (foreign, "neither a rollout document"),
        (String::new(), "empty"),
        (
            ecds("|\n          {").replace("resources:", "resources: ["),
            "not YAML",
        ),
    ] {
        let error = Carrier::find(Path::new("f.yaml"), &text)
            .map(drop)
            .unwrap_err();
        assert!(
            error.to_string().contains(expected),
            "{expected}: {error}\n{text}"
        );
    }
    let broken = Carrier::find(Path::new("f.json"), "{\"routing\": {\n")
        .map(drop)
        .unwrap_err();
    assert!(
        broken.to_string().starts_with("f.json:2: not JSON: EOF"),
        "{broken}"
    );
}
