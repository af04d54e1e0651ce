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
        // A document that is refused may hold secrets too.
        let mut bad = document;
        bad["routing"]["blue"]["credential"] = json!({"value": "secret-in-document", "env": "secret-as-env", "scheme": 5});
        bad["auth"]["consumers"][0]["keys"][0]["sha256"] = json!("secret-as-digest");
        gateway.replace_document(&bad);
        switchover_tests::assert_eventually!(gateway.output().contains("routing.blue.credential"), "nothing was said");
        for path in ["/stats", "/stats/prometheus", "/clusters", "/config_dump", "/server_info", "/listeners"] {
            shown += &gateway.admin(path).await;
        }
        shown += &gateway.output();
        for line in shown.lines() {
            assert!(!line.contains("secret-"), "{line}");
        }
        assert_eq!(blue.count() + green.count(), 2);
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
