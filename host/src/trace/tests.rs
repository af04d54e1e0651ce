use bytes::Bytes;

use super::*;
use crate::config::plugin::Code;

/// Traces a guest in WebAssembly's text format.
fn trace(text: &str, change: impl FnOnce(&mut Tracing)) -> Trace {
    let mut plugin = rig::plugin(
        "guest".into(),
        String::new(),
        Bytes::new(),
        Bytes::new(),
        std::collections::BTreeMap::new(),
    );
    plugin.vm.code = Code::Inline(wat::parse_str(text).unwrap().into());
    let mut request = http::Request::new(Bytes::new());
    let headers = request.headers_mut();
    headers.insert("host", http::HeaderValue::from_static("a.example"));
    headers.insert("x-mine", http::HeaderValue::from_static("m1ne-value"));
    let mut tracing = Tracing {
        chain: vec![plugin],
        exchange: Exchange {
            request,
            response: http::Response::new(Bytes::new()),
            callout: None,
        },
        after: 0,
        ticks: 0,
        abi: abi::Options::default(),
        mask: Vec::new(),
    };
    change(&mut tracing);
    run(&tracing).unwrap()
}

/// A guest with this in its `proxy_on_request_headers`.
fn guest(body: &str) -> String {
    format!(
        r#"(module
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (import "env" "proxy_add_header_map_value"
            (func $add (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_get_header_map_value"
            (func $get (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 16) "x-mine") (data (i32.const 32) "x-new") (data (i32.const 48) "hello")
        (data (i32.const 64) "\30\00\00\00\05\00\00\00")
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 4096))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {body}))"#
    )
}

fn request_headers(trace: &Trace) -> Vec<&CallbackTrace> {
    let all = trace.callbacks.iter();
    all.filter(|callback| callback.name == "proxy_on_request_headers")
        .collect()
}

#[test]
fn arguments_results_and_changes_are_told_in_words() {
    let trace = trace(
        &guest(
            "(drop (call $get (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 200) (i32.const 204)))
            (drop (call $add (i32.const 0) (i32.const 32) (i32.const 5) (i32.const 48) (i32.const 5)))
            (drop (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 208)))
            (drop (call $log (i32.const 2) (i32.const 0xfffffff0) (i32.const 32)))
            (i32.const 0)",
        ),
        |_| {},
    );
    assert_eq!(trace.problem, None);
    let [callback] = request_headers(&trace)[..] else {
        panic!("{trace:?}")
    };
    assert_eq!((callback.plugin.as_str(), callback.context), ("guest", 2));
    assert_eq!(callback.result.as_deref(), Some("CONTINUE"));
    let flag = Argument {
        name: "end_of_stream",
        value: Value::Flag(true),
    };
    assert_eq!(callback.arguments.last(), Some(&flag));
    let [get, add, write, log] = &callback.calls[..] else {
        panic!("{callback:?}")
    };
    let bytes = |text: &str| Value::Bytes(text.as_bytes().to_vec());
    assert_eq!(get.arguments[0].value, Value::Word("REQUEST_HEADERS"));
    assert_eq!(get.arguments[1].value, bytes("x-mine"));
    assert_eq!(get.returned[0].value, bytes("m1ne-value"));
    assert_eq!(get.status.as_deref(), Some("OK"));
    assert_eq!(add.arguments[2].value, bytes("hello"));
    assert_eq!(write.arguments[1].value, bytes("hello"));
    assert_eq!(log.status.as_deref(), Some("INVALID_MEMORY_ACCESS"));
    assert_eq!(log.arguments[1].value, Value::Unreadable);
    let change = Change {
        map: "request",
        name: "x-new".to_owned(),
        before: None,
        after: Some("hello".to_owned()),
    };
    assert_eq!(callback.changes, [change]);
    assert_eq!(
        callback.host,
        callback.calls.iter().map(|call| call.took).sum()
    );
    let outcome = trace.outcome.unwrap();
    assert_eq!(outcome.passed, "forwarded");
    assert!(
        outcome
            .request
            .contains(&("x-new".to_owned(), "hello".to_owned()))
    );
}

#[test]
fn a_name_of_the_users_own_is_masked_everywhere() {
    let trace = trace(
        &guest(
            "(drop (call $get (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 200) (i32.const 204)))
            (drop (call $log (i32.const 2) (i32.load (i32.const 200)) (i32.load (i32.const 204))))
            (i32.const 0)",
        ),
        |tracing| tracing.mask.push("X-Mine".to_owned()),
    );
    let [callback] = request_headers(&trace)[..] else {
        panic!("{trace:?}")
    };
    let masked = Value::Bytes(b"<secret 1>".to_vec());
    assert_eq!(callback.calls[0].returned[0].value, masked);
    assert_eq!(callback.calls[1].arguments[1].value, masked);
    assert!(!format!("{trace:?}").contains("m1ne"), "{trace:?}");
}

#[test]
fn a_trap_is_shown_with_what_came_before_it() {
    let body = "(drop (call $log (i32.const 2) (i32.const 48) (i32.const 5))) (unreachable)";
    let trace = trace(&guest(body), |_| {});
    assert_eq!(trace.problem.as_deref(), Some("a filter trapped"));
    let [callback] = request_headers(&trace)[..] else {
        panic!("{trace:?}")
    };
    assert_eq!(
        (callback.calls.len(), callback.result.as_deref()),
        (1, None)
    );
    assert!(
        callback.trap.as_deref().unwrap().contains("unreachable"),
        "{callback:?}"
    );
    assert_eq!(
        trace.outcome.unwrap().passed,
        "answered",
        "the host's own 503"
    );
}

#[test]
fn requests_before_are_not_shown() {
    let guest = guest("(i32.const 0)");
    let trace = trace(&guest, |tracing| tracing.after = 3);
    let [callback] = request_headers(&trace)[..] else {
        panic!("{trace:?}")
    };
    assert_eq!(
        callback.context, 5,
        "the root is 1, and three streams came before"
    );
}
