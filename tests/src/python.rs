//! Runs the clients of `tests/clients/`.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::programs;

/// Longest time for one client.
const CLIENT_LIMIT: Duration = Duration::from_secs(60);

/// Runs one with these arguments, and fails with its output where it does not end well. Returns what it printed.
pub async fn client(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(programs::python());
    command
        .arg(programs::root().join("tests/clients").join(script))
        .args(arguments)
        .kill_on_drop(true);
    // No proxy of the environment's between the client and the loopback.
    for proxy in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(proxy);
    }
    let ended = tokio::time::timeout(CLIENT_LIMIT, command.output()).await;
    let output = ended
        .unwrap_or_else(|_| panic!("{script} took longer than {CLIENT_LIMIT:?}"))
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{script}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout
}

/// A server of `tests/clients/`, which prints its port; it is killed when dropped.
pub struct Server {
    address: SocketAddr,
    _process: Child,
}

impl Server {
    /// Starts one and waits until it listens.
    pub async fn start(script: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(programs::python());
        command
            .arg(programs::root().join("tests/clients").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let output = process.stdout.take().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(output);
        let reading = output.read_line(&mut line);
        let read = tokio::time::timeout(CLIENT_LIMIT, reading).await;
        read.unwrap_or_else(|_| panic!("{script} printed no port"))
            .unwrap();
        let port: u16 = line
            .trim()
            .parse()
            .unwrap_or_else(|e| panic!("no port in {line:?}: {e}"));
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            _process: process,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
