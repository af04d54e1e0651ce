//! What hostile modules and requests contribute reaches a terminal with nothing in it that the terminal obeys.

use std::process::Command;

use switchover_tests::{Engine, Setup, Upstream, assert_eventually, guest, programs};

/// Turns text red, moves to another line, rings, turns the direction of writing: as WebAssembly text has it.
const HOSTILE: &str = r"\1b[31m\0d\0a\07FORGED \e2\80\ae\e2\81\a6";

/// What it leads to in what is shown.
const SHOWN: &str = r"\u{1b}[31m\r\n\u{7}FORGED \u{202e}\u{2066}";

/// A module whose names, log lines, headers and trap are hostile.
fn module() -> String {
    let text = r#"(module
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
        IMPORTS
        (memory (export "memory") 1)
        (data (i32.const 0) "HOSTILE") (data (i32.const 128) ":path") (data (i32.const 144) "/HOSTILE")
        (data (i32.const 192) "x-turned") (data (i32.const 208) "\e2\80\ae")
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 4096))
        (func (export "HOSTILE"))
        (func (export "proxy_on_HOSTILE"))
        (func $"fHOSTILE" (i32.store8 (i32.const 0) (i32.const 120)) unreachable)
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $log (i32.const 4) (i32.const 0) (i32.const 21)))
            (drop (call $replace (i32.const 0) (i32.const 128) (i32.const 5) (i32.const 144) (i32.const 22)))
            (drop (call $replace (i32.const 0) (i32.const 192) (i32.const 8) (i32.const 208) (i32.const 3)))
            (i32.const 0))
        (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
            (call $"fHOSTILE") (i32.const 0))
        (@custom "HOSTILE" "HOSTILE")
        (@custom "producers" "\02\08language\01\15HOSTILE\01\0a\0cprocessed-by\01\15HOSTILE\01\0a"))"#;
    text.replace("HOSTILE", HOSTILE)
}

/// Line feeds are the tool's own only where no line begins with what was put in.
fn assert_plain(text: &str) {
    let is_obeyed = |c: char| {
        let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() && c != '\n' || turns
    };
    let found: Vec<char> = text.chars().filter(|c| is_obeyed(*c)).collect();
    assert!(found.is_empty(), "{found:?} in {text}");
    let is_forged = |line: &str| line.trim_start().starts_with(r"\u{7}FORGED");
    assert!(!text.lines().any(is_forged), "{text}");
}

fn switchover(arguments: &[&str]) -> String {
    let output = Command::new(programs::switchover())
        .args(arguments)
        .output()
        .unwrap();
    let all = [output.stdout, output.stderr].concat();
    String::from_utf8(all).unwrap()
}

#[test]
fn inspect_shows_names_of_modules_plain() {
    let directory = tempfile::tempdir().unwrap();
    for imports in ["", r#"(import "HOSTILE" "HOSTILE" (func))"#] {
        let text = module().replace("IMPORTS", &imports.replace("HOSTILE", HOSTILE));
        let file = guest::compile("hostile", &text, directory.path());
        let text = switchover(&["inspect", file.to_str().unwrap()]);
        assert_plain(&text);
        assert!(text.matches(SHOWN).count() >= 4, "{text}");
        assert!(text.contains(&format!("custom {SHOWN}")), "{text}");
        assert_eq!(
            text.contains("[nobody has it]"),
            !imports.is_empty(),
            "{text}"
        );
        // What it lacks is named where it is to be run, too.
        let lacking = ["trace", "bench"].iter().filter(|_| !imports.is_empty());
        for verb in lacking {
            let text = switchover(&[verb, file.to_str().unwrap()]);
            assert!(text.contains(SHOWN), "{text}");
            assert_plain(&text);
        }
    }
}

#[test]
fn trace_shows_guests_plain() {
    let directory = tempfile::tempdir().unwrap();
    let file = guest::compile(
        "hostile",
        &module().replace("IMPORTS", ""),
        directory.path(),
    );
    let text = switchover(&["trace", file.to_str().unwrap()]);
    // A trap has lines of its own, which names of functions can break.
    let (before, trap) = text.split_once("trap: ").unwrap();
    assert_plain(before);
    assert_plain(&trap.replace(r"\u{7}FORGED", ""));
    assert!(
        before.contains(&format!("log(ERROR, \"{SHOWN}\")")),
        "{text}"
    );
    assert!(before.contains(r"x-turned: \u{202e}"), "{text}");
}

#[test]
fn test_shows_guests_plain() {
    let directory = tempfile::tempdir().unwrap();
    guest::compile(
        "hostile",
        &module().replace("IMPORTS", ""),
        directory.path(),
    );
    let scenarios = "defaults: {filter: hostile.wasm, clusters: {upstream: {}}}
scenarios:
  - name: fails
    steps:
      - {request: GET /, expect: {response: 200}}
";
    let file = directory.path().join("scenarios.yaml");
    std::fs::write(&file, scenarios).unwrap();
    for more in [&[][..], &["--verbose"]] {
        let text = switchover(&[&["test", file.to_str().unwrap()], more].concat());
        assert!(text.contains(SHOWN), "{text}");
        assert_plain(&text);
    }
}

/// A guest cannot make up a line of the gateway's log.
#[tokio::test]
async fn what_a_guest_logs_is_one_line_of_the_gateways_log() {
    let directory = tempfile::tempdir().unwrap();
    let guest = guest::compile(
        "hostile",
        &module().replace("IMPORTS", ""),
        directory.path(),
    );
    let blue = Upstream::named("blue").await;
    let setup = Setup::new(&[("blue", &blue)])
        .route_guest(&guest)
        .without_attempt_role();
    let gateway = setup.start(Engine::Host).await;
    gateway.client().get("/").send().await;
    // The log is written beside the answers, a moment later. The trap is the last that the guest contributes.
    assert_eventually!(
        gateway.output().matches(SHOWN).count() == 2,
        "{}",
        gateway.output()
    );
    assert_plain(&gateway.output());
}
