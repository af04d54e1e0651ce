//! The command line: what each verb prints, and how it ends.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use switchover_tests::setup::{self, Bootstrap, demo_document, demo_plugin};
use switchover_tests::{Client, PATIENCE, programs};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpSocket;

/// Variables that the demo's files name.
const KEYS: [(&str, &str); 2] = [("BLUE_API_KEY", "b"), ("GREEN_API_KEY", "g")];

/// Runs the command in the repository's root.
fn switchover(arguments: &[&str]) -> Output {
    let mut command = Command::new(programs::switchover());
    command.args(arguments).envs(KEYS);
    command.current_dir(programs::root()).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

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

/// Every field of the demo's document, and of what the README shows, is described.
#[test]
fn the_schema_describes_the_demo() {
    let schema: Value = serde_json::from_slice(&switchover(&["schema"]).stdout).unwrap();
    let smallest = json!({"routing": {"blue": {"weight": 95}, "green": {"weight": 5}}, "strategy": "weighted_round_robin"});
    for document in [demo_document(), smallest] {
        let mut described = 0;
        describes(
            &schema,
            &schema["$defs"]["Rollout"],
            &document,
            "",
            &mut described,
        );
        assert!(described >= 4, "only {described} fields of {document}");
    }
}

/// Walks a value and its schema together; each member of an object must have a description.
fn describes(root: &Value, schema: &Value, value: &Value, path: &str, described: &mut u32) {
    let resolved = |schema: &Value| match schema["$ref"].as_str() {
        Some(name) => root.pointer(name.trim_start_matches('#')).unwrap().clone(),
        None => schema.clone(),
    };
    let choices = schema["anyOf"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![schema.clone()]);
    let schema = choices
        .iter()
        .map(resolved)
        .find(|s| s["type"] != "null")
        .unwrap();
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = format!("{path}.{name}");
                if let Some(field) = schema["properties"].get(name) {
                    assert!(
                        field["description"].as_str().is_some_and(|d| !d.is_empty()),
                        "{path}"
                    );
                    *described += 1;
                    describes(root, field, value, &path, described);
                } else {
                    let names = &schema["additionalProperties"];
                    assert!(names.is_object(), "{path} is not in the schema");
                    describes(root, names, value, &path, described);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                describes(
                    root,
                    &schema["items"],
                    item,
                    &format!("{path}[]"),
                    described,
                );
            }
        }
        _ => {}
    }
}

#[test]
fn the_reference_is_in_step() {
    let printed = switchover(&["schema", "--markdown"]);
    let committed = std::fs::read_to_string(programs::root().join("filter/DOCUMENT.md")).unwrap();
    assert!(
        stdout(&printed) == committed,
        "run `switchover schema --markdown > filter/DOCUMENT.md`"
    );
}

/// What the operators' page says about members is what there is.
#[test]
fn the_table_of_members_is_in_step() {
    let page = std::fs::read_to_string(programs::root().join("envoy/OPERATE.md")).unwrap();
    let schema: Value = serde_json::from_slice(&switchover(&["schema"]).stdout).unwrap();
    let members = page
        .split("| member |")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let named = |cell: &str| {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let cells: Vec<String> = members
        .lines()
        .skip(2)
        .flat_map(|row| named(row.split('|').nth(1).unwrap()))
        .collect();
    assert!(cells.len() > 5, "{cells:?}");
    for member in cells {
        assert!(
            schema["$defs"]["Rollout"]["properties"]
                .get(&member)
                .is_some(),
            "{member}"
        );
    }
}

#[test]
fn bench_measures_the_filter() {
    let directory = tempfile::tempdir().unwrap();
    let document = directory.path().join("rollout.json");
    let mut text = demo_document();
    text["attempts"] = false.into();
    std::fs::write(&document, text.to_string()).unwrap();
    let filter = programs::filter();
    let arguments = [
        "bench",
        filter.to_str().unwrap(),
        "--json",
        "--requests",
        "20000",
        "--root-id",
        "switchover.route",
    ];
    let more = [
        "--configuration",
        document.to_str().unwrap(),
        "--header",
        "authorization: Bearer demo-key",
    ];
    let variables = ["--env", "BLUE_API_KEY=b", "--env", "GREEN_API_KEY=g"];
    let output = switchover(&[&arguments[..], &more, &variables].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&measured["requests"], &measured["answered_by_filter"]),
        (&json!(20_000), &json!(0))
    );
    assert_eq!(measured["guest_memory_growth_bytes"], 0);
    for name in [
        "ns_per_request_median",
        "hostcalls_per_request",
        "callbacks_per_request",
        "guest_memory_bytes",
    ] {
        assert!(
            measured[name].as_f64().is_some_and(|n| n > 0.0),
            "{name} in {measured}"
        );
    }
    let order = [
        "ns_per_request_p10",
        "ns_per_request_median",
        "ns_per_request_p90",
    ]
    .map(|n| measured[n].as_f64().unwrap());
    assert!(order.is_sorted(), "{order:?}");

    let output = switchover(&["bench", "README.md"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("a module begins with the bytes"),
        "{output:?}"
    );
}

/// The demo's file with ports of the kernel's choice; the sockets keep them until the demo listens there.
fn demo_file(directory: &Path) -> (String, Vec<TcpSocket>) {
    let mut reserved = Vec::new();
    let mut environments = Vec::new();
    for name in ["blue", "green"] {
        let socket = TcpSocket::new_v4().unwrap();
        // Bound and never listening, it lets another socket have the address that says the same.
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        environments.push((name.to_owned(), vec![socket.local_addr().unwrap()]));
        reserved.push(socket);
    }
    let filter = programs::filter();
    let code = json!({"local": {"filename": filter.to_str().unwrap()}});
    let mut plugin = demo_plugin();
    plugin["vm_config"]["code"] = code.clone();
    let mut bootstrap = Bootstrap::demo();
    bootstrap.set_environments(&environments);
    bootstrap.edit_attempt_role(|plugin| plugin["vm_config"]["code"] = code.clone());
    bootstrap.filters()[1] =
        json!({"name": "switchover.route", "typed_config": setup::wasm(&plugin)});
    let file = directory.join("demo.yaml");
    std::fs::write(&file, format!("{:#}", bootstrap.0)).unwrap();
    (file.to_str().unwrap().to_owned(), reserved)
}

#[test]
fn the_demo_runs_until_it_is_interrupted() {
    switchover_tests::run(async {
        let directory = tempfile::tempdir().unwrap();
        let (file, _reserved) = demo_file(directory.path());
        let mut command = tokio::process::Command::new(programs::switchover());
        command.args(["demo", &file]).current_dir(programs::root());
        let mut process = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let banner = loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line())
                .await
                .expect("a line in time");
            let line = line.unwrap().expect("what to type next");
            if line.contains("demo serves") {
                break line;
            }
        };
        let mut urls = banner.split("http://").skip(1).map(|rest| {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
                .unwrap_or(rest.len());
            rest[..end]
                .trim_end_matches('.')
                .parse()
                .unwrap_or_else(|e| panic!("{e}: {banner}"))
        });
        let (gateway, admin) = (urls.next().unwrap(), urls.next().unwrap());

        let mut client = Client::new(gateway);
        for (environment, version) in [("blue", "2.0.3"), ("green", "2.1.0")] {
            let call = client
                .get("/v1/models")
                .bearer("demo-key")
                .header("x-deployment-mode", environment);
            let reply = call.send().await;
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(
                (
                    reply.header("x-upstream"),
                    reply.header("x-upstream-version")
                ),
                (environment, version)
            );
            assert_eq!(reply.header("x-deployment-mode"), environment);
        }
        assert_eq!(
            client
                .get("/v1/models")
                .header("api-key", "demo-key")
                .send()
                .await
                .status,
            200
        );
        assert_eq!(
            client.get("/v1/models").bearer("wrong").send().await.status,
            401
        );
        assert_eq!(
            Client::new(admin).get("/ready").send().await.text(),
            "LIVE\n"
        );

        let pid = i32::try_from(process.id().unwrap())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let status = tokio::time::timeout(Duration::from_secs(10), process.wait())
            .await
            .expect("an end in time");
        assert_eq!(status.unwrap().code(), Some(0));
        assert!(
            Client::new(gateway).get("/").try_send().await.is_err(),
            "nobody listens any more"
        );
    });
}

/// A closed terminal ends no gateway, as in Envoy.
#[tokio::test]
async fn a_hangup_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("envoy.json");
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let bootstrap = json!({"node": {"id": "a", "cluster": "b"}, "admin": {"address": address},
        "static_resources": {"listeners": []}});
    std::fs::write(&file, bootstrap.to_string()).unwrap();
    let mut serving = tokio::process::Command::new(programs::switchover())
        .arg("serve")
        .arg(&file)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
    let mut told = async |word: &str| loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("a line in time").unwrap().expect("a line");
        if line.contains(word) {
            break;
        }
    };
    let pid = i32::try_from(serving.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    told("admin on").await;
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    told("SIGHUP is ignored").await;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::time::timeout(PATIENCE, serving.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(0));
}

/// The gateway says what it is that the compiler's message is about, and the compiler does not say it as well.
#[test]
fn a_module_that_does_not_compile_is_called_that_once() {
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("broken.wasm");
    std::fs::write(&broken, b"\0asm\x01\0\0\0\x01\x7f").unwrap();
    let mut command = Command::new(programs::switchover());
    let input = std::fs::File::open(&broken).unwrap();
    let apart = command.arg("compile-module").stdin(input).output().unwrap();
    let apart = String::from_utf8(apart.stderr).unwrap();
    let here = switchover(&["trace", broken.to_str().unwrap()]).stderr;
    let here = String::from_utf8(here).unwrap();
    let what = apart.strip_prefix("error: ").unwrap();
    assert_eq!(
        here,
        format!(
            "error: {}: not a WebAssembly module that can be compiled: {what}",
            broken.display()
        )
    );
}
