//! How quick and how small the page is, and that everybody can use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::upstream::text;
use switchover_tests::{Browser, Console, Engine, Upstream, assert_eventually, programs};

use super::{both, clock, document, file, greens, looking, may_confirm, opened, scheduled, start};

/// First paint and live updates, in milliseconds.
const PAINT: f64 = 300.0;
const LIVE: f64 = 1000.0;
/// All that the page is made of, in bytes.
const SIZE: u64 = 150_000;

/// Notes when a part of the page first says something.
async fn expect(browser: &mut Browser, selector: &str, words: &str) {
    let script = format!(
        "window.watcher?.disconnect(); window.seen = null; const part = document.querySelector({}); const look = () => {{
           if (window.seen === null && part.textContent.includes({})) window.seen = Date.now(); }};
         window.watcher = new MutationObserver(look); window.watcher.observe(part, {{subtree: true, childList: true, characterData: true}});",
        json!(selector),
        json!(words)
    );
    browser.run(&script).await;
}

async fn seen(browser: &mut Browser) -> f64 {
    assert_eventually!(
        browser.run("return window.seen").await.is_number(),
        "{}",
        browser.text("body").await
    );
    browser.run("return window.seen").await.as_f64().unwrap()
}

#[test]
fn the_page_is_small_and_quick() {
    switchover_tests::run_alone(async {
        let upstreams = both().await;
        let gateway = start(Engine::Host, scheduled(), &upstreams).await;
        let console = Console::start(&file(&gateway), &[gateway.admin_address()]).await;
        let mut browser = Browser::start(1200, 900).await;
        let mut paints = Vec::new();
        for _ in 0..5 {
            browser.open("about:blank").await;
            browser.open(&console.page()).await;
            let paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null";
            assert_eventually!(browser.run(paint).await.is_number(), "nothing is painted");
            paints.push(browser.run(paint).await.as_f64().unwrap());
        }
        paints.sort_by(f64::total_cmp);
        let sizes = "return performance.getEntries().filter((e) => 'encodedBodySize' in e).map((e) => [e.name, e.encodedBodySize + 300])";
        let sizes: Vec<(String, u64)> = serde_json::from_value(browser.run(sizes).await).unwrap();
        let size: u64 = sizes.iter().map(|(_, size)| size).sum();
        assert!(sizes.len() >= 6, "{sizes:?}");
        println!(
            "first paint {paints:.0?} ms; {size} bytes in {} files",
            sizes.len()
        );
        assert!(paints[2] <= PAINT, "median of {paints:?}");
        assert!(size <= SIZE, "{sizes:?}");
    });
}

/// From the document's move, and from the request that trips, to the page.
#[test]
fn updates_are_live() {
    switchover_tests::run_alone(async {
        let healthy = Arc::new(AtomicBool::new(true));
        let last = Arc::new(AtomicU64::new(0));
        let (is_healthy, failed) = (Arc::clone(&healthy), Arc::clone(&last));
        let green = Upstream::start(move |_| {
            let status = if is_healthy.load(Ordering::SeqCst) {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            failed.store(clock().to_bits(), Ordering::SeqCst);
            async move { text(status, "green") }
        });
        let upstreams = [Upstream::named("blue").await, green.await];
        let guarded = |green| {
            let mut document = document(green);
            document["guard"] =
                json!({"environment": "green", "min_requests": 10, "max_error_rate": 0.2});
            document
        };
        for engine in [Engine::Host, Engine::Envoy] {
            healthy.store(true, Ordering::SeqCst);
            let (gateway, _console, mut browser) = opened(engine, guarded(20), &upstreams).await;
            let mut taken = Vec::new();
            for share in [30, 40, 50] {
                expect(&mut browser, "#proxies", &format!("green {share} %")).await;
                let moved = clock();
                gateway.replace_document(&guarded(share));
                taken.push(seen(&mut browser).await - moved);
                // No condition: the next move is to fall into another part of the console's round.
                tokio::time::sleep(Duration::from_millis(130)).await;
            }
            greens(&gateway).await;
            expect(&mut browser, "#alerts", "has tripped over max_error_rate").await;
            healthy.store(false, Ordering::SeqCst);
            greens(&gateway).await;
            let tripped = f64::from_bits(last.load(Ordering::SeqCst));
            taken.push(seen(&mut browser).await - tripped);
            println!(
                "{engine:?}: in force and shown after {taken:.0?} ms, the last of them a trip"
            );
            assert!(taken.iter().all(|ms| *ms <= LIVE), "{taken:?}");
            assert_eq!(browser.rows("#proxies").await[0][4], "tripped");
            assert_eq!(
                browser.text("#limits .bad").await,
                "failures above 20 %: crossed"
            );
        }
    });
}

/// What axe-core finds wrong.
pub(super) async fn violations(browser: &mut Browser) -> Vec<String> {
    let axe = std::fs::read_to_string(programs::axe()).unwrap();
    browser.run(&format!("if (!window.axe) {{ {axe} }}")).await;
    let found = browser
        .run_async("const done = arguments[0]; axe.run().then((found) => done(found.violations), (e) => done([{id: String(e), nodes: []}]))")
        .await;
    let told = |one: &Value| {
        let places = one["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["html"].to_string());
        format!("{}: {}", one["id"], places.collect::<Vec<_>>().join(" "))
    };
    found.as_array().unwrap().iter().map(told).collect()
}

#[test]
fn everybody_can_use_it() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let mut document = scheduled();
        document["guard"] = json!({"environment": "green", "max_error_rate": 0.1});
        document["rollback"] = true.into();
        let gateway = start(Engine::Host, document, &upstreams).await;
        let (nowhere, _reserved) = switchover_tests::upstream::refusing();
        let console = Console::start(&file(&gateway), &[gateway.admin_address(), nowhere]).await;
        let mut browser = looking(&console).await;
        assert_eventually!(
            browser.text("#alerts").await.contains("give no figures"),
            "{}",
            browser.text("body").await
        );
        for (width, scheme) in [
            (1200, "light"),
            (1200, "dark"),
            (360, "light"),
            (360, "dark"),
        ] {
            browser.appear(width, 800, scheme).await;
            let found = violations(&mut browser).await;
            assert!(found.is_empty(), "{scheme} at {width}: {found:#?}");
            let dark = browser
                .run("return getComputedStyle(document.body).backgroundColor")
                .await;
            assert_eq!(dark == "rgb(16, 20, 27)", scheme == "dark", "{dark}");
            let over = browser
                .run("return document.documentElement.scrollWidth - innerWidth")
                .await;
            assert!(over.as_i64().unwrap() <= 0, "{over} px too wide at {width}");
        }
        browser.click("#set").await;
        assert_eventually!(
            browser.focus().await == "ask-percent",
            "{}",
            browser.text("#ask").await
        );
        browser.press("40").await;
        may_confirm(&mut browser).await;
        let found = violations(&mut browser).await;
        assert!(found.is_empty(), "the dialog: {found:#?}");
        let over = browser
            .run("return document.documentElement.scrollWidth - innerWidth")
            .await;
        assert!(
            over.as_i64().unwrap() <= 0,
            "the dialog is {over} px too wide"
        );
    });
}
