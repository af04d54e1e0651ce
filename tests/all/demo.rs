//! The demo gateway as it is shipped, with its two upstreams, under real clients.

use std::net::SocketAddr;

use serde_json::{Value, json};
use switchover_host::demo::{self, Faults, Seen};
use switchover_tests::keys::consumer;
use switchover_tests::setup::{Bootstrap, demo_document, demo_plugin};
use switchover_tests::{Client, Engine, Gateway, Setup, cases, programs, python};
use tokio::io::AsyncBufReadExt as _;
use tokio::task::JoinHandle;

/// A consumer of the demo who may name the environment.
const KEY: &str = "demo-key";

/// A consumer of the demo who may not.
const OTHER_KEY: &str = "demo-key-b";

/// A demo upstream that serves until the runtime ends.
struct Running {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Running {
    async fn start(name: &str, version: &str, key: &str) -> Self {
        let mut options = demo::Options::new(name, version);
        options.require_key = Some(key.to_owned());
        let (address, serving) = demo::Upstream::bind(options).await.unwrap();
        Self {
            address,
            server: tokio::spawn(serving),
        }
    }

    async fn faults(&self, faults: Value) {
        let reply = Client::new(self.address)
            .post("/__faults", faults.to_string())
            .send()
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The demo's file and document unchanged but for ports and places.
async fn start(engine: Engine) -> (Gateway, Running, Running) {
    let blue = Running::start("blue", "2.0.3", "key-of-blue").await;
    let green = Running::start("green", "2.1.0", "key-of-green").await;
    let gateway = Setup::at(&[("blue", blue.address), ("green", green.address)])
        .document(demo_document())
        .variable("BLUE_API_KEY", "key-of-blue")
        .variable("GREEN_API_KEY", "key-of-green")
        .start(engine)
        .await;
    (gateway, blue, green)
}

/// Both roles share a VM only where all of this is equal.
#[test]
fn both_roles_share_a_vm() {
    let route = demo_plugin();
    let mut roles = 0;
    Bootstrap::demo().edit_attempt_role(|attempt| {
        assert_eq!(attempt["vm_config"], route["vm_config"]);
        roles += 1;
    });
    assert_eq!(roles, 2);
}

/// The harness builds its gateways from the demo; with the demo's environments it must give the demo again.
#[test]
fn the_harness_keeps_the_demos_shape() {
    let mut built = Bootstrap::demo();
    let blue = SocketAddr::from(([127, 0, 0, 1], 10001));
    let green = SocketAddr::from(([127, 0, 0, 1], 10002));
    built.set_environments(&[
        ("blue".to_owned(), vec![blue]),
        ("green".to_owned(), vec![green]),
    ]);
    let mut demo = Bootstrap::demo();
    // Clusters are a set; the demo lists the aggregates first.
    for bootstrap in [&mut built, &mut demo] {
        bootstrap.clusters().sort_by_key(|c| c["name"].to_string());
    }
    assert_eq!(built.0, demo.0);
}

/// The command line gives what the library gives.
#[test]
fn the_upstream_as_a_command() {
    switchover_tests::run(async {
        let mut command = tokio::process::Command::new(programs::switchover());
        command.args([
            "demo-upstream",
            "--name",
            "amber",
            "--version",
            "9",
            "--listen",
            "127.0.0.1:0",
        ]);
        command.args([
            "--require-key",
            "k",
            "--fail-status",
            "500",
            "--fail-share",
            "0.5",
        ]);
        let mut process = command
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = tokio::io::BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.next_line().await.unwrap().expect("its address");
        let mut client = Client::new(
            address
                .parse()
                .unwrap_or_else(|e| panic!("{e}: {address:?}")),
        );
        assert_eq!(
            client.get("/v1/models").bearer("k").send().await.status,
            200
        );
        assert_eq!(
            client.get("/v1/models").bearer("k").send().await.status,
            500
        );
        let reply = client.get("/v1/models").bearer("wrong").send().await;
        assert_eq!(
            (
                reply.status.as_u16(),
                reply.header("x-upstream"),
                reply.header("x-upstream-version")
            ),
            (401, "amber", "9")
        );
        let seen: Seen = serde_json::from_value(client.get("/__seen").send().await.json()).unwrap();
        assert_eq!(seen.requests, 3);
        assert!(seen.last().unwrap() <= std::time::SystemTime::now());
        let reply = client
            .post("/__faults", r#"{"fail_share": 2}"#)
            .send()
            .await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["message"]),
            (400, &json!("fail_share is 2; 0 to 1 is allowed"))
        );
    });
}

cases! {
    async fn the_openai_sdk(engine: Engine) {
        let (gateway, blue, green) = start(engine).await;
        let faults = |upstream: &Running| format!("http://{}/__faults", upstream.address);
        let (url, blue, green) = (format!("http://{}/v1", gateway.address()), faults(&blue), faults(&green));
        let printed = python::client("sdk.py", &[&url, KEY, &blue, &green]).await;
        assert!(printed.contains("AuthenticationError: Incorrect API key provided."), "{printed}");
    }

    /// With and without heads that wait for bodies.
    async fn the_openai_sdk_where_models_are_known(engine: Engine) {
        for holds in [false, true] {
            let blue = Running::start("blue", "2.0.3", "key-of-blue").await;
            let keys = ["key-a", "key-small", "key-limited", "key-spent", "key-month", "key-tokens"];
            let mut consumers = keys.map(|key| consumer(key, key));
            consumers[1]["models"] = json!(["demo-s*"]);
            consumers[2]["limits"] = json!({"requests_per_minute": 30});
            consumers[3]["limits"] = json!({"usd_per_day": 0.01});
            consumers[4]["limits"] = json!({"usd_per_month": 0.01});
            consumers[5]["limits"] = json!({"tokens_per_minute": 20});
            let document = json!({
                "routing": {"blue": {"weight": 1, "clusters": ["blue-only"], "credential": {"value": "key-of-blue"}}},
                "auth": {"mode": "replace", "consumers": consumers},
                "attempts": true,
                "models": {
                    "catalogue": [{"id": "demo-large", "usd_per_million": 4_000}, {"id": "demo-small"}],
                    "aliases": {"gpt-4": "demo-large", "claude*": "demo-small"},
                    "max_body": "16KiB",
                    "hold_headers": holds,
                },
            });
            let gateway = Setup::at(&[("blue", blue.address)]).document(document);
            let gateway = gateway.plugin(move |plugin| plugin["allow_on_headers_stop_iteration"] = holds.into()).start(engine).await;
            let url = format!("http://{}/v1", gateway.address());
            let printed = python::client("models.py", &[&[url.as_str()][..], &keys].concat()).await;
            for limit in ["dollars per day", "dollars per month", "tokens per minute"] {
                assert!(printed.contains(&format!("RateLimitError: Limit reached for {limit}")), "{printed}");
            }
        }
    }

    async fn the_original_client(engine: Engine) {
        let (gateway, _blue, _green) = start(engine).await;
        let url = format!("http://{}", gateway.address());
        let printed = python::client("original.py", &[&url, KEY, "blue", "green"]).await;
        assert!(printed.contains("health: green 2.1.0"), "{printed}");
    }

    /// Green fails; the client notices nothing.
    async fn the_original_client_while_green_fails(engine: Engine) {
        let (gateway, _blue, green) = start(engine).await;
        let failing = Faults { fail_share: 1.0, ..Faults::default() };
        green.faults(json!(failing)).await;
        let url = format!("http://{}", gateway.address());
        let printed = python::client("original.py", &[&url, KEY, "blue"]).await;
        assert!(!printed.contains("attempt 2"), "the gateway retries, not the client: {printed}");
        let reply = gateway.client().get("/echo").bearer(KEY).header("x-deployment-mode", "green").send().await;
        assert_eq!(reply.header("x-deployment-mode"), "blue");
    }

    async fn the_echo_shows_what_arrived(engine: Engine) {
        let (gateway, _blue, _green) = start(engine).await;
        let mut client = gateway.client();
        let reply = client.post("/echo?a=b", "four").header("api-key", OTHER_KEY).header("x-bytes", b"\xe9").send().await;
        let echo = reply.json();
        assert_eq!((&echo["method"], &echo["path"], &echo["body_length"]), (&json!("POST"), &json!("/echo?a=b"), &json!(4)));
        let header = |name: &str| {
            let headers = echo["headers"].as_array().unwrap();
            headers.iter().find(|h| h["name"] == name).cloned().unwrap_or_default()
        };
        assert_eq!(header("authorization")["value"], format!("Bearer key-of-{}", reply.header("x-deployment-mode")));
        assert_eq!(header("x-consumer")["value"], "team-b");
        assert_eq!(header("x-bytes")["base64"], "6Q==");
        assert_eq!(header("api-key"), Value::Null);
        assert!(!reply.text().contains(OTHER_KEY));
    }

    async fn the_share_is_ten_percent(engine: Engine) {
        let (gateway, _blue, _green) = start(engine).await;
        let mut client = gateway.client();
        let mut green = 0;
        for _ in 0..200 {
            // Whoever may not name the environment is dealt one.
            let call = client.get("/v1/models").bearer(OTHER_KEY).header("x-deployment-mode", "green");
            green += u32::from(call.send().await.header("x-deployment-mode") == "green");
        }
        assert_eq!(green, 20);
    }
}
