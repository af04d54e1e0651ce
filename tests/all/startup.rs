//! What the command takes: the time of verbs that serve nothing, for which a person or a script waits, and the memory of
//! the gateway.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use switchover_tests::{Load, Setup, Upstream, assert_eventually, cases, programs, run_alone};

/// The most that one may take, from the process's start to its end.
const LIMIT: Duration = Duration::from_millis(20);
/// What the gateway may keep resident with the filter and one worker, in KiB.
const RESIDENT: u64 = 40_000;
/// Runs of each, of which the quickest counts: others were held up by something else.
const RUNS: usize = 20;

/// What runs nothing of a filter. `inspect` and `pack` compile the filter that they are given to see whether it loads,
/// `test`, `trace` and `bench` run it: of these only the start is asked for.
const VERBS: [&[&str]; 21] = [
    &["--version"],
    &["--help"],
    &["serve", "--help"],
    &["inspect", "--help"],
    &["pack", "--help"],
    &["trace", "--help"],
    &["bench", "--help"],
    &["test", "--help"],
    &["check", "envoy/demo.yaml"],
    &["check", "envoy/demo.ecds.yaml"],
    &["schema"],
    &["schema", "--markdown"],
    &["plan", "envoy/demo.ecds.yaml", "--keys", "100"],
    &["rollout", "status", "envoy/demo.ecds.yaml"],
    &["rollout", "--help"],
    &["completions", "bash"],
    &["man", "--markdown"],
    &["report", "--help"],
    &["console", "--help"],
    &["drill", "--help"],
    &[
        "render",
        "envoy/demo.ecds.yaml",
        "--target=istio",
        "--image=oci://registry.example.com/switchover:1.0.0",
        "--upstream=blue=blue:8080",
        "--upstream=green=green:8080",
    ],
];

fn quickest(arguments: &[&str]) -> Duration {
    let run = || {
        let mut command = Command::new(programs::switchover());
        command.args(arguments).current_dir(programs::root());
        command.envs([("BLUE_API_KEY", "b"), ("GREEN_API_KEY", "g")]);
        command.stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = command.status().unwrap();
        let taken = start.elapsed();
        assert!(status.success(), "{arguments:?}: {status}");
        taken
    };
    (0..RUNS).map(|_| run()).min().unwrap_or_default()
}

#[test]
fn verbs_that_serve_nothing_take_no_time() {
    run_alone(async {
        let taken = VERBS.map(|arguments| (quickest(arguments), arguments));
        for (taken, arguments) in taken {
            println!("{taken:>8.1?}  switchover {}", arguments.join(" "));
        }
        for (taken, arguments) in taken {
            assert!(taken <= LIMIT, "{arguments:?} took {taken:?}");
        }
    });
}

cases! {
    /// Whether or not the kernel gives huge pages.
    host async fn a_gateway_takes_little_memory(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).start(engine).await;
        let load = Load::start(&gateway, 16);
        assert_eventually!(blue.count() > 10_000, "{} requests", blue.count());
        assert!(load.end().await > 10_000);
        let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        println!("{kib} KiB resident");
        assert!(kib <= RESIDENT, "{kib} KiB resident");
    }
}
