//! Each rule of the lint, with a guest that meets it.

use std::sync::Arc;

use bytes::BytesMut;
use http::{HeaderValue, StatusCode};

use super::guest::Source;
use super::phases::stream;
use crate::abi::Options;
use crate::abi::lint::{Lint, Rule};
use crate::stream::ResponseHead;

const IMPORTS: &str = r#"
  (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_header_map_pairs" (func $set_pairs (param i32 i32 i32) (result i32)))
  (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))
  (import "env" "proxy_get_metric" (func $get_metric (param i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))"#;

const DATA: &str = r#"
  (data (i32.const 100) "x-many")
  (data (i32.const 110) "x-bytes")
  (data (i32.const 120) ":path")
  (data (i32.const 130) "bad name")
  (data (i32.const 140) "route_name")
  (data (i32.const 160) "request\00path")
  (data (i32.const 180) "a\00b")
  (data (i32.const 190) "metric")
  (data (i32.const 200) "\01\00\00\00\ff\ff\ff\ff")"#;

/// The rules that a guest meets whose callback has that body.
fn met(callback: &str, body: &str) -> Vec<Rule> {
    let functions = [
        (
            "proxy_on_configure",
            "(param i32 i32) (result i32)",
            "(i32.const 1)",
        ),
        (
            "proxy_on_request_headers",
            "(param i32 i32 i32) (result i32)",
            "(i32.const 0)",
        ),
        (
            "proxy_on_request_body",
            "(param i32 i32 i32) (result i32)",
            "(i32.const 0)",
        ),
        (
            "proxy_on_response_headers",
            "(param i32 i32 i32) (result i32)",
            "(i32.const 0)",
        ),
        (
            "proxy_on_response_body",
            "(param i32 i32 i32) (result i32)",
            "(i32.const 0)",
        ),
        (
            "proxy_on_new_connection",
            "(param i32) (result i32)",
            "(i32.const 0)",
        ),
    ];
    let mut text = DATA.to_owned();
    match functions.iter().find(|(name, ..)| *name == callback) {
        Some((name, kind, end)) => {
            let calls: String = body
                .lines()
                .map(|call| format!("(drop (call {call}))"))
                .collect();
            text += &format!("(func (export \"{name}\") {kind} {calls} {end})");
        }
        None => text += body,
    }
    let lint = Arc::new(Lint::default());
    let options = Options {
        lint: Some(lint.clone()),
        ..Options::default()
    };
    let mut guest = Source::new(IMPORTS, &text).start(options).unwrap();
    let cell = stream();
    {
        let headers = &mut cell.borrow_mut().request.headers;
        headers.append("x-many", HeaderValue::from_static("1"));
        headers.append("x-many", HeaderValue::from_static("2"));
        headers.append("x-bytes", HeaderValue::from_bytes(b"\xff").unwrap());
    }
    let id = guest.vm.add_stream(guest.root, cell.clone()).unwrap();
    guest.vm.request_headers(id, 3, false).unwrap();
    cell.borrow_mut().request_body = BytesMut::from(&b"body"[..]);
    guest.vm.request_body(id, 4, true).unwrap();
    cell.borrow_mut().response = Some(ResponseHead::new(StatusCode::OK, http::HeaderMap::new()));
    guest.vm.response_headers(id, 1, false).unwrap();
    guest.vm.response_body(id, 0, true).unwrap();
    guest.vm.end(id, true);
    lint.findings().iter().map(|found| found.rule).collect()
}

#[test]
fn each_rule_is_met() {
    let number = |n: i32| format!("(i32.const {n})");
    let call = |name: &str, arguments: &[i32]| {
        let arguments: Vec<_> = arguments.iter().map(|n| number(*n)).collect();
        format!("${name} {}", arguments.join(" "))
    };
    let (configure, request, body, response, response_body) = (
        "proxy_on_configure",
        "proxy_on_request_headers",
        "proxy_on_request_body",
        "proxy_on_response_headers",
        "proxy_on_response_body",
    );
    let cases = [
        (
            Rule::UnavailableHeader,
            response,
            call("value", &[0, 100, 6, 8, 12]),
        ),
        (Rule::UnavailablePairs, response, call("pairs", &[0, 8, 12])),
        (
            Rule::UnavailableEdit,
            response,
            call("replace", &[0, 100, 6, 100, 1]),
        ),
        (
            Rule::UnavailableBuffer,
            request,
            call("buffer", &[0, 0, 9, 8, 12]),
        ),
        (Rule::PastTheEnd, body, call("buffer", &[0, 99, 9, 8, 12])),
        (
            Rule::PartialReplace,
            body,
            call("set_buffer", &[0, 1, 1, 100, 1]),
        ),
        (
            Rule::MalformedPairs,
            response,
            call("set_pairs", &[2, 200, 8]),
        ),
        (
            Rule::InvalidHeader,
            request,
            call("replace", &[0, 130, 8, 100, 1]),
        ),
        (
            Rule::InvalidPath,
            request,
            call("replace", &[0, 120, 5, 100, 6]),
        ),
        (Rule::MissingPseudo, request, call("remove", &[0, 120, 5])),
        (
            Rule::ManyValues,
            request,
            call("value", &[0, 100, 6, 8, 12]),
        ),
        (Rule::NotUtf8, request, call("value", &[0, 110, 7, 8, 12])),
        (
            Rule::RecordCounter,
            configure,
            call("define", &[0, 190, 6, 8]) + "\n$record (i32.load (i32.const 8)) (i64.const 1)",
        ),
        (
            Rule::ReadHistogram,
            configure,
            call("define", &[2, 190, 6, 8])
                + "\n$get_metric (i32.load (i32.const 8)) (i32.const 16)",
        ),
        (
            Rule::CasOnMissing,
            configure,
            call("set_shared", &[100, 6, 100, 6, 1]),
        ),
        (
            Rule::DoneLater,
            "",
            r#"(func (export "proxy_on_done") (param i32) (result i32) (i32.const 0))"#.to_owned(),
        ),
        (
            Rule::LateReply,
            response_body,
            call("reply", &[200, 0, 0, 0, 0, 0, 0, -1]),
        ),
        (
            Rule::GrpcStatus,
            request,
            call("reply", &[200, 0, 0, 0, 0, 0, 0, 17]),
        ),
        (
            Rule::InvalidStatus,
            request,
            call("reply", &[3, 0, 0, 0, 0, 0, 0, -1]),
        ),
        (
            Rule::BareProperty,
            request,
            call("property", &[140, 10, 8, 12]),
        ),
        (
            Rule::NestedProperty,
            request,
            call("set_property", &[180, 3, 100, 1]),
        ),
        (
            Rule::LateProperty,
            response,
            call("property", &[160, 12, 8, 12]),
        ),
        (Rule::ConnectionStream, request, call("close", &[2])),
        (
            Rule::MissingForeign,
            request,
            call("foreign", &[190, 6, 0, 0, 8, 12]),
        ),
        (
            Rule::NeverCalled,
            "proxy_on_new_connection",
            call("close", &[0]),
        ),
    ];
    for rule in Rule::ALL {
        assert!(
            cases.iter().any(|(own, ..)| own == rule),
            "{rule:?} has no guest"
        );
    }
    for (rule, callback, calls) in cases {
        let met = met(callback, &calls);
        assert!(met.contains(&rule), "{rule:?}: {met:?}");
    }
}

#[test]
fn a_filter_that_keeps_to_its_callbacks_meets_none() {
    let calls = "$value (i32.const 0) (i32.const 120) (i32.const 5) (i32.const 8) (i32.const 12)\n\
                 $pairs (i32.const 0) (i32.const 8) (i32.const 12)\n\
                 $replace (i32.const 0) (i32.const 100) (i32.const 6) (i32.const 100) (i32.const 1)\n\
                 $property (i32.const 160) (i32.const 12) (i32.const 8) (i32.const 12)";
    assert_eq!(met("proxy_on_request_headers", calls), []);
}
