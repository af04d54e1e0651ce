//! Environments' credentials: the right one for each attempt, none for traffic that the route role did not pass.

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::keys::consumer;
use switchover_tests::raw::RawUpstream;
use switchover_tests::setup::wasm;
use switchover_tests::upstream::{Seen, refusing};
use switchover_tests::{Client, Engine, Gateway, Setup, Upstream, assert_eventually, cases, guest};

const BLUE_KEY: &str = "key-of-blue";
const GREEN_KEY: &str = "key-of-green";

/// Two environments whose credentials are in different headers.
fn document(green: u32, attempts: bool) -> Value {
    json!({
        "routing": {
            "blue": {"weight": 100 - green, "clusters": ["blue-only"], "credential": {"env": "BLUE_KEY"}},
            "green": {"weight": green, "clusters": ["green-only"],
                      "credential": {"header": "x-green-key", "scheme": "", "env": "GREEN_KEY"}},
        },
        "auth": {"mode": "replace", "consumers": [consumer("team-a", "client-key")]},
        "attempts": attempts,
    })
}

fn setup(environments: [(&str, std::net::SocketAddr); 2]) -> Setup {
    Setup::at(&environments)
        .variable("BLUE_KEY", BLUE_KEY)
        .variable("GREEN_KEY", GREEN_KEY)
}

async fn start(engine: Engine, blue: &Upstream, green: &Upstream, document: Value) -> Gateway {
    setup([("blue", blue.address()), ("green", green.address())])
        .document(document)
        .start(engine)
        .await
}

/// A request has blue's credential and nobody else's.
fn has_only_blues(seen: &Seen) {
    assert_eq!(
        seen.headers()["authorization"],
        format!("Bearer {BLUE_KEY}")
    );
    assert!(!seen.headers().contains_key("x-green-key"), "{seen:?}");
    clean(seen, &[GREEN_KEY]);
}

/// A request has green's credential and nobody else's.
fn has_only_greens(seen: &Seen) {
    assert_eq!(seen.headers()["x-green-key"], GREEN_KEY);
    assert!(!seen.headers().contains_key("authorization"), "{seen:?}");
    clean(seen, &[BLUE_KEY]);
}

/// None of these, nor the client's key, is anywhere in the request.
fn clean(seen: &Seen, secrets: &[&str]) {
    let shown = format!("{seen:?}");
    for secret in secrets.iter().chain(&["client-key"]) {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

async fn serves(client: &mut Client) -> bool {
    client.get("/").bearer("client-key").send().await.status == StatusCode::OK
}

cases! {
    async fn each_environment_gets_its_own(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let gateway = start(engine, &blue, &green, document(50, true)).await;
        let mut client = gateway.client();
        for _ in 0..20 {
            assert!(serves(&mut client).await);
        }
        assert_eq!((blue.count(), green.count()), (10, 10));
        blue.requests().iter().for_each(has_only_blues);
        green.requests().iter().for_each(has_only_greens);
    }

    /// Without an attempt role the route role injects.
    async fn the_route_role_can_inject(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let gateway = setup([("blue", blue.address()), ("green", green.address())])
            .document(document(50, false))
            .without_attempt_role()
            .start(engine)
            .await;
        let mut client = gateway.client();
        for _ in 0..10 {
            assert!(serves(&mut client).await);
        }
        assert_eq!((blue.count(), green.count()), (5, 5));
        blue.requests().iter().for_each(has_only_blues);
        green.requests().iter().for_each(has_only_greens);
    }

    /// Green's key goes to green on the first attempt, blue's to blue on the second, and neither to the other.
    async fn a_failover_changes_the_credential(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::SERVICE_UNAVAILABLE).await;
        let gateway = start(engine, &blue, &green, document(100, true)).await;
        let mut client = gateway.client();
        for _ in 0..10 {
            let reply = client.post("/", "body").bearer("client-key").send().await;
            assert_eq!(reply.text(), "blue");
            assert_eq!(reply.header("x-deployment-mode"), "blue", "the answer says who gave it");
        }
        assert_eq!((green.count(), blue.count()), (10, 10));
        green.requests().iter().for_each(has_only_greens);
        blue.requests().iter().for_each(has_only_blues);
        for environment in ["blue", "green"] {
            gateway.metric("switchover_attempts").label("environment", environment).becomes(10.0).await;
        }
        let modes = |seen: &[Seen]| seen.iter().map(|r| r.headers()["x-deployment-mode"].clone()).collect::<Vec<_>>();
        assert!(modes(&blue.requests()).iter().all(|mode| mode == "blue"));
        assert!(modes(&green.requests()).iter().all(|mode| mode == "green"));
    }

    /// However green fails, and whatever it got of the request, blue gets its own key.
    async fn every_failover_changes_the_credential(engine: Engine) {
        let (refused, _reserved) = refusing();
        let closes = RawUpstream::start("").await;
        let hangs = Upstream::start(|_| std::future::pending()).await;
        let limited = Upstream::failing("green", StatusCode::TOO_MANY_REQUESTS).await;
        for green in [refused, closes.address(), hangs.address(), limited.address()] {
            let blue = Upstream::named("blue").await;
            let gateway = setup([("blue", blue.address()), ("green", green)])
                .document(document(100, true))
                .edit(|bootstrap| {
                    bootstrap.route("green-safe")["route"]["retry_policy"]["per_try_timeout"] = "0.1s".into();
                })
                .start(engine)
                .await;
            let mut client = gateway.client();
            for _ in 0..5 {
                let reply = client.get("/").bearer("client-key").send().await;
                assert_eq!((reply.text(), reply.header("x-deployment-mode")), ("blue", "blue"));
            }
            blue.requests().iter().for_each(has_only_blues);
        }
        for seen in [hangs.requests(), limited.requests()] {
            assert_eq!(seen.len(), 5);
            seen.iter().for_each(has_only_greens);
        }
    }

    /// The other way round, with green as stable.
    async fn a_failover_from_blue_to_green(engine: Engine) {
        let green = Upstream::named("green").await;
        let (gone, _reserved) = refusing();
        let mut document = document(0, true);
        document["stable"] = json!("green");
        let environments = [("green", green.address()), ("blue", gone)];
        let gateway = setup(environments).document(document).start(engine).await;
        let mut client = gateway.client();
        for _ in 0..5 {
            assert!(serves(&mut client).await);
        }
        assert_eq!(green.count(), 5);
        green.requests().iter().for_each(has_only_greens);
    }

    /// An endpoint that says nothing about its environment, in a cluster that no environment names.
    async fn an_unknown_environment_gets_none(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let gateway = setup([("blue", blue.address()), ("green", green.address())])
            .document(document(0, true))
            .edit(|bootstrap| {
                let endpoint = &mut bootstrap.cluster("blue-only")["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
                endpoint.as_object_mut().unwrap().remove("metadata");
            })
            .start(engine)
            .await;
        assert!(serves(&mut gateway.client()).await);
        clean(&blue.request(), &[BLUE_KEY, GREEN_KEY]);
    }

    /// A second listener without our filter: its requests share the clusters, and get no credential.
    async fn another_listener_gets_none(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let gateway = setup([("blue", blue.address()), ("green", green.address())])
            .document(document(0, true))
            .edit(|bootstrap| {
                let open = bootstrap.copy_listener("open");
                let http = &mut open["filter_chains"][0]["filters"][0]["typed_config"];
                let filters = http["http_filters"].as_array_mut().unwrap();
                filters.drain(..filters.len() - 1);
            })
            .start(engine)
            .await;
        assert!(serves(&mut gateway.client()).await);
        has_only_blues(&blue.request());
        blue.forget();
        let reply = Client::new(gateway.listener("open")).get("/").send().await;
        assert_eq!(reply.text(), "blue");
        clean(&blue.request(), &[BLUE_KEY, GREEN_KEY]);
    }

    /// A route role that has trapped and is passed over (FAIL_OPEN), while the attempt role has its document.
    async fn a_bypassed_filter_gets_none(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let directory = tempfile::tempdir().unwrap();
        let hostile = guest::hostile("on_demand", directory.path());
        let gateway = setup([("blue", blue.address()), ("green", green.address())])
            .document(document(0, true))
            .edit(move |bootstrap| {
                let plugin = json!({
                    "name": "failed", "root_id": "switchover.route", "failure_policy": "FAIL_OPEN",
                    "vm_config": {"vm_id": "failed", "runtime": "envoy.wasm.runtime.v8",
                                  "code": {"local": {"filename": hostile}}},
                });
                let open = bootstrap.copy_listener("open");
                let http = &mut open["filter_chains"][0]["filters"][0]["typed_config"];
                let filters = http["http_filters"].as_array_mut().unwrap();
                filters[1] = json!({"name": "failed", "typed_config": wasm(&plugin)});
            })
            .start(engine)
            .await;
        assert!(serves(&mut gateway.client()).await);
        let mut open = Client::new(gateway.listener("open"));
        open.get("/").header("x-guest", "trap").send().await;
        blue.forget();
        let reply = open.get("/").bearer("of-the-client").send().await;
        assert_eq!(reply.text(), "blue");
        let seen = blue.request();
        clean(&seen, &[BLUE_KEY, GREEN_KEY]);
        assert!(!seen.headers().contains_key("x-green-key"));
    }

    /// A mirror's copy reaches another environment; nobody decided that it should have its key.
    async fn a_mirror_gets_none(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let mirror = json!([{"cluster": "green"}]);
        let gateway = setup([("blue", blue.address()), ("green", green.address())])
            .document(document(0, true))
            .edit(move |bootstrap| bootstrap.route("blue")["route"]["request_mirror_policies"] = mirror)
            .start(engine)
            .await;
        assert!(serves(&mut gateway.client()).await);
        has_only_blues(&blue.request());
        assert_eventually!(green.count() == 1, "no copy came");
        clean(&green.request(), &[BLUE_KEY, GREEN_KEY]);
    }
}
