//! What `make install` puts in place: each piece is looked at by the tool that will read it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use switchover_tests::programs;
use tempfile::TempDir;

/// Libraries that every Debian and every slim image has.
const LIBRARIES: [&str; 3] = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];
/// The most exposure that `systemd-analyze security` may find, in tenths.
const EXPOSURE: &str = "20";

fn switchover(arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(programs::switchover());
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

fn succeeded(output: Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {told}{shown}", output.status);
    shown.into_owned()
}

/// `make install` into a directory of its own, as packagers do; and where that has put things.
fn installed() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "install", "PREFIX=/usr"]);
    make.arg(format!("DESTDIR={}", directory.path().display()));
    succeeded(make.current_dir(programs::root()).output().unwrap());
    let root = directory.path().join("usr");
    (directory, root)
}

#[test]
fn what_is_installed_runs_by_itself() {
    let (directory, root) = installed();
    let binary = root.join("bin/switchover");
    let version = succeeded(Command::new(&binary).arg("--version").output().unwrap());
    assert_eq!(
        version,
        format!("switchover {}\n", env!("CARGO_PKG_VERSION"))
    );
    let filter = root.join("share/switchover/switchover.wasm");
    succeeded(
        Command::new(&binary)
            .arg("inspect")
            .arg(&filter)
            .output()
            .unwrap(),
    );
    assert_eq!(
        std::fs::read(&filter).unwrap(),
        std::fs::read(programs::root().join("dist/switchover.wasm")).unwrap()
    );

    // As good as static: no library that a system may lack.
    let listed = succeeded(Command::new("ldd").arg(&binary).output().unwrap());
    let needed: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.split_once(" => "))
        .map(|(name, _)| name.trim())
        .collect();
    assert_eq!(needed, BTreeSet::from(LIBRARIES), "{listed}");

    for file in [
        "share/bash-completion/completions/switchover",
        "share/zsh/site-functions/_switchover",
        "share/fish/vendor_completions.d/switchover.fish",
        "share/man/man1/switchover.1",
        "share/man/man1/switchover-rollout-set.1",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    unit(directory.path(), &root);
}

/// The unit is one that systemd takes, and that gives little away.
fn unit(directory: &Path, root: &Path) {
    let file = root.join("lib/systemd/system/switchover.service");
    let unit = std::fs::read_to_string(file).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/bin/switchover serve"),
        "{unit}"
    );
    // Here it is elsewhere: systemd looks whether the program is there.
    let here = unit.replace("/usr/bin/", &format!("{}/bin/", root.display()));
    let file = directory.join("switchover.service");
    std::fs::write(&file, here).unwrap();
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new(programs::debian("systemd-analyze"));
        command.args(arguments).arg(&file).output().unwrap()
    };
    let output = analyze(&["verify", "--man=no"]);
    assert!(output.stderr.is_empty(), "{output:?}");
    succeeded(output);
    let threshold = format!("--threshold={EXPOSURE}");
    succeeded(analyze(&["security", "--offline=true", &threshold]));
}

/// Each verb that the help names has a page that formats without a mistake and tells its examples.
#[test]
fn man_pages_are_right_and_complete() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("man1");
    switchover(&["man", folder.to_str().unwrap()]);
    let help = String::from_utf8(switchover(&["--help"])).unwrap();
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.strip_prefix("  "))
        // A long description goes on in the next line.
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.len() > 10, "{help}");
    for verb in verbs {
        let page = folder.join(format!("switchover-{verb}.1"));
        assert!(page.is_file(), "{verb} has no page");
    }
    for entry in std::fs::read_dir(&folder).unwrap() {
        let page = entry.unwrap().path();
        let mut lint = Command::new(programs::debian("mandoc"));
        lint.args(["-T", "lint", "-W", "error"]);
        let found = succeeded(lint.arg(&page).output().unwrap());
        assert_eq!(found, "", "{}", page.display());
    }
    let mut read = Command::new(programs::debian("mandoc"));
    read.args(["-T", "ascii"])
        .arg(folder.join("switchover-pack.1"));
    let text = succeeded(read.output().unwrap());
    for words in ["--variant", "Examples:", "Exit code:", "switchover 0."] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
}

/// Bash completes verbs, options and their values as the script says.
#[test]
fn bash_completes() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("switchover");
    std::fs::write(&script, switchover(&["completions", "bash"])).unwrap();
    succeeded(
        Command::new("bash")
            .arg("-n")
            .arg(&script)
            .output()
            .unwrap(),
    );
    for (words, expected) in [
        (&["pa"][..], "pack"),
        (&["rollout", "pro"], "promote"),
        (&["pack", "--var"], "--variant"),
        (&["pack", "--variant", ""], "compat oci"),
        (&["completions", "z"], "zsh"),
    ] {
        let line = [&["switchover"], words].concat();
        let quoted: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
        let at = words.len();
        let (word, previous) = (line[at], line[at - 1]);
        let program = format!(
            "source '{}'; COMP_WORDS=({}) COMP_CWORD={at}; _switchover switchover '{word}' '{previous}'; echo \"${{COMPREPLY[*]}}\"",
            script.display(),
            quoted.join(" ")
        );
        let told = succeeded(
            Command::new("bash")
                .args(["-c", &program])
                .output()
                .unwrap(),
        );
        assert_eq!(told.trim(), expected, "{words:?}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(!switchover(&["completions", shell]).is_empty(), "{shell}");
    }
}
