//! Runs the clients of `tests/clients/`.

use std::time::Duration;

use tokio::process::Command;

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
