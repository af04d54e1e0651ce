//! A running `switchover console`.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::client::Call;
use crate::{Client, Reply, programs};

/// A console on a port of the kernel's choice; it is killed when dropped.
pub struct Console {
    process: Child,
    link: String,
    address: SocketAddr,
}

// === impl Console ===

impl Console {
    /// Starts one for a document and these admin servers, and waits until it listens.
    pub async fn start(document: &Path, proxies: &[SocketAddr]) -> Self {
        Self::with(document, proxies, &["--listen", "127.0.0.1:0"]).await
    }

    /// The same with other arguments.
    pub async fn with(document: &Path, proxies: &[SocketAddr], arguments: &[&str]) -> Self {
        let mut command = Command::new(programs::switchover());
        // Named as an operator in its folder would.
        command.arg("console").arg(document.file_name().unwrap());
        command
            .current_dir(document.parent().unwrap())
            .args(arguments);
        command.args(
            proxies
                .iter()
                .map(|address| format!("--admin=http://{address}")),
        );
        command
            .env("SWITCHOVER_OPERATOR", "ada")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let output = process.stdout.take().unwrap();
        let link = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            BufReader::new(output)
                .read_line(&mut line)
                .map(|_| line.trim().to_owned())
        });
        let link = link.await.unwrap().unwrap();
        let address = link
            .strip_prefix("http://")
            .and_then(|rest| rest.split('/').next());
        let address = address.and_then(|address| address.parse::<SocketAddr>().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {link:?} of {command:?}"));
        Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], address.port())),
            link,
        }
    }

    /// Stops its process, as one that gets no time: connections stay, and nobody answers.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_child(&self.process);
        rustix::process::kill_process(process, signal).unwrap();
    }

    /// What it printed: where it is, perhaps with a token.
    pub fn link(&self) -> &str {
        &self.link
    }

    /// Where its page is.
    pub fn page(&self) -> String {
        format!("http://{}/console", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// What it shows.
    pub async fn state(&self) -> Value {
        let mut client = self.client();
        let reply = client.get("/console/state").host("localhost").send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()
    }

    /// Asks for what a button does, as a program.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        let mut client = self.client();
        as_program(client.post(path, body.to_string())).send().await
    }
}

/// What a program sends with a request that changes something.
pub fn as_program(call: Call<'_>) -> Call<'_> {
    let call = call
        .host("localhost")
        .header("content-type", "application/json");
    call.header("x-switchover-console", "1")
}

impl Drop for Console {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
