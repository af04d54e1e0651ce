//! Who stays where.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchover_tests::keys::consumer;
use switchover_tests::{Client, Gateway, Setup, Upstream, assert_eventually, cases};

/// Enough users that a share shows, few enough to be asked one by one.
const USERS: usize = 300;

fn document(green: u32, by: Value) -> Value {
    json!({
        "rollout": "sticky-test",
        "routing": {
            "blue": {"weight": 100 - green, "clusters": ["blue-only"]},
            "green": {"weight": green, "clusters": ["green-only"]},
        },
        "strategy": "consistent_hash",
        "sticky": {"by": by},
    })
}

async fn start(engine: switchover_tests::Engine, document: Value) -> (Gateway, [Upstream; 2]) {
    let upstreams = [
        Upstream::named("blue").await,
        Upstream::named("green").await,
    ];
    let setup = Setup::new(&[("blue", &upstreams[0]), ("green", &upstreams[1])]);
    (setup.document(document).start(engine).await, upstreams)
}

/// The users who are on green, where the user is this header's value.
async fn on_green(client: &mut Client, header: &str, prefix: &str) -> BTreeSet<usize> {
    let mut on_green = BTreeSet::new();
    for user in 0..USERS {
        let reply = client
            .get("/")
            .header(header, format!("{prefix}{user}"))
            .send()
            .await;
        if reply.text() == "green" {
            on_green.insert(user);
        }
    }
    on_green
}

cases! {
    async fn by_header(engine: Engine) {
        let (gateway, _upstreams) = start(engine, document(30, json!([{"header": "x-user-id"}]))).await;
        let first = on_green(&mut gateway.client(), "x-user-id", "user-").await;
        // 90 are expected with a standard deviation of 7.9; this is six of them.
        assert!((43..=137).contains(&first.len()), "{} of {USERS} at 30 %", first.len());
        let again = on_green(&mut gateway.client(), "x-user-id", "user-").await;
        assert_eq!(first, again);
    }

    async fn by_cookie(engine: Engine) {
        let (gateway, _upstreams) = start(engine, document(50, json!([{"cookie": "session"}]))).await;
        let first = on_green(&mut gateway.client(), "cookie", "theme=dark; session=").await;
        assert!(first.len() > 50 && first.len() < 250, "{} of {USERS} at 50 %", first.len());
        let again = on_green(&mut gateway.client(), "cookie", "session=").await;
        assert_eq!(first, again, "other cookies have no say");
    }

    async fn by_consumer(engine: Engine) {
        let mut document = document(50, json!(["consumer"]));
        let consumers: Vec<Value> = (0..40).map(|i| consumer(&format!("team-{i}"), &format!("key-{i}"))).collect();
        document["auth"] = json!({"mode": "replace", "consumers": consumers});
        let (gateway, _upstreams) = start(engine, document).await;
        let mut client = gateway.client();
        let mut places = BTreeSet::new();
        for team in 0..40 {
            let first = client.get("/").bearer(&format!("key-{team}")).send().await.text().to_owned();
            for _ in 0..3 {
                // However the key is sent, the consumer is the same.
                let again = client.get("/").header("api-key", format!("key-{team}")).send().await;
                assert_eq!(again.text(), first, "team-{team}");
            }
            places.insert(first);
        }
        assert_eq!(places.len(), 2, "40 consumers at 50 % are all in {places:?}");
    }

    /// Outside `replace` a consumer is whoever carries the same credential.
    async fn by_credential(engine: Engine) {
        let (gateway, _upstreams) = start(engine, document(50, json!(["consumer"]))).await;
        let first = on_green(&mut gateway.client(), "authorization", "Bearer key-").await;
        assert!(first.len() > 50 && first.len() < 250, "{} of {USERS} at 50 %", first.len());
        assert_eq!(first, on_green(&mut gateway.client(), "authorization", "Bearer key-").await);
    }

    /// One address, whatever its port: everything is in one place.
    async fn by_address(engine: Engine) {
        let (gateway, upstreams) = start(engine, document(50, json!(["source_address"]))).await;
        for _ in 0..20 {
            assert_eq!(gateway.client().get("/").send().await.status, 200);
        }
        let counts = [upstreams[0].count(), upstreams[1].count()];
        assert!(counts == [20, 0] || counts == [0, 20], "{counts:?}");
    }

    async fn the_first_source_that_is_there_counts(engine: Engine) {
        let by = json!([{"header": "x-user-id"}, {"cookie": "session"}]);
        let (gateway, _upstreams) = start(engine, document(50, by)).await;
        let mut client = gateway.client();
        let by_header = on_green(&mut client, "x-user-id", "k").await;
        let by_cookie = on_green(&mut client, "cookie", "session=k").await;
        assert_eq!(by_header, by_cookie, "the key's value counts, not where it was");
        for user in 0..20 {
            let call = client.get("/").header("x-user-id", format!("k{user}")).header("cookie", "session=other");
            assert_eq!(call.send().await.text() == "green", by_header.contains(&user), "k{user}");
        }
    }

    /// A client without a key gets a cookie with a random id, and stays by it.
    async fn a_cookie_is_set_for_newcomers(engine: Engine) {
        let mut document = document(50, json!([{"header": "x-user-id"}]));
        document["sticky"]["set_cookie"] = json!({"name": "switchover", "max_age": "1h"});
        let (gateway, _upstreams) = start(engine, document).await;
        let mut client = gateway.client();
        let (mut ids, mut places) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..20 {
            let reply = client.get("/").send().await;
            let cookie = reply.header("set-cookie").to_owned();
            assert!(cookie.contains("Max-Age=3600"), "{cookie}");
            let pair = cookie.split(';').next().unwrap();
            let id = pair.strip_prefix("switchover=").unwrap();
            assert!(id.len() >= 16 && !id.contains("blue") && !id.contains("green"), "opaque: {id}");
            for _ in 0..3 {
                let again = client.get("/").header("cookie", pair).send().await;
                assert_eq!(again.text(), reply.text());
                assert!(!again.headers.contains_key("set-cookie"), "whoever has one keeps it");
            }
            ids.insert(id.to_owned());
            places.insert(reply.text().to_owned());
        }
        assert_eq!((ids.len(), places.len()), (20, 2));
    }

    /// Raising green moves users from blue to green, and nobody back.
    async fn a_raise_moves_nobody_back(engine: Engine) {
        let by = json!([{"header": "x-user-id"}]);
        let (gateway, _upstreams) = start(engine, document(5, by.clone())).await;
        let mut client = gateway.client();
        let mut before = on_green(&mut client, "x-user-id", "user-").await;
        for green in [25, 50, 100] {
            let mut raised = document(green, by.clone());
            raised["routing"]["green"]["version"] = json!(format!("at-{green}"));
            gateway.replace_document(&raised);
            let version = format!("at-{green}");
            assert_eventually!(
                on_version(&mut client, &version).await,
                "the document with {green} % did not come into force"
            );
            let after = on_green(&mut client, "x-user-id", "user-").await;
            assert!(before.is_subset(&after), "at {green} %: {:?} moved back", before.difference(&after));
            assert!(after.len() > before.len(), "at {green} %: {} after {}", after.len(), before.len());
            before = after;
        }
        assert_eq!(before.len(), USERS);
    }

    /// A new rollout picks new first users.
    async fn a_new_rollout_draws_anew(engine: Engine) {
        let by = json!([{"header": "x-user-id"}]);
        let (gateway, _upstreams) = start(engine, document(50, by.clone())).await;
        let mut client = gateway.client();
        let before = on_green(&mut client, "x-user-id", "user-").await;
        let mut next = document(50, by);
        next["rollout"] = json!("another");
        next["routing"]["green"]["version"] = json!("next");
        gateway.replace_document(&next);
        assert_eventually!(on_version(&mut client, "next").await, "the next rollout did not begin");
        let after = on_green(&mut client, "x-user-id", "user-").await;
        let kept = before.intersection(&after).count();
        assert!(kept < before.len() * 3 / 4, "{kept} of {} are on green again", before.len());
    }
}

/// Whether green says that this version is in force; some of these users are on green.
async fn on_version(client: &mut Client, version: &str) -> bool {
    for user in 0..USERS {
        let reply = client
            .get("/")
            .header("x-user-id", format!("user-{user}"))
            .send()
            .await;
        if reply.text() == "green" {
            return reply.header("x-deployment-version") == version;
        }
    }
    false
}
