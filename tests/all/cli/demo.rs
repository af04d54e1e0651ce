//! Verbs that serve until they are ended.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use switchover_tests::setup::{self, Bootstrap, demo_plugin};
use switchover_tests::{Client, PATIENCE, programs};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpSocket;

use super::switchover;

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
