//! How guests start, and what they may call then.

use super::guest::{Guest, Source};
use crate::abi::Options;
use crate::vm::VmError;

const PROPERTY: &str =
    r#"(import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))"#;

fn trap_of(source: &Source<'_>) -> String {
    match source.start(Options::default()) {
        Err(VmError::Trap(text)) => text,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn a_reactor_runs_its_initialiser_and_main() {
    let body = r#"
      (func (export "_initialize") (call $say (i32.const 1)))
      (func (export "main") (param i32 i32) (result i32) (call $say (i32.const 2)) (i32.const 0))
      (func (export "_start") (call $say (i32.const 3)))"#;
    let guest = Source::new("", body).start(Options::default()).unwrap();
    assert_eq!(guest.lines(), ["1", "2"]);
    assert!(guest.vm.has(guest.root));
}

#[test]
fn a_command_runs_start() {
    let body = r#"
      (func (export "main") (param i32 i32) (result i32) (call $say (i32.const 2)) (i32.const 0))
      (func (export "_start") (call $say (i32.const 3)))"#;
    let guest = Source::new("", body).start(Options::default()).unwrap();
    assert_eq!(guest.lines(), ["3"]);
}

#[test]
fn a_guest_that_starts_may_not_act() {
    let body = r#"(func (export "_initialize") (drop (call $time (i32.const 0))))"#;
    let text = trap_of(&Source::new(PROPERTY, body));
    assert!(
        text.contains("must not be called while the guest starts"),
        "{text}"
    );
}

#[test]
fn a_guest_that_allocates_may_not_act() {
    let source = wat::parse_str(
        r#"(module
          (import "env" "proxy_get_current_time_nanoseconds" (func $time (param i32) (result i32)))
          (import "env" "proxy_get_buffer_bytes"
            (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "proxy_abi_version_0_2_1"))
          (func (export "malloc") (param i32) (result i32) (call $time (i32.const 0)))
          (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $buffer (i32.const 7) (i32.const 0) (i32.const 9) (i32.const 8) (i32.const 12)))
            (i32.const 1)))"#,
    )
    .unwrap();
    match Guest::start(source, Options::default()) {
        Err(VmError::Trap(_)) => {}
        other => panic!("{:?}", other.err()),
    }
}

/// A start section runs before the initialiser, and may do no more.
#[test]
fn a_start_section_may_not_act() {
    let body = r#"(func $begin (drop (call $time (i32.const 0)))) (start $begin)"#;
    let text = trap_of(&Source::new(PROPERTY, body));
    assert!(
        text.contains("must not be called while the guest starts"),
        "{text}"
    );
}

/// Large filters have tens of thousands of functions whose addresses are taken.
#[test]
fn many_functions_in_a_table_are_no_trouble() {
    let functions = "(func)".repeat(60_000);
    let names: Vec<_> = (10..60_000).map(|index| index.to_string()).collect();
    let body = format!(
        r#"{functions} (table 60000 funcref) (elem (i32.const 0) func {}) (func (export "_initialize") (call $say (i32.const 1)))"#,
        names.join(" ")
    );
    let guest = Source::new("", &body).start(Options::default()).unwrap();
    assert_eq!(guest.lines(), ["1"]);
}
