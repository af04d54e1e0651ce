//! Who gets how much.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchover_tests::{Client, Gateway, Setup, Upstream, cases};

/// Environments with these weights, each with its own name as its only leaf's.
fn weighted(weights: &[(&str, u32)]) -> Value {
    let environment = |(name, weight): &(&str, u32)| {
        (
            (*name).to_owned(),
            json!({"weight": weight, "clusters": [format!("{name}-only")]}),
        )
    };
    let routing: serde_json::Map<_, _> = weights.iter().map(environment).collect();
    json!({"stable": weights[0].0, "routing": routing})
}

async fn two(engine: switchover_tests::Engine, document: Value) -> (Gateway, Upstream, Upstream) {
    let (blue, green) = (
        Upstream::named("blue").await,
        Upstream::named("green").await,
    );
    let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
        .document(document)
        .start(engine)
        .await;
    (gateway, blue, green)
}

/// Who answered each of so many requests.
async fn answers(client: &mut Client, requests: usize) -> Vec<String> {
    let mut answers = Vec::with_capacity(requests);
    for _ in 0..requests {
        let reply = client.get("/").send().await;
        assert_eq!(reply.status, 200);
        answers.push(reply.text().to_owned());
    }
    answers
}

fn shares(answers: &[String]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for answer in answers {
        *shares.entry(answer.as_str()).or_default() += 1;
    }
    shares
}

cases! {
    async fn ninety_to_ten_is_exact(engine: Engine) {
        let (gateway, blue, green) = two(engine, weighted(&[("blue", 90), ("green", 10)])).await;
        let answers = answers(&mut gateway.client(), 1000).await;
        assert_eq!(shares(&answers), BTreeMap::from([("blue", 900), ("green", 100)]));
        assert_eq!((blue.count(), green.count()), (900, 100));
    }

    /// The document of the original scene, as it was written.
    async fn the_smallest_document_serves(engine: Engine) {
        let document = json!({
            "routing": {"blue": {"weight": 95}, "green": {"weight": 5}},
            "strategy": "weighted_round_robin"
        });
        let (gateway, ..) = two(engine, document).await;
        let answers = answers(&mut gateway.client(), 200).await;
        assert_eq!(shares(&answers), BTreeMap::from([("blue", 190), ("green", 10)]));
    }

    async fn three_environments_share(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let amber = Upstream::named("amber").await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green), ("amber", &amber)])
            .document(weighted(&[("blue", 70), ("green", 20), ("amber", 10)]))
            .start(engine)
            .await;
        let answers = answers(&mut gateway.client(), 1000).await;
        assert_eq!(shares(&answers), BTreeMap::from([("blue", 700), ("green", 200), ("amber", 100)]));
    }

    /// Any window of as many requests as the weights add up to, not just the first.
    async fn every_window_is_exact(engine: Engine) {
        let (gateway, ..) = two(engine, weighted(&[("blue", 7), ("green", 3)])).await;
        let answers = answers(&mut gateway.client(), 60).await;
        for window in answers.windows(10) {
            assert_eq!(shares(window), BTreeMap::from([("blue", 7), ("green", 3)]), "{answers:?}");
        }
    }

    async fn a_weight_of_zero_gets_nothing(engine: Engine) {
        let (gateway, blue, green) = two(engine, weighted(&[("blue", 0), ("green", 1)])).await;
        answers(&mut gateway.client(), 50).await;
        assert_eq!((blue.count(), green.count()), (0, 50));
    }

    /// Each worker is exact by itself, so two err by less than one request each.
    async fn workers_stay_within_one_request_each(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(weighted(&[("blue", 90), ("green", 10)]))
            .workers(2)
            .start(engine)
            .await;
        // Many connections, so that both workers have some.
        let mut clients: Vec<Client> = (0..20).map(|_| gateway.client()).collect();
        for _ in 0..25 {
            for client in &mut clients {
                assert_eq!(client.get("/").send().await.status, 200);
            }
        }
        let green = green.count();
        assert!((48..=52).contains(&green), "{green} of 500 at 10 %");
    }

    async fn lots_are_drawn_in_proportion(engine: Engine) {
        let mut document = weighted(&[("blue", 3), ("green", 1)]);
        document["strategy"] = json!("weighted_random");
        let (gateway, _blue, green) = two(engine, document).await;
        let answers = answers(&mut gateway.client(), 2000).await;
        // 500 are expected with a standard deviation of 19.4; this is eight of them.
        assert!((345..=655).contains(&green.count()), "{} of 2000 at 25 %", green.count());
        // Round robin would have no two greens in a row.
        assert!(answers.windows(2).any(|w| w == ["green", "green"]), "drawn, not dealt");
    }

    async fn answers_say_who_gave_them(engine: Engine) {
        let mut document = weighted(&[("blue", 1), ("green", 1)]);
        document["routing"]["blue"]["version"] = json!("2.0.3");
        document["routing"]["green"]["version"] = json!("2.1.0");
        let (gateway, ..) = two(engine, document.clone()).await;
        let mut client = gateway.client();
        for _ in 0..4 {
            let reply = client.get("/").send().await;
            let version = if reply.text() == "blue" { "2.0.3" } else { "2.1.0" };
            assert_eq!(reply.header("x-deployment-mode"), reply.text());
            assert_eq!(reply.header("x-deployment-version"), version);
        }
    }

    async fn answers_say_nothing_where_told_so(engine: Engine) {
        let mut document = weighted(&[("blue", 1), ("green", 1)]);
        document["response_headers"] = json!(false);
        let (gateway, ..) = two(engine, document).await;
        let reply = gateway.client().get("/").send().await;
        assert!(!reply.headers.contains_key("x-deployment-mode"), "{reply:?}");
        assert!(!reply.headers.contains_key("x-deployment-version"), "{reply:?}");
    }

    async fn rollback_sends_everything_to_stable(engine: Engine) {
        let mut document = weighted(&[("blue", 1), ("green", 99)]);
        document["rollback"] = json!(true);
        let (gateway, blue, green) = two(engine, document).await;
        answers(&mut gateway.client(), 100).await;
        assert_eq!((blue.count(), green.count()), (100, 0));
    }

    async fn two_rollouts_in_one_document(engine: Engine) {
        let rollout = |name: &str, matches: Value, to: &str| {
            let mut rollout = weighted(&[("blue", u32::from(to == "blue")), ("green", u32::from(to == "green"))]);
            rollout["rollout"] = json!(name);
            rollout["match"] = matches;
            rollout
        };
        let document = json!({"rollouts": [
            rollout("by-host", json!({"hosts": ["api.example.com"]}), "green"),
            rollout("by-path", json!({"path_prefix": "/v1"}), "green"),
            rollout("both", json!({"hosts": ["*.example.org"], "path_prefix": "/v2"}), "green"),
        ]});
        let (gateway, blue, _green) = two(engine, document).await;
        let mut client = gateway.client();
        for (host, path, answer) in [
            ("api.example.com", "/", "green"),
            ("api.example.com:10000", "/", "green"),
            ("other.example.com", "/v1/models", "green"),
            ("other.example.com", "/v10", "blue"),
            ("a.example.org", "/v2", "green"),
            ("a.example.org", "/v3", "blue"),
            ("example.net", "/v2", "blue"),
        ] {
            assert_eq!(client.get(path).host(host).send().await.text(), answer, "{host}{path}");
        }
        // What matches no rollout passes untouched.
        blue.forget();
        let reply = client.get("/").header("api-key", "kept").send().await;
        assert!(!reply.headers.contains_key("x-deployment-mode"));
        assert_eq!(blue.request().headers()["api-key"], "kept");
    }

    async fn requests_are_counted_by_environment_and_reason(engine: Engine) {
        let mut document = weighted(&[("blue", 90), ("green", 10)]);
        document["rollout"] = json!("chat-api-2.1.0");
        document["override"] = json!({"allow": "anyone"});
        let (gateway, ..) = two(engine, document).await;
        let mut client = gateway.client();
        answers(&mut client, 100).await;
        for _ in 0..3 {
            client.get("/").header("x-deployment-mode", "green").send().await;
        }
        let requests = |environment: &str, reason: &str| {
            let requests = gateway.metric("switchover_requests").label("rollout", "chat-api-2.1.0");
            requests.label("environment", environment).label("reason", reason)
        };
        requests("blue", "strategy").becomes(90.0).await;
        requests("green", "strategy").becomes(10.0).await;
        requests("green", "override").becomes(3.0).await;
        let latencies = gateway.metric("switchover_request_duration_ms_count");
        latencies.label("environment", "green").becomes(13.0).await;
    }
}
