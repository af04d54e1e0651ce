//! The two engines and their command lines.

use std::path::Path;
use std::process::Command;

use crate::programs;

/// What serves the gateway's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The bundled host, `switchover serve`.
    Host,
    /// Real Envoy.
    Envoy,
}

impl Engine {
    /// The command that serves `file` with so many workers and writes the admin's address to a file.
    pub(crate) fn command(
        self,
        file: &Path,
        admin_address: &Path,
        workers: u32,
        log_level: &str,
    ) -> Command {
        let mut command = match self {
            Self::Host => {
                let mut command = Command::new(programs::switchover());
                command
                    .arg("serve")
                    .arg(file)
                    .arg("--workers")
                    .arg(workers.to_string());
                command
            }
            Self::Envoy => {
                let mut command = Command::new(programs::envoy());
                command
                    .arg("-c")
                    .arg(file)
                    .arg("--concurrency")
                    .arg(workers.to_string());
                // Several at once, none of which takes over from another.
                command.args(["--disable-hot-restart", "--drain-time-s", "2"]);
                // At its start it lists every extension it has.
                command.args(["--component-log-level", "main:warning"]);
                command
            }
        };
        command
            .arg("--admin-address-path")
            .arg(admin_address)
            .args(["--log-level", log_level]);
        command.current_dir(programs::root());
        command
    }
}
