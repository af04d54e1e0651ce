//! Where a page's commands run: the repository's files, those that change as copies.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use switchover_tests::programs;
use tempfile::TempDir;

use super::page::{Block, Page, commands};

/// Longest time for a page.
const LIMIT: Duration = Duration::from_secs(90);
/// The demo's ports.
const PORTS: [&str; 4] = ["9901", "10000", "10001", "10002"];
/// What stands before a port, and nothing else does.
const BEFORE_PORTS: [&str; 4] = ["127.0.0.1:", "0.0.0.0:", "localhost:", "port_value: "];
/// What serves until it is stopped.
const SERVERS: [&str; 8] = [
    "switchover serve",
    "switchover console",
    "switchover demo",
    "switchover rollout watch",
    "envoy -c",
    "make run",
    "prometheus ",
    "docker-registry serve",
];
/// What changes the machine or a cluster.
const INERT: [&str; 8] = [
    "apt-get",
    "cargo",
    "docker",
    "helm",
    "istioctl",
    "podman",
    "sudo",
    "systemctl",
];
/// What the shell knows before a page begins.
const PRELUDE: &str = include_str!("prelude.sh");

/// A directory that a page's commands run in.
pub(super) struct Sandbox {
    directory: TempDir,
    /// The demo's ports and those that stand for them.
    ports: Vec<(&'static str, u16)>,
}

// === impl Sandbox ===

impl Sandbox {
    pub(super) fn new() -> Self {
        // All at once, so that each is another.
        let sockets: Vec<_> = PORTS
            .iter()
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let numbers = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap().port());
        let sandbox = Self {
            directory: tempfile::tempdir().unwrap(),
            ports: PORTS.into_iter().zip(numbers).collect(),
        };
        sandbox.fill();
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Links to what is only read, copies of the rest.
    fn fill(&self) {
        let root = programs::root();
        for entry in std::fs::read_dir(&root).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.starts_with('.') && !["envoy", "dist", "target"].contains(&name.as_str()) {
                symlink(root.join(&name), self.path(&name)).unwrap();
            }
        }
        for folder in [
            "envoy",
            "dist",
            "target/release",
            "bin",
            "scenarios",
            "applied",
        ] {
            std::fs::create_dir_all(self.path(folder)).unwrap();
        }
        for entry in std::fs::read_dir(root.join("envoy")).unwrap() {
            let entry = entry.unwrap();
            let copy = self.path("envoy").join(entry.file_name());
            match std::fs::read_to_string(entry.path()) {
                Ok(text) => std::fs::write(copy, self.with_ports(&text)).unwrap(),
                Err(_) => symlink(entry.path(), copy).unwrap(),
            }
        }
        symlink(
            programs::switchover(),
            self.path("target/release/switchover"),
        )
        .unwrap();
        symlink(programs::switchover(), self.path("dist/switchover")).unwrap();
        symlink(programs::filter(), self.path("dist/switchover.wasm")).unwrap();
        symlink(programs::switchover(), self.path("bin/switchover")).unwrap();
        symlink(programs::envoy(), self.path("bin/envoy")).unwrap();
        // What filter authors have.
        for name in ["filter.wasm", "released.wasm", "scenarios/my_filter.wasm"] {
            std::fs::copy(programs::guest("sdk"), self.path(name)).unwrap();
        }
        let page = std::fs::read_to_string(root.join("host/SCENARIOS.md")).unwrap();
        let scenario = page
            .split("```yaml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        std::fs::write(self.path("scenarios/first.yaml"), scenario).unwrap();
        for name in INERT {
            self.program(name, "#!/bin/sh\n");
        }
        self.program("kubectl", include_str!("kubectl.sh"));
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path("bin").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn with_ports(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // The longest first: 10000 is not the beginning of another.
        for before in BEFORE_PORTS {
            for (port, own) in &self.ports {
                text = text.replace(&format!("{before}{port}"), &format!("{before}{own}"));
            }
        }
        text
    }

    /// Runs a page's commands.
    ///
    /// # Errors
    /// What failed, where, and what was printed.
    pub(super) async fn run(&self, page: &Page) -> Result<(), String> {
        let script = self.script(page)?;
        std::fs::write(self.path(".page.sh"), script).unwrap();
        let log = std::fs::File::create(self.path(".page.log")).unwrap();
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let mut command = Command::new("bash");
        command
            .arg(self.path(".page.sh"))
            .current_dir(self.directory.path())
            .env("PATH", path)
            .env("APPLIED", self.path("applied"))
            .env_remove("SWITCHOVER_DOCUMENT")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = tokio::process::Command::from(command).spawn().unwrap();
        let group = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        let ended = tokio::time::timeout(LIMIT, child.wait()).await;
        // What it left in the background; it may have left nothing.
        let _ = kill_process_group(group, Signal::KILL);
        let printed =
            String::from_utf8_lossy(&std::fs::read(self.path(".page.log")).unwrap()).into_owned();
        match ended {
            Err(_) => Err(format!("took longer than {LIMIT:?}\n{printed}")),
            Ok(status) if !status.as_ref().unwrap().success() => Err(printed),
            Ok(_) => Ok(()),
        }
    }

    fn script(&self, page: &Page) -> Result<String, String> {
        let mut script = PRELUDE.to_owned();
        for block in &page.blocks {
            match block {
                Block::Run(line, text) => {
                    script.push_str(&format!("PLACE={}:{line}\n", page.name));
                    for command in commands(&self.with_ports(text)) {
                        script.push_str(&if serves(&command) {
                            format!("{{ {command}\n}} &\nSERVERS+=($!)\n")
                        } else {
                            command + "\n"
                        });
                    }
                }
                Block::Look(line, text) => {
                    look(text).map_err(|e| format!("{}:{line}: {e}", page.name))?
                }
                Block::Prints(line, text) => {
                    let text = text.replace('\'', r"'\''");
                    script.push_str(&format!("printed {}:{line} '{text}'\n", page.name));
                }
            }
        }
        script.push_str("serving\n");
        Ok(script)
    }

    /// What was applied to a cluster.
    pub(super) fn applied(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.path("applied")).unwrap();
        files
            .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
            .collect()
    }
}

/// Whether a command serves until it is stopped.
fn serves(command: &str) -> bool {
    let code = command.split(" #").next().unwrap_or_default().trim_end();
    let words = code
        .split_whitespace()
        .skip_while(|word| word.contains('=') && !word.starts_with('-'));
    let mut words: Vec<_> = words.collect();
    if let Some(first) = words.first_mut() {
        *first = Path::new(*first)
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
    }
    let words = words.join(" ") + " ";
    !code.ends_with('&')
        && !words.contains(" --help ")
        && SERVERS.iter().any(|server| words.starts_with(server))
}

/// A block that is not run names only verbs that there are.
fn look(text: &str) -> Result<(), String> {
    for command in commands(text) {
        let mut words = command
            .split_whitespace()
            .skip_while(|word| !word.ends_with("switchover"));
        let verb = words
            .nth(1)
            .filter(|verb| verb.starts_with(|c: char| c.is_ascii_lowercase()));
        let Some(verb) = verb else { continue };
        let help = Command::new(programs::switchover())
            .args([verb, "--help"])
            .output()
            .unwrap();
        if !help.status.success() {
            return Err(format!("there is no verb `{verb}`"));
        }
    }
    Ok(())
}
