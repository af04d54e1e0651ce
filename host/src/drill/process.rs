//! The processes of a drill: two demo upstreams and a gateway. Each is killed when its owner goes.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use super::client::{Client, Failure};
use super::files::Files;
use super::{DrillError, Engine, Options};
use crate::demo::{Faults, Seen};

/// Longest time until a process serves; Envoy compiles the filter first.
const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// So many of the last lines of a process's output go into an error.
const SHOWN_LINES: usize = 20;

/// A process whose output goes to a file.
struct Process {
    what: String,
    child: Child,
    log: PathBuf,
}

/// A demo upstream.
pub(super) struct Upstream {
    process: Process,
    command: UpstreamCommand,
    address: SocketAddr,
    client: Client,
}

/// How an upstream is started, the first time and again.
struct UpstreamCommand {
    program: PathBuf,
    name: &'static str,
    version: &'static str,
    key: &'static str,
    log: PathBuf,
}

/// The gateway.
pub(super) struct Gateway {
    process: Process,
    /// Where clients go.
    pub(super) address: SocketAddr,
    /// Where its admin server is.
    pub(super) admin: SocketAddr,
}

/// Lets the kernel kill the process when the thread that starts it ends, for a drill that is killed drops nothing.
/// That thread is the main one, which runs the drill from its begin to its end.
fn ends_with_this_thread(command: &mut Command) {
    let parent = Some(rustix::process::getpid());
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // It may have ended before.
        match rustix::process::getppid() == parent {
            true => Ok(()),
            false => Err(io::ErrorKind::NotConnected.into()),
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(ask) };
}

// === impl Process ===

impl Process {
    fn spawn(what: String, command: &mut Command, log: PathBuf) -> Result<Self, DrillError> {
        let failed = |error: io::Error| DrillError::Process {
            what: format!("{what} cannot be started: {error}"),
            output: String::new(),
        };
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(failed)?;
        command.stdin(Stdio::null()).stderr(output);
        ends_with_this_thread(command);
        let child = command.spawn().map_err(failed)?;
        Ok(Self { what, child, log })
    }

    /// What it says when it is not as it should be.
    fn error(&self, how: &str) -> DrillError {
        let output = std::fs::read(&self.log).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let lines: Vec<&str> = output.lines().collect();
        let shown = lines.len().saturating_sub(SHOWN_LINES);
        DrillError::Process {
            what: format!("{} {how}", self.what),
            output: lines.get(shown..).unwrap_or_default().join("\n"),
        }
    }

    fn check(&mut self) -> Result<(), DrillError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.error(&format!("has ended: {status}"))),
            Err(e) => Err(self.error(&format!("cannot be watched: {e}"))),
        }
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

// === impl Upstream ===

impl Upstream {
    /// Starts one and waits until it listens.
    pub(super) async fn start(
        options: &Options,
        files: &Files,
        name: &'static str,
        version: &'static str,
    ) -> Result<Self, DrillError> {
        let command = UpstreamCommand {
            program: options.program.clone(),
            name,
            version,
            key: super::files::key(name),
            log: files.log(name),
        };
        let (process, address) = command.start("127.0.0.1:0").await?;
        Ok(Self {
            process,
            command,
            address,
            client: Client::new(address),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills its process, whatever it is doing.
    pub(super) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again where it was.
    pub(super) async fn restart(&mut self) -> Result<(), DrillError> {
        let (process, _) = self.command.start(&self.address.to_string()).await?;
        self.process = process;
        self.client = Client::new(self.address);
        Ok(())
    }

    /// Makes so large a part of its answers 503.
    pub(super) async fn fail(&mut self, share: f64) -> Result<(), DrillError> {
        let faults = Faults {
            fail_share: share,
            ..Faults::default()
        };
        let body = serde_json::to_string(&faults).unwrap_or_default();
        self.ask(Method::POST, "/__faults", body).await.map(drop)
    }

    /// What it has got since it started.
    pub(super) async fn seen(&mut self) -> Result<Seen, DrillError> {
        let body = self.ask(Method::GET, "/__seen", String::new()).await?;
        serde_json::from_slice(&body).map_err(|e| self.silent(e.to_string()))
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &'static str,
        body: String,
    ) -> Result<Bytes, DrillError> {
        self.process.check()?;
        let answer = self.client.send(plain(method, path, body)).await;
        match answer {
            Ok(answer) if answer.status == 200 => Ok(answer.body),
            Ok(answer) => Err(self.silent(format!("{path} is answered with {}", answer.status))),
            Err(Failure::None(why) | Failure::BrokeOff(why)) => Err(self.silent(why)),
        }
    }

    fn silent(&self, why: String) -> DrillError {
        let what = self.process.what.clone();
        DrillError::Silent { what, why }
    }
}

// === impl UpstreamCommand ===

impl UpstreamCommand {
    async fn start(&self, listen: &str) -> Result<(Process, SocketAddr), DrillError> {
        let mut command = Command::new(&self.program);
        command
            .args([
                "demo-upstream",
                "--name",
                self.name,
                "--version",
                self.version,
            ])
            .args(["--listen", listen])
            .env("DEMO_UPSTREAM_KEY", self.key)
            .stdout(Stdio::piped());
        let what = format!("the upstream {}", self.name);
        let mut process = Process::spawn(what, &mut command, self.log.clone())?;
        let Some(output) = process.child.stdout.take() else {
            return Err(process.error("has no output"));
        };
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let line = tokio::time::timeout(START_LIMIT, line).await;
        let line = line.ok().and_then(Result::ok).and_then(Result::ok);
        let address = line.and_then(|line| line.trim().parse().ok());
        let address = address.ok_or_else(|| process.error("does not listen"))?;
        Ok((process, address))
    }
}

// === impl Gateway ===

impl Gateway {
    /// Starts it and waits until it listens.
    pub(super) async fn start(options: &Options, files: &Files) -> Result<Self, DrillError> {
        let admin_file = files.directory().join("admin.txt");
        let log = files.log("gateway");
        let mut command = command(options, files, &admin_file);
        let output = File::create(&log).map_err(|error| DrillError::File {
            what: format!("cannot write {}", log.display()),
            error,
        })?;
        command.stdout(output);
        let what = format!("the gateway, {},", options.engine);
        let mut process = Process::spawn(what, &mut command, log)?;
        let start = Instant::now();
        let mut admin = None;
        loop {
            process.check()?;
            if start.elapsed() > START_LIMIT {
                return Err(process.error(&format!("does not serve within {START_LIMIT:?}")));
            }
            admin = admin.or_else(|| {
                std::fs::read_to_string(&admin_file)
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            });
            if let Some(admin) = admin
                && let Some(address) = listener(admin).await
            {
                return Ok(Self {
                    process,
                    address,
                    admin,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Fails where its process has ended.
    pub(super) fn check(&mut self) -> Result<(), DrillError> {
        self.process.check()
    }

    /// The sum of a number over all clusters, such as `upstream_rq_retry_overflow`.
    pub(super) async fn clusters(&self, name: &str) -> Result<u64, DrillError> {
        let body = get(self.admin, "/stats")
            .await
            .map_err(|why| DrillError::Silent {
                what: "the admin server".to_owned(),
                why,
            })?;
        let text = String::from_utf8_lossy(&body);
        let number = |line: &str| {
            let (key, value) = line.split_once(": ")?;
            let key = key.strip_prefix("cluster.")?;
            key.strip_suffix(name)?
                .ends_with('.')
                .then(|| value.parse::<u64>().ok())?
        };
        Ok(text.lines().filter_map(number).sum())
    }
}

fn command(options: &Options, files: &Files, admin_file: &Path) -> Command {
    let mut command = match &options.engine {
        Engine::Host => {
            let mut command = Command::new(&options.program);
            command.arg("serve").arg(files.bootstrap());
            command
        }
        Engine::Envoy(program) => {
            let mut command = Command::new(program);
            command
                .arg("-c")
                .arg(files.bootstrap())
                .args(["--concurrency", "1"]);
            command.args([
                "--disable-hot-restart",
                "--component-log-level",
                "main:warning",
            ]);
            command
        }
    };
    command.arg("--admin-address-path").arg(admin_file);
    command.args(["--log-level", "info"]);
    for (variable, name) in [("BLUE_API_KEY", "blue"), ("GREEN_API_KEY", "green")] {
        command.env(variable, super::files::key(name));
    }
    // Either engine's own variables could change what is drilled.
    command.env_remove("SWITCHOVER_LOG");
    command
}

/// Where the only listener listens, once the gateway is ready.
async fn listener(admin: SocketAddr) -> Option<SocketAddr> {
    get(admin, "/ready").await.ok()?;
    let body = get(admin, "/listeners?format=json").await.ok()?;
    let listeners: Value = serde_json::from_slice(&body).ok()?;
    let address = listeners.pointer("/listener_statuses/0/local_address/socket_address")?;
    let port = u16::try_from(address.get("port_value")?.as_u64()?).ok()?;
    let ip = address.get("address")?.as_str()?.parse().ok()?;
    (port > 0).then(|| SocketAddr::new(ip, port))
}

/// What a server answers with 200.
async fn get(address: SocketAddr, path: &'static str) -> Result<Bytes, String> {
    let answer = Client::new(address)
        .send(plain(Method::GET, path, String::new()))
        .await;
    match answer {
        Ok(answer) if answer.status == 200 => Ok(answer.body),
        Ok(answer) => Err(format!("{path} is answered with {}", answer.status)),
        Err(Failure::None(why) | Failure::BrokeOff(why)) => Err(why),
    }
}

fn plain(method: Method, path: &'static str, body: String) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(path);
    request
}
