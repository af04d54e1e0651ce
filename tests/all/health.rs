//! Active health checks: who is unhealthy gets no traffic, and nobody's request pays for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::upstream::text;
use switchover_tests::{Engine, Gateway, Setup, Upstream, assert_eventually, cases};

/// An upstream whose `/health` fails while it is told so; everything else is answered with its name.
async fn checked(name: &'static str, healthy: bool) -> (Upstream, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(healthy));
    let state = Arc::clone(&switch);
    let upstream = Upstream::start(move |request| {
        let failing = request.uri() == "/health" && !state.load(Ordering::SeqCst);
        let status = if failing {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        async move { text(status, name) }
    });
    (upstream.await, switch)
}

/// Blue and green, both checked, and no retries.
async fn start(engine: Engine, blue: &Upstream, green: &Upstream) -> Gateway {
    let mut check = json!({
        "timeout": "5s", "interval": "0.05s", "unhealthy_threshold": 2, "healthy_threshold": 2,
        "http_health_check": {"path": "/health"},
    });
    // Envoy checks a cluster that has had no traffic once a minute; the host does not know the difference.
    if engine == Engine::Envoy {
        check["no_traffic_interval"] = "0.05s".into();
    }
    Setup::new(&[("blue", blue), ("green", green)])
        .without_filters()
        .edit(move |bootstrap| {
            for leaf in ["blue-only", "green-only"] {
                bootstrap.cluster(leaf)["health_checks"] = Value::Array(vec![check.clone()]);
            }
            for route in ["blue", "green"] {
                let route = bootstrap.route(route)["route"].as_object_mut().unwrap();
                route.remove("retry_policy");
            }
        })
        .start(engine)
        .await
}

async fn who_answers(gateway: &Gateway, environment: &str) -> String {
    let mut client = gateway.client();
    let call = client.get("/").header("x-deployment-mode", environment);
    call.send().await.text().to_owned()
}

async fn stat(gateway: &Gateway, name: &str) -> u64 {
    let stats = gateway.admin("/stats").await;
    let value = stats
        .lines()
        .find_map(|l| l.strip_prefix(&format!("{name}: ")));
    value
        .unwrap_or_else(|| panic!("no {name} in {stats}"))
        .parse()
        .unwrap()
}

cases! {
    /// From the first request on: nothing listens before the first checks are done.
    async fn an_unhealthy_canary_gets_no_traffic(engine: Engine) {
        let (blue, _) = checked("blue", true).await;
        let (green, _) = checked("green", false).await;
        let gateway = start(engine, &blue, &green).await;
        for _ in 0..5 {
            assert_eq!(who_answers(&gateway, "green").await, "blue");
        }
        let seen = green.requests();
        assert!(!seen.is_empty() && seen.iter().all(|r| r.uri() == "/health"), "{seen:?}");
        assert!(seen.iter().all(|r| r.headers()["host"] == "green-only"), "{seen:?}");

        let clusters = gateway.admin("/clusters").await;
        for (upstream, leaf, flags) in [(&blue, "blue-only", "healthy"), (&green, "green-only", "/failed_active_hc")] {
            let line = format!("{leaf}::{}::health_flags::{flags}", upstream.address());
            assert!(clusters.lines().any(|l| l == line), "no {line} in {clusters}");
        }
        assert_eq!(stat(&gateway, "cluster.blue-only.membership_healthy").await, 1);
        assert_eq!(stat(&gateway, "cluster.green-only.membership_healthy").await, 0);
        assert!(stat(&gateway, "cluster.blue-only.health_check.success").await >= 1);
        assert!(stat(&gateway, "cluster.green-only.health_check.failure").await >= 1);
        assert!(stat(&gateway, "cluster.green-only.health_check.attempt").await >= 1);
        assert_eq!(stat(&gateway, "cluster.green-only.health_check.success").await, 0);
    }

    async fn traffic_follows_health(engine: Engine) {
        let (blue, _) = checked("blue", true).await;
        let (green, healthy) = checked("green", true).await;
        let gateway = start(engine, &blue, &green).await;
        assert_eq!(who_answers(&gateway, "green").await, "green");
        healthy.store(false, Ordering::SeqCst);
        assert_eventually!(who_answers(&gateway, "green").await == "blue", "green was not given up");
        healthy.store(true, Ordering::SeqCst);
        assert_eventually!(who_answers(&gateway, "green").await == "green", "green did not come back");
    }

    /// A check that fails everywhere is more likely wrong than right. Envoy then shares out to all levels of priority,
    /// the host takes the first.
    async fn where_nobody_is_healthy_requests_are_served(engine: Engine) {
        let (blue, _) = checked("blue", false).await;
        let (green, _) = checked("green", false).await;
        let gateway = start(engine, &blue, &green).await;
        for environment in ["green", "blue"] {
            let who = who_answers(&gateway, environment).await;
            match engine {
                Engine::Host => assert_eq!(who, environment),
                Engine::Envoy => assert!(["green", "blue"].contains(&who.as_str()), "{who}"),
            }
        }
    }
}
