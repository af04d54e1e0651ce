//! `/stats/prometheus` with many consumers, whole and cut off.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use switchover_tests::keys::consumer;
use switchover_tests::raw::Raw;
use switchover_tests::{
    Client, Engine, Gateway, Setup, Upstream, assert_eventually, cases, run_alone,
};

const CONSUMERS: usize = 1_000;
const SCRAPES: usize = 21;
/// The goal is 5 ms; what is built for tests is slower, and so may the machine be.
const LIMIT: Duration = Duration::from_millis(50);

fn document() -> Value {
    let consumers = (0..CONSUMERS).map(|n| consumer(&format!("team-{n}"), &format!("key-{n}")));
    let consumers: Vec<Value> = consumers.collect();
    json!({
        "routing": {"blue": {"weight": 1, "clusters": ["blue-only"]}},
        "auth": {"mode": "replace", "consumers": consumers},
    })
}

async fn scrape(gateway: &Gateway) -> (String, Duration) {
    let start = Instant::now();
    let text = gateway.admin("/stats/prometheus").await;
    (text, start.elapsed())
}

async fn consumers_in_the_text(gateway: &Gateway) -> usize {
    let (text, _) = scrape(gateway).await;
    let lines = text.lines();
    lines
        .filter(|line| line.starts_with("switchover_auth{consumer="))
        .count()
}

/// Descriptors that the gateway has open.
fn descriptors(gateway: &Gateway) -> usize {
    let folder = format!("/proc/{}/fd", gateway.pid());
    std::fs::read_dir(folder).unwrap().count()
}

async fn a_thousand_consumers() {
    let blue = Upstream::named("blue").await;
    let gateway = Setup::new(&[("blue", &blue)])
        .document(document())
        .start(Engine::Host)
        .await;
    assert_eq!(
        consumers_in_the_text(&gateway).await,
        0,
        "nobody has come yet"
    );
    let mut client = gateway.client();
    for n in 0..CONSUMERS {
        let key = format!("key-{n}");
        assert_eq!(
            client.get("/").header("api-key", &key).send().await.status,
            200
        );
    }
    assert_eventually!(
        consumers_in_the_text(&gateway).await == CONSUMERS,
        "some consumers are missing"
    );
    let mut times = Vec::new();
    for _ in 0..SCRAPES {
        times.push(scrape(&gateway).await.1);
    }
    times.sort();
    let median = times[SCRAPES / 2];
    println!("/stats/prometheus with {CONSUMERS} consumers: {median:?} (median of {SCRAPES})");
    assert!(median < LIMIT, "{times:?}");
    cut_off(&gateway).await;
}

/// Clients that leave in the middle of the text leave nothing behind, and disturb nobody.
async fn cut_off(gateway: &Gateway) {
    let before = descriptors(gateway);
    for _ in 0..200 {
        let mut raw = Raw::connect(gateway.admin_address()).await;
        raw.write("GET /stats/prometheus HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        assert!(raw.try_read(1).await.is_some());
    }
    assert_eventually!(
        descriptors(gateway) <= before,
        "{} descriptors, {before} before",
        descriptors(gateway)
    );
    assert_eq!(consumers_in_the_text(gateway).await, CONSUMERS);
    let reply = gateway
        .client()
        .get("/")
        .header("api-key", "key-0")
        .send()
        .await;
    assert_eq!(reply.status, 200);
}

#[test]
fn a_scrape_with_a_thousand_consumers() {
    run_alone(a_thousand_consumers());
}

cases! {
    /// Whoever wants few of them need not take all.
    async fn only_what_a_filter_names(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).start(engine).await;
        gateway.client().get("/").send().await;
        let names = async |path: &str| -> Vec<String> {
            let text = gateway.admin(path).await;
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let mut names: Vec<_> = lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect();
            names.dedup();
            names
        };
        let path = "/stats/prometheus?filter=switchover%5C.(weight%7Cdocument)";
        let expected = ["switchover_document", "switchover_weight", "switchover_weight_planned"];
        assert_eventually!(
            { let mut found = names(path).await; found.sort(); found.dedup(); found == expected },
            "{:?}", names(path).await
        );
        let text = gateway.admin("/stats?filter=%5Ehttp.*downstream_rq_total").await;
        assert!(text.lines().count() >= 1 && text.lines().all(|line| line.contains("downstream_rq_total: ")), "{text}");
        let mut admin = Client::new(gateway.admin_address());
        let wrong = admin.get("/stats?filter=%28").send().await;
        assert_eq!(wrong.status, 400, "{wrong:?}");
        assert!(wrong.text().contains("regex"), "{}", wrong.text());
    }
}
