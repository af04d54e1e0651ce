//! What `make dist` says of the filter and the gateway: bills of materials, licences, release notes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use switchover_tests::programs;

const BILLS: [&str; 2] = ["switchover-filter.spdx.json", "switchover-host.spdx.json"];
const LICENCES: &str = "THIRD-PARTY-LICENSES.txt";

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn python(arguments: &[&Path]) -> Output {
    let mut command = Command::new(programs::python());
    command.args(arguments).current_dir(programs::root());
    command.output().unwrap()
}

/// Writes the bills into a folder.
fn bills(folder: &Path) {
    let script = programs::root().join(".ci/bill-of-materials");
    let compiler = Path::new("rustc 1.2.3 (under test)");
    succeeded(&python(&[&script, &programs::filter(), compiler, folder]));
}

/// Names and versions of packages, as cargo tells them; of the workspace's own, too.
fn packages(package: &str, more: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--locked", "--offline", "-p", package]);
    cargo.args(["-e", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let shown = succeeded(
        &cargo
            .args(more)
            .current_dir(programs::root())
            .output()
            .unwrap(),
    );
    let name = |line: &str| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?);
        Some(format!("{name} {}", version.trim_start_matches('v')))
    };
    shown.lines().filter_map(name).collect()
}

#[test]
fn bills_are_valid_complete_and_the_same_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("1"), directory.path().join("2"));
    bills(&first);
    bills(&second);
    let read = |folder: &Path, name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    for name in [BILLS[0], BILLS[1], LICENCES] {
        assert_eq!(read(&first, name), read(&second, name), "{name}");
    }

    let licences = read(&first, LICENCES);
    for (bill, package, more) in [
        (
            BILLS[0],
            "switchover-filter",
            &["--target", "wasm32-unknown-unknown"][..],
        ),
        (BILLS[1], "switchover-host", &[]),
    ] {
        // SPDX's own tool has the last word on what is a valid document.
        let validator = ["-m", "spdx_tools.spdx.clitools.pyspdxtools", "-i"].map(Path::new);
        succeeded(&python(&[&validator[..], &[&first.join(bill)]].concat()));
        let document: Value = serde_json::from_str(&read(&first, bill)).unwrap();
        let told: BTreeSet<String> = document["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| {
                let text = |name: &str| package[name].as_str().unwrap().to_owned();
                assert_ne!(text("licenseDeclared"), "NOASSERTION", "{package}");
                format!("{} {}", text("name"), text("versionInfo"))
            })
            .collect();
        let mut expected = packages(package, more);
        for package in &expected {
            assert!(licences.contains(&format!("\n{package} (")), "{package}");
        }
        let compilers: Vec<_> = told.difference(&expected).cloned().collect();
        assert!(
            matches!(compilers.as_slice(), [std] if std.starts_with("rust-std 1.")),
            "{compilers:?}"
        );
        expected.extend(compilers);
        assert_eq!(told, expected);
    }

    let bill: Value = serde_json::from_str(&read(&first, BILLS[0])).unwrap();
    let mut sum = String::new();
    for byte in Sha256::digest(std::fs::read(programs::filter()).unwrap()) {
        sum += &format!("{byte:02x}");
    }
    assert_eq!(bill["packages"][0]["checksums"][0]["checksumValue"], sum);
}

#[test]
fn release_notes_name_digests_and_changes() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image");
    let mut pack = Command::new(programs::switchover());
    pack.arg("pack")
        .arg(programs::filter())
        .args(["--json", "-o"]);
    let packed = succeeded(&pack.arg(&image).output().unwrap());
    let packed: Value = serde_json::from_str(&packed).unwrap();
    let script = programs::root().join(".ci/release-notes");
    let (switchover, filter) = (programs::switchover(), programs::filter());
    let notes = succeeded(&python(&[
        &script,
        &switchover,
        &filter,
        Path::new("1.40"),
        &image,
    ]));
    for words in [
        packed["digest"].as_str().unwrap(),
        packed["filter"]["sha256"].as_str().unwrap(),
        "Envoy 1.40",
        "envoy/UPGRADE.md",
        "\n## Changes\n",
        "`switchover pack`",
    ] {
        assert!(notes.contains(words), "{words:?} in {notes}");
    }
}
