//! Single hostcalls: queues, metrics, foreign functions, the end of roots.

use std::sync::{Arc, Mutex};

use super::guest::Source;
use crate::abi::lint::{Lint, Rule};
use crate::abi::queues::Mailbox;
use crate::abi::{Mode, Options};

fn linted() -> (Options, Arc<Lint>) {
    let lint = Arc::new(Lint::default());
    let options = Options {
        lint: Some(lint.clone()),
        ..Options::default()
    };
    (options, lint)
}

fn rules(lint: &Lint) -> Vec<Rule> {
    lint.findings().iter().map(|found| found.rule).collect()
}

#[test]
fn a_queue_hands_over_what_was_put_in() {
    let source = Source::new(
        r#"
          (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
          (import "env" "proxy_resolve_shared_queue" (func $resolve (param i32 i32 i32 i32 i32) (result i32)))
          (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
          (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))"#,
        r#"
          (data (i32.const 100) "queue")
          (data (i32.const 110) "vm")
          (data (i32.const 120) "item")
          (global $queue (mut i32) (i32.const 0))
          (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $say (call $resolve (i32.const 110) (i32.const 2) (i32.const 100) (i32.const 5) (i32.const 8)))
            (call $say (call $register (i32.const 100) (i32.const 5) (i32.const 16)))
            (call $say (call $resolve (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 5) (i32.const 20)))
            (call $say (i32.eq (i32.load (i32.const 16)) (i32.load (i32.const 20))))
            (call $say (call $dequeue (i32.load (i32.const 16)) (i32.const 8) (i32.const 12)))
            (call $say (call $enqueue (i32.load (i32.const 16)) (i32.const 120) (i32.const 4)))
            (call $say (call $enqueue (i32.const 77) (i32.const 120) (i32.const 4)))
            (call $say (call $enqueue (i32.load (i32.const 16)) (i32.const -1) (i32.const 4)))
            (i32.const 1))
          (func (export "proxy_on_queue_ready") (param $root i32) (param $queue i32)
            (call $say (local.get $root))
            (call $say (call $dequeue (local.get $queue) (i32.const 8) (i32.const 12)))
            (call $show))"#,
    );
    let process = super::guest::process(Options::default());
    let (mut vm, plugin) = source.vm(process.clone()).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let post = told.clone();
    let serial = vm.receive_by(Mailbox::new(move |word| post.lock().unwrap().push(word)));
    let root = vm.add_root(plugin).unwrap();
    let lines = |from: usize| -> Vec<String> {
        let lines = process.guest_log.lines();
        lines[from..].iter().map(|line| line.text.clone()).collect()
    };
    assert_eq!(lines(0), ["1", "0", "0", "1", "7", "0", "1", "6"]);
    let words = told.lock().unwrap().clone();
    assert_eq!(words.len(), 1);
    assert_eq!((words[0].vm, words[0].root), (serial, root));
    vm.queue_ready(root, words[0].queue).unwrap();
    assert_eq!(lines(8), ["1", "0", "item"]);
    vm.queue_ready(root + 1, words[0].queue).unwrap();
    assert_eq!(lines(8).len(), 3, "a root that is not there is not told");
}

#[test]
fn metrics_are_told_apart_by_their_numbers() {
    let imports = r#"
      (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_get_metric" (func $get (param i32 i32) (result i32)))
      (import "env" "proxy_record_metric" (func $record (param i32 i64) (result i32)))
      (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))"#;
    let body = r#"
      (data (i32.const 100) "m1m2m3")
      (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (call $say (call $define (i32.const 0) (i32.const 100) (i32.const 2) (i32.const 16)))
        (call $say (call $define (i32.const 1) (i32.const 102) (i32.const 2) (i32.const 20)))
        (call $say (call $define (i32.const 2) (i32.const 104) (i32.const 2) (i32.const 24)))
        (call $say (call $define (i32.const 3) (i32.const 104) (i32.const 2) (i32.const 24)))
        (call $say (call $increment (i32.load (i32.const 16)) (i64.const 0)))
        (call $say (call $increment (i32.load (i32.const 16)) (i64.const 5)))
        (call $say (call $increment (i32.load (i32.const 20)) (i64.const -1)))
        (call $say (call $increment (i32.load (i32.const 24)) (i64.const 1)))
        (call $say (call $record (i32.load (i32.const 16)) (i64.const 3)))
        (call $say (call $record (i32.load (i32.const 24)) (i64.const 3)))
        (call $say (call $record (i32.const 3) (i64.const 3)))
        (call $say (call $get (i32.load (i32.const 24)) (i32.const 32)))
        (call $say (call $get (i32.const 3) (i32.const 32)))
        (call $say (call $get (i32.const 0) (i32.const 32)))
        (call $say (call $get (i32.const 1000) (i32.const 32)))
        (call $say (call $get (i32.load (i32.const 16)) (i32.const 32)))
        (call $say (i32.load (i32.const 32)))
        (i32.const 1))"#;
    let (options, lint) = linted();
    let guest = Source::new(imports, body).start(options).unwrap();
    let envoy = [
        "0", "0", "0", "2", "2", "0", "0", "2", "0", "0", "1", "2", "2", "1", "1", "0", "8",
    ];
    assert_eq!(guest.lines(), envoy);
    assert_eq!(rules(&lint), [Rule::RecordCounter, Rule::ReadHistogram]);
    let strict = Options {
        mode: Mode::Strict,
        ..Options::default()
    };
    let guest = Source::new(imports, body).start(strict).unwrap();
    let lines = guest.lines();
    assert_eq!(lines.last().map(String::as_str), Some("3"), "a record sets");
    assert_eq!(
        lines[11], "1",
        "a histogram cannot be read: it is not found"
    );
}

#[test]
fn foreign_functions_answer_as_in_envoy() {
    let source = Source::new(
        r#"(import "env" "proxy_call_foreign_function" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))"#,
        r#"
          (data (i32.const 100) "compress")
          (data (i32.const 120) "uncompress")
          (data (i32.const 140) "clear_route_cache")
          (data (i32.const 160) "nope")
          (data (i32.const 180) "verify_signature")
          (data (i32.const 220) "declare_property")
          (data (i32.const 300) "hello hello hello hello")
          (data (i32.const 340) "\0a\01x\10\01")
          (func $try (param i32 i32 i32 i32)
            (i32.store (i32.const 8) (i32.const 7))
            (call $say (call $call (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 8) (i32.const 12)))
            (call $say (i32.eq (i32.load (i32.const 8)) (i32.const 7))))
          (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $try (i32.const 100) (i32.const 8) (i32.const 300) (i32.const 23))
            (call $try (i32.const 120) (i32.const 10) (i32.load (i32.const 8)) (i32.load (i32.const 12)))
            (call $show)
            (call $try (i32.const 120) (i32.const 10) (i32.const 300) (i32.const 23))
            (call $try (i32.const 140) (i32.const 17) (i32.const 300) (i32.const 0))
            (call $try (i32.const 160) (i32.const 4) (i32.const 300) (i32.const 0))
            (call $try (i32.const 180) (i32.const 16) (i32.const 300) (i32.const 0))
            (call $try (i32.const 220) (i32.const 16) (i32.const 340) (i32.const 5))
            (call $try (i32.const 220) (i32.const 16) (i32.const 340) (i32.const 5))
            (call $try (i32.const 100) (i32.const 8) (i32.const -5) (i32.const 9))
            (call $say (call $call (i32.const 100) (i32.const 8) (i32.const 300) (i32.const 23) (i32.const 0) (i32.const 0)))
            (i32.const 1))"#,
    );
    let (options, lint) = linted();
    let guest = source.start(options).unwrap();
    let expected = [
        "0",
        "0",
        "0",
        "0",
        "hello hello hello hello",
        "3",
        "0",
        "0",
        "0",
        "1",
        "1",
        "2",
        "0",
        "0",
        "0",
        "2",
        "0",
        "6",
        "1",
        "0",
    ];
    assert_eq!(guest.lines(), expected);
    assert_eq!(rules(&lint), [Rule::MissingForeign]);
}

#[test]
fn a_root_may_end_later() {
    let source = Source::new(
        r#"(import "env" "proxy_done" (func $done (result i32)))"#,
        r#"
          (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $say (call $done)) (i32.const 1))
          (func (export "proxy_on_done") (param i32) (result i32) (i32.const 0))
          (func (export "proxy_on_tick") (param i32) (call $say (call $done)))
          (func (export "proxy_on_delete") (param i32) (call $say (i32.const 9)))"#,
    );
    let mut guest = source.start(Options::default()).unwrap();
    assert!(!guest.vm.end_root(guest.root), "it is busy");
    assert!(guest.vm.has(guest.root));
    guest.vm.tick(guest.root).unwrap();
    assert_eq!(guest.lines(), ["1", "0"]);
    let effects = guest.vm.effects().map(|effects| effects.len());
    assert_eq!(effects, Some(1), "it is to be deleted");
    guest.vm.delete(guest.root);
    assert!(!guest.vm.has(guest.root));
    assert_eq!(guest.lines(), ["1", "0", "9"]);
}

/// A guest that asks for more and more must not take the process with it.
#[test]
fn callouts_and_what_is_handed_over_have_limits() {
    let imports = r#"(import "env" "proxy_http_call"
      (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))"#;
    let calling = |body: u32| {
        format!(
            r#"
          (data (i32.const 100) "there")
          (data (i32.const 200) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
          (func $ask (result i32) (call $call (i32.const 100) (i32.const 5) (i32.const 200) (i32.const 61)
            (i32.const 0) (i32.const {body}) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 16)))
          (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (local $status i32)
            (loop $more
              (local.set $status (call $ask))
              (br_if $more (i32.eqz (local.get $status))))
            (call $say (local.get $status))
            (i32.const 1))
          (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
            (call $say (call $ask))
            (call $say (call $ask)))"#
        )
    };
    // 10 is INTERNAL_FAILURE; the digit behind 9 is a colon.
    let short = calling(0);
    let mut guest = Source::new(imports, &short)
        .start(Options::default())
        .unwrap();
    assert_eq!(guest.lines(), [":"]);
    assert_eq!(guest.vm.effects().map(|effects| effects.len()), Some(4096));
    guest.vm.http_call_response(guest.root, 1, None).unwrap();
    assert_eq!(
        guest.lines(),
        [":", "0", ":"],
        "one has ended, one may begin"
    );
    let long = calling(100_000);
    let mut guest = Source::new(imports, &long)
        .start(Options::default())
        .unwrap();
    let most = crate::process::GuestLimits::default().memory / 100_061;
    assert_eq!(guest.vm.effects().map(|effects| effects.len()), Some(most));
}

/// The messages of all streams of a VM count together until they have been sent.
#[test]
fn messages_of_streams_have_a_limit_together() {
    let source = Source::new(
        r#"
          (import "env" "proxy_grpc_stream" (func $stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
          (import "env" "proxy_grpc_send" (func $send (param i32 i32 i32 i32) (result i32)))"#,
        r#"
          (data (i32.const 100) "there")
          (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (memory.grow (i32.const 200)))
            (i32.const 1))
          (func (export "proxy_on_tick") (param i32)
            (drop (call $stream (i32.const 100) (i32.const 5) (i32.const 100) (i32.const 5)
              (i32.const 100) (i32.const 5) (i32.const 0) (i32.const 0) (i32.const 16)))
            (call $say (call $send (i32.load (i32.const 16)) (i32.const 65536) (i32.const 10000000) (i32.const 0))))"#,
    );
    let mut guest = source.start(Options::default()).unwrap();
    let mut effects = Vec::new();
    for _ in 0..7 {
        guest.vm.tick(guest.root).unwrap();
        effects.push(guest.vm.effects());
    }
    // 10 is INTERNAL_FAILURE; the digit behind 9 is a colon.
    assert_eq!(guest.lines(), ["0", "0", "0", "0", "0", "0", ":"]);
    drop(effects);
    guest.vm.tick(guest.root).unwrap();
    assert_eq!(guest.lines().last().map(String::as_str), Some("0"));
}
