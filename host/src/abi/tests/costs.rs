//! What hostcalls may cost: time, and what they make the host keep.

use std::sync::Arc;
use std::time::Duration;

use super::guest::{Guest, Source, process};
use super::phases::stream;
use crate::abi::Options;

const IMPORTS: &str = r#"
  (import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_property" (func $set_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $get_property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_shared_data" (func $set_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_shared_data" (func $get_shared (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_resolve_shared_queue" (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_grpc_stream" (func $stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;

/// Names of foreign functions, a cluster's, five letters that a number is written as, and 4 MiB of the letter `a`.
const BODY: &str = r#"
  (data (i32.const 100) "compress verify_signature declare_property there")
  (data (i32.const 198) "\0a\05aaaaa")
  (func $number (param $n i32) (local $at i32)
    (local.set $at (i32.const 200))
    (loop $letter
      (i32.store8 (local.get $at) (i32.add (i32.const 97) (i32.rem_u (local.get $n) (i32.const 26))))
      (local.set $n (i32.div_u (local.get $n) (i32.const 26)))
      (br_if $letter (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 1))) (i32.const 205)))))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (memory.grow (i32.const 1000)))
    (memory.fill (i32.const 200000) (i32.const 97) (i32.const 4000000))
    (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $act) (i32.const 0))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (call $act) (i32.const 1))"#;

/// A guest with a stream whose request's headers and then body have come; `act` is what it does about each.
fn acted(act: &str, deadline: Duration) -> Guest {
    let body = format!("{BODY} (func $act {act})");
    let mut process = process(Options::default());
    Arc::get_mut(&mut process).unwrap().limits.deadline = deadline;
    let (mut vm, plugin) = Source::new(IMPORTS, &body).vm(process.clone()).unwrap();
    let root = vm.add_root(plugin).unwrap();
    let id = vm.add_stream(root, stream()).unwrap();
    for act in [
        |vm: &mut crate::vm::Vm, id| vm.request_headers(id, 3, false),
        |vm: &mut crate::vm::Vm, id| vm.request_body(id, 3, false),
        |vm: &mut crate::vm::Vm, id| vm.request_body(id, 3, false),
    ] {
        let _ = act(&mut vm, id);
    }
    Guest { vm, process, root }
}

/// Far more than any test needs.
const LONG: Duration = Duration::from_secs(60);

/// A callback without loops and calls of its own comes by no place where its guest's code looks at the clock.
#[test]
fn calls_in_a_row_end_with_the_deadline() {
    let compress = "(drop (call $foreign (i32.const 100) (i32.const 8) (i32.const 200000) (i32.const 4000000) (i32.const 0) (i32.const 0)))";
    let guest = acted(&compress.repeat(5000), Duration::from_millis(50));
    assert!(guest.vm.failed());
    let made = guest.vm.usage().hostcalls;
    assert!(made < 1000, "{made} hostcalls");
}

/// 60 MB of zeros, compressed: a second's work on a slow machine, and no less than a tenth on a fast one.
#[test]
fn a_long_call_ends_with_the_deadline() {
    let compress = "(drop (call $foreign (i32.const 100) (i32.const 8) (i32.const 5000000) (i32.const 60000000) (i32.const 0) (i32.const 0)))";
    let guest = acted(&compress.repeat(20), Duration::from_millis(50));
    assert!(guest.vm.failed());
    assert!(guest.vm.usage().hostcalls < 20);
}

/// What names something is short; what is longer is not even looked at.
#[test]
fn names_have_a_limit() {
    const LONG_NAME: &str = "(i32.const 200000) (i32.const 65537)";
    const SHORT: &str = "(i32.const 200) (i32.const 5)";
    const OUT: &str = "(i32.const 8) (i32.const 12)";
    for call in [
        format!("$get_property {LONG_NAME} {OUT}"),
        format!("$set_property {LONG_NAME} {SHORT}"),
        format!("$get_shared {LONG_NAME} {OUT} (i32.const 8)"),
        format!("$set_shared {LONG_NAME} {SHORT} (i32.const 0)"),
        format!("$register {LONG_NAME} (i32.const 8)"),
        format!("$resolve {LONG_NAME} {SHORT} (i32.const 8)"),
        format!("$resolve {SHORT} {LONG_NAME} (i32.const 8)"),
        format!("$define (i32.const 0) {LONG_NAME} (i32.const 8)"),
        format!("$stream {LONG_NAME} {SHORT} {SHORT} {SHORT} (i32.const 8)"),
        format!(
            "$reply (i32.const 200) {LONG_NAME} {SHORT} (i32.const 0) (i32.const 0) (i32.const -1)"
        ),
        format!("$add (i32.const 0) {SHORT} (i32.const 200000) (i32.const 1048577)"),
        format!("$replace (i32.const 0) {SHORT} (i32.const 200000) (i32.const 1048577)"),
        format!(
            "$foreign (i32.const 109) (i32.const 16) (i32.const 200000) (i32.const 1048577) {OUT}"
        ),
    ] {
        let guest = acted(&format!("(call $say (call {call}))"), LONG);
        // The first of them is the one about the headers.
        assert_eq!(guest.lines()[0], "2", "{call}");
    }
}

/// So often is all well; the next time it is refused, and nothing has panicked.
#[test]
fn what_is_kept_has_a_limit() {
    const NAME: &str = "(i32.const 200) (i32.const 5)";
    const INTERNAL_FAILURE: &str = ":";
    // As many as the map of the crate `http` takes.
    let headers = (1 << 15) - (1 << 13);
    for (times, call, refused) in [
        (headers, format!("$add (i32.const 0) {NAME} {NAME}"), "2"),
        (1024, format!("$set_property {NAME} {NAME}"), INTERNAL_FAILURE),
        (10_000, "$period (i32.const 5)".to_owned(), INTERNAL_FAILURE),
        (
            1000,
            "$foreign (i32.const 126) (i32.const 16) (i32.const 198) (i32.const 7) (i32.const 0) (i32.const 0)".to_owned(),
            INTERNAL_FAILURE,
        ),
        (
            4096,
            format!("$stream (i32.const 143) (i32.const 5) {NAME} {NAME} (i32.const 0) (i32.const 0) (i32.const 8)"),
            INTERNAL_FAILURE,
        ),
    ] {
        let act = format!(
            "(local $n i32)
             (loop $again
               (call $number (local.get $n))
               (if (call {call}) (then (call $say (i32.const 1)) (return)))
               (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const {times}))))
             (call $number (local.get $n))
             (call $say (call {call}))"
        );
        let guest = acted(&act, LONG);
        assert_eq!(guest.lines()[0], refused, "{call}");
    }
}

/// Callback after callback adds to a body that is held.
#[test]
fn a_body_has_a_limit() {
    let append = "(call $say (call $set_buffer (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 200000) (i32.const 40000000)))";
    // None in the headers' callback, the first, and the second, which is too much.
    assert_eq!(acted(append, LONG).lines(), ["2", "0", ":"]);
    let replace = "(call $say (call $set_buffer (i32.const 0) (i32.const 0) (i32.const -1) (i32.const 200000) (i32.const 40000000)))";
    assert_eq!(acted(replace, LONG).lines(), ["2", "0", "0"]);
}
