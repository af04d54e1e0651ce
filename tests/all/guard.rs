//! The tripwire on both engines: what trips it, what does not, and what follows.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::raw::Raw;
use switchover_tests::upstream::text;
use switchover_tests::{
    Client, Gateway, Setup, Upstream, assert_eventually, cases, guest, programs,
};

/// Blue and green by weights, with attempts and a guard on green.
fn document(green: u32, guard: Value) -> Value {
    let mut document = json!({
        "rollout": "r", "stable": "blue", "attempts": true,
        "routing": {
            "blue": {"weight": 100 - green, "clusters": ["blue-only"]},
            "green": {"weight": green, "clusters": ["green-only"]},
        },
        "guard": {"environment": "green", "min_requests": 10, "max_error_rate": 0.2},
    });
    for (field, value) in guard.as_object().unwrap() {
        document["guard"][field] = value.clone();
    }
    document
}

async fn tripped(gateway: &Gateway) -> f64 {
    gateway
        .metric("switchover_tripped")
        .label("rollout", "r")
        .value()
        .await
}

cases! {
    /// Clients see none of it: each failed attempt is made good by stable.
    async fn errors_send_everyone_back_at_once(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::SERVICE_UNAVAILABLE).await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document(50, json!({})))
            .start(engine)
            .await;
        let mut client = gateway.client();
        for _ in 0..100 {
            let reply = client.get("/").send().await;
            assert_eq!((reply.status.as_u16(), reply.text()), (200, "blue"));
        }
        assert_eq!(green.count(), 10, "min_requests, and not one more");
        gateway.metric("switchover_tripped").label("rollout", "r").becomes(1.0).await;
        gateway.metric("switchover_trips").label("cause", "max_error_rate").becomes(1.0).await;
        gateway.metric("switchover_failures").label("environment", "green").becomes(10.0).await;
        gateway.metric("switchover_weight").label("environment", "green").becomes(0.0).await;
        gateway.metric("switchover_weight_planned").label("environment", "green").becomes(5_000.0).await;
        let told = "rollout `r` tripped on `max_error_rate`: everything goes to `blue`. Within 30 s at `green` 10 of 10 failed (100.00 %)";
        assert_eventually!(gateway.output().contains(told), "{}", gateway.output());
    }

    async fn an_upstream_that_is_gone_trips(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let (gone, _reserved) = switchover_tests::upstream::refusing();
        let gateway = Setup::at(&[("blue", blue.address()), ("green", gone)])
            .document(document(50, json!({})))
            .start(engine)
            .await;
        let mut client = gateway.client();
        for _ in 0..100 {
            assert_eq!(client.get("/").send().await.text(), "blue");
        }
        gateway.metric("switchover_tripped").label("rollout", "r").becomes(1.0).await;
        gateway.metric("switchover_attempts").label("environment", "green").becomes(10.0).await;
    }

    async fn clients_that_leave_are_no_failures(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::start(|_| std::future::pending()).await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document(100, json!({"min_requests": 5})))
            .start(engine)
            .await;
        for count in 1..=20 {
            let mut client = gateway.client();
            let call = tokio::spawn(async move { client.get("/").try_send().await });
            assert_eventually!(green.count() >= count, "{} of {count} came", green.count());
            call.abort();
        }
        gateway.metric("switchover_attempts").label("environment", "green").becomes(20.0).await;
        assert_eq!(gateway.metric("switchover_failures").label("environment", "green").value().await, 0.0);
        assert_eq!(tripped(&gateway).await, 0.0);
    }

    async fn workers_trip_together(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::INTERNAL_SERVER_ERROR).await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document(50, json!({})))
            .workers(2)
            .start(engine)
            .await;
        // Each connection stays with one worker; of so many, both get some.
        let mut clients: Vec<_> = (0..12).map(|_| gateway.client()).collect();
        let mut sent = 0;
        while tripped(&gateway).await == 0.0 {
            assert!(sent < 100, "not tripped");
            for turn in sent..sent + 4 {
                let client = &mut clients[turn % 12];
                assert_eq!(client.get("/").send().await.text(), "blue");
            }
            sent += 4;
            // A tick, by which the workers know of each other. Nothing tells from outside that both had theirs.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        // Each of four may have gone there within the last tick.
        assert!((10..14).contains(&green.count()), "{}", green.count());
        // A round of all clients, so of both workers, of which nothing reaches green any more.
        let mut before = u64::MAX;
        assert_eventually!(
            {
                let count = green.count();
                let quiet = std::mem::replace(&mut before, count) == count;
                for client in &mut clients {
                    assert_eq!(client.get("/").send().await.text(), "blue");
                }
                quiet
            },
            "a worker still sends to green"
        );
    }

    /// What has tripped is not forgotten with the VM that saw it.
    async fn a_new_binary_keeps_the_latch(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::SERVICE_UNAVAILABLE).await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document(50, json!({})))
            .start(engine)
            .await;
        let mut client = gateway.client();
        for _ in 0..100 {
            client.get("/").send().await;
        }
        gateway.metric("switchover_tripped").label("rollout", "r").becomes(1.0).await;
        green.forget();
        let updates = async || {
            let stats = gateway.admin("/stats").await;
            let mut counters = stats.lines().map(str::to_owned);
            counters.find(|line| line.contains("http_filter.switchover.route.update_success: "))
        };
        let before = updates().await;
        let mut plugin = gateway.plugin().clone();
        let next = guest::variant(&programs::filter(), gateway.directory());
        plugin["vm_config"]["code"]["local"]["filename"] = next.to_str().unwrap().into();
        gateway.replace_plugin(&plugin);
        assert_eventually!(updates().await != before, "the new binary did not come into force");
        for _ in 0..100 {
            assert_eq!(client.get("/").send().await.text(), "blue");
        }
        assert_eq!(green.count(), 0);
    }

    async fn a_new_document_keeps_the_latch_and_resume_opens_it(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::BAD_GATEWAY).await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document(50, json!({})))
            .start(engine)
            .await;
        let mut client = gateway.client();
        for _ in 0..40 {
            client.get("/").send().await;
        }
        assert_eq!(green.count(), 10);
        let mut next = document(60, json!({}));
        gateway.replace_document(&next);
        gateway.metric("switchover_weight_planned").label("environment", "green").becomes(6_000.0).await;
        for _ in 0..40 {
            client.get("/").send().await;
        }
        assert_eq!(green.count(), 10);
        next["resume"] = 1.into();
        gateway.replace_document(&next);
        gateway.metric("switchover_tripped").label("rollout", "r").becomes(0.0).await;
        for _ in 0..40 {
            client.get("/").send().await;
        }
        assert_eq!(green.count(), 20);
    }

    /// Without attempts, what the client gets is counted.
    async fn responses_count_where_there_are_no_attempts(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::INTERNAL_SERVER_ERROR).await;
        let mut document = document(50, json!({}));
        document["attempts"] = false.into();
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document)
            .without_attempt_role()
            .edit(|bootstrap| {
                for route in bootstrap.routes() {
                    route["route"].as_object_mut().unwrap().remove("retry_policy");
                }
            })
            .start(engine)
            .await;
        let mut client = gateway.client();
        let mut failed = 0;
        for _ in 0..100 {
            failed += u32::from(client.get("/").send().await.status == 500);
        }
        assert_eq!((failed, green.count()), (10, 10));
    }

    async fn slow_answers_trip(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::start(|_| async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            text(StatusCode::OK, "green")
        }).await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document(100, json!({"max_p50": "50ms", "max_p95": "50ms"})))
            .start(engine)
            .await;
        let mut client = gateway.client();
        let mut answers = Vec::new();
        for _ in 0..20 {
            // A request with a body is awaited like one without.
            let call = if answers.len() % 2 == 0 { client.get("/") } else { client.post("/", "body") };
            answers.push(call.send().await.text().to_owned());
        }
        assert_eq!(answers.iter().filter(|answer| *answer == "green").count(), 10);
        gateway.metric("switchover_trips").label("cause", "max_p50").becomes(1.0).await;
    }

    /// What a client takes to send its request is not the environment's time.
    async fn slow_clients_do_not_trip(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let limits = json!({"min_requests": 5, "max_p50": "150ms", "max_p99": "150ms"});
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document(100, limits))
            .start(engine)
            .await;
        let upload = async |end: &str| {
            let mut client = Raw::connect(gateway.address()).await;
            client.write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
            tokio::time::sleep(Duration::from_millis(250)).await;
            client.write(end).await;
            client.read_until("\r\n\r\n").await
        };
        for end in ["0\r\n\r\n", "0\r\nx-trailer: 1\r\n\r\n"].repeat(5) {
            let head = upload(end).await;
            assert!(head.starts_with("HTTP/1.1 200") && head.contains("green"), "{head}");
        }
        gateway.metric("switchover_attempts").label("environment", "green").becomes(10.0).await;
        assert_eq!(tripped(&gateway).await, 0.0);
    }

    /// Both go by the clock, though they may be one plugin to one engine and two to the other.
    async fn two_listeners_with_one_document(engine: Engine) {
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let mut document = document(0, json!({}));
        let start = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
        document["schedule"] = json!({"environment": "green", "start": start, "steps": [{"at": "3s", "weight": 100}]});
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document)
            .edit(|bootstrap| {
                bootstrap.copy_listener("second");
            })
            .start(engine)
            .await;
        let mut clients = [gateway.client(), Client::new(gateway.listener("second"))];
        for client in &mut clients {
            assert_eq!(client.get("/").send().await.text(), "blue");
        }
        gateway.metric("switchover_weight").label("environment", "green").becomes(10_000.0).await;
        for client in &mut clients {
            assert_eventually!(client.get("/").send().await.text() == "green", "a listener stands still");
        }
    }

    /// An alarm on `tripped` ends with the rollout.
    async fn a_rollout_that_is_over_is_no_longer_tripped(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let green = Upstream::failing("green", StatusCode::BAD_GATEWAY).await;
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)])
            .document(document(50, json!({})))
            .start(engine)
            .await;
        let mut client = gateway.client();
        for _ in 0..40 {
            client.get("/").send().await;
        }
        gateway.metric("switchover_tripped").label("rollout", "r").becomes(1.0).await;
        let mut next = document(50, json!({}));
        next["rollout"] = "next".into();
        gateway.replace_document(&next);
        gateway.metric("switchover_tripped").label("rollout", "r").becomes(0.0).await;
        gateway.metric("switchover_weight").label("rollout", "r").becomes(0.0).await;
    }

    /// Uploads that do not end fill no memory with their copies.
    async fn copies_of_many_uploads_have_a_budget(engine: Engine) {
        const UPLOADS: usize = 40;
        const PART: usize = 900 * 1024;
        let (blue, green) = (Upstream::named("blue").await, Upstream::named("green").await);
        let mut document = document(0, json!({}));
        document["shadow"] = json!({"environment": "green", "percent": 100, "max_body": "1MiB", "paths": ["/"]});
        let gateway = Setup::new(&[("blue", &blue), ("green", &green)]).document(document).start(engine).await;
        let mut uploads = Vec::new();
        for _ in 0..UPLOADS {
            let mut client = Raw::connect(gateway.address()).await;
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", PART + 1);
            client.write(head).await;
            client.write(vec![b'x'; PART]).await;
            uploads.push(client);
        }
        let dropped = || async {
            gateway.metric("switchover_shadows").label("outcome", "not_sent").value().await
        };
        assert_eventually!(dropped().await > 20.0, "{} were dropped", dropped().await);
        for client in &mut uploads {
            client.write("x").await;
            client.read_until("HTTP/1.1 200 OK").await;
        }
        assert_eventually!(green.count() >= 5, "{} copies came", green.count());
        gateway.metric("switchover_shadows").becomes(40.0).await;
    }
}
