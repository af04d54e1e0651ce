//! A fleet: three Envoys and one host with the same document agree about each key.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use switchover_tests::story::Story;
use switchover_tests::{Client, Engine, Gateway, Setup, Upstream, assert_eventually, story};

const KEYS: usize = 10_000;
/// Connections to each gateway.
const CONNECTIONS: usize = 4;

/// Keys of a header stay together; the schedule's clock is held where the minute is.
fn document(minute: u64) -> Value {
    let (start, hold) = (
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        Duration::from_secs(60 * minute),
    );
    let instant = |at| humantime::format_rfc3339(at).to_string();
    let version = version(minute);
    json!({
        "rollout": "chat-api-2.1.0",
        "routing": {
            "blue": {"weight": 1, "clusters": ["blue-only"], "version": version},
            "green": {"weight": 0, "clusters": ["green-only"], "version": version},
        },
        "strategy": "consistent_hash",
        "sticky": {"by": [{"header": "x-user-id"}]},
        "schedule": {
            "environment": "green", "start": instant(start), "hold": instant(start + hold),
            "steps": [{"at": "5m", "weight": 1}, {"at": "15m", "weight": 5}, {"at": "30m", "weight": 25},
                      {"at": "60m", "weight": 50}, {"at": "90m", "weight": 100}],
        },
    })
}

fn version(minute: u64) -> String {
    format!("at-{minute}")
}

/// A gateway that answers by itself, by the route that the filter has chosen: nothing is measured but the choice.
async fn gateway(engine: Engine, upstream: &Upstream) -> Gateway {
    Setup::new(&[("blue", upstream), ("green", upstream)])
        .document(document(0))
        .without_attempt_role()
        .edit(|bootstrap| {
            for route in bootstrap.routes() {
                let environment = route["route"]["cluster"].clone();
                let route = route.as_object_mut().unwrap();
                route.remove("route");
                route.insert(
                    "direct_response".into(),
                    json!({"status": 200, "body": {"inline_string": environment}}),
                );
            }
        })
        .start(engine)
        .await
}

/// Waits until the document of that minute is in force.
async fn in_force(gateway: &Gateway, minute: u64) {
    let mut client = gateway.client();
    assert_eventually!(
        client
            .get("/")
            .header("x-user-id", "anyone")
            .send()
            .await
            .header("x-deployment-version")
            == version(minute),
        "minute {minute} did not come into force in {:?}",
        gateway.engine()
    );
}

/// For each key whether it is on green.
async fn places(gateway: &Gateway) -> Vec<bool> {
    let part = |first: usize| {
        let mut client = gateway.client();
        tokio::spawn(async move {
            let mut places = Vec::new();
            for key in (first..KEYS).step_by(CONNECTIONS) {
                places.push((key, is_green(&mut client, key).await));
            }
            places
        })
    };
    let parts: Vec<_> = (0..CONNECTIONS).map(part).collect();
    let mut all = vec![false; KEYS];
    for part in parts {
        for (key, green) in part.await.unwrap() {
            all[key] = green;
        }
    }
    all
}

async fn is_green(client: &mut Client, key: usize) -> bool {
    let reply = client
        .get("/")
        .header("x-user-id", format!("user-{key}"))
        .send()
        .await;
    match reply.text() {
        "green" => true,
        "blue" => false,
        other => panic!("{other:?} answered user-{key}"),
    }
}

/// The same by the filter under the virtual clock.
fn simulated(minute: u64) -> Vec<bool> {
    let story = Story::new(1, &document(minute));
    let request = |key| story::with(story::get("/"), "x-user-id", &format!("user-{key}"));
    let place = |key| story.chosen(0, request(key)) == "green";
    (0..KEYS).map(place).collect()
}

#[test]
fn three_envoys_and_a_host_agree_about_every_key() {
    switchover_tests::run(async {
        let upstream = Upstream::named("nobody").await;
        let mut fleet = vec![gateway(Engine::Host, &upstream).await];
        for _ in 0..3 {
            fleet.push(gateway(Engine::Envoy, &upstream).await);
        }
        let mut before = vec![false; KEYS];
        for (minute, share) in [(4, 0), (5, 1), (15, 5), (30, 25), (60, 50), (90, 100)] {
            for gateway in &fleet {
                gateway.replace_document(&document(minute));
            }
            for gateway in &fleet {
                in_force(gateway, minute).await;
            }
            let expected = simulated(minute);
            let (host, one, two, three) = tokio::join!(
                places(&fleet[0]),
                places(&fleet[1]),
                places(&fleet[2]),
                places(&fleet[3])
            );
            for (name, told) in [
                ("the host", host),
                ("Envoy 1", one),
                ("Envoy 2", two),
                ("Envoy 3", three),
            ] {
                let differ = (0..KEYS).filter(|key| told[*key] != expected[*key]).count();
                assert_eq!(differ, 0, "{name} at minute {minute}");
            }
            let green = expected.iter().filter(|green| **green).count();
            assert!(
                green.abs_diff(KEYS * share / 100) <= KEYS / 50,
                "{green} keys at {share} %"
            );
            let back = (0..KEYS)
                .filter(|key| before[*key] && !expected[*key])
                .count();
            assert_eq!(back, 0, "keys moved back at minute {minute}");
            before = expected;
        }
        assert_eq!(upstream.count(), 0);
    });
}
