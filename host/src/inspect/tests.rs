use super::*;

fn of(text: &str) -> Report {
    inspect(&wat::parse_str(text).unwrap())
}

/// A module that loads everywhere, with something more in it.
fn module(more: &str) -> String {
    format!(
        r#"(module {more}
        (memory (export "memory") 1 16)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 1024)))"#
    )
}

#[test]
fn a_module_is_told_by_its_parts() {
    let report = of(r#"(module
        (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2 4)
        (table 7 9 funcref)
        (global (mut i32) (i32.const 0)) (global i32 (i32.const 0))
        (data (i32.const 8) "some text")
        (func (export "proxy_abi_version_0_2_0"))
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_new_connection") (param i32) (result i32) (i32.const 0))
        (func (export "proxy_on_reqest_body"))
        (func $begin) (start $begin))"#);
    assert!(report.loads_here.loads, "{:?}", report.loads_here);
    assert!(report.loads_in_envoy.loads, "{:?}", report.loads_in_envoy);
    let module = report.module.unwrap();
    assert_eq!(module.abi.markers, ["proxy_abi_version_0_2_0"]);
    let groups: Vec<_> = module
        .imports
        .iter()
        .map(|i| (i.group, i.here, i.in_envoy))
        .collect();
    assert_eq!(
        groups,
        [(Group::ProxyWasm, true, true), (Group::Wasi, true, true)]
    );
    assert_eq!(module.imports[0].signature, "(i32, i32, i32) -> i32");
    assert_eq!(
        (module.functions, module.data_segments, module.data_bytes),
        (6, 1, 9)
    );
    let memory = &module.memories[0];
    assert_eq!((memory.initial, memory.maximum), (2 << 16, Some(4 << 16)));
    assert_eq!(module.tables[0].limits.initial, 7);
    assert_eq!((module.globals, module.mutable_globals), (2, 1));
    let start = module.start.unwrap();
    assert_eq!((start.function, start.name.as_deref()), (7, Some("begin")));
    let callbacks = report.callbacks.unwrap();
    assert_eq!(callbacks.implemented, ["proxy_on_request_headers"]);
    assert!(callbacks.absent.contains(&"proxy_on_response_headers"));
    assert_eq!(callbacks.tcp, ["proxy_on_new_connection"]);
    assert_eq!(callbacks.unknown, ["proxy_on_reqest_body"]);
    assert!(
        module
            .sections
            .iter()
            .any(|s| s.name == "code" && s.bytes > 0)
    );
}

#[test]
fn callbacks_that_are_never_called_are_told_with_who_does() {
    let validate = r#"(func (export "proxy_validate_configuration") (param i32 i32) (result i32) (i32.const 1))"#;
    let report = of(&module(validate));
    assert!(report.loads_here.loads, "{:?}", report.loads_here);
    let callbacks = report.callbacks.unwrap();
    assert_eq!(callbacks.implemented, [""; 0]);
    assert!(!callbacks.absent.contains(&"proxy_validate_configuration"));
    let [uncalled] = &callbacks.uncalled[..] else {
        panic!("{:?}", callbacks.uncalled);
    };
    assert!(uncalled.why.contains("no host does"), "{uncalled:?}");
    // Envoy looks at its signature, and so does this host.
    let report = of(&module(r#"(func (export "proxy_validate_configuration"))"#));
    assert!(!report.loads_here.loads);
}

#[test]
fn files_that_are_no_module_are_told_apart() {
    let cases: [(&[u8], FileKind, &str); 7] = [
        (b"", FileKind::Other, "empty"),
        (b"{}", FileKind::Other, "not WebAssembly"),
        (b"\0asm\x01\0", FileKind::Other, "cut off"),
        (b"\0asm\x0d\0\x01\0", FileKind::Component, "component"),
        (b";; x\n (module)", FileKind::Text, "wat2wasm"),
        (b"\x1f\x8b\x08", FileKind::Gzip, "gzip"),
        (b"\x7fELF", FileKind::Compiled, "ELF"),
    ];
    for (bytes, kind, words) in cases {
        let report = inspect(bytes);
        let problem = report.problem.unwrap();
        assert_eq!(report.kind, kind, "{problem}");
        assert!(problem.contains(words), "{problem}");
        assert!(!report.loads_here.loads && !report.loads_in_envoy.loads);
    }
}

/// Wherever it is cut, there is an answer, and what came before is told.
#[test]
fn a_module_that_is_cut_off_is_read_up_to_there() {
    let whole = wat::parse_str(module("")).unwrap();
    for length in 0..whole.len() {
        let report = inspect(&whole[..length]);
        assert!(!report.loads_here.loads, "{length}");
        assert!(!report.loads_here.reasons.is_empty(), "{length}");
    }
    let report = inspect(&whole[..whole.len() - 1]);
    assert!(report.problem.unwrap().contains("cut off"));
    assert_eq!(
        report.module.unwrap().abi.markers,
        ["proxy_abi_version_0_2_1"]
    );
}

#[test]
fn all_missing_imports_are_named() {
    let report = of(&module(
        r#"(import "env" "nobody" (func)) (import "other" "neither" (func)) (import "env" "g" (global i32))"#,
    ));
    for verdict in [&report.loads_here, &report.loads_in_envoy] {
        let reasons = verdict.reasons.join("; ");
        for name in ["env.nobody", "other.neither", "env.g, no function"] {
            assert!(reasons.contains(name), "{name}: {reasons}");
        }
    }
}

#[test]
fn a_hostcall_with_another_signature_is_told() {
    let log = r#"(import "env" "proxy_log" (func (param i32) (result i32)))"#;
    let report = of(&module(log));
    for verdict in [&report.loads_here, &report.loads_in_envoy] {
        assert_eq!(
            verdict.reasons,
            ["it imports env.proxy_log as (i32) -> i32, and it is (i32, i32, i32) -> i32"]
        );
    }
    // As they are: with numbers of 64 bits, without a result.
    let right = r#"
        (import "env" "proxy_record_metric" (func (param i32 i64) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#;
    let report = of(&module(right));
    assert!(
        report.loads_here.loads && report.loads_in_envoy.loads,
        "{report:?}"
    );
}

#[test]
fn a_table_that_is_too_long_is_told() {
    let report = of(&module("(table 4294967295 funcref)"));
    assert!(report.loads_here.reasons[0].contains("table"));
    assert!(report.loads_in_envoy.reasons[0].contains("10000000"));
}

#[test]
fn what_a_version_has_not_is_told() {
    let text = module("").replace("0_2_1", "0_2_0");
    let text = text.replace(
        "(memory",
        r#"(import "env" "proxy_get_log_level" (func (param i32) (result i32))) (memory"#,
    );
    let reasons = of(&text).loads_in_envoy.reasons.join("; ");
    assert!(
        reasons.contains("env.proxy_get_log_level, which modules with"),
        "{reasons}"
    );
    let reasons = of(&module("").replace("0_2_1", "9_9_9"))
        .loads_in_envoy
        .reasons
        .join("; ");
    assert!(reasons.contains("proxy_abi_version_9_9_9"), "{reasons}");
}

#[test]
fn short_text_of_custom_sections_is_shown() {
    let report = of(&module(
        r#"(@custom "version" "1.2.3-rc1") (@custom "blob" "\00\01\02\03")"#,
    ));
    let module = report.module.unwrap();
    let text = |name: &str| {
        let section = module.custom.iter().find(|section| section.name == name);
        section.unwrap().text.clone()
    };
    assert_eq!(text("version").as_deref(), Some("1.2.3-rc1"));
    assert_eq!(text("blob"), None);
    assert_eq!(report.toolchain.unwrap().versions, ["version: 1.2.3-rc1"]);
}
