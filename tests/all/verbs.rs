//! The operator's verbs on files: what they print, write and refuse. What they do to traffic is in `operate.rs`.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use switchover_tests::programs;
use tempfile::TempDir;

/// A copy of the demo's ECDS document in a directory of its own.
fn desk() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rollout.yaml");
    std::fs::copy(programs::root().join("envoy/demo.ecds.yaml"), &path).unwrap();
    (directory, path)
}

/// Runs the command without the demo's variables: the operator's shell is not the gateway's.
fn switchover(arguments: &[&str], document: Option<&Path>) -> Output {
    let mut command = Command::new(programs::switchover());
    command.args(arguments).current_dir(programs::root());
    for name in [
        "BLUE_API_KEY",
        "GREEN_API_KEY",
        "SWITCHOVER_DOCUMENT",
        "USER",
        "LOGNAME",
    ] {
        command.env_remove(name);
    }
    if let Some(document) = document {
        command.env("SWITCHOVER_DOCUMENT", document);
    }
    command.env("SWITCHOVER_OPERATOR", "ada").output().unwrap()
}

fn rollout(arguments: &[&str], document: &Path) -> Output {
    switchover(&[&["rollout"], arguments].concat(), Some(document))
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The verb is refused with these words, and the file is as it was.
fn refused(arguments: &[&str], document: &Path, expected: &str) {
    refused_by(&[&["rollout"], arguments].concat(), document, expected);
}

/// The same for any command.
fn refused_by(arguments: &[&str], document: &Path, expected: &str) {
    let before = std::fs::read(document).ok();
    let output = switchover(arguments, Some(document));
    let shown = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    assert!(
        shown.starts_with("error: ") && shown.contains(expected),
        "{expected}: {shown}"
    );
    assert!(output.stdout.is_empty(), "{output:?}");
    assert_eq!(std::fs::read(document).ok(), before, "{arguments:?}");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The whole story on the demo's own file; its comments and everything else stay.
#[test]
fn a_rollout_from_deploy_to_finish() {
    let (directory, path) = desk();
    let original = read(&path);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
    let verbs: [&[&str]; 9] = [
        &["deploy", "green=2.2.0"],
        &["start", "--over", "9m"],
        &["promote"],
        &["pause"],
        &["resume"],
        &["rollback"],
        &["resume"],
        &["set", "green=100"],
        &["finish"],
    ];
    for verb in verbs {
        let output = rollout(verb, &path);
        assert_eq!(output.status.code(), Some(0), "{verb:?}: {output:?}");
        assert!(stdout(&output).contains(verb[0]), "{output:?}");
    }
    let expected = original
        .replace(
            "\"rollout\": \"chat-api-2.1.0\"",
            "\"rollout\": \"chat-api-2.2.0\"",
        )
        .replace("\"stable\": \"blue\"", "\"stable\": \"green\"")
        .replace("\"weight\": 90", "\"weight\": 0")
        .replace(
            "\"weight\": 10, \"version\": \"2.1.0\"",
            "\"weight\": 100, \"version\": \"2.2.0\"",
        )
        .replace(
            "\"attempts\": true",
            "\"attempts\": true,\n            \"resume\": 3,\n            \"rollback\": false",
        )
        .replace(
            "\"guard\": {\"environment\": \"green\"",
            "\"guard\": {\"environment\": \"blue\"",
        );
    assert_eq!(read(&path), expected);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o664
    );
    assert_eq!(
        names(directory.path()),
        ["rollout.yaml", "rollout.yaml.audit.jsonl"]
    );
    let checked = switchover(&["check", path.to_str().unwrap()], None);
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");

    let log = read(&directory.path().join("rollout.yaml.audit.jsonl"));
    let lines: Vec<Value> = log
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let told: Vec<_> = lines.iter().map(|l| l["verb"].as_str().unwrap()).collect();
    let done: Vec<_> = verbs.iter().map(|v| v[0]).collect();
    assert_eq!(told, done);
    for (line, next) in lines.iter().zip(&lines[1..]) {
        assert_eq!(line["who"], "ada");
        assert_eq!(
            line["after"], next["before"],
            "no change between them goes untold"
        );
    }
    // The digests of the consumers' keys.
    assert!(
        !log.contains("c48a01f4") && !log.contains("sha256\": \"c4"),
        "{log}"
    );
}

#[test]
fn the_document_is_named_in_one_of_three_ways() {
    let (_directory, path) = desk();
    let path = path.to_str().unwrap();
    for arguments in [
        vec!["rollout", "status", path],
        vec!["rollout", "status", "--document", path],
    ] {
        let output = switchover(&arguments, Some(Path::new("/nowhere")));
        assert_eq!(
            output.status.code(),
            Some(0),
            "what is named comes first: {output:?}"
        );
        assert!(stdout(&output).contains("chat-api-2.1.0"));
    }
    let output = switchover(&["rollout", "status"], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("SWITCHOVER_DOCUMENT"),
        "{output:?}"
    );
    let output = switchover(&["rollout", "status", path, "--document", path], None);
    assert_eq!(
        output.status.code(),
        Some(2),
        "twice is once too often: {output:?}"
    );
}

#[test]
fn files_that_cannot_be_operated_are_left_alone() {
    let (directory, path) = desk();
    let good = read(&path);
    let verbs: [&[&str]; 4] = [
        &["rollback"],
        &["set", "green=5"],
        &["deploy", "green=3"],
        &["start"],
    ];
    let file = |name: &str, text: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let half = file("half.yaml", &good.as_bytes()[..good.len() - 200]);
    let half_json = file("half.json", b"{\"routing\": {\"blue\": {\"weight\": 1}, ");
    let bootstrap = programs::root().join("envoy/demo.yaml");
    let foreign = file("foreign.yaml", b"apiVersion: v1\nkind: ConfigMap\n");
    let empty = file("empty.json", b"");
    let bytes = file("bytes.yaml", b"resources: \xff");
    let missing = directory.path().join("missing.yaml");
    let link = directory.path().join("link.yaml");
    symlink("rollout.yaml", &link).unwrap();
    let read_only = file("read-only.yaml", good.as_bytes());
    std::fs::set_permissions(&read_only, std::fs::Permissions::from_mode(0o444)).unwrap();
    let before = names(directory.path());
    for (path, expected) in [
        (&half, "not JSON"),
        (&half_json, "not JSON: EOF"),
        (&bootstrap, "name the ECDS document"),
        (&foreign, "neither a rollout document"),
        (&empty, "not JSON"),
        (&bytes, "UTF-8"),
        (&missing, "missing.yaml cannot be read"),
        (&link, "is a symbolic link to rollout.yaml"),
        (&read_only, "is read-only"),
        (&directory.path().to_owned(), "is not a file"),
    ] {
        for verb in verbs {
            refused(verb, path, expected);
        }
    }
    assert_eq!(names(directory.path()), before, "nothing was left behind");
}

/// A directory that takes no new file, a full disk: here for everyone, also for root.
#[test]
fn an_audit_log_that_cannot_be_written_stops_the_verb() {
    let (directory, path) = desk();
    std::fs::create_dir(directory.path().join("rollout.yaml.audit.jsonl")).unwrap();
    refused(&["rollback"], &path, "the audit log");
    refused(
        &["rollback", "--audit", "/dev/full"],
        &path,
        "/dev/full cannot be written",
    );
    let elsewhere = directory.path().join("log");
    let output = rollout(&["rollback", "--audit", elsewhere.to_str().unwrap()], &path);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(read(&elsewhere).lines().count(), 1);
}

/// A pipe would be waited for until someone writes to it.
#[test]
fn a_pipe_is_no_document() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe.json");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let name = pipe.to_str().unwrap();
    for arguments in [
        &["rollout", "status", name][..],
        &["rollout", "rollback", name],
        &["plan", name],
        &["check", name],
        &["serve", name],
    ] {
        let output = Command::new("timeout")
            .arg("10")
            .arg(programs::switchover())
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        let shown = [output.stdout, output.stderr].concat();
        let shown = String::from_utf8_lossy(&shown);
        assert!(shown.contains("is not a file"), "{arguments:?}: {shown}");
    }
}

/// What is written is not called unchanged where it cannot be told.
#[test]
fn a_change_that_cannot_be_printed_is_told_as_written() {
    let (_directory, path) = desk();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = Command::new(programs::switchover())
        .args(["rollout", "rollback"])
        .arg(&path)
        .stdout(full)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("rollback was written to"), "{shown}");
    assert!(read(&path).contains("\"rollback\": true"));
}

#[test]
fn nonsense_is_refused_with_what_would_be_right() {
    let (_directory, path) = desk();
    for (arguments, expected) in [
        (&["promote"][..], "`start` one"),
        (&["pause"], "no schedule to pause"),
        (&["set", "blue=5"], "name another environment: green"),
        (&["set", "purple=5"], "only blue, green"),
        (&["start", "--environment", "blue"], "blue is stable"),
        (&["finish"], "green gets 10 % of the traffic"),
        (
            &["deploy", "green=2.2.0", "--rollout-id", "chat-api-2.1.0"],
            "a new one picks new first users",
        ),
        (
            &["status", "--rollout", "other"],
            "no rollout \"other\", only chat-api-2.1.0",
        ),
    ] {
        refused(arguments, &path, expected);
    }
    for arguments in [
        &["set", "green"][..],
        &["set", "green=101"],
        &["set", "green=1.234"],
        &["start", "--over", "soon"],
        &["deploy"],
        &["watch"],
        &["status", "--admin", "https://localhost:1"],
        &["status", "--admin", "ftp"],
        &[],
    ] {
        let output = rollout(arguments, &path);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
}

#[test]
fn for_programs() {
    let (_directory, path) = desk();
    let json = |arguments: &[&str]| -> Value {
        let output = rollout(arguments, &path);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let before = read(&path);
    let tried = json(&["set", "green=12.5", "--json", "--dry-run"]);
    assert_eq!(tried["written"], false);
    assert_eq!(read(&path), before);
    let done = json(&["set", "green=12.5", "--json"]);
    assert_eq!(done["written"], true);
    assert_eq!(done["changes"], tried["changes"]);
    assert_eq!(
        done["changes"][1],
        json!({"path": "routing.green.weight", "before": 10, "after": 125})
    );
    assert_eq!(done["rollout"], "chat-api-2.1.0");
    assert_eq!(done["document"], path.to_str().unwrap());
    assert_eq!(
        json(&["set", "green=12.5", "--json"])["written"],
        false,
        "it is so already"
    );

    json(&["start", "--json"]);
    let status = json(&["status", "--json"]);
    let only = &status["rollouts"][0];
    assert_eq!(only["phase"], "running");
    assert_eq!(
        only["environments"][0],
        json!({"name": "blue", "stable": true, "version": "2.0.3", "share": 100})
    );
    assert_eq!(only["schedule"]["next"]["share"], 1);
    assert_eq!(
        (&only["schedule"]["steps"], &only["schedule"]["reached"]),
        (&json!(5), &json!(0))
    );
}

/// Writers that meet lose nothing: each change is told, and the last one holds.
#[test]
fn many_operators_at_once() {
    let (directory, path) = desk();
    let all: Vec<_> = (0..20)
        .map(|n| {
            let mut command = Command::new(programs::switchover());
            command
                .args(["rollout", "resume"])
                .arg(&path)
                .env("SWITCHOVER_OPERATOR", format!("op-{n}"));
            command.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut one in all {
        assert!(one.wait().unwrap().success());
    }
    assert!(read(&path).contains("\"resume\": 20"), "{}", read(&path));
    let log = read(&directory.path().join("rollout.yaml.audit.jsonl"));
    let mut counts: Vec<u64> = log
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["changes"][0]["after"]
                .as_u64()
                .unwrap()
        })
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=20).collect::<Vec<_>>());
}

#[test]
fn a_plan_of_the_five_phases() {
    let (directory, path) = desk();
    rollout(&["start"], &path);
    let file = path.to_str().unwrap();
    let svg = directory.path().join("plan.svg");
    let output = switchover(&["plan", file, "--svg", svg.to_str().unwrap()], None);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = stdout(&output);
    for word in [
        "step 5",
        "1h30m",
        "came to green",
        "moved back",
        "100.00",
        "no key moved back",
    ] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    assert!(read(&svg).contains("<polyline"), "{}", read(&svg));

    let keys = directory.path().join("keys.txt");
    std::fs::write(&keys, "ada\nbob\n\neve\r\n").unwrap();
    let output = switchover(
        &[
            "plan",
            file,
            "--json",
            "--keys",
            keys.to_str().unwrap(),
            "--for",
            "20m",
        ],
        None,
    );
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["keys"], 3);
    let whats: Vec<_> = plan["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["what"].as_str().unwrap())
        .collect();
    assert_eq!(whats, ["start", "step 1", "step 2", "end"]);
    assert_eq!(plan["rows"][2]["shares"], json!([95, 5]));
    assert_eq!(plan["violations"], json!([]));

    let printed = switchover(&["plan", file, "--svg", "-"], None);
    assert_eq!(printed.status.code(), Some(0), "{printed:?}");
    assert!(stdout(&printed).starts_with("<svg") && stdout(&printed).ends_with("</svg>\n"));
    refused_by(
        &["plan", file, "--svg", file],
        &path,
        "is the document itself",
    );
    std::fs::write(&keys, "\n").unwrap();
    let empty = ["plan", file, "--keys", keys.to_str().unwrap()];
    refused_by(&empty, &path, "has no keys");

    for (arguments, code) in [
        (&["plan", file, "--keys", "/nowhere"][..], 1),
        (&["plan", file, "--keys", "99999999999"], 1),
        (&["plan", file, "--svg", "/nowhere/plan.svg"], 1),
        (&["plan", "/nowhere"], 1),
        (&["plan", file, "--from", "yesterday"], 2),
        (&["plan"], 1),
    ] {
        let output = switchover(arguments, None);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
    }
}
