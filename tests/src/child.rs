//! Upstreams in processes of their own, to be killed.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::programs;

/// A `switchover demo-upstream` on a port of the kernel's choice; it is killed when dropped.
pub struct DemoUpstream {
    address: SocketAddr,
    process: Child,
}

// === impl DemoUpstream ===

impl DemoUpstream {
    /// Starts one that wants this key, and waits until it listens.
    pub async fn start(name: &str, version: &str, key: &str) -> Self {
        let mut command = Command::new(programs::switchover());
        command.args(["demo-upstream", "--name", name, "--version", version]);
        command
            .env("DEMO_UPSTREAM_KEY", key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let output = process.stdout.take().unwrap();
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let line = line.await.unwrap().unwrap();
        let address = line.trim().parse();
        Self {
            address: address.unwrap_or_else(|e| panic!("no address in {line:?}: {e}")),
            process,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills the process, whatever it is doing.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for DemoUpstream {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
