//! Requests that name their environment, and headers that clients may not set.

use serde_json::{Value, json};
use switchover_tests::keys::{consumer, digest};
use switchover_tests::{Gateway, Setup, Upstream, cases};

async fn start(engine: switchover_tests::Engine, rest: Value) -> (Gateway, [Upstream; 2]) {
    let upstreams = [
        Upstream::named("blue").await,
        Upstream::named("green").await,
    ];
    let mut document = json!({"routing": {
        "blue": {"weight": 1, "clusters": ["blue-only"]},
        "green": {"weight": 0, "clusters": ["green-only"]},
    }});
    document
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    let setup = Setup::new(&[("blue", &upstreams[0]), ("green", &upstreams[1])]);
    (setup.document(document).start(engine).await, upstreams)
}

cases! {
    async fn anyone_may_where_told_so(engine: Engine) {
        let (gateway, upstreams) = start(engine, json!({"override": {"allow": "anyone"}})).await;
        let mut client = gateway.client();
        let reply = client.get("/").header("x-deployment-mode", "green").send().await;
        assert_eq!((reply.text(), reply.header("x-deployment-mode")), ("green", "green"));
        assert_eq!(upstreams[1].request().headers()["x-deployment-mode"], "green");
        assert_eq!(client.get("/").send().await.text(), "blue");
    }

    async fn another_header_may_be_named(engine: Engine) {
        let (gateway, upstreams) = start(engine, json!({"override": {"header": "x-pick", "allow": "anyone"}})).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").header("x-pick", "green").send().await.text(), "green");
        assert_eq!(client.get("/").header("x-deployment-mode", "green").send().await.text(), "blue");
        assert_eq!(upstreams[0].request().headers()["x-deployment-mode"], "blue");
    }

    /// Nobody may by default: the client's header is removed, and the request goes where it would have gone.
    async fn nobody_may_by_default(engine: Engine) {
        let (gateway, upstreams) = start(engine, json!({})).await;
        let call = gateway.client().get("/").header("x-deployment-mode", "green").send().await;
        assert_eq!(call.text(), "blue");
        let seen = upstreams[0].request();
        let modes: Vec<_> = seen.headers().get_all("x-deployment-mode").iter().collect();
        assert_eq!(modes, ["blue"]);
    }

    async fn an_unknown_name_is_400(engine: Engine) {
        let (gateway, upstreams) = start(engine, json!({"override": {"allow": "anyone"}})).await;
        let reply = gateway.client().get("/").header("x-deployment-mode", "purple").send().await;
        assert_eq!(reply.status, 400);
        let error = &reply.json()["error"];
        assert_eq!(error["type"], "invalid_request_error");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("blue") && message.contains("green"), "{message}");
        assert_eq!((upstreams[0].count(), upstreams[1].count()), (0, 0));
    }

    async fn a_name_that_is_no_text_is_400(engine: Engine) {
        let (gateway, _upstreams) = start(engine, json!({"override": {"allow": "anyone"}})).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").header("x-deployment-mode", b"gr\xe9en").send().await.status, 400);
        assert_eq!(client.get("/").send().await.text(), "blue");
    }

    async fn consumers_may_who_are_allowed_to(engine: Engine) {
        let consumers = json!([
            {"name": "operator", "keys": [{"sha256": digest("operator-key")}], "override": true},
            consumer("user", "user-key"),
        ]);
        let document = json!({
            "override": {"allow": "consumers"},
            "auth": {"mode": "replace", "consumers": consumers},
        });
        let (gateway, _upstreams) = start(engine, document).await;
        let mut client = gateway.client();
        let mut ask = async |key: &str| {
            client.get("/").bearer(key).header("x-deployment-mode", "green").send().await.text().to_owned()
        };
        assert_eq!(ask("operator-key").await, "green");
        assert_eq!(ask("user-key").await, "blue", "a refused override is ignored");
        gateway.metric("switchover_overrides_refused").becomes(1.0).await;
    }

    /// The identity header is Switchover's alone, in every mode.
    async fn a_spoofed_identity_is_removed(engine: Engine) {
        for mode in ["pass", "normalize", "replace"] {
            let mut auth = json!({"mode": mode, "identity_header": "x-identity"});
            if mode == "replace" {
                auth["consumers"] = json!([consumer("team-a", "key-a")]);
            }
            let (gateway, upstreams) = start(engine, json!({"auth": auth})).await;
            let mut client = gateway.client();
            let call = client.get("/").bearer("key-a").header("x-identity", "root").header("X-Identity", "admin");
            assert_eq!(call.send().await.status, 200);
            let seen = upstreams[0].request();
            let identities: Vec<_> = seen.headers().get_all("x-identity").iter().collect();
            let expected: &[&str] = if mode == "replace" { &["team-a"] } else { &[] };
            assert_eq!(identities, expected, "{mode}");
        }
    }

    async fn several_spoofed_modes_are_removed(engine: Engine) {
        let (gateway, upstreams) = start(engine, json!({})).await;
        let mut client = gateway.client();
        let call = client.get("/").header("x-deployment-mode", "green").header("X-Deployment-Mode", "green,blue");
        assert_eq!(call.send().await.text(), "blue");
        let seen = upstreams[0].request();
        assert_eq!(seen.headers().get_all("x-deployment-mode").iter().collect::<Vec<_>>(), ["blue"]);
    }
}
