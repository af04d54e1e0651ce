//! What is shown, against what was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use switchover_tests::upstream::{refusing, text};
use switchover_tests::{Console, Engine, Gateway, Upstream, assert_eventually};

use super::{document, file, looking, opened, scheduled, start};

/// Requests to each gateway.
const REQUESTS: usize = 100;
/// How long green takes.
const SLOW: Duration = Duration::from_millis(60);

/// Every fourth of green's answers is a failure, and all of them are slow.
async fn flawed() -> [Upstream; 2] {
    let count = Arc::new(AtomicUsize::new(0));
    let green = Upstream::start(move |_| {
        let fails = count.fetch_add(1, Ordering::SeqCst) % 4 == 3;
        let status = if fails {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        async move {
            // What is measured.
            tokio::time::sleep(SLOW).await;
            text(status, "green")
        }
    });
    [Upstream::named("blue").await, green.await]
}

async fn send(gateway: &Gateway) {
    let mut client = gateway.client();
    for _ in 0..REQUESTS {
        let reply = client.get("/").send().await;
        assert_eq!(
            reply.status, 200,
            "a failure of green's is blue's to answer"
        );
    }
}

/// A figure with its unit, in milliseconds.
fn millis(text: &str) -> f64 {
    let (number, unit) = text
        .split_once(' ')
        .unwrap_or_else(|| panic!("no latency: {text:?}"));
    let factor = if unit == "s" { 1000.0 } else { 1.0 };
    number.parse::<f64>().unwrap() * factor
}

#[test]
fn what_is_shown_is_what_was_sent() {
    switchover_tests::run(async {
        let upstreams = flawed().await;
        let mut document = document(20);
        // What a guard looks at is counted; this one does not mind.
        document["guard"] =
            json!({"environment": "green", "max_error_rate": 0.9, "min_requests": 1000});
        let host = start(Engine::Host, document.clone(), &upstreams).await;
        let envoy = start(Engine::Envoy, document, &upstreams).await;
        let (nowhere, _reserved) = refusing();
        let proxies = [host.admin_address(), envoy.admin_address(), nowhere];
        let console = Console::start(&file(&host), &proxies).await;
        let mut browser = looking(&console).await;
        assert_eventually!(
            browser
                .rows("#proxies")
                .await
                .iter()
                .filter(|row| row[1] == "current")
                .count()
                == 2,
            "{:?}",
            browser.rows("#proxies").await
        );
        // What comes now is counted: each has told how much it had before.
        assert_eventually!(
            browser.rows("#proxies").await[..2]
                .iter()
                .all(|row| row[5] != "–"),
            "{:?}",
            browser.rows("#proxies").await
        );
        tokio::join!(send(&host), send(&envoy));
        let expected = |rows: &[Vec<String>]| {
            let shown = |row: &Vec<String>| row[..4].join("|") + "|" + &row[5];
            rows.len() == 2
                && shown(&rows[0]) == "blue (stable)|1.0|80 %|80 %|100 %"
                && shown(&rows[1]) == "green|2.0|20 %|20 %|75 %"
        };
        assert_eventually!(
            expected(&browser.rows("#environments").await),
            "{:?}",
            browser.rows("#environments").await
        );
        // Envoy adds to its histograms every five seconds.
        assert_eventually!(
            millis(&browser.rows("#environments").await[1][6]) > 50.0,
            "{:?}",
            browser.rows("#environments").await
        );
        let rows = browser.rows("#environments").await;
        assert!(
            (50.0..=100.0).contains(&millis(&rows[1][6])),
            "green's median: {rows:?}"
        );
        assert!(
            millis(&rows[0][6]) < millis(&rows[1][6]),
            "blue is quicker: {rows:?}"
        );
        let lost = browser.rows("#proxies").await.remove(2);
        assert_eq!(lost[0], format!("http://{nowhere}"));
        assert!(
            lost[1].starts_with("down") && lost[1].contains("cannot be reached"),
            "{lost:?}"
        );
        assert_eq!(lost[5], "–", "no figures are made up");
        let alerts = browser.text("#alerts").await;
        assert_eq!(alerts, "1 of 3 proxies give no figures.");
        let own = format!("http://{}/", console.address());
        let requests = browser.requests().await;
        assert!(
            requests.iter().filter(|url| url.starts_with(&own)).count() >= 6,
            "{requests:?}"
        );
        // The browser's own parts have schemes of their own.
        let sent = |url: &&String| url.starts_with("http") || url.starts_with("ws");
        for url in requests.iter().filter(sent) {
            assert!(url.starts_with(&own), "{url} left the console");
        }
        let complaints = browser.complaints().await;
        assert!(complaints.is_empty(), "{complaints:?}");
    });
}

#[test]
fn a_schedule_is_drawn_with_the_present() {
    switchover_tests::run(async {
        let upstreams = flawed().await;
        let mut document = scheduled();
        document["guard"] = json!({"environment": "green", "max_error_rate": 0.1, "min_requests": 20, "window": "30s"});
        let (_gateway, _console, mut browser) = opened(Engine::Host, document, &upstreams).await;
        assert_eventually!(
            browser.text("#phase-pill").await == "the schedule runs",
            "{}",
            browser.text("#phase").await
        );
        let more = browser.text("#phase-more").await;
        assert!(
            more.starts_with("green is at step 0 of 3 · 10 % follows in 59 m"),
            "{more}"
        );
        let steps = browser
            .run("return document.querySelectorAll('#course .step').length")
            .await;
        assert_eq!(steps, 3);
        let now = browser
            .run("return document.querySelector('#course .now-text').textContent")
            .await;
        assert_eq!(now, "now · 0 %");
        let words = browser.text("#course-text").await;
        assert!(
            words.starts_with("green gets 10 % after 1 h, 50 % after 2 h, 100 % after 3 h"),
            "{words}"
        );
        let wire = browser.text("#tripwire-card").await;
        assert!(
            wire.contains("Armed: it watches green.") && wire.contains("failures above 10 %"),
            "{wire}"
        );
    });
}

/// Nothing of a credential or a consumer's key is anywhere, also not in what buttons answer.
#[test]
fn no_secret_is_shown() {
    const SECRETS: [&str; 3] = [
        "hush-blue",
        "hush-green",
        "c48a01f49fd0f2cc404bc3cbbc80e914",
    ];
    switchover_tests::run(async {
        let upstreams = flawed().await;
        let mut secretive = document(100);
        for environment in ["blue", "green"] {
            secretive["routing"][environment]["credential"] =
                json!({"value": format!("hush-{environment}")});
        }
        secretive["shadow"] = json!({"environment": "green", "percent": 1});
        secretive["auth"] = json!({"mode": "replace", "consumers": [
            {"name": "team-a", "keys": [{"sha256": "c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c"}]},
        ]});
        let gateway = start(Engine::Host, secretive, &upstreams).await;
        let console = Console::start(&file(&gateway), &[gateway.admin_address()]).await;
        let hides = |what: &str, text: &str| {
            let found = SECRETS.iter().find(|secret| text.contains(**secret));
            assert_eq!(found, None, "{what}: {text}");
        };
        hides("state", &console.state().await.to_string());
        let wrong = console
            .post(
                "/console/preview",
                &json!({"rollout": "api-1", "verb": "pause"}),
            )
            .await;
        hides("refusal", wrong.text());
        let ask = json!({"rollout": "api-1", "verb": "finish"});
        let preview = console.post("/console/preview", &ask).await;
        assert_eq!(preview.status, 200, "{preview:?}");
        hides("preview", preview.text());
        let shares: Vec<_> = preview.json()["effects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["after"].clone())
            .collect();
        let mut ask = ask;
        ask["confirmed"] = json!({"sha256": preview.json()["sha256"], "shares": shares});
        let done = console.post("/console/change", &ask).await;
        assert_eq!(done.status, 200, "{done:?}");
        hides("change", done.text());
        let state = console.state().await;
        assert_eq!(state["audit"][0]["verb"], "finish", "{state}");
        hides("state with the audit log", &state.to_string());
        let mut browser = looking(&console).await;
        hides(
            "page",
            browser
                .run("return document.documentElement.outerHTML")
                .await
                .as_str()
                .unwrap(),
        );
    });
}
