//! Retries: what fails on the canary is answered by stable, what fails on stable is tried there again, and what must
//! not be sent twice is not.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use switchover_tests::child::DemoUpstream;
use switchover_tests::raw::RawUpstream;
use switchover_tests::setup::{Bootstrap, demo_document};
use switchover_tests::upstream::{Seen, chunks, full, full_backlog, refusing, text};
use switchover_tests::{Client, Engine, Gateway, Reply, Setup, Upstream, assert_eventually, cases};

const GREEN: (&str, &str) = ("x-deployment-mode", "green");

/// The demo's clusters and routes without the filter: `x-deployment-mode` chooses.
async fn start(
    engine: Engine,
    blue: &Upstream,
    green: SocketAddr,
    edit: impl FnOnce(&mut Bootstrap) + Send + 'static,
) -> Gateway {
    Setup::at(&[("blue", blue.address()), ("green", green)])
        .without_filters()
        .edit(|bootstrap| {
            // So that a full backlog costs no second.
            bootstrap.cluster("green-only")["connect_timeout"] = "0.1s".into();
            edit(bootstrap);
        })
        .start(engine)
        .await
}

async fn send(client: &mut Client, method: Method, body: &str) -> Reply {
    let call = match method {
        Method::POST => client.post("/", body.to_owned()),
        _ => client.call(method, "/"),
    };
    call.header(GREEN.0, GREEN.1).send().await
}

/// A number of a cluster, as both engines call it.
async fn counted(gateway: &Gateway, cluster: &str, what: &str) -> f64 {
    let family = format!("envoy_cluster_{what}");
    let metric = gateway.metric(&family).label("envoy_cluster_name", cluster);
    metric.value().await
}

/// Answers with the status that the request asks for.
async fn obliging() -> Upstream {
    Upstream::start(|request: Seen| async move {
        let status = request.headers()["x-status"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        text(StatusCode::from_u16(status).unwrap(), "green")
    })
    .await
}

/// Refuses the first request in this way, and serves what follows.
async fn once(status: u16, retry_after: &'static str) -> Upstream {
    let refused = AtomicU32::new(0);
    Upstream::start(move |_| {
        let first = refused.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if !first {
                return text(StatusCode::OK, "served");
            }
            let refusal = Response::builder()
                .status(status)
                .header("retry-after", retry_after);
            refusal.body(full("later")).unwrap()
        }
    })
    .await
}

cases! {
    /// Where each role has a VM of its own, the attempt role learns from the stream where the request went before.
    async fn retries_and_failovers_are_counted(engine: Engine) {
        for apart in [false, true] {
            let first = AtomicU32::new(0);
            let blue = Upstream::start(move |request: Seen| {
                let fails = request.uri().path() == "/once" && first.fetch_add(1, Ordering::SeqCst) == 0;
                let status = if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
                async move { text(status, "blue") }
            })
            .await;
            let green = Upstream::failing("green", StatusCode::SERVICE_UNAVAILABLE).await;
            let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
                .document(json!({"attempts": true, "override": {"allow": "anyone"}, "routing": {
                    "blue": {"weight": 1, "clusters": ["blue-only"]}, "green": {"weight": 0, "clusters": ["green-only"]},
                }}))
                .edit(move |bootstrap| bootstrap.edit_attempt_role(|plugin| if apart {
                    plugin["vm_config"]["configuration"] = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "apart"});
                }))
                .start(engine)
                .await;
            let mut client = gateway.client();
            for path in ["/once", "/"] {
                assert_eq!(client.get(path).send().await.text(), "blue");
            }
            for _ in 0..3 {
                assert_eq!(client.get("/").header(GREEN.0, GREEN.1).send().await.text(), "blue");
            }
            let of = |family: &str, environment| gateway.metric(family).label("environment", environment);
            of("switchover_attempts", "blue").becomes(6.0).await;
            of("switchover_retries", "blue").becomes(1.0).await;
            of("switchover_failovers", "blue").label("from", "green").becomes(3.0).await;
            assert_eq!(of("switchover_retries", "green").value().await, 0.0);
            assert_eq!(of("switchover_failovers", "green").value().await, 0.0);
        }
    }

    async fn a_failing_status_of_the_canary_goes_to_stable(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = obliging().await;
        let gateway = start(engine, &blue, green.address(), |_| ()).await;
        let mut client = gateway.client();
        for (status, retried) in [
            (429, true), (500, true), (502, true), (503, true), (504, true),
            (400, false), (401, false), (404, false), (409, false), (501, false),
        ] {
            for method in [Method::GET, Method::POST] {
                blue.forget();
                let mut call = client.call(method, "/");
                call = call.header(GREEN.0, GREEN.1).header("x-status", status.to_string());
                let reply = call.send().await;
                let expected = if retried { (200, "blue") } else { (status, "green") };
                assert_eq!((reply.status.as_u16(), reply.text()), expected);
                assert_eq!(blue.count(), u64::from(retried), "{status}");
            }
        }
        assert_eq!(green.count(), 20, "one attempt for each request");
        assert_eq!(counted(&gateway, "green", "upstream_rq_retry").await, 10.0);
        assert_eq!(counted(&gateway, "green", "upstream_rq_retry_success").await, 10.0);
        assert_eq!(counted(&gateway, "green", "upstream_rq_retry_overflow").await, 0.0);
    }

    async fn a_canary_without_an_answer_goes_to_stable(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let (refused, _reserved) = refusing();
        let (backlog, _sockets) = full_backlog().await;
        let closes = RawUpstream::start("").await;
        let no_http = RawUpstream::start("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
        for green in [refused, backlog, closes.address(), no_http.address()] {
            let gateway = start(engine, &blue, green, |_| ()).await;
            let mut client = gateway.client();
            for method in [Method::GET, Method::POST] {
                let reply = send(&mut client, method, "body").await;
                assert_eq!((reply.status.as_u16(), reply.text()), (200, "blue"));
            }
        }
    }

    /// Safe methods are sent again when the attempt takes too long, and others are waited for.
    async fn a_post_that_timed_out_is_not_sent_twice(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::start(|_| std::future::pending()).await;
        let gateway = start(engine, &blue, green.address(), |bootstrap| {
            bootstrap.route("green-safe")["route"]["retry_policy"]["per_try_timeout"] = "0.1s".into();
            bootstrap.route("green")["route"]["timeout"] = "0.5s".into();
        }).await;
        let mut client = gateway.client();
        for method in [Method::GET, Method::OPTIONS] {
            assert_eq!(send(&mut client, method, "").await.text(), "blue");
        }
        assert_eq!((green.count(), blue.count()), (2, 2));
        assert_eq!(counted(&gateway, "green", "upstream_rq_per_try_timeout").await, 2.0);
        for method in [Method::POST, Method::DELETE] {
            let reply = send(&mut client, method, "body").await;
            assert_eq!((reply.status.as_u16(), reply.text()), (504, "upstream request timeout"));
        }
        assert_eq!((green.count(), blue.count()), (4, 2));
    }

    async fn a_post_that_timed_out_is_sent_twice_where_the_file_says_so(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::start(|_| std::future::pending()).await;
        let gateway = start(engine, &blue, green.address(), |bootstrap| {
            bootstrap.route("green")["route"]["retry_policy"]["per_try_timeout"] = "0.1s".into();
        }).await;
        assert_eq!(send(&mut gateway.client(), Method::POST, "body").await.text(), "blue");
        assert_eq!((green.request().body(), blue.request().body()), (&"body".into(), &"body".into()));
    }

    /// Where both fail they take turns, four attempts in all.
    async fn the_last_failure_is_the_answer(engine: Engine) {
        let blue = Upstream::failing("blue", StatusCode::BAD_GATEWAY).await;
        let green = Upstream::failing("green", StatusCode::SERVICE_UNAVAILABLE).await;
        let gateway = start(engine, &blue, green.address(), |_| ()).await;
        let reply = send(&mut gateway.client(), Method::GET, "").await;
        assert_eq!((reply.status.as_u16(), reply.text()), (502, "blue"));
        assert_eq!((green.count(), blue.count()), (2, 2));
        assert_eq!(counted(&gateway, "green", "upstream_rq_retry_limit_exceeded").await, 1.0);
    }

    async fn stable_is_tried_again_when_it_said(engine: Engine) {
        for status in [429, 503] {
            let blue = once(status, "1").await;
            let (nowhere, _reserved) = refusing();
            let gateway = start(engine, &blue, nowhere, |_| ()).await;
            let start = Instant::now();
            assert_eq!(gateway.client().get("/").send().await.text(), "served");
            assert!(start.elapsed() >= Duration::from_secs(1), "after {:?}", start.elapsed());
            assert_eq!(blue.count(), 2);
            assert_eq!(counted(&gateway, "blue", "upstream_rq_retry_backoff_ratelimited").await, 1.0);
            assert_eq!(counted(&gateway, "blue", "upstream_rq_retry_backoff_exponential").await, 0.0);
        }
    }

    /// Above the cap, or as a date, it is as good as absent.
    async fn nobody_waits_longer_than_the_cap(engine: Engine) {
        for retry_after in ["6", "86400", "Wed, 21 Oct 2037 07:28:00 GMT"] {
            let blue = once(429, retry_after).await;
            let (nowhere, _reserved) = refusing();
            let gateway = start(engine, &blue, nowhere, |_| ()).await;
            let start = Instant::now();
            assert_eq!(gateway.client().get("/").send().await.text(), "served");
            assert!(start.elapsed() < Duration::from_secs(5), "after {:?}", start.elapsed());
            assert_eq!(counted(&gateway, "blue", "upstream_rq_retry_backoff_exponential").await, 1.0);
        }
    }

    async fn what_the_canary_asks_for_does_not_delay_stable(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = once(429, "5").await;
        let gateway = start(engine, &blue, green.address(), |_| ()).await;
        let start = Instant::now();
        assert_eq!(send(&mut gateway.client(), Method::GET, "").await.text(), "blue");
        assert!(start.elapsed() < Duration::from_secs(4), "after {:?}", start.elapsed());
        assert_eq!(counted(&gateway, "green", "upstream_rq_retry_backoff_ratelimited").await, 0.0);
    }

    /// A body is sent again up to the listener's buffer limit; above it the failure is the answer.
    async fn a_body_is_kept_up_to_the_limit(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::SERVICE_UNAVAILABLE).await;
        let gateway = start(engine, &blue, green.address(), |bootstrap| {
            bootstrap.listeners()[0]["per_connection_buffer_limit_bytes"] = 65536.into();
        }).await;
        let mut client = gateway.client();
        let body = "x".repeat(65536);
        assert_eq!(send(&mut client, Method::POST, &body).await.text(), "blue");
        assert_eq!(blue.request().body(), &body);
        blue.forget();
        let reply = send(&mut client, Method::POST, &"x".repeat(65537)).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (503, "green"));
        assert_eq!((green.count(), blue.count()), (2, 0));
        assert_eq!(counted(&gateway, "green", "retry_or_shadow_abandoned").await, 1.0);
    }

    /// What has begun to arrive cannot be taken back: it breaks off, and nobody else is asked.
    async fn an_answer_that_has_begun_is_not_replaced(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let receiver = std::sync::Mutex::new(Some(receiver));
        let green = Upstream::start(move |_| {
            let chunks = chunks(receiver.lock().unwrap().take().unwrap());
            async move { Response::new(chunks) }
        }).await;
        let gateway = start(engine, &blue, green.address(), |_| ()).await;
        sender.send("begun").await.unwrap();
        let mut client = gateway.client();
        let mut response = client.get("/").header(GREEN.0, GREEN.1).open().await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
        drop(green);
        let rest = response.body_mut().collect().await;
        assert!(rest.is_err(), "the answer looks whole: {rest:?}");
        assert_eq!(blue.count(), 0);
    }

    /// The demo's `max_retries` is what keeps an outage of the canary from the clients.
    async fn too_few_retries_at_a_time_let_failures_through(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::SERVICE_UNAVAILABLE).await;
        let gateway = start(engine, &blue, green.address(), |bootstrap| {
            bootstrap.cluster("green")["circuit_breakers"]["thresholds"][0]["max_retries"] = 0.into();
        }).await;
        let reply = send(&mut gateway.client(), Method::GET, "").await;
        assert_eq!((reply.status.as_u16(), reply.text()), (503, "green"));
        assert_eq!(counted(&gateway, "green", "upstream_rq_retry_overflow").await, 1.0);
        assert_eq!(blue.count(), 0);
    }

    /// The whole demo, all of it on green, whose process is killed while clients are served.
    async fn a_killed_canary_fails_nobody(engine: Engine) {
        const CLIENTS: usize = 8;
        let blue = DemoUpstream::start("blue", "2.0.3", "key-of-blue").await;
        let mut green = DemoUpstream::start("green", "2.1.0", "key-of-green").await;
        let mut document = demo_document();
        document["routing"]["blue"]["weight"] = 0.into();
        document["routing"]["green"]["weight"] = 1.into();
        // The tripwire would end the failures: here each is made good by a retry.
        document.as_object_mut().unwrap().remove("guard");
        let gateway = Setup::at(&[("blue", blue.address()), ("green", green.address())])
            .document(document)
            .variable("BLUE_API_KEY", "key-of-blue")
            .variable("GREEN_API_KEY", "key-of-green")
            .start(engine)
            .await;
        let (served, mut answers) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..CLIENTS {
            let (mut client, served) = (gateway.client(), served.clone());
            tokio::spawn(async move {
                let chat = json!({"model": "demo-small", "messages": [{"role": "user", "content": "hello"}]});
                for turn in 0.. {
                    let call = match turn % 2 {
                        0 => client.get("/v1/models"),
                        _ => client.post("/v1/chat/completions", chat.to_string()),
                    };
                    let reply = call.bearer("demo-key-b").try_send().await;
                    if served.send(reply.map_err(|e| e.to_string())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(served);
        let mut seen = (0, 0);
        while let Some(reply) = answers.recv().await {
            let reply = reply.unwrap_or_else(|e| panic!("{e} after {seen:?}"));
            assert_eq!(reply.status, 200, "after {seen:?}");
            match reply.header("x-upstream") {
                "green" => seen.0 += 1,
                _ => seen.1 += 1,
            }
            if seen == (500, 0) {
                green.kill();
            }
            if seen.1 == 500 {
                break;
            }
        }
        assert!(seen.0 >= 500 && seen.1 == 500, "green and blue answered {seen:?}");
        assert_eventually!(counted(&gateway, "green", "upstream_rq_retry").await >= 500.0, "too few retries");
        assert_eq!(counted(&gateway, "green", "upstream_rq_retry_overflow").await, 0.0);
    }
}
