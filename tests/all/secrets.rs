//! Secrets stay where they belong.

use serde_json::json;
use switchover_tests::keys::consumer;
use switchover_tests::{Setup, Upstream, cases};

cases! {
    /// Neither the environments' credentials nor any key that a client sent is in what the gateway prints or shows.
    async fn secrets_are_in_no_output(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let document = json!({
            "routing": {
                "blue": {"weight": 1, "clusters": ["blue-only"], "credential": {"env": "BLUE_KEY"}},
                "green": {"weight": 1, "clusters": ["green-only"], "credential": {"env": "GREEN_KEY"}},
            },
            "auth": {"mode": "replace", "consumers": [consumer("team-a", "secret-of-team-a")]},
            "attempts": true,
        });
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .variable("BLUE_KEY", "secret-of-blue")
            .variable("GREEN_KEY", "secret-of-green")
            .document(document.clone())
            .start(engine)
            .await;
        let mut client = gateway.client();
        let mut shown = String::new();
        for key in ["secret-of-team-a", "secret-of-nobody"] {
            for _ in 0..2 {
                shown += &format!("{:?}", client.get("/").bearer(key).send().await);
            }
        }
        shown += &format!("{:?}", client.get("/").bearer("secret-of-team-a").header("api-key", "secret-other").send().await);
        for path in ["/stats", "/stats/prometheus", "/clusters", "/config_dump", "/server_info", "/listeners"] {
            shown += &gateway.admin(path).await;
        }
        // A document that is refused may hold secrets in the wrong place. (Envoy's dump shows it from then on.)
        let mut bad = document;
        bad["routing"]["blue"]["credential"] = json!({"value": "secret-in-document", "env": "secret-as-env", "scheme": 5});
        bad["auth"]["consumers"][0]["keys"][0]["sha256"] = json!("secret-as-digest");
        gateway.replace_document(&bad);
        switchover_tests::assert_eventually!(gateway.output().contains("routing.blue.credential"), "nothing was said");
        shown += &gateway.output();
        for line in shown.lines() {
            assert!(!line.contains("secret-"), "{line}");
        }
        assert_eq!(blue.count() + green.count(), 2);
    }

    /// Host only: Envoy's access log is a matter of its file. A line for each request, without its credentials.
    host async fn the_access_log_has_no_credentials(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let document = json!({
            "routing": {"blue": {"weight": 1, "clusters": ["blue-only"], "credential": {"env": "BLUE_KEY"}}},
            "auth": {
                "mode": "replace", "consumers": [consumer("team-a", "secret-of-team-a")],
                "accept": [{"header": "authorization", "scheme": "Bearer"}, {"query": "api_key"}],
            },
            "attempts": true,
        });
        let gateway = Setup::new(&[("blue", &blue)])
            .variable("BLUE_KEY", "secret-of-blue")
            .document(document)
            .argument("--access-log")
            .start(engine)
            .await;
        let mut client = gateway.client();
        assert_eq!(client.get("/first").bearer("secret-of-team-a").send().await.status, 200);
        assert_eq!(client.get("/second?api_key=secret-of-team-a").send().await.status, 200);
        assert_eq!(client.get("/third?api_key=secret-of-nobody").send().await.status, 401);
        for path in ["/first", "/second", "/third"] {
            switchover_tests::assert_eventually!(gateway.output().contains(path), "no line for {path}");
        }
        let output = gateway.output();
        let line = output.lines().find(|l| l.contains("/first")).unwrap();
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(!output.contains("secret-of"), "{output}");
    }

    /// Host only: Envoy's `/config_dump` shows a plugin's configuration as it is; there secrets go into variables.
    host async fn a_value_in_the_document_is_in_no_dump(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let credential = json!({"value": "secret-in-document"});
        let document = json!({"routing": {"blue": {"weight": 1, "credential": credential}}, "attempts": true});
        let gateway = Setup::new(&[("blue", &blue)]).document(document).start(engine).await;
        assert_eq!(gateway.client().get("/").send().await.status, 200);
        let shown = gateway.admin("/config_dump").await + &gateway.output();
        assert!(!shown.contains("secret-in-document"));
    }
}
