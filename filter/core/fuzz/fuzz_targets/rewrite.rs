//! A request's body as it goes on beside `serde_json`: the same document but for the model, and that of the catalogue.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use switchover_core::document::{Document, parse};
use switchover_core::scan::Scan;

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let text = r#"{"routing": {"blue": {"weight": 1}}, "models": {
        "catalogue": [{"id": "m"}], "aliases": {"*": "m"}, "unknown": "pass"}}"#;
    parse(text.as_bytes(), &|_| None).expect("a document")
});

fuzz_target!(|text: &[u8]| {
    let mut scan = Scan::new();
    scan.feed(text);
    let rollout = &DOCUMENT.rollouts()[0];
    let passed = rollout.judge_body(scan.finish(), false, None);
    let Ok(passed) = passed else { return };
    let (start, rest) = text.split_at(passed.reach());
    let mut body = Vec::new();
    let models = rollout.models().expect("models");
    models.rewrite(&passed, start, &mut body);
    body.extend(rest);
    if !passed.is_changed() {
        assert_eq!(body, text);
        return;
    }
    let plain = |text: &[u8]| {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        serde_json::from_slice::<Value>(text)
    };
    // Half a surrogate pair, bytes that are no UTF-8 and numbers out of range are left to whoever parses.
    let Ok(mut before) = plain(text) else { return };
    assert!(before["model"].is_string());
    before["model"] = "m".into();
    assert_eq!(before, plain(&body).expect("what was changed is JSON"));
});
