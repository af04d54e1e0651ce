//! The operator's verbs and real traffic: what a verb writes is what clients see, within moments.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::upstream::text;
use switchover_tests::{
    Engine, Gateway, Load, Setup, Upstream, assert_eventually, cases, programs,
};
use tokio::process::Command;

/// Connections under load.
const CONNECTIONS: usize = 16;

/// Rollbacks that are measured.
const RUNS: usize = 20;

/// What a tripwire needs until it trips.
const MIN_REQUESTS: u64 = 10;

fn document(green: u64) -> Value {
    json!({"rollout": "api-1", "stable": "blue", "attempts": true, "routing": {
        "blue": {"weight": 100 - green, "version": "1", "clusters": ["blue-only"]},
        "green": {"weight": green, "version": "2", "clusters": ["green-only"]},
    }})
}

/// The file that the gateway watches.
fn file(gateway: &Gateway) -> PathBuf {
    gateway.directory().join("ecds/route.json")
}

fn command(gateway: &Gateway, arguments: &[&str]) -> Command {
    let mut command = Command::new(programs::switchover());
    command
        .arg("rollout")
        .args(arguments)
        .env("SWITCHOVER_DOCUMENT", file(gateway));
    command.env("SWITCHOVER_OPERATOR", "ada").kill_on_drop(true);
    command
}

async fn rollout(gateway: &Gateway, arguments: &[&str]) -> Output {
    let output = command(gateway, arguments).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    output
}

async fn status(gateway: &Gateway) -> Value {
    let admin = gateway.admin_address().to_string();
    let output = rollout(gateway, &["status", "--json", "--admin", &admin]).await;
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["rollouts"][0].take()
}

/// How many of a hundred requests green answers.
async fn greens(gateway: &Gateway) -> usize {
    let mut client = gateway.client();
    let mut count = 0;
    for _ in 0..100 {
        count += usize::from(client.get("/").send().await.text() == "green");
    }
    count
}

async fn both() -> [Upstream; 2] {
    [
        Upstream::named("blue").await,
        Upstream::named("green").await,
    ]
}

async fn start(engine: Engine, document: Value, [blue, green]: &[Upstream; 2]) -> Gateway {
    Setup::new(&[("blue", blue), ("green", green)])
        .document(document)
        .start(engine)
        .await
}

cases! {
    async fn each_verb_changes_the_traffic(engine: Engine) {
        let upstreams = both().await;
        let gateway = start(engine, document(0), &upstreams).await;
        assert_eq!(greens(&gateway).await, 0);
        rollout(&gateway, &["set", "green=25"]).await;
        assert_eventually!(greens(&gateway).await == 25, "green did not get 25 %");
        rollout(&gateway, &["rollback"]).await;
        assert_eventually!(greens(&gateway).await == 0, "green still got requests");
        rollout(&gateway, &["resume"]).await;
        assert_eventually!(greens(&gateway).await == 25, "green did not get its share back");
        rollout(&gateway, &["deploy", "green=3"]).await;
        assert_eventually!(greens(&gateway).await == 0, "green still got requests");
        rollout(&gateway, &["start"]).await;
        for expected in [1, 5, 25, 50] {
            rollout(&gateway, &["promote"]).await;
            assert_eventually!(greens(&gateway).await == expected, "green did not get {expected} %");
        }
        rollout(&gateway, &["promote"]).await;
        rollout(&gateway, &["finish"]).await;
        assert_eventually!(greens(&gateway).await == 100, "green did not get everything");
        assert_eventually!(status(&gateway).await["proxies"][0]["follows"] == true, "{}", status(&gateway).await);
        let status = status(&gateway).await;
        assert_eq!(status["rollout"], "api-3");
        assert_eq!(status["environments"][1], json!({"name": "green", "stable": true, "version": "3", "share": 100}));
    }

    /// Each verb is one change to the gateway. The audit log, which is written in the watched directory as well, is none.
    async fn the_audit_log_does_not_disturb(engine: Engine) {
        let upstreams = both().await;
        let gateway = start(engine, document(0), &upstreams).await;
        let updates = async || -> u64 {
            let text = gateway.admin("/stats").await;
            let counters = text.lines().filter(|l| l.contains("extension_config_discovery") && l.contains(".update_success: "));
            counters.map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
        };
        let before = updates().await;
        for (count, share) in (1..=5).zip(["green=1", "green=2", "green=3", "green=4", "green=5"]) {
            rollout(&gateway, &["set", share]).await;
            assert_eventually!(updates().await == before + count, "{} changes, not {count}", updates().await - before);
        }
        let log = std::fs::read_to_string(gateway.directory().join("ecds/route.json.audit.jsonl")).unwrap();
        assert_eq!(log.lines().count(), 5);
        // One more is the sixth, so nothing came between.
        rollout(&gateway, &["set", "green=6"]).await;
        assert_eventually!(updates().await >= before + 6, "the sixth change is not seen");
        assert_eq!(updates().await, before + 6);
        assert!(!gateway.output().contains("refused"), "{}", gateway.output());
    }

    async fn status_shows_what_a_proxy_does(engine: Engine) {
        let upstreams = both().await;
        let gateway = start(engine, document(20), &upstreams).await;
        assert_eventually!(status(&gateway).await["proxies"][0]["follows"] == true, "without traffic: {}", status(&gateway).await);
        greens(&gateway).await;
        assert_eventually!(status(&gateway).await["proxies"][0]["environments"][1]["requests"] == 20, "{}", status(&gateway).await);
        let shown = status(&gateway).await;
        let proxy = &shown["proxies"][0];
        assert_eq!(proxy["follows"], true, "{shown}");
        assert_eq!(proxy["environments"][1]["in_force"], 20);
        assert_eq!(proxy["tripped"], Value::Null, "the document has no guard");
        let (nowhere, _reserved) = switchover_tests::upstream::refusing();
        let output = rollout(&gateway, &["status", "--admin", &nowhere.to_string()]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("{nowhere} cannot be reached")), "{text}");
    }

    /// A trip that one proxy saw becomes a rollback for all; the watcher says so and ends.
    async fn watch_makes_a_trip_permanent(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let healthy = Arc::new(AtomicBool::new(true));
        let is_healthy = Arc::clone(&healthy);
        let green = Upstream::start(move |_| {
            let status = if is_healthy.load(Ordering::SeqCst) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            async move { text(status, "green") }
        })
        .await;
        let mut document = document(50);
        document["guard"] = json!({"environment": "green", "min_requests": MIN_REQUESTS, "max_error_rate": 0.2});
        let upstreams = [blue, green];
        let gateway = start(engine, document, &upstreams).await;
        let (nowhere, _reserved) = switchover_tests::upstream::refusing();
        let admins = [gateway.admin_address().to_string(), nowhere.to_string()];
        let arguments = ["watch", "--json", "--interval", "100ms", "--admin", &admins[0], "--admin", &admins[1]];
        let mut watcher = command(&gateway, &arguments);
        let watcher = watcher.stdout(Stdio::piped()).spawn().unwrap();
        greens(&gateway).await;
        assert_eventually!(status(&gateway).await["proxies"][0]["tripped"] == false, "{}", status(&gateway).await);
        healthy.store(false, Ordering::SeqCst);
        assert_eq!(greens(&gateway).await, 0, "clients see none of it");
        let output = tokio::time::timeout(switchover_tests::PATIENCE, watcher.wait_with_output()).await.expect("it ends").unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let events: Vec<Value> = output.stdout.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
        let of = |name: &str| events.iter().filter(|e| e["event"] == name).collect::<Vec<_>>();
        assert_eq!(of("lost").len(), 1, "told once: {events:?}");
        assert_eq!(of("rolled_back")[0]["proxy"], admins[0].as_str());
        let shown = status(&gateway).await;
        assert_eq!((&shown["phase"], &shown["rollback"]), (&json!("rolled_back"), &json!(true)));
        let log = std::fs::read_to_string(gateway.directory().join("ecds/route.json.audit.jsonl")).unwrap();
        let told: Value = serde_json::from_str(log.trim()).unwrap();
        assert_eq!((&told["who"], &told["verb"]), (&json!("watch"), &json!("rollback")));
        let reason = &told["arguments"]["reason"]["tripped"];
        assert_eq!(reason["proxy"], admins[0].as_str());
        assert!(reason["environments"][1]["failures"].as_u64().is_some_and(|n| n >= 1), "{reason}");

        // Mended and resumed: the latch opens, and nobody rolls back on what was before.
        healthy.store(true, Ordering::SeqCst);
        rollout(&gateway, &["resume"]).await;
        let watcher = rollout(&gateway, &["watch", "--interval", "50ms", "--for", "1500ms", "--admin", &admins[0]]).await;
        assert!(!String::from_utf8_lossy(&watcher.stdout).contains("rolled back"), "{watcher:?}");
        assert_eventually!(greens(&gateway).await == 50, "green did not get its share back");
    }
}

/// From the verb's start to the last request that reaches green, under the load of all connections.
async fn a_rollback_takes_a_moment(engine: Engine) {
    let bound = match engine {
        Engine::Host => Duration::from_millis(50),
        Engine::Envoy => Duration::from_millis(250),
    };
    let last = Arc::new(Mutex::new(Instant::now()));
    let seen = Arc::clone(&last);
    let blue = Upstream::named("blue").await;
    let green = Upstream::start(move |_| {
        *seen.lock().unwrap() = Instant::now();
        async { text(StatusCode::OK, "green") }
    })
    .await;
    let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
        .document(document(50))
        .workers(2)
        .start(engine)
        .await;
    let load = Load::start(&gateway, CONNECTIONS);
    let mut taken = Vec::new();
    for _ in 0..RUNS {
        let before = green.count();
        assert_eventually!(green.count() > before + 50, "green gets no requests");
        let begun = Instant::now();
        rollout(&gateway, &["rollback"]).await;
        // Longer than any rollback may take: what comes later would be seen.
        tokio::time::sleep(bound * 4).await;
        taken.push(last.lock().unwrap().saturating_duration_since(begun));
        rollout(&gateway, &["resume"]).await;
    }
    let requests = load.end().await;
    taken.sort_unstable();
    let (median, most) = (taken[RUNS / 2], taken[RUNS - 1]);
    println!(
        "{engine:?}: rollback to the last request at green: median {median:?}, most {most:?}; {requests} requests, none failed"
    );
    assert!(
        median <= bound && most <= bound * 3,
        "median {median:?}, most {most:?} of {taken:?}"
    );
}

#[test]
fn a_rollback_takes_a_moment_on_the_host() {
    switchover_tests::run_alone(a_rollback_takes_a_moment(Engine::Host));
}

#[test]
fn a_rollback_takes_a_moment_on_envoy() {
    switchover_tests::run_alone(a_rollback_takes_a_moment(Engine::Envoy));
}

/// What an admin server says of two rollouts.
fn tripped([first, second]: [bool; 2]) -> String {
    let line = |id: &str, tripped: bool| {
        format!(
            "envoy_switchover_tripped{{rollout=\"{id}\"}} {}\n",
            u8::from(tripped)
        )
    };
    line("api-1", first) + &line("api-2", second)
}

/// A document that cannot be changed is told once, and that a trip waits for it; all guarded rollouts are waited for.
#[test]
fn watch_tells_what_it_waits_for() {
    switchover_tests::run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rollouts.json");
        let mut first = document(5);
        first["guard"] = json!({"environment": "green", "max_error_rate": 0.2});
        first["match"] = json!({"path_prefix": "/one"});
        let mut second = first.clone();
        second["rollout"] = "api-2".into();
        second["match"] = json!({"path_prefix": "/two"});
        let good = json!({"rollouts": [first, second]}).to_string();
        std::fs::write(&path, &good).unwrap();

        let figures = Arc::new(Mutex::new(tripped([false, false])));
        let shown = Arc::clone(&figures);
        let admin = Upstream::start(move |_| {
            let shown = shown.lock().unwrap().clone();
            async move { text(StatusCode::OK, &shown) }
        })
        .await;
        let mut command = Command::new(programs::switchover());
        command
            .args([
                "rollout",
                "watch",
                "--json",
                "--interval",
                "50ms",
                "--admin",
            ])
            .arg(admin.address().to_string())
            .arg(&path);
        let mut watcher = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(
            watcher.stdout.take().unwrap(),
        ));
        let mut event = async || -> Value {
            let line = tokio::time::timeout(switchover_tests::PATIENCE, lines.next_line());
            let line = line.await.expect("an event").unwrap().expect("a line");
            serde_json::from_str(&line).unwrap()
        };
        assert_eq!(event().await["event"], "found");
        let looks = async |count: u64| {
            let before = admin.count();
            assert_eventually!(admin.count() >= before + count, "it does not look");
        };
        looks(2).await;
        switchover_tests::put(&path, "{");
        assert_eq!(event().await["event"], "failed");
        looks(3).await;
        *figures.lock().unwrap() = tripped([true, false]);
        let pending = event().await;
        assert_eq!(
            (&pending["event"], &pending["rollout"]),
            (&json!("pending"), &json!("api-1"))
        );
        looks(3).await;
        switchover_tests::put(&path, &good);
        let done = event().await;
        assert_eq!(
            (&done["event"], &done["rollout"]),
            (&json!("rolled_back"), &json!("api-1"))
        );
        assert_eq!(event().await["rollouts"], json!(["api-2"]));
        *figures.lock().unwrap() = tripped([true, true]);
        assert_eq!(event().await["rollout"], "api-2");
        let ended = tokio::time::timeout(switchover_tests::PATIENCE, watcher.wait())
            .await
            .expect("it ends");
        assert_eq!(ended.unwrap().code(), Some(0));
    });
}

/// Told to end, a watcher does.
#[test]
fn watch_ends_when_interrupted() {
    switchover_tests::run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rollout.json");
        std::fs::write(&path, document(5).to_string()).unwrap();
        let (nowhere, _reserved) = switchover_tests::upstream::refusing();
        let mut command = Command::new(programs::switchover());
        command
            .args([
                "rollout",
                "watch",
                "--keep-watching",
                "--admin",
                &nowhere.to_string(),
            ])
            .arg(&path);
        let mut watcher = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(
            watcher.stdout.take().unwrap(),
        ));
        let line = tokio::time::timeout(switchover_tests::PATIENCE, lines.next_line())
            .await
            .expect("a line");
        assert!(line.unwrap().unwrap().contains("cannot be reached"));
        let pid =
            rustix::process::Pid::from_raw(watcher.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let ended = tokio::time::timeout(switchover_tests::PATIENCE, watcher.wait())
            .await
            .expect("it ends");
        assert_eq!(ended.unwrap().code(), Some(0));
    });
}
