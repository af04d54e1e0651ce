//! Rollouts at real speed: schedules of seconds, a trip under load, probes and copies on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::keys::consumer;
use switchover_tests::raw::Raw;
use switchover_tests::story::and;
use switchover_tests::upstream::text;
use switchover_tests::{Gateway, Setup, Upstream, assert_eventually, cases};

/// The filter's tick.
const TICK: Duration = Duration::from_millis(250);
/// What a busy machine may add to any time.
const SLACK: Duration = Duration::from_millis(1500);
/// Connections that put load on a gateway.
const CONNECTIONS: usize = 16;

/// Two environments, all of it to blue.
fn document(fields: Value) -> Value {
    let base = json!({
        "rollout": "r1",
        "routing": {
            "blue": {"weight": 1, "clusters": ["blue-only"]},
            "green": {"weight": 0, "clusters": ["green-only"]},
        },
        "attempts": true,
    });
    and(base, fields)
}

/// An instant as documents write it.
fn instant(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// The environment that answers the next request.
async fn answer(gateway: &Gateway) -> String {
    let reply = gateway.client().get("/").send().await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply.text().to_owned()
}

/// Which of so many requests green answers.
async fn green_of(gateway: &Gateway, requests: usize) -> usize {
    let mut client = gateway.client();
    let mut green = 0;
    for _ in 0..requests {
        let reply = client.get("/").send().await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        green += usize::from(reply.text() == "green");
    }
    green
}

/// An upstream that answers everything with its name, and `/health` by a switch.
async fn switched(name: &'static str, healthy: &Arc<AtomicBool>) -> Upstream {
    let healthy = Arc::clone(healthy);
    Upstream::start(move |request| {
        let ill = request.uri().path() == "/health" && !healthy.load(Ordering::SeqCst);
        async move {
            let status = if ill {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::OK
            };
            text(status, name)
        }
    })
    .await
}

/// Runs requests on many connections until told to stop; how many there were. Each must be answered by blue.
async fn load(gateway: &Gateway, stop: &Arc<AtomicBool>) -> u64 {
    let sent = Arc::new(AtomicU64::new(0));
    let connections = (0..CONNECTIONS).map(|_| {
        let (mut client, stop, sent) = (gateway.client(), Arc::clone(stop), Arc::clone(&sent));
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let reply = client.get("/").send().await;
                assert_eq!(
                    (reply.status, reply.text()),
                    (StatusCode::OK, "blue"),
                    "{reply:?}"
                );
                sent.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    for connection in connections.collect::<Vec<_>>() {
        connection.await.unwrap();
    }
    sent.load(Ordering::SeqCst)
}

cases! {
    async fn a_schedule_of_seconds(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        // The engine has so long to start.
        let start = SystemTime::now() + Duration::from_secs(4);
        let schedule = json!({"environment": "green", "start": instant(start), "steps": [
            {"at": "1s", "weight": 10}, {"at": "2s", "weight": 50}, {"at": "3s", "weight": 100},
        ]});
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document(json!({"schedule": schedule})))
            .start(engine)
            .await;
        let (mut client, mut both) = (gateway.client(), [0_usize; 2]);
        let (first, last) = (start + Duration::from_secs(1), start + Duration::from_secs(3));
        loop {
            let sent = SystemTime::now();
            let place = client.get("/").send().await.text().to_owned();
            if SystemTime::now() < first {
                assert_eq!(place, "blue", "before the first step");
            } else if sent > last + TICK + SLACK {
                assert_eq!(place, "green", "after the last");
                break;
            } else {
                both[usize::from(place == "green")] += 1;
            }
        }
        assert!(both[0] > 0 && both[1] > 0, "{both:?} between the steps");
        gateway.metric("switchover_schedule_step").becomes(3.0).await;
        gateway.metric("switchover_weight").label("environment", "green").becomes(10_000.0).await;
    }

    /// The original's five phases, each held.
    async fn the_five_phases(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let start = SystemTime::now() - Duration::from_secs(7 * 24 * 3600);
        let held = |minutes: u64| {
            let schedule = json!({
                "environment": "green", "start": instant(start),
                "hold": instant(start + Duration::from_secs(minutes * 60)),
                "steps": [{"at": "5m", "weight": 1}, {"at": "15m", "weight": 5}, {"at": "30m", "weight": 25},
                          {"at": "60m", "weight": 50}, {"at": "90m", "weight": 100}],
            });
            document(json!({"schedule": schedule}))
        };
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)]).document(held(4)).start(engine).await;
        assert_eq!(green_of(&gateway, 100).await, 0);
        for (step, (minute, share)) in [(5, 1), (15, 5), (30, 25), (60, 50), (90, 100)].into_iter().enumerate() {
            let mut next = held(minute);
            let version = format!("at-{minute}");
            for name in ["blue", "green"] {
                next["routing"][name]["version"] = json!(version);
            }
            gateway.replace_document(&next);
            let mut client = gateway.client();
            assert_eventually!(
                client.get("/").send().await.header("x-deployment-version") == version,
                "minute {minute} did not come into force"
            );
            assert_eq!(green_of(&gateway, 200).await, 2 * share, "at minute {minute}");
            gateway.metric("switchover_schedule_step").becomes(step as f64 + 1.0).await;
        }
    }

    /// Green fails everything at 5 %: few requests reach it, and no client sees any of it.
    async fn a_trip_under_load(engine: Engine) {
        const MIN_REQUESTS: u64 = 20;
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::INTERNAL_SERVER_ERROR).await;
        let guard = json!({"environment": "green", "window": "30s", "min_requests": MIN_REQUESTS, "max_error_rate": 0.05});
        let mut document = document(json!({"guard": guard}));
        document["routing"]["blue"]["weight"] = json!(95);
        document["routing"]["green"]["weight"] = json!(5);
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .workers(2)
            .document(document)
            .start(engine)
            .await;
        let (stop, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let watch = async {
            gateway.metric("switchover_tripped").becomes(1.0).await;
            tokio::time::sleep(4 * TICK).await;
            let reached = green.count();
            tokio::time::sleep(2 * TICK).await;
            stop.store(true, Ordering::SeqCst);
            assert_eq!(green.count(), reached, "nothing reaches green any more");
        };
        let (sent, ()) = tokio::join!(load(&gateway, &stop), watch);
        let each_tick = sent as f64 * TICK.as_secs_f64() / began.elapsed().as_secs_f64() * 0.05;
        let bound = MIN_REQUESTS + each_tick.ceil() as u64 + CONNECTIONS as u64;
        let reached = green.count();
        assert!((MIN_REQUESTS..=bound).contains(&reached), "{reached} reached green, at most {bound} may");
        assert_eq!(gateway.metric("envoy_cluster_upstream_rq_retry_overflow").value().await, 0.0);
        assert!(gateway.metric("switchover_trips").label("cause", "max_error_rate").value().await >= 1.0);
        assert_eq!(gateway.metric("switchover_weight").label("environment", "green").value().await, 0.0);
        let is_told = |line: &str| line.contains("tripped") && line.contains("max_error_rate");
        assert_eventually!(gateway.output().lines().any(is_told), "{}", gateway.output());
    }

    /// One client that sends nonsense, or leaves in the middle of it, does not trip everyone.
    async fn broken_bodies_do_not_trip(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let guard = json!({"environment": "green", "min_requests": 5, "max_error_rate": 0.1});
        let mut document = document(json!({"guard": guard}));
        document["routing"]["green"]["weight"] = json!(1);
        document["routing"]["blue"]["weight"] = json!(0);
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)]).document(document).start(engine).await;
        for sent in 1..=20 {
            let mut client = Raw::connect(gateway.address()).await;
            client.write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
            assert_eventually!(green.connections() == sent, "{} of {sent} began", green.connections());
            if sent % 2 == 0 {
                client.write("no length\r\n").await;
                client.read_until("HTTP/1.1 400 Bad Request").await;
            }
        }
        gateway.metric("switchover_request_duration_ms_count").becomes(20.0).await;
        gateway.metric("switchover_attempts").label("environment", "green").becomes(20.0).await;
        assert_eq!(gateway.metric("switchover_failures").value().await, 0.0);
        assert_eq!(green_of(&gateway, 20).await, 20);
        gateway.metric("switchover_tripped").becomes(0.0).await;
    }

    async fn probes_turn_green_off_and_on(engine: Engine) {
        let (well, healthy) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let (blue, green) = (switched("blue", &well).await, switched("green", &healthy).await);
        let health = json!({"path": "/health", "interval": "250ms", "timeout": "1s", "unhealthy_after": 2, "healthy_after": 2});
        let mut document = document(json!({"health": health}));
        document["routing"]["green"]["weight"] = json!(1);
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .workers(2)
            .document(document)
            .start(engine)
            .await;
        assert_eventually!(answer(&gateway).await == "green", "green never served");
        healthy.store(false, Ordering::SeqCst);
        gateway.metric("switchover_healthy").label("environment", "green").becomes(0.0).await;
        tokio::time::sleep(2 * TICK).await;
        for _ in 0..5 {
            assert_eq!(green_of(&gateway, 10).await, 0, "it is off");
        }
        healthy.store(true, Ordering::SeqCst);
        assert_eventually!(answer(&gateway).await == "green", "green does not serve again");
        gateway.metric("switchover_healthy").label("environment", "green").becomes(1.0).await;
        assert_eq!(gateway.metric("switchover_healthy").label("environment", "blue").value().await, 1.0);
        assert!(gateway.metric("switchover_probes").label("environment", "green").value().await > 4.0);
        let probe = green.requests().into_iter().find(|seen| seen.uri().path() == "/health").unwrap();
        assert!(!probe.headers().contains_key("authorization"), "{probe:?}");
    }

    /// Of several workers one probes.
    async fn one_prober_for_all_workers(engine: Engine) {
        let well = Arc::new(AtomicBool::new(true));
        let (blue, green) = (switched("blue", &well).await, switched("green", &well).await);
        let document = document(json!({"health": {"interval": "500ms"}}));
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .workers(4)
            .document(document)
            .start(engine)
            .await;
        // New connections go to all workers.
        for _ in 0..40 {
            answer(&gateway).await;
        }
        let probes = || green.requests().iter().filter(|seen| seen.uri().path() == "/health").count();
        assert_eventually!(probes() > 0, "nobody probes");
        let (before, began) = (probes(), Instant::now());
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (sent, most) = (probes() - before, began.elapsed().as_millis() / 500 + 2);
        assert!(sent > 0 && sent as u128 <= most, "{sent} probes, at most {most} are one prober's");
    }

    async fn copies_arrive_with_greens_credential(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::failing("green", StatusCode::INTERNAL_SERVER_ERROR).await);
        let document = document(json!({
            "routing": {
                "blue": {"weight": 1, "clusters": ["blue-only"], "credential": {"env": "BLUE_KEY"}},
                "green": {"weight": 0, "clusters": ["green-only"],
                          "credential": {"header": "x-green-key", "scheme": "", "env": "GREEN_KEY"}},
            },
            "auth": {"mode": "replace", "consumers": [consumer("a", "of-the-client")]},
            "shadow": {"environment": "green", "percent": 100, "max_body": "1KiB", "paths": ["/listed"]},
            "guard": {"environment": "green", "min_requests": 1, "max_error_rate": 0},
        }));
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .variable("BLUE_KEY", "of-blue")
            .variable("GREEN_KEY", "of-green")
            .document(document)
            .start(engine)
            .await;
        let mut client = gateway.client();
        let reply = client.get("/v1/models?page=2").bearer("of-the-client").send().await;
        assert_eq!((reply.text(), reply.header("x-deployment-mode")), ("blue", "blue"));
        let reply = client.post("/listed", "a body").bearer("of-the-client").send().await;
        assert_eq!(reply.text(), "blue");
        assert_eventually!(green.count() == 2, "{} copies came", green.count());
        for seen in green.requests() {
            assert_eq!(seen.headers()["x-green-key"], "of-green");
            let shown = format!("{seen:?}");
            assert!(!shown.contains("of-blue") && !shown.contains("of-the-client"), "{shown}");
        }
        let paths: Vec<String> = green.requests().iter().map(|seen| seen.uri().to_string()).collect();
        assert!(paths.contains(&"/v1/models?page=2".to_owned()), "{paths:?}");
        let posted = green.requests().into_iter().find(|seen| seen.uri() == "/listed").unwrap();
        assert_eq!((posted.method().as_str(), &posted.body()[..]), ("POST", &b"a body"[..]));

        // Neither changes what is not listed, nor is it copied above the limit; and blue has had all of it.
        client.post("/other", "a body").bearer("of-the-client").send().await;
        client.post("/listed", vec![b'x'; 2048]).bearer("of-the-client").send().await;
        assert_eq!(blue.requests().last().unwrap().body().len(), 2048);
        gateway.metric("switchover_shadows").label("environment", "green").becomes(3.0).await;
        assert_eq!((blue.count(), green.count()), (4, 2));
        for seen in blue.requests() {
            assert_eq!(seen.headers()["authorization"], "Bearer of-blue");
            assert!(!format!("{seen:?}").contains("of-green"), "{seen:?}");
        }
        assert_eq!(gateway.metric("switchover_attempts").label("environment", "green").value().await, 0.0);
        assert_eq!(gateway.metric("switchover_tripped").value().await, 0.0, "its failures are not the rollout's");
    }

    /// An upstream that never answers its copies holds nobody up.
    async fn the_client_does_not_wait_for_copies(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::start(|_| std::future::pending()).await;
        let document = document(json!({"shadow": {"environment": "green", "percent": 100, "timeout": "2s"}}));
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)]).document(document).start(engine).await;
        let began = Instant::now();
        assert_eq!(green_of(&gateway, 50).await, 0);
        assert!(began.elapsed() < Duration::from_secs(2), "50 requests took {:?}", began.elapsed());
        assert_eventually!(green.count() == 50, "{} copies came", green.count());
        gateway.metric("switchover_shadows").label("outcome", "failed").becomes(50.0).await;
        assert_eq!(answer(&gateway).await, "blue");
    }
}
