//! Client credentials: each mode, each source, each way to be wrong.

use serde_json::{Value, json};
use switchover_tests::keys::{consumer, digest};
use switchover_tests::upstream::Seen;
use switchover_tests::{Gateway, Reply, Setup, Upstream, cases};

/// Every place that a credential is looked for in these cases.
fn accept() -> Value {
    json!([
        {"header": "authorization", "scheme": "Bearer"}, {"header": "api-key"}, {"header": "x-api-key"},
        {"query": "api_key"},
    ])
}

async fn start(engine: switchover_tests::Engine, auth: Value) -> (Gateway, Upstream) {
    let blue = Upstream::named("blue").await;
    let credential = json!({"env": "BLUE_KEY"});
    let document = json!({
        "routing": {"blue": {"weight": 1, "clusters": ["blue-only"], "credential": credential}},
        "auth": auth,
        "attempts": true,
    });
    let setup = Setup::new(&[("blue", &blue)]).variable("BLUE_KEY", "the-environments-key");
    (setup.document(document).start(engine).await, blue)
}

fn replace() -> Value {
    json!({
        "mode": "replace",
        "accept": accept(),
        "consumers": [consumer("team-a", "key-a"), consumer("team-b", "key-b")],
        "identity_header": "x-consumer-name",
    })
}

/// The credentials that a request carries, as `place: value`.
fn credentials(seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    for name in ["authorization", "api-key", "x-api-key"] {
        let values = seen.headers().get_all(name).iter();
        found.extend(values.map(|v| format!("{name}: {}", String::from_utf8_lossy(v.as_bytes()))));
    }
    if seen.uri().query().is_some_and(|q| q.contains("api_key")) {
        found.push(seen.uri().to_string());
    }
    found
}

/// A 401 in the API's own shape.
fn unauthorized(reply: &Reply, message: &str) {
    assert_eq!(reply.status, 401, "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/json");
    assert!(
        reply.header("www-authenticate").starts_with("Bearer"),
        "{reply:?}"
    );
    let shape = json!({"error": {
        "message": message, "type": "invalid_request_error", "param": null, "code": "invalid_api_key",
    }});
    assert_eq!(reply.json(), shape);
}

cases! {
    /// The environment's own credential is for `replace`; here the client's pass as they are.
    async fn pass_leaves_credentials_alone(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).start(engine).await;
        let mut client = gateway.client();
        client.get("/?api_key=q").header("authorization", "Basic abc").header("api-key", "k").send().await;
        let expected = ["authorization: Basic abc", "api-key: k", "/?api_key=q"];
        assert_eq!(credentials(&blue.request()), expected);
    }

    async fn normalize_rewrites_every_source(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let document = json!({
            "routing": {"blue": {"weight": 1, "clusters": ["blue-only"]}},
            "auth": {"mode": "normalize", "accept": accept()},
        });
        let gateway = Setup::new(&[("blue", &blue)]).document(document).start(engine).await;
        let mut client = gateway.client();
        for (header, value) in [("authorization", "Bearer K"), ("authorization", "bearer K"), ("api-key", "K"), ("x-api-key", "K")] {
            blue.forget();
            client.get("/").header(header, value).send().await;
            assert_eq!(credentials(&blue.request()), ["authorization: Bearer K"], "from {header}: {value}");
        }
        blue.forget();
        client.get("/path?a=1&api_key=K&b=2").send().await;
        let seen = blue.request();
        assert_eq!(credentials(&seen), ["authorization: Bearer K"]);
        assert_eq!(seen.uri(), "/path?a=1&b=2");
        // The same credential twice is one credential.
        blue.forget();
        client.get("/").header("api-key", "K").bearer("K").send().await;
        assert_eq!(credentials(&blue.request()), ["authorization: Bearer K"]);
        // Without one the request passes: the API itself will say what it wants.
        blue.forget();
        assert_eq!(client.get("/").send().await.status, 200);
        assert!(credentials(&blue.request()).is_empty());
    }

    async fn replace_verifies_and_exchanges(engine: Engine) {
        let (gateway, blue) = start(engine, replace()).await;
        let mut client = gateway.client();
        for (header, value) in [("authorization", "Bearer key-a"), ("api-key", "key-a"), ("x-api-key", "key-a")] {
            blue.forget();
            assert_eq!(client.get("/").header(header, value).send().await.status, 200, "{header}");
            let seen = blue.request();
            assert_eq!(credentials(&seen), ["authorization: Bearer the-environments-key"], "from {header}");
            assert_eq!(seen.headers()["x-consumer-name"], "team-a");
        }
        blue.forget();
        assert_eq!(client.get("/path?api_key=key-b").send().await.status, 200);
        let seen = blue.request();
        assert_eq!(credentials(&seen), ["authorization: Bearer the-environments-key"]);
        assert_eq!((seen.uri().to_string().as_str(), &seen.headers()["x-consumer-name"]), ("/path", &"team-b".parse().unwrap()));
    }

    async fn a_wrong_or_missing_key_is_401(engine: Engine) {
        let (gateway, blue) = start(engine, replace()).await;
        let mut client = gateway.client();
        for key in ["key-c", "KEY-A", "key-a ", "key-aa", &digest("key-a")] {
            let reply = client.get("/").header("api-key", format!("{key}\u{20}x")).send().await;
            unauthorized(&reply, "Incorrect API key provided.");
            let reply = client.get("/").bearer(&format!("x{key}")).send().await;
            unauthorized(&reply, "Incorrect API key provided.");
        }
        let reply = client.get("/").send().await;
        let places = "header `authorization: Bearer KEY` or header `api-key: KEY` or header `x-api-key: KEY` or \
                      query parameter `api_key=KEY`";
        unauthorized(&reply, &format!("You didn't provide an API key. Send it as {places}."));
        assert_eq!(blue.count(), 0);
        assert_eq!(client.get("/").bearer("key-a").send().await.status, 200);
    }

    async fn conflicting_sources_are_401(engine: Engine) {
        for mode in ["normalize", "replace"] {
            let mut auth = replace();
            auth["mode"] = json!(mode);
            let (gateway, blue) = start(engine, auth).await;
            let mut client = gateway.client();
            // Both keys are good; which one is meant nobody knows.
            let reply = client.get("/").bearer("key-a").header("api-key", "key-b").send().await;
            assert_eq!(reply.status, 401, "{mode}");
            assert!(reply.text().contains("different API keys"), "{reply:?}");
            assert_eq!(reply.json()["error"]["code"], "invalid_api_key");
            let reply = client.get("/?api_key=key-a").header("x-api-key", "key-b").send().await;
            assert_eq!(reply.status, 401, "{mode}");
            let reply = client.get("/").bearer("key-a").bearer("key-b").send().await;
            assert_eq!(reply.status, 401, "{mode}: two values of one header");
            assert_eq!(blue.count(), 0);
            assert_eq!(client.get("/").bearer("key-a").header("api-key", "key-a").send().await.status, 200);
        }
    }

    async fn keys_have_their_time(engine: Engine) {
        let keys = json!([
            {"sha256": digest("old"), "not_after": "2020-01-01T00:00:00Z"},
            {"sha256": digest("current"), "not_before": "2020-01-01T00:00:00Z", "not_after": "2999-01-01T00:00:00Z"},
            {"sha256": digest("next"), "not_before": "2999-01-01T00:00:00Z"},
        ]);
        let (gateway, blue) = start(engine, json!({"mode": "replace", "consumers": [{"name": "team", "keys": keys}]})).await;
        let mut client = gateway.client();
        unauthorized(&client.get("/").bearer("old").send().await, "The API key provided has expired.");
        unauthorized(&client.get("/").bearer("next").send().await, "The API key provided is not valid yet.");
        assert_eq!(blue.count(), 0);
        assert_eq!(client.get("/").bearer("current").send().await.status, 200);
    }

    async fn exempt_requests_need_no_key(engine: Engine) {
        let mut auth = replace();
        auth["exempt"] = json!([{"method": "OPTIONS"}, {"path": "/health"}, {"method": "GET", "path": "/open"}]);
        let (gateway, blue) = start(engine, auth).await;
        let mut client = gateway.client();
        assert_eq!(client.call(http::Method::OPTIONS, "/any").send().await.status, 200);
        assert_eq!(client.get("/health?deep=1").send().await.status, 200);
        assert_eq!(client.get("/open").send().await.status, 200);
        assert!(blue.requests().iter().all(|r| credentials(r).is_empty()), "nor do they get the environment's");
        assert_eq!(client.get("/healthy").send().await.status, 401);
        assert_eq!(client.post("/open", "").send().await.status, 401);
    }

    async fn values_that_are_no_text_are_answered(engine: Engine) {
        let (gateway, blue) = start(engine, replace()).await;
        let mut client = gateway.client();
        for value in [&b"Bearer \xff\xfe"[..], b"\xe9", b"Bearer key-a\xa0"] {
            assert_eq!(client.get("/").header("authorization", value).send().await.status, 401, "{value:?}");
            assert_eq!(client.get("/").header("api-key", value).send().await.status, 401, "{value:?}");
        }
        assert_eq!(blue.count(), 0);
        // In other headers they go through as they are.
        let call = client.get("/").bearer("key-a").header("x-other", b"\xff").header("cookie", b"a=\xfe");
        assert_eq!(call.send().await.status, 200);
        assert_eq!(blue.request().headers()["x-other"].as_bytes(), b"\xff");
    }

    async fn auth_outcomes_are_counted(engine: Engine) {
        let (gateway, _blue) = start(engine, replace()).await;
        let mut client = gateway.client();
        for key in ["key-a", "key-b", "wrong"] {
            client.get("/").bearer(key).send().await;
        }
        client.get("/").send().await;
        for (outcome, count) in [("ok", 2.0), ("wrong", 1.0), ("missing", 1.0)] {
            gateway.metric("switchover_auth").label("outcome", outcome).becomes(count).await;
        }
    }
}
