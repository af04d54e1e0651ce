//! `envoy/UPGRADE.md` as it stands: two real Envoys under load get another filter, and the old one again.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use switchover_tests::{Client, GLANCE, PATIENCE, programs};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Connections to each Envoy.
const CONNECTIONS: usize = 4;
/// What the page calls its proxies.
const PROXIES: [&str; 2] = ["one", "two"];
/// The least requests that must have been there to fail, on a slow machine too.
const REQUESTS: u64 = 500;

/// The page's blocks of commands.
fn blocks() -> Vec<String> {
    let page = std::fs::read_to_string(programs::root().join("envoy/UPGRADE.md")).unwrap();
    let blocks = page.split("\n```sh\n").skip(1);
    let blocks: Vec<_> = blocks
        .map(|rest| rest.split("\n```\n").next().unwrap().to_owned())
        .collect();
    assert!(blocks.len() > 5, "{blocks:?}");
    blocks
}

/// A shell in a folder like the repository's root after `make build`; all that it started is killed when it is dropped.
struct Shell {
    directory: TempDir,
    process: Child,
    input: ChildStdin,
    blocks: usize,
    ports: [(&'static str, String); 2],
}

impl Shell {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        // Both at once, so that they are different.
        let sockets = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let port = |at: usize| sockets[at].local_addr().unwrap().port().to_string();
        let ports = [("10001", port(0)), ("10002", port(1))];
        for folder in ["envoy", "dist", "target/release", "bin"] {
            std::fs::create_dir_all(path(folder)).unwrap();
        }
        for name in ["envoy/demo.yaml", "envoy/demo.ecds.yaml"] {
            let text = std::fs::read_to_string(programs::root().join(name)).unwrap();
            std::fs::write(path(name), with_ports(&text, &ports)).unwrap();
        }
        symlink(programs::filter(), path("dist/switchover.wasm")).unwrap();
        symlink(programs::switchover(), path("target/release/switchover")).unwrap();
        symlink(programs::envoy(), path("bin/envoy")).unwrap();
        let log = File::create(path("log")).unwrap();
        let mut command = Command::new("bash");
        let search = std::env::var("PATH").unwrap();
        command
            .args(["-euo", "pipefail"])
            .current_dir(directory.path())
            .env("PATH", format!("{}:{search}", path("bin").display()))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0);
        for name in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        let mut process = command.spawn().unwrap();
        Self {
            input: process.stdin.take().unwrap(),
            process,
            blocks: 0,
            directory,
            ports,
        }
    }

    /// Runs a block to its end.
    async fn run(&mut self, block: &str) {
        self.blocks += 1;
        let done = format!("block {} is done\n", self.blocks);
        let block = with_ports(block, &self.ports);
        // A shell that has ended takes nothing any more.
        let _ = write!(self.input, "{block}\necho {done}");
        let start = Instant::now();
        loop {
            let ended = self.process.try_wait().unwrap();
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap();
            if log.contains(&done) {
                return;
            }
            assert!(ended.is_none(), "{block}\nfailed: {log}");
            assert!(start.elapsed() < PATIENCE, "{block}\ndid not end: {log}");
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn fleet(&self) -> std::path::PathBuf {
        self.directory.path().join("target/fleet")
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.process);
        // All of it may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.process.wait();
    }
}

/// The demo's ports are the kernel's choice here.
fn with_ports(text: &str, ports: &[(&str, String)]) -> String {
    let mut text = text.to_owned();
    for (port, own) in ports {
        for before in ["127.0.0.1:", "port_value: "] {
            text = text.replace(&format!("{before}{port}"), &format!("{before}{own}"));
        }
    }
    text
}

fn admin(fleet: &Path, proxy: &str) -> Client {
    let address = std::fs::read_to_string(fleet.join(proxy).join("admin")).unwrap();
    Client::new(address.trim().parse().unwrap())
}

/// Clients of a proxy, until they are told to stop: how many requests each has made, none of which failed.
async fn load(
    fleet: &Path,
    proxy: &'static str,
    stop: &Arc<AtomicBool>,
    clients: &mut JoinSet<u64>,
) {
    let listeners = admin(fleet, proxy)
        .get("/listeners?format=json")
        .send()
        .await
        .json();
    let socket = &listeners["listener_statuses"][0]["local_address"]["socket_address"];
    let port = u16::try_from(socket["port_value"].as_u64().unwrap()).unwrap();
    for _ in 0..CONNECTIONS {
        let stop = Arc::clone(stop);
        clients.spawn(async move {
            let mut client = Client::new(([127, 0, 0, 1], port).into());
            let mut count = 0;
            while !stop.load(Ordering::SeqCst) {
                let reply = client
                    .get("/v1/models")
                    .header("api-key", "demo-key")
                    .send()
                    .await;
                assert_eq!(
                    reply.status,
                    200,
                    "{proxy}, after {count}: {}",
                    reply.text()
                );
                count += 1;
            }
            assert_eq!(client.connections(), 1, "{proxy} closed the connection");
            count
        });
    }
}

/// The binary that a proxy's route role runs, as Envoy has it.
async fn binary(fleet: &Path, proxy: &str) -> String {
    let dump = admin(fleet, proxy)
        .get("/config_dump?resource=ecds_filters")
        .send()
        .await;
    let dump: Value = dump.json();
    let config = &dump["configs"][0]["ecds_filter"]["typed_config"]["config"];
    let file = config["vm_config"]["code"]["local"]["filename"].as_str();
    file.unwrap_or_else(|| panic!("{dump}")).to_owned()
}

/// How often a role of a proxy has got a filter, and how often it has refused one.
async fn counts(fleet: &Path, proxy: &str, role: &str) -> [u64; 2] {
    let stats = admin(fleet, proxy)
        .get("/stats?filter=extension_config_discovery")
        .send()
        .await;
    let stats = stats.text().to_owned();
    ["config_reload", "update_rejected"].map(|name| {
        let name = format!("switchover.{role}.{name}: ");
        let found = stats.lines().find_map(|line| line.split_once(&name));
        found
            .unwrap_or_else(|| panic!("{stats}"))
            .1
            .parse()
            .unwrap()
    })
}

#[test]
fn the_guide_holds_under_load() {
    switchover_tests::run(async {
        let mut shell = Shell::start();
        let fleet = shell.fleet();
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        let mut seen = Vec::new();
        for block in blocks() {
            shell.run(&block).await;
            if !fleet.join("two/admin").exists() {
                continue;
            }
            if clients.is_empty() {
                for proxy in PROXIES {
                    load(&fleet, proxy, &stop, &mut clients).await;
                }
            }
            let now = [binary(&fleet, "one").await, binary(&fleet, "two").await];
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        stop.store(true, Ordering::SeqCst);
        let requests: u64 = clients.join_all().await.into_iter().sum();
        println!("{requests} requests, none failed");
        assert!(requests >= REQUESTS, "only {requests} were there to fail");

        let [old, new] = [&seen[0][0], &seen[1][0]];
        assert_ne!(old, new);
        let expected = [[old, old], [new, old], [new, new], [old, old]];
        assert_eq!(
            seen.iter()
                .map(|pair| [&pair[0], &pair[1]])
                .collect::<Vec<_>>(),
            expected
        );
        for proxy in PROXIES {
            for role in ["route", "attempt"] {
                // At the start, the new one, the old one again.
                assert_eq!(counts(&fleet, proxy, role).await, [3, 0], "{proxy} {role}");
            }
        }
    });
}
