//! Versions of the ABI, and modules that do not keep to theirs.

use super::guest::{Guest, Source};
use super::phases::stream;
use crate::abi::Options;
use crate::abi::queues::Mailbox;
use crate::stream::{Direction, Member};
use crate::vm::VmError;

fn refused(source: &Source<'_>) -> VmError {
    match source.start(Options::default()) {
        Err(error) => error,
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn a_guest_of_0_1_0() {
    let source = Source {
        marker: "proxy_abi_version_0_1_0",
        imports: r#"
          (import "env" "proxy_get_configuration" (func $configuration (param i32 i32) (result i32)))
          (import "env" "proxy_continue_request" (func $continue (result i32)))
          (import "env" "proxy_clear_route_cache" (func $clear (result i32)))
          (import "env" "proxy_get_header_map_value" (func $value (param i32 i32 i32 i32 i32) (result i32)))"#,
        body: r#"
          (data (i32.const 100) "x-absent")
          (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
            (call $say (call $configuration (i32.const 8) (i32.const 12))) (call $show) (i32.const 1))
          (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $say (call $configuration (i32.const 8) (i32.const 12))) (call $show) (i32.const 1))
          (func (export "proxy_on_request_headers") (param i32 i32) (result i32)
            (call $say (call $value (i32.const 0) (i32.const 100) (i32.const 8) (i32.const 8) (i32.const 12)))
            (call $say (i32.load (i32.const 12)))
            (call $say (call $continue))
            (call $say (call $clear))
            (i32.const 1))"#,
    };
    let mut guest = source.start(Options::default()).unwrap();
    let expected = ["0", "vm configuration", "0", "plugin configuration"];
    assert_eq!(guest.lines(), expected);
    let cell = stream();
    let id = guest.vm.add_stream(guest.root, cell.clone()).unwrap();
    let action = guest.vm.request_headers(id, 3, true).unwrap();
    assert_eq!(action, crate::vm::Action::Pause);
    assert_eq!(guest.lines()[4..], ["0", "0", "0", "0"]);
    let vm = guest.vm.receive_by(Mailbox::default());
    let member = Member { vm, context: id };
    let resumed = |direction| cell.borrow_mut().take_resumed(member, direction);
    assert!(resumed(Direction::Request));
    assert!(!resumed(Direction::Response));
}

#[test]
fn a_module_keeps_to_its_version() {
    let level = r#"(import "env" "proxy_get_log_level" (func (param i32) (result i32)))"#;
    let close = r#"(import "env" "proxy_close_stream" (func (param i32) (result i32)))"#;
    let configuration =
        r#"(import "env" "proxy_get_configuration" (func (param i32 i32) (result i32)))"#;
    for (marker, imports, starts) in [
        ("proxy_abi_version_0_2_1", level, true),
        ("proxy_abi_version_0_2_0", level, false),
        ("proxy_abi_version_0_2_0", close, true),
        ("proxy_abi_version_0_1_0", close, false),
        ("proxy_abi_version_0_1_0", configuration, true),
        ("proxy_abi_version_0_2_1", configuration, false),
    ] {
        let source = Source {
            marker,
            imports,
            body: "",
        };
        let outcome = source.start(Options::default());
        assert_eq!(outcome.is_ok(), starts, "{marker} {imports}");
        if !starts {
            assert!(matches!(outcome, Err(VmError::Imports(_))));
        }
    }
}

#[test]
fn modules_without_what_the_abi_demands_are_refused() {
    for marker in ["proxy_abi_version_0_3_0", "something"] {
        let source = Source {
            marker,
            imports: "",
            body: "",
        };
        assert!(matches!(refused(&source), VmError::Abi(_)), "{marker}");
    }
    let odd =
        r#"(func (export "proxy_on_request_headers") (param i32 i32) (result i32) (i32.const 0))"#;
    let text = refused(&Source::new("", odd)).to_string();
    assert!(
        text.contains("proxy_on_request_headers as (i32, i32) -> (i32)"),
        "{text}"
    );
    let bare = wat::parse_str(r#"(module (func (export "proxy_abi_version_0_2_1")))"#).unwrap();
    match Guest::start(bare, Options::default()) {
        Err(VmError::Exports(text)) => assert!(text.contains("malloc"), "{text}"),
        other => panic!("{:?}", other.err()),
    }
}
