//! Upstreams that fail, and what becomes of it: answers, retries, failover.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use switchover_tests::raw::{Raw, RawUpstream};
use switchover_tests::upstream::{self, chunks, full_backlog, refusing, text};
use switchover_tests::{Setup, Upstream, cases};

cases! {
    async fn a_slow_upstream_is_504(engine: Engine) {
        let blue = Upstream::start(|_| std::future::pending()).await;
        let gateway = Setup::new(&[("blue", &blue)])
            .without_filters()
            .edit(|bootstrap| bootstrap.route("blue")["route"]["timeout"] = "0.1s".into())
            .start(engine)
            .await;
        let reply = gateway.client().get("/").send().await;
        assert_eq!((reply.status.as_u16(), reply.text()), (504, "upstream request timeout"));
    }

    /// Both timeouts begin when the whole request has come: a client that is slow is not the upstream's fault.
    async fn a_slow_client_is_no_timeout(engine: Engine) {
        let blue = Upstream::named("blue").await;
        for field in ["timeout", "per_try_timeout"] {
            let gateway = Setup::new(&[("blue", &blue)])
                .without_filters()
                .edit(move |bootstrap| {
                    let route = &mut bootstrap.route("blue")["route"];
                    match field {
                        "timeout" => route["timeout"] = "0.2s".into(),
                        _ => route["retry_policy"]["per_try_timeout"] = "0.2s".into(),
                    }
                })
                .start(engine)
                .await;
            let mut client = Raw::connect(gateway.address()).await;
            client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n").await;
            for byte in ["a", " ", "b", "o", "d", "y"] {
                // In all three times as long as the timeout: that is the slow client.
                tokio::time::sleep(Duration::from_millis(100)).await;
                client.write(byte).await;
            }
            let answer = client.read_until("blue").await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{field}: {answer}");
        }
    }

    /// One that falls silent is told so.
    async fn a_silent_client_is_408(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)])
            .without_filters()
            .edit(|bootstrap| bootstrap.http()["stream_idle_timeout"] = "0.3s".into())
            .start(engine)
            .await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n").await;
        for byte in ["a", " ", "b", "o", "d"] {
            // In all longer than the timeout, and never silent for as long: each byte begins it anew.
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.write(byte).await;
        }
        let answer = client.read_until("stream timeout").await;
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        assert_eq!(blue.count(), 0);
    }

    /// Each failure in Envoy's words, without retries and after the last of them.
    async fn an_upstream_without_an_answer_is_told(engine: Engine) {
        let (refused, _reserved) = refusing();
        let (full, _sockets) = full_backlog().await;
        let closes = RawUpstream::start("").await;
        let no_http = RawUpstream::start("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
        for (address, status, reason) in [
            (refused, 503, "remote connection failure"),
            (full, 503, "connection timeout"),
            (closes.address(), 503, "connection termination"),
            (no_http.address(), 502, "protocol error"),
        ] {
            for (retried, words) in [(false, "reset reason"), (true, "retried and the latest reset reason")] {
                let gateway = Setup::at(&[("blue", address)])
                    .without_filters()
                    .edit(move |bootstrap| {
                        bootstrap.cluster("blue-only")["connect_timeout"] = "0.2s".into();
                        if !retried {
                            bootstrap.route("blue")["route"].as_object_mut().unwrap().remove("retry_policy");
                        }
                    })
                    .start(engine)
                    .await;
                let reply = gateway.client().get("/").send().await;
                let expected =
                    format!("upstream connect error or disconnect/reset before headers. {words}: {reason}");
                assert_eq!((reply.status.as_u16(), reply.text()), (status, expected.as_str()));
            }
        }
    }

    async fn too_many_requests_are_an_overflow(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)])
            .without_filters()
            .edit(|bootstrap| {
                let none = json!({"thresholds": [{"max_requests": 0}]});
                bootstrap.cluster("blue")["circuit_breakers"] = none.clone();
                bootstrap.cluster("blue-only")["circuit_breakers"] = none;
            })
            .start(engine)
            .await;
        let reply = gateway.client().get("/").send().await;
        assert_eq!((reply.status.as_u16(), reply.header("x-envoy-overloaded")), (503, "true"));
        assert_eq!(
            reply.text(),
            "upstream connect error or disconnect/reset before headers. reset reason: overflow"
        );
        assert_eq!(blue.count(), 0);
    }

    async fn a_slow_attempt_is_504(engine: Engine) {
        let blue = Upstream::start(|_| std::future::pending()).await;
        let gateway = Setup::new(&[("blue", &blue)])
            .without_filters()
            .edit(|bootstrap| bootstrap.route("blue")["route"]["retry_policy"]["per_try_timeout"] = "0.1s".into())
            .start(engine)
            .await;
        let reply = gateway.client().get("/").send().await;
        assert_eq!((reply.status.as_u16(), reply.text()), (504, "upstream request timeout"));
        assert_eq!(blue.count(), 4);
    }

    /// A body that breaks off must not look as if it had ended.
    async fn an_answer_that_breaks_off_shows(engine: Engine) {
        let blue = RawUpstream::start("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        let gateway = Setup::at(&[("blue", blue.address())]).without_filters().start(engine).await;
        // Whether the headers come through before the connection closes is a matter of moments.
        let answer = gateway.client().get("/").try_send().await;
        assert!(answer.is_err(), "the answer looks whole: {answer:?}");
    }

    async fn a_client_that_leaves_is_no_fault(engine: Engine) {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let receiver = std::sync::Mutex::new(Some(receiver));
        let blue = Upstream::start(move |_| {
            let receiver = receiver.lock().unwrap().take();
            async move { receiver.map_or(text(StatusCode::OK, "blue"), |r| Response::new(chunks(r))) }
        }).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        sender.send("begin").await.unwrap();
        let mut client = gateway.client();
        let mut response = client.get("/").open().await;
        assert!(response.body_mut().frame().await.unwrap().is_ok());
        drop((response, client));
        // The gateway gives the upstream's connection up, which drops the receiving half.
        tokio::time::timeout(switchover_tests::PATIENCE, sender.closed()).await.expect("the upstream is let go");
        assert_eq!(gateway.client().get("/").send().await.text(), "blue");
    }

    async fn retries_are_counted(engine: Engine) {
        for (failures, status, attempts) in [(0, 200, 1), (1, 200, 2), (3, 200, 4), (4, 503, 4)] {
            let left = AtomicU32::new(failures);
            let blue = Upstream::start(move |_| {
                let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
                async move { text(if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, "blue") }
            }).await;
            let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
            let reply = gateway.client().post("/", "body").send().await;
            assert_eq!((reply.status.as_u16(), blue.count()), (status, attempts), "after {failures} failures");
            assert!(blue.requests().iter().all(|r| r.body() == "body"), "each attempt has the body");
        }
    }

    async fn a_client_error_is_not_retried(engine: Engine) {
        let blue = Upstream::failing("blue", StatusCode::BAD_REQUEST).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        assert_eq!(gateway.client().get("/").send().await.status, 400);
        assert_eq!(blue.count(), 1);
    }

    async fn a_failed_canary_attempt_goes_to_stable(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::SERVICE_UNAVAILABLE).await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)]).without_filters().start(engine).await;
        let mut client = gateway.client();
        for _ in 0..20 {
            let reply = client.post("/", "body").header("x-deployment-mode", "green").send().await;
            assert_eq!(reply.text(), "blue");
        }
        assert_eq!((green.count(), blue.count()), (20, 20));
    }

    async fn a_canary_that_is_gone_costs_nothing(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let (gone, _reserved) = refusing();
        let environments = [("blue", blue.address()), ("green", gone)];
        let gateway = Setup::at(&environments).without_filters().start(engine).await;
        let mut client = gateway.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").header("x-deployment-mode", "green").send().await.text(), "blue");
        }
    }

    /// Stable's failures stay stable's: nobody is sent to a canary for them.
    async fn stable_retries_within_stable(engine: Engine) {
        let blue = Upstream::failing("blue", StatusCode::SERVICE_UNAVAILABLE).await;
        let green = Upstream::named("green").await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)]).without_filters().start(engine).await;
        assert_eq!(gateway.client().get("/").send().await.status, 503);
        assert_eq!((blue.count(), green.count()), (4, 0));
    }

    async fn a_mirror_gets_a_copy(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let mirror = json!([{"cluster": "green"}]);
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .without_filters()
            .edit(move |bootstrap| bootstrap.route("blue")["route"]["request_mirror_policies"] = mirror)
            .start(engine)
            .await;
        assert_eq!(gateway.client().post("/", "body").send().await.text(), "blue");
        switchover_tests::assert_eventually!(green.count() == 1, "no copy came");
        assert_eq!(green.request().body(), "body");
    }

    async fn an_unknown_host_is_404(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)])
            .without_filters()
            .edit(|bootstrap| bootstrap.http()["route_config"]["virtual_hosts"][0]["domains"] = json!(["known.test"]))
            .start(engine)
            .await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").send().await.status, 404);
        assert_eq!(client.get("/").host("known.test").send().await.text(), "blue");
    }

    async fn upstream_headers_pass(engine: Engine) {
        let blue = Upstream::start(|_| async {
            let response = Response::builder().status(418).header("x-twice", "1").header("x-twice", "2");
            response.header("x-bytes", http::HeaderValue::from_bytes(b"\xe9").unwrap()).body(upstream::full("tea")).unwrap()
        }).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let reply = gateway.client().get("/").send().await;
        assert_eq!((reply.status.as_u16(), reply.text()), (418, "tea"));
        assert_eq!(reply.headers.get_all("x-twice").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(reply.headers["x-bytes"].as_bytes(), b"\xe9");
    }
}
