//! Guests that misbehave: each costs the request that met it, and no other.

use serde_json::{Value, json};
use switchover_tests::http2::{END_HEADERS, END_STREAM, Frames, Refusal, get, kind};
use switchover_tests::{Engine, Setup, Upstream, assert_eventually, cases, guest};

/// A frame of Envoy's extension to HTTP/2, and its flag for the last of a block. Source: Envoy's `metadata_encoder.h`.
const METADATA: u8 = 0x4d;
const END_METADATA: u8 = 4;

/// Says when it is called back about what only Envoy knows, and would trap if its configuration were validated.
const RARELY_CALLED: &str = r#"(module
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "metadata came")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_validate_configuration") (param i32 i32) (result i32) unreachable)
  (func (export "proxy_on_request_metadata") (param i32 i32) (result i32)
    (drop (call $log (i32.const 2) (i32.const 0) (i32.const 13))) (i32.const 0))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0)))"#;

/// A gateway with the hostile guest in the place of the route role.
fn hostile(directory: &tempfile::TempDir, upstream: &Upstream) -> Setup {
    let guest = guest::hostile("on_demand", directory.path());
    Setup::new(&[("blue", upstream)])
        .route_guest(&guest)
        .without_attempt_role()
}

cases! {
    /// No engine calls `proxy_validate_configuration`. Envoy alone calls back about metadata, and only where the file says so.
    async fn some_callbacks_are_never_called(engine: Engine) {
        for allowed in [false, true] {
            if allowed && engine == Engine::Host {
                continue; // refused, as `config::tests::invalid` shows
            }
            let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
            let file = guest::compile("rarely_called", RARELY_CALLED, directory.path());
            let setup = Setup::new(&[("blue", &blue)]).route_guest(&file).without_attempt_role();
            let setup = setup.edit(move |bootstrap| {
                if allowed {
                    bootstrap.http()["http2_protocol_options"] = json!({"allow_metadata": true});
                }
            });
            let gateway = setup.start(engine).await;
            assert_eq!(gateway.client().get("/").send().await.text(), "blue");
            let mut client = Frames::connect(gateway.address()).await;
            client.send(kind::HEADERS, END_HEADERS, 1, &get(&[])).await;
            client.send(METADATA, END_METADATA, 1, b"\x00\x01a\x01b").await;
            client.send(kind::DATA, END_STREAM, 1, b"").await;
            assert_eq!(client.refusal().await, Refusal::Answer);
            assert_eq!(blue.count(), 2);
            let told = || gateway.output().contains("metadata came") == allowed;
            assert_eventually!(told(), "{}", gateway.output());
        }
    }

    async fn an_edit_reaches_the_upstream(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let gateway = hostile(&directory, &blue).start(engine).await;
        let reply = gateway.client().get("/").header("x-guest", "set").send().await;
        assert_eq!((reply.status.as_u16(), reply.text()), (200, "blue"));
        assert_eq!(blue.request().headers()["x-guest-was"], "here");
    }

    /// FAIL_RELOAD: the request that trapped is answered with 503, and the VM is rebuilt for the next one,
    /// no sooner than the back-off after the last build. (Envoy 1.40 divides by zero where that is 1 ms.)
    async fn a_trap_costs_one_request(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let backoff = |plugin: &mut Value| plugin["reload_config"] = json!({"backoff": {"base_interval": "0.01s"}});
        let gateway = hostile(&directory, &blue).plugin(backoff).start(engine).await;
        let mut client = gateway.client();
        for round in 1..=3 {
            assert_eq!(client.get("/").header("x-guest", "trap").send().await.status, 503, "round {round}");
            assert_eventually!(client.get("/").header("x-guest", "set").send().await.status == 200, "no VM again");
        }
        assert_eq!(blue.count(), 3);
        assert!(blue.requests().iter().all(|r| r.headers().contains_key("x-guest-was")), "a rebuilt VM filters");
    }

    /// FAIL_CLOSED: a VM that has failed lets nothing pass any more.
    async fn a_trap_closes_the_gate_for_good(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let gateway = hostile(&directory, &blue).failure_policy("FAIL_CLOSED").start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").send().await.status, 200);
        assert_eq!(client.get("/").header("x-guest", "trap").send().await.status, 503);
        assert_eq!(client.get("/").send().await.status, 503);
        assert_eq!(blue.count(), 1);
        if engine == Engine::Host {
            // The log names the callback that the guest knows, and what comes of it.
            for told in ["a filter trapped in proxy_on_request_headers: ", "FAIL_CLOSED: requests get 503 until"] {
                assert_eventually!(gateway.output().contains(told), "{told:?} is not told: {}", gateway.output());
            }
        }
    }

    /// FAIL_OPEN: a VM that has failed is passed over.
    async fn a_trap_opens_the_gate_for_good(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let gateway = hostile(&directory, &blue).failure_policy("FAIL_OPEN").start(engine).await;
        let mut client = gateway.client();
        client.get("/").header("x-guest", "trap").send().await;
        blue.forget();
        let reply = client.get("/").header("x-guest", "set").send().await;
        assert_eq!(reply.text(), "blue");
        assert!(!blue.request().headers().contains_key("x-guest-was"));
    }

    /// Only a new configuration ends either.
    async fn a_new_configuration_ends_a_failure(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let gateway = hostile(&directory, &blue).failure_policy("FAIL_CLOSED").start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").header("x-guest", "trap").send().await.status, 503);
        let mut plugin = gateway.plugin().clone();
        plugin["vm_config"]["vm_id"] = "another".into();
        gateway.replace_plugin(&plugin);
        assert_eventually!(client.get("/").header("x-guest", "set").send().await.status == 200, "still closed");
        assert_eq!(blue.request().headers()["x-guest-was"], "here");
    }

    /// Host only: without a policy it rebuilds the VM, where Envoy fails closed. `check` says so.
    host async fn without_a_policy_the_vm_is_rebuilt(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let no_policy = |plugin: &mut Value| {
            plugin.as_object_mut().unwrap().remove("failure_policy");
            plugin["reload_config"] = json!({"backoff": {"base_interval": "0.01s"}});
        };
        let gateway = hostile(&directory, &blue).plugin(no_policy).start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").header("x-guest", "trap").send().await.status, 503);
        assert_eventually!(client.get("/").header("x-guest", "set").send().await.status == 200, "no VM again");
        assert_eq!(blue.request().headers()["x-guest-was"], "here");
    }

    /// Host only: Envoy has no deadline, there an endless loop holds the worker for ever.
    host async fn an_endless_loop_is_cut(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let gateway = hostile(&directory, &blue).start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").header("x-guest", "loop").send().await.status, 503);
        assert_eventually!(client.get("/").send().await.text() == "blue", "no VM again");
    }

    /// Host only: Envoy lets a guest grow to 1 GiB.
    host async fn memory_growth_is_limited(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let gateway = hostile(&directory, &blue).start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").header("x-guest", "grow").send().await.status, 503);
        assert_eventually!(client.get("/").send().await.text() == "blue", "no VM again");
    }

    async fn a_buffered_body_arrives_whole(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let gateway = hostile(&directory, &blue).start(engine).await;
        let body = "0123456789".repeat(20_000);
        let reply = gateway.client().post("/", body.clone()).header("x-guest", "buffer").send().await;
        assert_eq!(reply.text(), "blue");
        assert!(blue.request().body() == &body, "the body changed on its way");
    }

    /// Above the buffer limit (1 MiB unless the file says otherwise) a body that a filter holds back is refused.
    async fn a_body_above_the_buffer_limit_is_refused(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let gateway = hostile(&directory, &blue).start(engine).await;
        let body = vec![b'x'; 2 << 20];
        let mut client = gateway.client();
        let reply = client.post("/", body.clone()).header("x-guest", "buffer").send().await;
        assert_eq!((reply.status.as_u16(), reply.text()), (413, "Payload Too Large"));
        assert_eq!(blue.count(), 0);
        // Without a filter that holds it back the same body streams through.
        assert_eq!(gateway.client().post("/", body).send().await.text(), "blue");
        assert_eq!(blue.request().body().len(), 2 << 20);
    }

    /// `per_connection_buffer_limit_bytes` of the listener.
    async fn the_file_sets_the_buffer_limit(engine: Engine) {
        let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
        let gateway = hostile(&directory, &blue)
            .edit(|bootstrap| bootstrap.listeners()[0]["per_connection_buffer_limit_bytes"] = (64 << 10).into())
            .start(engine)
            .await;
        let mut client = gateway.client();
        let reply = client.post("/", vec![b'x'; 32 << 10]).header("x-guest", "buffer").send().await;
        assert_eq!(reply.text(), "blue");
        let reply = gateway.client().post("/", vec![b'x'; 256 << 10]).header("x-guest", "buffer").send().await;
        assert_eq!((reply.status.as_u16(), reply.text()), (413, "Payload Too Large"));
        assert_eq!(blue.count(), 1);
    }
}
