//! `switchover report`: what models took and cost, as both engines count it.

use std::net::SocketAddr;
use std::process::Output;

use serde_json::{Value, json};
use switchover_host::demo;
use switchover_tests::setup::demo_document;
use switchover_tests::{Engine, Gateway, Setup, assert_eventually, cases, programs};
use tokio::process::Command;

/// A consumer of the demo.
const KEY: &str = "demo-key";

/// An upstream of the demo, which serves until the runtime ends.
async fn upstream(name: &str) -> SocketAddr {
    let (address, serving) = demo::Upstream::bind(demo::Options::new(name, "1.0.0"))
        .await
        .unwrap();
    tokio::spawn(serving);
    address
}

/// The demo with a catalogue: the demo's answers to a chat of two words have six words of their own.
pub(crate) fn document() -> Value {
    let mut document = demo_document();
    document["models"] = json!({
        "catalogue": [
            {"id": "large", "usd_per_million": {"input": 200, "cached_input": 50, "output": 800},
             "reference_usd_per_million": 1000},
            {"id": "small", "usd_per_million": 1},
        ],
        "aliases": {"big": "large"},
    });
    document
}

pub(crate) async fn start(engine: Engine) -> Gateway {
    let (blue, green) = (upstream("blue").await, upstream("green").await);
    Setup::at(&[("blue", blue), ("green", green)])
        .document(document())
        .variable("BLUE_API_KEY", "key-of-blue")
        .variable("GREEN_API_KEY", "key-of-green")
        .start(engine)
        .await
}

async fn report(gateway: &Gateway, arguments: &[&str]) -> Output {
    let admin = gateway.admin_address().to_string();
    let file = gateway.directory().join("document.json");
    std::fs::write(&file, document().to_string()).unwrap();
    Command::new(programs::switchover())
        .arg("report")
        .arg(file)
        .args(["--admin", &admin])
        .args(arguments)
        .env_remove("SWITCHOVER_DOCUMENT")
        .output()
        .await
        .unwrap()
}

pub(crate) async fn as_json(gateway: &Gateway, arguments: &[&str]) -> Value {
    let output = report(gateway, &[arguments, &["--json"]].concat()).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) async fn chat(gateway: &Gateway, model: &str, stream: bool) {
    let body = json!({"model": model, "messages": [{"role": "system", "content": "Brief."},
        {"role": "user", "content": "Hello"}], "stream": stream, "stream_options": {"include_usage": stream}});
    let mut client = gateway.client();
    let call = client
        .post("/v1/chat/completions", body.to_string())
        .bearer(KEY);
    let reply = call.header("content-type", "application/json").send().await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

cases! {
    async fn models_cost_what_they_took(engine: Engine) {
        let gateway = start(engine).await;
        for stream in [false, true] {
            for _ in 0..5 {
                chat(&gateway, "big", stream).await;
            }
        }
        chat(&gateway, "small", false).await;
        // Counts are handed over on the tick.
        assert_eventually!(as_json(&gateway, &[]).await["total"]["answers"] == 11, "all answers are counted");
        // A rate needs a time: uptimes are told in whole seconds.
        assert_eventually!(
            !as_json(&gateway, &[]).await["total"]["per_month"].is_null(),
            "the proxy has run for a second"
        );
        let whole = as_json(&gateway, &[]).await;
        let rows = whole["rows"].as_array().unwrap();
        let [large, small] = rows.as_slice() else { panic!("{whole:#}") };
        assert_eq!((&large["name"], &small["name"]), (&json!("large"), &json!("small")));
        // Of each: one word of the prompt cached, one not; six words of answer.
        assert_eq!(large["input_tokens"], 20, "{whole:#}");
        assert_eq!(large["cached_input_tokens"], 10, "{whole:#}");
        assert_eq!(large["output_tokens"], 60, "{whole:#}");
        assert_eq!(large["cost_microdollars"], 10 * (200 + 50 + 6 * 800), "{whole:#}");
        assert_eq!(large["reference_cost_microdollars"], 10 * 8 * 1_000, "{whole:#}");
        assert_eq!(small["cost_microdollars"], 8, "{whole:#}");
        assert_eq!(large["usd_per_million"]["output"].as_f64(), Some(800.0), "{whole:#}");
        assert!(large["per_month"]["cost_microdollars"].as_u64().unwrap() > 50_500, "{whole:#}");

        let by_consumer = as_json(&gateway, &["--by", "consumer"]).await;
        assert_eq!(by_consumer["rows"].as_array().unwrap().len(), 1, "{by_consumer:#}");
        assert_eq!(by_consumer["total"]["output_tokens"], 66, "{by_consumer:#}");

        let table = report(&gateway, &[]).await;
        let table = String::from_utf8(table.stdout).unwrap();
        assert!(table.contains("200 / 50 / 800") && table.contains("36.9 %"), "{table}");

        let sheet = report(&gateway, &["--csv"]).await;
        let sheet = String::from_utf8(sheet.stdout).unwrap();
        let lines: Vec<&str> = sheet.lines().collect();
        assert_eq!(lines.len(), 3, "{sheet}");
        assert!(lines[1].starts_with("large,200,50,800,1000,1000,1000,10,0,20,10,60,50500,80000,29500,"), "{sheet}");
        assert_eq!(large["saved_microdollars"], 29_500, "{whole:#}");
        assert_eq!(whole["total"]["saved_microdollars"], 29_500, "{whole:#}");

        // Nothing comes meanwhile: the rate is nothing.
        let idle = as_json(&gateway, &["--over", "100ms"]).await;
        assert_eq!(idle["total"]["per_month"]["cost_microdollars"], 0, "{idle:#}");
        assert_eq!(idle["total"]["output_tokens"], 66, "{idle:#}");
    }

    /// The others' figures are shown, and the exit code tells.
    async fn a_proxy_that_is_away_is_in_no_sum(engine: Engine) {
        let gateway = start(engine).await;
        chat(&gateway, "small", false).await;
        assert_eventually!(as_json(&gateway, &[]).await["total"]["answers"] == 1, "all answers are counted");
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = nobody.local_addr().unwrap().to_string();
        drop(nobody);
        let output = report(&gateway, &["--admin", &address, "--json"]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(shown["total"]["answers"], 1, "{shown:#}");
        assert!(shown["proxies"][1]["error"].as_str().unwrap().contains("cannot be reached"), "{shown:#}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&address) && said.contains("it is in no sum"), "{said}");
    }
}
