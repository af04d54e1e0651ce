//! How soon a gateway is there, and a guest again: at the start, after a trap, with a new binary.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use switchover_host::config::plugin::Code;
use switchover_host::process::GuestLog;
use switchover_host::vm::Vm;
use switchover_host::vm::engine::Engine as Wasm;
use switchover_host::{abi, rig};
use switchover_tests::{
    Engine, Load, Setup, Upstream, assert_eventually, guest, programs, run_alone,
};

/// Starts that are timed; the median counts.
const STARTS: usize = 15;
/// Changes of the binary under load.
const SWAPS: usize = 10;
/// Load on the gateway meanwhile, at least.
const REQUESTS_A_SECOND: f64 = 10_000.0;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A VM takes another's place within a millisecond, its configuration apart.
#[test]
fn a_vm_is_rebuilt_within_a_millisecond() {
    run_alone(async {
        let engine = Wasm::new().unwrap();
        for filter in [programs::filter(), programs::guest("sdk")] {
            let compiled = engine.load(&Code::File(filter.clone())).unwrap();
            let plugin = rig::plugin(
                filter.clone(),
                String::new(),
                "".into(),
                "".into(),
                [].into(),
            );
            let (vm, process) = (
                Arc::new(plugin.vm),
                rig::process(abi::Options::default(), GuestLog::kept()),
            );
            let mut times = Vec::new();
            let mut before = None;
            for _ in 0..STARTS {
                let began = Instant::now();
                let started = Vm::start(&compiled, vm.clone(), process.clone()).unwrap();
                times.push(began.elapsed());
                // Its slot is free for the next but one, as in a gateway.
                before = Some(started);
            }
            drop(before);
            let median = median(times);
            println!("{}: a VM is built in {median:?}", filter.display());
            assert!(median <= Duration::from_millis(1), "{median:?}");
        }
    });
}

/// From the start of the program to the first request that has passed filter and upstream, where the filter was compiled
/// by an earlier start.
#[test]
fn a_start_with_a_compiled_filter_takes_a_moment() {
    run_alone(async {
        let blue = Upstream::named("blue").await;
        let cache = tempfile::tempdir().unwrap();
        // Each start listens at the same address, which the kernel has chosen.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let modules = cache.path().join("modules");
        let mut first = Setup::new(&[("blue", &blue)])
            .variable("SWITCHOVER_MODULE_CACHE", modules.to_str().unwrap())
            .edit(move |bootstrap| {
                bootstrap.listeners()[0]["address"]["socket_address"]["port_value"] =
                    port.port().into();
            })
            .start(Engine::Host)
            .await;
        assert_eq!(first.address(), port);
        first.terminate();
        assert!(first.ended().await.success());
        assert_eq!(
            std::fs::read_dir(&modules).unwrap().count(),
            1,
            "the filter is kept"
        );

        let mut times = Vec::new();
        for _ in 0..STARTS {
            let began = Instant::now();
            let mut child = Command::new(programs::switchover())
                .arg("serve")
                .arg(first.directory().join("envoy.yaml"))
                .args(["--log-level", "error"])
                .env("SWITCHOVER_MODULE_CACHE", &modules)
                .current_dir(programs::root())
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let mut client = switchover_tests::Client::new(port);
            while !client
                .get("/")
                .try_send()
                .await
                .is_ok_and(|reply| reply.status == 200)
            {
                assert!(
                    began.elapsed() < switchover_tests::PATIENCE,
                    "it does not serve"
                );
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            times.push(began.elapsed());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let median = median(times);
        println!("the first request is answered {median:?} after the start");
        assert!(median <= Duration::from_millis(50), "{median:?}");
    });
}

/// Another binary takes the filter's place, again and again under load: no request fails, no connection is closed.
async fn binaries_change_under_load(engine: Engine) {
    let blue = Upstream::named("blue").await;
    let directory = tempfile::tempdir().unwrap();
    let binaries = [
        programs::guest("rename"),
        guest::variant(&programs::guest("rename"), directory.path()),
    ];
    let gateway = Setup::new(&[("blue", &blue)])
        .route_guest(&binaries[0])
        .without_attempt_role()
        .start(engine)
        .await;
    let updates = async || -> u64 {
        let text = gateway.admin("/stats").await;
        let mut counters = text
            .lines()
            .filter(|line| line.contains("extension_config_discovery"));
        let counter = counters.find_map(|line| line.split_once(".update_success: "));
        counter.map_or(0, |(_, count)| count.trim().parse().unwrap())
    };
    let load = Load::start(&gateway, 16);
    let began = Instant::now();
    let before = updates().await;
    for swap in 1..=SWAPS {
        let mut plugin = gateway.plugin().clone();
        let binary = binaries[swap % 2].to_str().unwrap();
        plugin["vm_config"]["code"]["local"]["filename"] = binary.into();
        gateway.replace_plugin(&plugin);
        let expected = before + u64::try_from(swap).unwrap();
        assert_eventually!(
            updates().await == expected,
            "swap {swap} did not come into force"
        );
    }
    // Traffic after the last one too.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seconds = began.elapsed().as_secs_f64();
    let requests = load.end().await;
    let rate = requests as f64 / seconds;
    println!(
        "{engine:?}: {SWAPS} binaries in {seconds:.2} s, {rate:.0} requests a second, none failed"
    );
    assert!(
        rate >= REQUESTS_A_SECOND,
        "only {rate:.0} requests a second were there to fail"
    );
}

#[test]
fn binaries_change_under_load_on_the_host() {
    run_alone(binaries_change_under_load(Engine::Host));
}
