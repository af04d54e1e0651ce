//! `switchover inspect`: what it tells of real filters, and that its verdict about Envoy is Envoy's own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use switchover_host::abi::{self, Kind, Returns};
use switchover_tests::{programs, setup};

fn inspect(arguments: &[&str]) -> Output {
    let mut command = Command::new(programs::switchover());
    command.arg("inspect").args(arguments).output().unwrap()
}

fn report(file: &Path) -> Value {
    let output = inspect(&["--json", file.to_str().unwrap()]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, bytes).unwrap();
    file
}

/// A module with a marker, an allocator and a memory, and something more in it.
fn module(imports: &str, more: &str) -> String {
    format!(
        r#"(module {imports} (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 1024)) {more})"#
    )
}

/// Whether real Envoy loads a module; what it says where not.
fn envoy_loads(directory: &Path, module: &Path) -> Result<(), String> {
    let plugin = json!({"name": "filter", "vm_config": {"runtime": "envoy.wasm.runtime.v8",
        "code": {"local": {"filename": module}}}});
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inspect",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]},
        "http_filters": [{"name": "filter", "typed_config": setup::wasm(&plugin)},
            {"name": "router", "typed_config": {"@type": router}}]});
    let file = json!({"static_resources": {"listeners": [{"name": "l", "address": address,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}]}});
    let file = write(directory, "envoy.json", file.to_string().as_bytes());
    let mut envoy = Command::new(programs::envoy());
    envoy.args(["--mode", "validate", "--log-level", "error", "-c"]);
    let output = envoy.arg(file).output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// What both hosts say of a module is what the report says of them.
#[test]
fn the_verdict_about_envoy_is_envoys_own() {
    let directory = tempfile::tempdir().unwrap();
    let plain = module("", "");
    let cases = [
        ("plain", plain.clone(), true),
        (
            "no marker",
            plain.replace("proxy_abi_version_0_2_1", "none"),
            false,
        ),
        ("old marker", plain.replace("0_2_1", "0_1_0"), true),
        ("unknown marker", plain.replace("0_2_1", "0_3_0"), false),
        ("no allocator", plain.replace("malloc", "palloc"), false),
        (
            "other allocator",
            plain.replace("malloc", "proxy_on_memory_allocate"),
            true,
        ),
        (
            "unknown import",
            module(r#"(import "env" "nobody" (func))"#, ""),
            false,
        ),
        (
            "global import",
            module(r#"(import "env" "g" (global i32))"#, ""),
            false,
        ),
        (
            "import of another version",
            module(
                r#"(import "env" "proxy_clear_route_cache" (func (result i32)))"#,
                "",
            ),
            false,
        ),
        (
            "what Envoy declares wrongly",
            module(
                r#"(import "wasi_snapshot_preview1" "path_symlink"
                (func (param i32 i32 i32 i32 i32) (result i32)))"#,
                "",
            ),
            false,
        ),
        (
            "too much memory",
            plain.replace("\"memory\") 1", "\"memory\") 20000"),
            false,
        ),
        (
            "simd",
            module("", "(func (drop (v128.const i64x2 0 0)))"),
            true,
        ),
        ("tail call", module("", "(func $f (return_call $f))"), true),
        (
            "memory64",
            plain.replace("\"memory\") 1", "\"memory\") i64 1"),
            true,
        ),
        (
            "wide arithmetic",
            module(
                "",
                "(func (param i64 i64 i64 i64) (result i64 i64)
                (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))",
            ),
            false,
        ),
    ];
    for (name, text, loads) in cases {
        let file = write(
            directory.path(),
            "filter.wasm",
            &wat::parse_str(&text).unwrap(),
        );
        let verdict = &report(&file)["loads_in_envoy"];
        assert_eq!(verdict["loads"], loads, "{name}: {verdict}");
        assert_eq!(
            verdict["reasons"].as_array().unwrap().is_empty(),
            loads,
            "{name}"
        );
        let envoy = envoy_loads(directory.path(), &file);
        assert_eq!(envoy.is_ok(), loads, "{name}: {envoy:?}");
    }
}

/// Every function that this host offers, imported as it is declared: Envoy has it under the same name and type.
#[test]
fn envoy_has_the_imports_that_the_host_has() {
    const OLD: [&str; 4] = [
        "proxy_get_configuration",
        "proxy_continue_request",
        "proxy_continue_response",
        "proxy_clear_route_cache",
    ];
    /// Envoy has these with an argument less than WASI.
    const MISDECLARED: [&str; 2] = ["path_link", "path_symlink"];
    let directory = tempfile::tempdir().unwrap();
    let mut imports = String::new();
    let is_asked = |name: &str| !OLD.contains(&name) && !MISDECLARED.contains(&name);
    for import in abi::imports().filter(|import| is_asked(import.name)) {
        let mut parameters = Vec::new();
        for parameter in import.parameters {
            let is_wide = matches!(parameter.kind, Kind::Wide | Kind::Delta);
            let name = if is_wide { "i64" } else { "i32" };
            parameters.extend(std::iter::repeat_n(name, parameter.kind.width()));
        }
        let result = match import.returns {
            Returns::Nothing => "",
            _ => "(result i32)",
        };
        for module in import.modules {
            let (name, parameters) = (import.name, parameters.join(" "));
            imports +=
                &format!(r#"(import "{module}" "{name}" (func (param {parameters}) {result}))"#);
        }
    }
    let bytes = wat::parse_str(module(&imports, "")).unwrap();
    let file = write(directory.path(), "filter.wasm", &bytes);
    let report = report(&file);
    let listed = report["imports"]
        .as_array()
        .or(report["module"]["imports"].as_array())
        .unwrap();
    assert!(listed.len() > 100, "{} imports", listed.len());
    let is_everywhere = |import: &&Value| import["here"] == true && import["in_envoy"] == true;
    assert_eq!(listed.iter().filter(is_everywhere).count(), listed.len());
    assert_eq!(
        report["loads_here"]["loads"], true,
        "{}",
        report["loads_here"]
    );
    assert_eq!(
        report["loads_in_envoy"]["loads"], true,
        "{}",
        report["loads_in_envoy"]
    );
    assert_eq!(envoy_loads(directory.path(), &file), Ok(()));
}

#[test]
fn real_filters_are_told_by_language_and_sdk() {
    let filter = programs::filter();
    let guest = programs::guest("sdk");
    for (file, sdk) in [(&filter, None), (&guest, Some("proxy-wasm 0.2."))] {
        let report = report(file);
        assert_eq!(report["toolchain"]["language"], "Rust", "{report}");
        let found = report["toolchain"]["sdk"].as_str();
        assert_eq!(found.is_some(), sdk.is_some(), "{found:?}");
        assert!(
            found
                .unwrap_or_default()
                .starts_with(sdk.unwrap_or_default()),
            "{found:?}"
        );
        assert_eq!(report["loads_here"]["loads"], true);
        assert_eq!(report["size"], std::fs::metadata(file).unwrap().len());
    }
    let output = inspect(&[guest.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "Proxy-Wasm 0.2.1",
        "this host     loads",
        "does not run network filters",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    assert!(!text.contains('\u{1b}'), "colour is for terminals");
}

/// The filter under test was built here, so that what it says of itself can be compared.
#[test]
fn the_filter_says_what_it_was_built_from() {
    let filter = programs::filter();
    let build = &report(&filter)["module"]["build"];
    assert_eq!(build["name"], "switchover");
    assert_eq!(build["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(build["abi"], "0.2.1");
    assert_eq!(build["sdk"], "none");
    let compiler = build["compiler"].as_str().unwrap_or_default();
    assert!(compiler.starts_with("rustc 1."), "{build}");
    let told = build["commit"].as_str().unwrap_or_default();
    // Sources may have been changed or committed since; where they are an archive, there is nothing to compare with.
    if programs::root().join(".git").exists() {
        let commit = format!("{}^{{commit}}", told.trim_end_matches("-dirty"));
        let mut git = Command::new("git");
        git.args(["cat-file", "-e", &commit])
            .current_dir(programs::root());
        assert!(git.status().unwrap().success(), "{told} is no commit");
    }
    let text = inspect(&[filter.to_str().unwrap()]);
    let text = String::from_utf8(text.stdout).unwrap();
    for words in [
        "build         switchover 0.",
        &format!("commit {told}"),
        "SDK none",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

#[test]
fn what_does_not_load_is_told_with_exit_code_1() {
    let directory = tempfile::tempdir().unwrap();
    let text = write(directory.path(), "filter.wat", b"(module)");
    let whole = std::fs::read(programs::guest("empty")).unwrap();
    let half = write(directory.path(), "half.wasm", &whole[..whole.len() / 2]);
    let files = [
        text.to_str().unwrap(),
        half.to_str().unwrap(),
        "/nowhere/none.wasm",
    ];
    let output = inspect(&files);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    for words in ["wat2wasm", "cut off", "Proxy-Wasm 0.2.1"] {
        assert!(shown.contains(words), "{words:?} in {shown}");
    }
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("/nowhere/none.wasm")
    );
    let list = inspect(&[&["--json"][..], &files].concat());
    assert_eq!(list.status.code(), Some(1));
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 3, "{list:#}");
}

/// What was stripped of everything tells nothing, and is not guessed at.
#[test]
fn filters_in_other_languages_are_told_apart() {
    let languages = [
        ("rust", json!("Rust")),
        ("go", json!("Go")),
        ("assemblyscript", json!("AssemblyScript")),
        ("cpp", Value::Null),
    ];
    for (name, language) in languages {
        let report = report(&programs::language(name));
        let toolchain = &report["toolchain"];
        assert_eq!(toolchain["language"], language, "{name}: {toolchain:#}");
        let has_evidence = !toolchain["evidence"].as_array().unwrap().is_empty();
        assert_eq!(has_evidence, !language.is_null(), "{name}");
        assert_eq!(report["loads_here"]["loads"], true, "{name}");
        assert_eq!(report["loads_in_envoy"]["loads"], true, "{name}");
    }
    let go = report(&programs::language("go"));
    let versions = go["toolchain"]["versions"].as_array().unwrap();
    assert!(
        versions
            .iter()
            .any(|v| v.as_str().unwrap().contains("go1.")),
        "{versions:?}"
    );
}
