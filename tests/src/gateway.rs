//! A running gateway.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::metrics::Metric;
use crate::{Client, Engine, GLANCE, PATIENCE, setup};

/// So many of the last lines of an engine's output are shown when a test fails.
const SHOWN_LINES: usize = 80;

/// An engine that serves a file; it is killed when dropped, and its output is shown where the test failed.
pub struct Gateway {
    engine: Engine,
    process: Child,
    directory: TempDir,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
    plugin: Value,
}

/// An engine that ended instead of serving.
#[derive(Debug)]
pub struct NotStarted {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub output: String,
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.status, self.output)
    }
}

// === impl Gateway ===

impl Gateway {
    /// Runs an engine, and waits until every listener listens.
    pub(crate) async fn start(
        engine: Engine,
        directory: TempDir,
        mut command: Command,
        admin_file: &Path,
        plugin: Value,
    ) -> Result<Self, NotStarted> {
        let log = File::create(directory.path().join("output.log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Self::printing(engine, directory, command, admin_file, plugin).await
    }

    /// The same, where the command says what its output goes to.
    pub(crate) async fn printing(
        engine: Engine,
        directory: TempDir,
        mut command: Command,
        admin_file: &Path,
        plugin: Value,
    ) -> Result<Self, NotStarted> {
        command.stdin(Stdio::null());
        let process = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        // It has ends of pipes that are the engine's now.
        drop(command);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut gateway = Self {
            engine,
            process,
            directory,
            admin: nowhere,
            listeners: BTreeMap::new(),
            plugin,
        };

        gateway.admin = gateway
            .poll("write its admin address", |_| admin_address(admin_file))
            .await?;
        let start = Instant::now();
        loop {
            gateway.still_runs()?;
            if let Some(listeners) = gateway.ready_listeners().await {
                gateway.listeners = listeners;
                return Ok(gateway);
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{engine:?} was not ready in time"
            );
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Serves a file that is there already, whose ports are the kernel's choice, with these variables and one worker. The
    /// directory goes when the gateway does.
    pub async fn of_file(
        engine: Engine,
        directory: TempDir,
        file: &Path,
        variables: &[(&str, &str)],
    ) -> Self {
        let admin_file = directory.path().join("admin.txt");
        let mut command = engine.command(file, &admin_file, 1, "info");
        command.envs(variables.iter().copied());
        Self::start(engine, directory, command, &admin_file, Value::Null)
            .await
            .unwrap_or_else(|e| panic!("{engine:?} did not start: {e}"))
    }

    /// What serves.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The address of the demo's listener.
    pub fn address(&self) -> SocketAddr {
        self.listener("gateway")
    }

    /// The address of a listener.
    pub fn listener(&self, name: &str) -> SocketAddr {
        *self
            .listeners
            .get(name)
            .unwrap_or_else(|| panic!("no listener {name} in {:?}", self.listeners))
    }

    /// A client of the demo's listener.
    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// The admin server's address.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// What the admin server answers to a path.
    pub async fn admin(&self, path: &str) -> String {
        Client::new(self.admin)
            .get(path)
            .send()
            .await
            .text()
            .to_owned()
    }

    /// A metric's series.
    pub fn metric(&self, family: &str) -> Metric<'_> {
        Metric::new(self, family)
    }

    /// Moves a new rollout document onto the route role's, as an operator does.
    pub fn replace_document(&self, document: &Value) {
        let mut plugin = self.plugin.clone();
        setup::set_document(&mut plugin, document);
        self.replace_plugin(&plugin);
    }

    /// Moves a new plugin configuration onto the route role's.
    pub fn replace_plugin(&self, plugin: &Value) {
        let path = self.directory.path().join("ecds/route.json");
        crate::put(&path, &setup::resource(plugin).to_string());
    }

    /// The route role's `PluginConfig` at the start.
    pub fn plugin(&self) -> &Value {
        &self.plugin
    }

    /// A directory of this gateway's own.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the engine printed so far.
    pub fn output(&self) -> String {
        read_output(self.directory.path())
    }

    /// Its process's number.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until the engine has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        self.poll("end", |gateway| gateway.process.try_wait().unwrap())
            .await
            .unwrap_or_else(|e| e.status)
    }

    /// Whether the engine still runs.
    pub fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    async fn poll<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, NotStarted> {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            self.still_runs()?;
            assert!(
                start.elapsed() < PATIENCE,
                "{:?} did not {what} in time",
                self.engine
            );
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn still_runs(&mut self) -> Result<(), NotStarted> {
        match self.process.try_wait().unwrap() {
            None => Ok(()),
            Some(status) => Err(NotStarted {
                status,
                output: read_output(self.directory.path()),
            }),
        }
    }

    /// The listeners' addresses, once the engine is live and all of them have one.
    async fn ready_listeners(&self) -> Option<BTreeMap<String, SocketAddr>> {
        let mut admin = Client::new(self.admin);
        // It may end at any moment: no answer is no listeners.
        let ready = admin.get("/ready").try_send().await.ok()?;
        if ready.status != 200 {
            return None;
        }
        let statuses = admin
            .get("/listeners?format=json")
            .try_send()
            .await
            .ok()?
            .json();
        let statuses = statuses["listener_statuses"].as_array()?;
        let address = |status: &Value| {
            let address = &status["local_address"]["socket_address"];
            let port = u16::try_from(address["port_value"].as_u64()?)
                .ok()
                .filter(|p| *p > 0)?;
            let ip = address["address"].as_str()?.parse().ok()?;
            Some((
                status["name"].as_str()?.to_owned(),
                SocketAddr::new(ip, port),
            ))
        };
        let listeners: Option<BTreeMap<_, _>> = statuses.iter().map(address).collect();
        listeners.filter(|l| !l.is_empty())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!(
                "--- last lines of {:?}'s output ---\n{}\n---",
                self.engine,
                shown.join("\n")
            );
        }
    }
}

fn admin_address(file: &Path) -> Option<SocketAddr> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn read_output(directory: &Path) -> String {
    let bytes = std::fs::read(directory.join("output.log")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
