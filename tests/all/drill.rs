//! `switchover drill`: the whole story, with fewer requests than by hand.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use switchover_tests::{Engine, assert_eventually, programs, run_alone};
use tokio::process::Command;

fn drill(arguments: &[&str]) -> Command {
    let mut command = Command::new(programs::switchover());
    command
        .arg("drill")
        .args(["--canary", "3s"])
        .args(arguments)
        .arg("--wasm")
        .arg(programs::filter())
        .current_dir(programs::root())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Its own verdict is looked at, and that it has measured what it judges.
async fn tells_the_whole_story(engine: Engine) {
    let mut command = drill(&["--requests", "20000", "--json"]);
    if engine == Engine::Envoy {
        command.arg("--envoy").arg(programs::envoy());
    }
    let output = command.output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {} {errors}", output.status));
    assert!(output.status.success(), "{report:#} {errors}");
    assert_eq!(
        (&report["failed"], &report["retry_overflows"]),
        (&0.into(), &0.into()),
        "{report:#}"
    );
    assert!(report["requests"].as_u64().unwrap() >= 20_000);
    let phases = report["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 9);
    for phase in phases {
        assert!(phase["requests"].as_u64().unwrap() > 0, "{report:#}");
    }
    for time in ["switchover_ms", "rollback_ms", "trip_ms", "p99_ms"] {
        assert!(report[time].as_f64().unwrap() > 0.0, "{time}: {report:#}");
    }
    // The guard's `min_requests`, and what was on its way.
    let attempts = report["trip_attempts"].as_u64().unwrap();
    assert!((1..=50 + 16).contains(&attempts), "{report:#}");
}

#[test]
fn on_the_host() {
    run_alone(tells_the_whole_story(Engine::Host));
}

#[test]
fn on_envoy() {
    run_alone(tells_the_whole_story(Engine::Envoy));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let output = drill(&["--envoy", "/no/envoy"]).output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("/no/envoy"), "{errors}");
}

#[tokio::test]
async fn its_time_is_limited() {
    let output = drill(&["--limit", "1s"]).output().await.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("the drill was not over within 1s"),
        "{errors}"
    );
}

/// Whoever ends it is left with no process of its.
#[tokio::test]
async fn it_leaves_nothing_behind() {
    use rustix::process::Signal;
    for (signal, code) in [
        (Signal::INT, Some(1)),
        (Signal::HUP, Some(1)),
        (Signal::QUIT, Some(1)),
        (Signal::KILL, None),
    ] {
        leaves_nothing_behind(signal, code).await;
    }
}

async fn leaves_nothing_behind(signal: rustix::process::Signal, code: Option<i32>) {
    let mut process = drill(&[]).stderr(Stdio::null()).spawn().unwrap();
    let pid = process.id().unwrap();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let running = || std::fs::read_to_string(&children).unwrap_or_default();
    // Two upstreams and the gateway.
    assert_eventually!(running().split_whitespace().count() >= 3, "{}", running());
    let children: Vec<String> = running().split_whitespace().map(str::to_owned).collect();
    let own = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(own, signal).unwrap();
    assert_eq!(process.wait().await.unwrap().code(), code, "{signal:?}");
    for child in &children {
        let path = format!("/proc/{child}");
        assert_eventually!(!Path::new(&path).exists(), "{child} still runs");
    }
}
