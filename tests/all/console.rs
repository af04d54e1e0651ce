//! The console in a real browser: what it shows against what was sent, and each button against its effect on traffic.

mod access;
mod buttons;
mod costs;
mod limits;
mod looks;
mod picture;
mod proxies;
mod shown;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use switchover_tests::{Browser, Console, Engine, Gateway, Setup, Upstream, assert_eventually};

/// The file that a gateway watches.
fn file(gateway: &Gateway) -> PathBuf {
    gateway.directory().join("ecds/route.json")
}

fn document(green: u64) -> Value {
    json!({"rollout": "api-1", "stable": "blue", "attempts": true, "routing": {
        "blue": {"weight": 100 - green, "version": "1.0", "clusters": ["blue-only"]},
        "green": {"weight": green, "version": "2.0", "clusters": ["green-only"]},
    }})
}

/// A schedule that has just begun; no step comes by itself within the test.
fn scheduled() -> Value {
    let mut document = document(0);
    document["schedule"] = json!({
        "environment": "green", "start": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        "steps": [{"at": "1h", "weight": 10}, {"at": "2h", "weight": 50}, {"at": "3h", "weight": 100}],
    });
    document
}

async fn both() -> [Upstream; 2] {
    [
        Upstream::named("blue").await,
        Upstream::named("green").await,
    ]
}

async fn start(engine: Engine, document: Value, [blue, green]: &[Upstream; 2]) -> Gateway {
    let setup = Setup::new(&[("blue", blue), ("green", green)]);
    setup.document(document).start(engine).await
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

/// A browser that shows a console, and has seen a state.
async fn looking(console: &Console) -> Browser {
    let mut browser = Browser::start(1200, 900).await;
    browser.open(&console.page()).await;
    assert_eventually!(
        browser.text("#link").await == "live",
        "{}",
        browser.text("body").await
    );
    browser
}

/// A gateway with this document, the console of both, and a browser that looks at it.
async fn opened(
    engine: Engine,
    document: Value,
    upstreams: &[Upstream; 2],
) -> (Gateway, Console, Browser) {
    let gateway = start(engine, document, upstreams).await;
    let console = Console::start(&file(&gateway), &[gateway.admin_address()]).await;
    let browser = looking(&console).await;
    (gateway, console, browser)
}

/// Waits until the open dialog would do something.
async fn may_confirm(browser: &mut Browser) {
    let script = "return document.querySelector('dialog[open] #ask-yes:enabled') !== null";
    assert_eventually!(
        browser.run(script).await == true,
        "{}",
        browser.text("body").await
    );
}

/// Waits until the dialog is closed.
async fn closed(browser: &mut Browser) {
    let script = "return document.querySelector('dialog[open]') === null";
    assert_eventually!(
        browser.run(script).await == true,
        "{}",
        browser.text("#ask").await
    );
}

/// The wall clock, in milliseconds.
fn clock() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs_f64() * 1000.0
}
