//! Proxies that are down, slow or cut off, and a fleet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::upstream::text;
use switchover_tests::{
    Browser, Console, Engine, Gateway, Load, Setup, Upstream, assert_eventually,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{both, document, file, greens, opened, start};

/// An admin server that answers with these bytes and closes, or never where there are none.
pub(super) async fn admin(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if answer.is_empty() {
                open.push(stream);
                continue;
            }
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}

fn condition(state: &Value, at: usize) -> String {
    state["proxies"][at]["condition"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn whoever_is_slow_or_cut_off_holds_up_nobody() {
    const SAMPLES: &str =
        "switchover_requests{environment=\"green\",reason=\"weights\",rollout=\"api-1\"} 7\n";
    let cut: &'static str =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{SAMPLES}").leak();
    let chunked: &'static str = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{SAMPLES}\r\n",
        SAMPLES.len()
    )
    .leak();
    let endless: &'static str = format!("HTTP/1.1 200 OK\r\n\r\n{SAMPLES}").leak();
    switchover_tests::run(async move {
        let upstreams = both().await;
        let gateway = start(Engine::Host, document(20), &upstreams).await;
        let proxies = [
            gateway.admin_address(),
            admin("").await,
            admin(cut).await,
            admin(chunked).await,
            admin(endless).await,
        ];
        let console = Console::start(&file(&gateway), &proxies).await;
        // As somebody who looks all the time.
        let mut viewer = console.client();
        let _events = viewer.get("/console/events").host("localhost").open().await;
        let begun = Instant::now();
        let mut quick = None;
        assert_eventually!(
            {
                let state = console.state().await;
                if condition(&state, 0) == "current" {
                    quick.get_or_insert(begun.elapsed());
                }
                (1..5).all(|at| condition(&state, at) == "down")
            },
            "{:#}",
            console.state().await
        );
        let quick = quick.unwrap();
        assert!(
            quick < Duration::from_secs(1),
            "the others wait for nobody: {quick:?}"
        );
        greens(&gateway).await;
        assert_eventually!(
            console.state().await["rollouts"][0]["live"][1]["measured"] == 20.0,
            "{:#}",
            console.state().await
        );
        let state = console.state().await;
        for (at, words) in [
            (1, "does not answer within 2s"),
            (2, ""),
            (3, ""),
            (4, "may be cut off"),
        ] {
            let error = state["proxies"][at]["error"].as_str().unwrap();
            assert!(error.contains(words), "{at}: {error}");
            assert_eq!(
                state["proxies"][at]["requests_per_second"],
                Value::Null,
                "nothing is made of half an answer"
            );
        }
    });
}

/// All that is shown comes with one question, over one connection; between two of them little is asked for.
#[test]
fn a_proxy_is_asked_for_little() {
    switchover_tests::run(async {
        let [all, little] = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
        let (asked_for_all, asked_for_little) = (Arc::clone(&all), Arc::clone(&little));
        let proxy = Upstream::start(move |request| {
            let is_all = request
                .uri()
                .query()
                .unwrap_or_default()
                .contains("requests");
            let count = if is_all {
                &asked_for_all
            } else {
                &asked_for_little
            };
            count.fetch_add(1, Ordering::SeqCst);
            async { text(StatusCode::OK, "switchover_tripped{rollout=\"api-1\"} 0\n") }
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("document.json");
        std::fs::write(&file, document(20).to_string()).unwrap();
        let console = Console::start(&file, &[proxy.address()]).await;
        let mut viewer = console.client();
        let _events = viewer.get("/console/events").host("localhost").open().await;
        assert_eventually!(all.load(Ordering::SeqCst) >= 4, "it is not asked");
        let (all, little) = (all.load(Ordering::SeqCst), little.load(Ordering::SeqCst));
        assert!(little <= 2 * all, "{little} beside {all}");
        assert_eq!(proxy.connections(), 1);
    });
}

/// A page that nobody sees asks nobody, and goes on when it is seen again.
#[test]
fn a_hidden_page_leaves_proxies_alone() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let (gateway, console, mut browser) = opened(Engine::Host, document(20), &upstreams).await;
        browser.run(&see(false)).await;
        stands_still(&mut browser).await;
        gateway.replace_document(&document(30));
        // Who asks is told of it, and so would be a page that looks.
        assert_eventually!(
            console.state().await["rollouts"][0]["environments"][1]["share"] == 30.0,
            "{:#}",
            console.state().await
        );
        assert_eq!(browser.rows("#environments").await[1][2], "20 %");
        browser.run(&see(true)).await;
        assert_eventually!(
            browser.rows("#environments").await[1][2] == "30 %",
            "{:?}",
            browser.rows("#environments").await
        );
        assert_eq!(browser.text("#link").await, "live");
    });
}

/// A page that had lost its connection when nobody looked any more did not stand still once that was back.
#[test]
fn a_hidden_page_does_not_connect_again() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let (_gateway, console, mut browser) = opened(Engine::Host, document(20), &upstreams).await;
        console.stop();
        assert_eventually!(
            browser.text("#link").await == "connection lost, trying again",
            "{}",
            browser.text("#link").await
        );
        browser.run(&see(false)).await;
        stands_still(&mut browser).await;
        console.go_on();
        console.state().await;
        // It would have tried again a second after that answer.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(
            browser.text("#link").await,
            "stands still while nobody looks"
        );
        browser.run(&see(true)).await;
        assert_eventually!(
            browser.text("#link").await == "live",
            "{}",
            browser.text("#link").await
        );
    });
}

/// What makes a page seen or hidden.
fn see(seen: bool) -> String {
    format!(
        "Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}});
         document.dispatchEvent(new Event('visibilitychange'));",
        hidden = !seen
    )
}

/// Waits until a page leaves proxies alone.
async fn stands_still(browser: &mut Browser) {
    assert_eventually!(
        browser.text("#link").await == "stands still while nobody looks",
        "{}",
        browser.text("#link").await
    );
}

/// A gateway that follows this document's file, with its admin at this address.
async fn follower(
    engine: Engine,
    upstreams: &[Upstream; 2],
    shared: Option<&std::path::Path>,
    admin: Option<SocketAddr>,
) -> Gateway {
    let [blue, green] = upstreams;
    let mut setup = Setup::new(&[("blue", blue), ("green", green)]).document(document(20));
    if let Some(shared) = shared.map(std::path::Path::to_owned) {
        setup = setup.edit(move |bootstrap| {
            let folder = shared.parent().unwrap().to_str().unwrap().to_owned();
            let filters = bootstrap.filters().iter_mut();
            for filter in filters.filter_map(|filter| filter.get_mut("config_discovery")) {
                filter["config_source"]["path_config_source"] =
                    json!({"path": shared.to_str().unwrap(), "watched_directory": {"path": folder}});
            }
        });
    }
    if let Some(admin) = admin {
        setup = setup.edit(move |bootstrap| {
            bootstrap.0["admin"]["address"]["socket_address"]["port_value"] = admin.port().into();
        });
    }
    setup.start(engine).await
}

/// Whether green gets this share, as far as that can be told while others send too.
async fn near(gateway: &Gateway, percent: usize) -> bool {
    greens(gateway).await.abs_diff(percent) <= 10
}

/// Asks for a share through the console.
async fn set(console: &Console, percent: u64) {
    let mut ask = json!({"rollout": "api-1", "verb": "set", "environment": "green", "percent": percent.to_string()});
    let preview = console.post("/console/preview", &ask).await.json();
    ask["confirmed"] = json!({"sha256": preview["sha256"], "shares": [100 - percent, percent]});
    let reply = console.post("/console/change", &ask).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// A fleet behind one document: rolled forward and back together under load. One gets the document late, and one is away
/// for a while and comes back into line.
#[test]
fn a_fleet_goes_together_and_the_console_tells_who_is_behind() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let host = follower(Engine::Host, &upstreams, None, None).await;
        let shared = file(&host);
        let envoy = follower(Engine::Envoy, &upstreams, Some(&shared), None).await;
        let late = follower(Engine::Envoy, &upstreams, None, None).await;
        let away = follower(Engine::Envoy, &upstreams, Some(&shared), None).await;
        let away_admin = away.admin_address();
        let proxies = [
            host.admin_address(),
            envoy.admin_address(),
            late.admin_address(),
            away_admin,
        ];
        let console = Console::start(&shared, &proxies).await;
        let mut viewer = console.client();
        let _events = viewer.get("/console/events").host("localhost").open().await;
        let conditions = async || {
            let state = console.state().await;
            (0..4).map(|at| condition(&state, at)).collect::<Vec<_>>()
        };
        let all = |word: &str| vec![word.to_owned(); 4];
        // The late one's file says the same, by other bytes around it.
        assert_eventually!(
            conditions().await == all("current"),
            "{:?}",
            conditions().await
        );
        let first = console.state().await["document"]["version"].clone();

        let loads: Vec<Load> = [&host, &envoy, &late]
            .map(|gateway| Load::start(gateway, 2))
            .into_iter()
            .collect();
        set(&console, 50).await;
        assert_eventually!(
            conditions().await == ["current", "current", "behind", "current"],
            "{:?}",
            conditions().await
        );
        let state = console.state().await;
        assert_eq!(
            state["proxies"][2]["documents"],
            json!([first]),
            "who is behind runs the first: {state:#}"
        );
        assert_ne!(state["document"]["version"], first);
        for gateway in [&host, &envoy, &away] {
            assert_eventually!(
                near(gateway, 50).await,
                "{:?} did not follow",
                gateway.engine()
            );
        }
        assert!(near(&late, 20).await, "the late one has its old document");
        late.replace_document(&document(50));
        assert_eventually!(
            conditions().await == all("current"),
            "{:?}",
            conditions().await
        );

        drop(away);
        assert_eventually!(
            conditions().await == ["current", "current", "current", "down"],
            "{:?}",
            conditions().await
        );
        set(&console, 75).await;
        late.replace_document(&document(75));
        assert_eventually!(
            conditions().await == ["current", "current", "current", "down"],
            "{:?}",
            conditions().await
        );
        let away = follower(Engine::Envoy, &upstreams, Some(&shared), Some(away_admin)).await;
        assert_eventually!(
            conditions().await == all("current"),
            "{:?}",
            conditions().await
        );
        for gateway in [&host, &envoy, &late, &away] {
            assert_eventually!(
                near(gateway, 75).await,
                "{:?} did not follow",
                gateway.engine()
            );
        }
        // Its counters began at nothing; nobody's figures are torn by that.
        let state = console.state().await;
        for proxy in state["proxies"].as_array().unwrap() {
            let rate = proxy["requests_per_second"].as_f64().unwrap_or(0.0);
            assert!((0.0..100_000.0).contains(&rate), "{proxy}");
        }

        set(&console, 0).await;
        late.replace_document(&document(0));
        for gateway in [&host, &envoy, &late, &away] {
            assert_eventually!(
                greens(gateway).await == 0,
                "{:?} did not come back",
                gateway.engine()
            );
        }
        assert_eventually!(
            conditions().await == all("current"),
            "{:?}",
            conditions().await
        );
        for load in loads {
            assert!(load.end().await > 100, "none failed");
        }
    });
}
