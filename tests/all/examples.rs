//! What filter authors write first, with the Rust SDK: `tests/guests/examples`, one filter for each root id.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{Response, StatusCode};
use serde_json::{Value, json};
use switchover_tests::setup::{endpoint, wasm};
use switchover_tests::upstream::{chunks, full, text};
use switchover_tests::{Engine, Gateway, Setup, Upstream, assert_eventually, cases, programs};

/// A `PluginConfig` of one of the filters.
fn plugin(root: &str, vm: &str, configuration: &str) -> Value {
    json!({
        "name": root,
        "root_id": root,
        "failure_policy": "FAIL_RELOAD",
        "vm_config": {
            "vm_id": vm,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": programs::guest("examples").to_str().unwrap()}},
        },
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": configuration},
    })
}

/// A gateway with these filters in this order, each its root id, VM and configuration.
fn chain(blue: &Upstream, plugins: &[(&str, &str, &str)]) -> Setup {
    let filters: Vec<Value> = plugins
        .iter()
        .enumerate()
        .map(|(at, (root, vm, configuration))| json!({"name": format!("filter-{at}"), "typed_config": wasm(&plugin(root, vm, configuration))}))
        .collect();
    Setup::new(&[("blue", blue)])
        .without_filters()
        .edit(move |bootstrap| {
            bootstrap.filters().splice(0..0, filters);
        })
}

async fn one(engine: Engine, blue: &Upstream, root: &str, configuration: &str) -> Gateway {
    chain(blue, &[(root, "examples", configuration)])
        .start(engine)
        .await
}

cases! {
    async fn a_configuration_is_read(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = one(engine, &blue, "config", "from the file").await;
        assert_eq!(gateway.client().get("/").send().await.text(), "blue");
        assert_eq!(blue.request().headers()["x-config"], "from the file");
    }

    async fn a_configuration_that_the_filter_refuses_stops_the_start(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let refused = chain(&blue, &[("config", "examples", "refuse")]).try_start(engine).await;
        let Err(refused) = refused else {
            panic!("it serves");
        };
        assert!(!refused.status.success(), "{refused}");
    }

    async fn filters_of_a_chain_run_in_turn_and_back(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let plugins = [("chain", "one", "first"), ("chain", "two", "second"), ("chain", "one", "third")];
        let gateway = chain(&blue, &plugins).start(engine).await;
        let reply = gateway.client().get("/").send().await;
        let told = |headers: &http::HeaderMap| headers.get_all("x-chain").iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(told(blue.request().headers()), ["first", "second", "third"]);
        assert_eq!(told(&reply.headers), ["third", "second", "first"]);
    }

    async fn a_local_answer_passes_the_filters_before_it(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let plugins = [("chain", "one", "first"), ("headers", "two", ""), ("chain", "one", "third")];
        let gateway = chain(&blue, &plugins).start(engine).await;
        let reply = gateway.client().get("/list").header("x-own-a", "1").header("x-own-b", "2").send().await;
        assert_eq!((reply.text(), reply.header("x-chain")), ("x-own-a=1\nx-own-b=2", "first"));
        assert_eq!((reply.header("x-answered-by"), blue.count()), ("headers", 0));
    }

    async fn a_response_is_held_and_replaced(engine: Engine) {
        let blue = Upstream::start(|request| async move {
            let (sender, receiver) = tokio::sync::mpsc::channel(4);
            let word = if request.uri().path() == "/secret" { "the secret" } else { "the news" };
            for part in ["some of ", word, ", in parts"] {
                sender.send(part).await.unwrap();
            }
            Response::new(chunks(receiver))
        }).await;
        let gateway = one(engine, &blue, "redact", "").await;
        let mut client = gateway.client();
        assert_eq!(client.get("/secret").send().await.text(), "28 bytes are withheld");
        assert_eq!(client.get("/news").send().await.text(), "some of the news, in parts");
    }

    async fn bytes_that_are_no_text_are_copied(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = one(engine, &blue, "headers", "").await;
        gateway.client().get("/").header("x-raw", b"caf\xe9 \xff").send().await;
        assert_eq!(blue.request().headers()["x-copy"].as_bytes(), b"caf\xe9 \xff");
    }

    /// The SDK panics where a filter asks for text: that request fails, the next is served by a new VM.
    async fn a_value_that_is_no_text_costs_its_own_request(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = one(engine, &blue, "headers", "").await;
        let mut client = gateway.client();
        assert_eq!(client.get("/text").header("x-raw", b"\xff").send().await.status, 503);
        assert_eventually!(client.get("/text").header("x-raw", "text").send().await.status == 200, "no VM again");
        assert_eq!(blue.request().headers()["x-copy"], "text");
    }

    async fn a_panic_costs_its_own_request(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = one(engine, &blue, "panics", "").await;
        let mut client = gateway.client();
        assert_eq!(client.get("/headers").send().await.status, 503);
        assert_eventually!(client.get("/").send().await.status == 200, "no VM again");
        assert_eq!(client.post("/body", "a body").send().await.status, 503);
        assert_eventually!(client.get("/").send().await.status == 200, "no VM again");
        assert_eventually!(gateway.output().contains("in the body"), "the panic's words are in the log");
    }

    async fn a_stream_is_closed(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = one(engine, &blue, "close", "").await;
        let mut client = gateway.client();
        assert!(client.get("/close").try_send().await.is_err(), "an answer came");
        assert_eq!((gateway.client().get("/").send().await.text(), blue.count()), ("blue", 1));
    }

    async fn two_callouts_are_awaited(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let helper = Upstream::start(|request| async move { text(StatusCode::OK, request.uri().path()) }).await;
        let address = helper.address();
        let gateway = chain(&blue, &[("callouts", "examples", "")])
            .edit(move |bootstrap| {
                let mut cluster = bootstrap.cluster("blue-only").clone();
                cluster["name"] = "helper".into();
                cluster["load_assignment"]["cluster_name"] = "helper".into();
                cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = vec![endpoint(address, "helper")].into();
                bootstrap.clusters().push(cluster);
            })
            .start(engine)
            .await;
        assert_eq!(gateway.client().get("/").send().await.text(), "blue");
        assert_eq!((helper.count(), blue.count()), (2, 1));
    }

    async fn the_timer_answers_a_held_request(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = one(engine, &blue, "later", "").await;
        let reply = gateway.client().get("/").send().await;
        assert_eq!((reply.status.as_u16(), reply.text(), reply.header("x-later")), (202, "from the timer", "yes"));
        assert_eq!(blue.count(), 0);
    }

    async fn time_and_chance_are_told(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = one(engine, &blue, "clock", "").await;
        let mut client = gateway.client();
        let mut chances = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let reply = client.get("/").send().await;
            let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let words: Vec<u128> = reply.text().split(' ').map(|word| word.parse().unwrap()).collect();
            // Envoy's clock is that of its event loop's last turn.
            assert!((before.saturating_sub(1000)..=after).contains(&words[0]), "{before} {words:?} {after}");
            assert_eq!(words[1], 0, "random_get");
            chances.insert(words[2]);
        }
        assert_eq!(chances.len(), 3, "{chances:?}");
    }

    async fn a_queue_leads_from_one_vm_to_another(engine: Engine) {
        let blue = Upstream::start(|_| async { Response::new(full("blue")) }).await;
        let plugins = [("consumer", "other", ""), ("producer", "own", "other")];
        let gateway = chain(&blue, &plugins).start(engine).await;
        let mut client = gateway.client();
        for parcel in ["/a", "/b", "/c"] {
            assert_eq!(client.get(parcel).send().await.text(), "blue");
        }
        gateway.metric("examples_parcels").becomes(3.0).await;
        assert_eventually!(gateway.output().contains("got /b"), "{}", gateway.output());
    }
}
