//! New documents and binaries while traffic flows, and bad ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use switchover_tests::keys::consumer;
use switchover_tests::setup::set_document;
use switchover_tests::{
    Client, Engine, Gateway, Setup, Upstream, assert_eventually, cases, guest, programs,
};

/// All requests of the case under load.
const REQUESTS: u64 = 100_000;

/// Connections that make them.
const CONNECTIONS: usize = 8;

/// Changes of the weights meanwhile.
const CHANGES: u64 = 10;

fn document(green: u64, version: &str) -> Value {
    json!({"routing": {
        "blue": {"weight": 100 - green, "version": version, "clusters": ["blue-only"]},
        "green": {"weight": green, "version": version, "clusters": ["green-only"]},
    }})
}

async fn start(engine: Engine, document: Value) -> (Gateway, [Upstream; 2]) {
    let upstreams = [
        Upstream::named("blue").await,
        Upstream::named("green").await,
    ];
    let setup = Setup::new(&[("blue", &upstreams[0]), ("green", &upstreams[1])]);
    (setup.document(document).start(engine).await, upstreams)
}

async fn version(client: &mut Client) -> String {
    client
        .get("/")
        .send()
        .await
        .header("x-deployment-version")
        .to_owned()
}

cases! {
    async fn a_new_document_comes_into_force(engine: Engine) {
        let (gateway, upstreams) = start(engine, document(0, "one")).await;
        let mut client = gateway.client();
        assert_eq!(version(&mut client).await, "one");
        gateway.replace_document(&document(100, "two"));
        assert_eventually!(version(&mut client).await == "two", "the new document did not come into force");
        upstreams[0].forget();
        assert_eq!(client.get("/").send().await.text(), "green");
        assert_eq!(client.connections(), 1, "the connection went on");
    }

    /// Each bad document is told by the path of what is wrong, and the one before it serves on.
    async fn a_bad_document_changes_nothing(engine: Engine) {
        let (gateway, _upstreams) = start(engine, document(0, "good")).await;
        let mut client = gateway.client();
        let mut unknown = document(50, "bad");
        unknown["routing"]["green"]["wieght"] = json!(5);
        let mut negative = document(50, "bad");
        negative["routing"]["green"]["weight"] = json!(-5);
        let mut zero = document(50, "bad");
        zero["routing"]["green"]["weight"] = json!(0);
        zero["routing"]["blue"]["weight"] = json!(0);
        let mut stranger = document(50, "bad");
        stranger["stable"] = json!("purple");
        let mut unset = document(50, "bad");
        unset["routing"]["green"]["credential"] = json!({"env": "NOT_SET_ANYWHERE"});
        for (bad, told) in [
            (unknown, "routing.green.wieght"),
            (negative, "routing.green.weight"),
            (zero, "routing"),
            (stranger, "stable: names no environment"),
            (unset, "NOT_SET_ANYWHERE"),
            (json!([]), "a rollout document"),
        ] {
            gateway.replace_document(&bad);
            assert_eventually!(gateway.output().contains(told), "nothing was said about {told}");
            assert_eq!(version(&mut client).await, "good", "after {told}");
        }
        gateway.replace_document(&document(100, "better"));
        assert_eventually!(version(&mut client).await == "better", "a good one is taken again");
    }

    async fn all_problems_are_told_at_once(engine: Engine) {
        let (gateway, _upstreams) = start(engine, document(0, "good")).await;
        let mut bad = document(50, "bad");
        bad["strategy"] = json!("fairest");
        bad["routing"]["green"]["weight"] = json!("much");
        bad["override"] = json!({"allow": "everybody"});
        gateway.replace_document(&bad);
        for path in ["strategy", "routing.green.weight", "override.allow"] {
            assert_eventually!(gateway.output().contains(path), "nothing was said about {path}");
        }
    }

    /// In the bootstrap itself a bad document keeps the gateway from starting.
    async fn a_bad_document_at_the_start_is_refused(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let bad = json!({"routing": {"blue": {"wieght": 1}}});
        let started = Setup::new(&[("blue", &blue)]).document(bad).inline().try_start(engine).await;
        let refused = started.err().expect("a bad document is refused");
        assert!(!refused.status.success());
        assert!(refused.output.contains("routing.blue.wieght"), "{refused}");
    }

    async fn a_missing_variable_is_named_at_the_start(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let document = json!({"routing": {"blue": {"weight": 1, "credential": {"env": "NOT_SET_ANYWHERE"}}}});
        let started = Setup::new(&[("blue", &blue)]).document(document).inline().try_start(engine).await;
        let refused = started.err().expect("a document with an unset variable is refused");
        assert!(refused.output.contains("NOT_SET_ANYWHERE"), "{refused}");
    }

    async fn a_new_binary_comes_into_force(engine: Engine) {
        let (gateway, _upstreams) = start(engine, document(0, "one")).await;
        let mut client = gateway.client();
        let mut plugin = gateway.plugin().clone();
        let next = guest::variant(&programs::filter(), gateway.directory());
        plugin["vm_config"]["code"]["local"]["filename"] = next.to_str().unwrap().into();
        set_document(&mut plugin, &document(100, "two"));
        gateway.replace_plugin(&plugin);
        assert_eventually!(version(&mut client).await == "two", "the new binary did not come into force");
        assert_eq!(client.get("/").send().await.text(), "green");
    }

    /// Host only: Envoy reads a local file once. A new binary is moved onto the old one, and takes its place.
    host async fn a_binary_replaced_in_its_place(engine: Engine) {
        let directory = tempfile::tempdir().unwrap();
        let guest = directory.path().join("guest.wasm");
        std::fs::copy(programs::filter(), &guest).unwrap();
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)])
            .document(document(0, "one"))
            .route_guest(&guest)
            .without_attempt_role()
            .start(engine)
            .await;
        let mut client = gateway.client();
        assert_eq!(version(&mut client).await, "one");
        let next = tempfile::tempdir_in(directory.path()).unwrap();
        let hostile = guest::hostile("on_demand", next.path());
        std::fs::rename(hostile, &guest).unwrap();
        assert_eventually!(
            {
                blue.forget();
                assert_eq!(client.get("/").header("x-guest", "set").send().await.status, 200);
                blue.request().headers().contains_key("x-guest-was")
            },
            "the new binary did not come into force"
        );
        assert_eq!(client.connections(), 1);
    }

    async fn a_bad_binary_changes_nothing(engine: Engine) {
        let (gateway, _upstreams) = start(engine, document(0, "good")).await;
        let mut client = gateway.client();
        let mut plugin = gateway.plugin().clone();
        let broken = gateway.directory().join("broken.wasm");
        std::fs::write(&broken, b"\0asm but not really").unwrap();
        plugin["vm_config"]["code"]["local"]["filename"] = broken.to_str().unwrap().into();
        let before = gateway.output().len();
        gateway.replace_plugin(&plugin);
        assert_eventually!(gateway.output().len() > before, "nothing was said about the binary");
        assert_eq!(version(&mut client).await, "good");
        gateway.replace_document(&document(0, "better"));
        assert_eventually!(version(&mut client).await == "better", "a good one is taken again");
    }

    /// A new binary reached the route role's filter first: two VMs, and the attempt role still gets the document,
    /// the first one and every later one.
    async fn a_binary_that_reached_one_filter_only(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let directory = tempfile::tempdir().unwrap();
        let next = guest::variant(&programs::filter(), directory.path());
        let with_credentials = |key: &str| {
            let mut document = document(50, key);
            document["routing"]["blue"]["credential"] = json!({"env": "BLUE_KEY"});
            document["routing"]["green"]["credential"] = json!({"header": key, "scheme": "", "env": "GREEN_KEY"});
            document["auth"] = json!({"mode": "replace", "consumers": [consumer("team-a", "client-key")]});
            document["attempts"] = json!(true);
            document
        };
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .variable("BLUE_KEY", "key-of-blue")
            .variable("GREEN_KEY", "key-of-green")
            .document(with_credentials("x-first"))
            .route_guest(&next)
            .start(engine)
            .await;
        let mut client = gateway.client();
        for header in ["x-first", "x-second"] {
            gateway.replace_document(&with_credentials(header));
            assert_eventually!(
                {
                    green.forget();
                    client.get("/").bearer("client-key").send().await;
                    client.get("/").bearer("client-key").send().await;
                    green.requests().iter().any(|r| r.headers().get(header).is_some_and(|v| v == "key-of-green"))
                },
                "the attempt role did not follow to {header}"
            );
        }
        assert!(blue.requests().iter().all(|r| r.headers().get("authorization").is_none_or(|v| v == "Bearer key-of-blue")));
    }

    /// Ten changes of the weights under load: no request fails, and the last weights hold.
    async fn weights_change_under_load(engine: Engine) {
        let (gateway, upstreams) = start(engine, document(0, "0")).await;
        let done = Arc::new(AtomicU64::new(0));
        let failed = Arc::new(AtomicBool::new(false));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (mut client, done, failed) = (gateway.client(), Arc::clone(&done), Arc::clone(&failed));
            clients.spawn(async move {
                while done.fetch_add(1, Ordering::SeqCst) < REQUESTS && !failed.load(Ordering::SeqCst) {
                    let reply = client.get("/").try_send().await;
                    if !reply.as_ref().is_ok_and(|r| r.status == 200) {
                        failed.store(true, Ordering::SeqCst);
                        panic!("a request failed: {reply:?}");
                    }
                }
                assert_eq!(client.connections(), 1, "the connection was closed");
            });
        }
        let mut observer = gateway.client();
        for change in 1..=CHANGES {
            let due = REQUESTS * change / (CHANGES + 1);
            while done.load(Ordering::SeqCst) < due && !failed.load(Ordering::SeqCst) {
                tokio::time::sleep(switchover_tests::GLANCE).await;
            }
            gateway.replace_document(&document(change * 10, &change.to_string()));
            let expected = change.to_string();
            assert_eventually!(version(&mut observer).await == expected, "change {change} did not come into force");
        }
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        assert!(done.load(Ordering::SeqCst) >= REQUESTS);
        upstreams[0].forget();
        assert_eq!(observer.get("/").send().await.text(), "green");
        assert_eq!(upstreams[0].count(), 0, "at the end green has everything");
    }
}
