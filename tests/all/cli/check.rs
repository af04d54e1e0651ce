//! `check`, and what all verbs do about a wrong command line or file.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use switchover_tests::programs;
use switchover_tests::setup::{self, Bootstrap, demo_document, demo_plugin};

use super::{stdout, switchover};

/// A bootstrap with a mistake of its own, and a rollout document with two.
fn broken(directory: &Path) -> String {
    let mut document = demo_document();
    document["stable"] = "red".into();
    document["routing"]["green"]["wieght"] = 1.into();
    let mut plugin = demo_plugin();
    setup::set_document(&mut plugin, &document);
    let mut bootstrap = Bootstrap::demo();
    bootstrap.filters()[1] =
        json!({"name": "switchover.route", "typed_config": setup::wasm(&plugin)});
    bootstrap.cluster("blue-only")["conect_timeout"] = "1s".into();
    let file = directory.join("envoy.yaml");
    std::fs::write(&file, format!("{:#}", bootstrap.0)).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn check_passes_the_demo() {
    let output = switchover(&["check", "envoy/demo.yaml"]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), "envoy/demo.yaml: ok\n"),
        "{output:?}"
    );
    let output = switchover(&["check", "--json", "envoy/demo.ecds.yaml"]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), "[]\n"),
        "{output:?}"
    );
}

/// A variable that is not set is named, and no error: the gateway may run elsewhere.
#[test]
fn check_names_a_missing_variable() {
    let mut command = Command::new(programs::switchover());
    command
        .args(["check", "envoy/demo.ecds.yaml"])
        .env("BLUE_API_KEY", "b")
        .env_remove("GREEN_API_KEY");
    let output = command.current_dir(programs::root()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        stdout(&output).contains("GREEN_API_KEY is not set"),
        "{output:?}"
    );
    assert!(
        !stdout(&output).contains("BLUE_API_KEY is not set"),
        "{output:?}"
    );
}

#[test]
fn check_tells_all_problems_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = broken(directory.path());
    let output = switchover(&["check", &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines: Vec<&str> = stdout(&output).lines().collect();
    let found = |path: &str, message: &str| {
        lines.iter().any(|line| {
            let place = line
                .strip_prefix("error: ")
                .and_then(|l| l.strip_prefix(&file))
                .unwrap_or_default();
            let number = place.strip_prefix(':').and_then(|p| p.split(':').next());
            number.is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0))
                && line.contains(path)
                && line.contains(message)
        })
    };
    assert!(
        found("clusters[2].conect_timeout: ", "connect_timeout"),
        "{lines:#?}"
    );
    assert!(found("> routing.green.wieght: ", "`weight`"), "{lines:#?}");
    assert!(found("> stable: ", "`blue`"), "{lines:#?}");
    let last = lines.last().copied().unwrap_or_default();
    assert!(
        last.starts_with(&format!("{file}: ")) && last.contains(" errors, "),
        "{last}"
    );

    let output = switchover(&["check", "--json", &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.len(), lines.len() - 1);
    for problem in &list {
        assert_eq!(problem["file"], file.as_str());
        assert!(
            problem["line"].as_u64().is_some_and(|line| line > 0),
            "{problem}"
        );
        assert!(
            ["error", "warning"].contains(&problem["severity"].as_str().unwrap()),
            "{problem}"
        );
        for member in ["path", "message"] {
            assert!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{problem}"
            );
        }
    }
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &["check"][..],
        &["frobnicate"],
        &["serve", "a", "--workers", "0"],
        &["serve", "a", "--log-level", "loud"],
        &["schema", "more"],
    ] {
        let output = switchover(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(
            shown.contains("Usage: switchover") || shown.contains("--help"),
            "{shown}"
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_1() {
    for verb in ["check", "serve", "demo"] {
        let output = switchover(&[verb, "none.yaml"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let shown = [output.stdout, output.stderr].concat();
        assert!(
            String::from_utf8_lossy(&shown).contains("none.yaml"),
            "{verb}"
        );
    }
}
