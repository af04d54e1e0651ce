//! A filter written with the Rust SDK: callouts, timers, shared data, bodies, properties, metrics.

use http::{Response, StatusCode};
use switchover_tests::setup::endpoint;
use switchover_tests::upstream::{full, text};
use switchover_tests::{Gateway, Setup, Upstream, assert_eventually, cases, programs};

/// A gateway with the guest as its only filter, and `auth` as the cluster that it asks.
async fn gateway(engine: switchover_tests::Engine, blue: &Upstream, auth: &Upstream) -> Gateway {
    let address = auth.address();
    Setup::new(&[("blue", blue)])
        .route_guest(&programs::guest("sdk"))
        .without_attempt_role()
        .edit(move |bootstrap| {
            let mut cluster = bootstrap.cluster("blue-only").clone();
            cluster["name"] = "auth".into();
            cluster["load_assignment"]["cluster_name"] = "auth".into();
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] =
                vec![endpoint(address, "auth")].into();
            bootstrap.clusters().push(cluster);
        })
        .start(engine)
        .await
}

cases! {
    async fn a_callout_decides_while_the_request_waits(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let auth = Upstream::start(|request| async move {
            match request.uri().path() {
                "/allow" => text(StatusCode::OK, "the guard"),
                _ => text(StatusCode::UNAUTHORIZED, "no"),
            }
        }).await;
        let gateway = gateway(engine, &blue, &auth).await;
        let mut client = gateway.client();
        let reply = client.get("/callout").header("x-ask", "/allow").send().await;
        assert_eq!((reply.status.as_u16(), reply.text()), (200, "blue"));
        assert_eq!(blue.request().headers()["x-allowed-by"], "the guard");
        assert_eq!(auth.request().headers()["host"], "auth.example.com");

        let reply = client.get("/callout").header("x-ask", "/deny").send().await;
        assert_eq!((reply.status.as_u16(), reply.text()), (403, "refused with \"401\""));
        assert_eq!(blue.count(), 1);
    }

    async fn a_callout_without_an_answer_in_time_fails(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let auth = Upstream::start(|_| std::future::pending::<Response<switchover_tests::upstream::Body>>()).await;
        let gateway = gateway(engine, &blue, &auth).await;
        let reply = gateway.client().get("/callout").header("x-ask", "/allow").send().await;
        assert_eq!(reply.status.as_u16(), 403);
        assert_eq!(blue.count(), 0);
    }

    async fn a_callout_to_nowhere_is_refused(engine: Engine) {
        let (blue, auth) = (Upstream::named("blue").await, Upstream::named("auth").await);
        let gateway = gateway(engine, &blue, &auth).await;
        assert_eq!(gateway.client().get("/unknown-cluster").send().await.text(), "Err(BadArgument)");
    }

    async fn shared_data_is_common_and_counted_once(engine: Engine) {
        let (blue, auth) = (Upstream::named("blue").await, Upstream::named("auth").await);
        let gateway = gateway(engine, &blue, &auth).await;
        let mut client = gateway.client();
        for expected in 1..=5 {
            let reply = client.get("/shared").send().await;
            assert_eq!((reply.text(), reply.header("x-guest")), (expected.to_string().as_str(), "sdk"));
        }
    }

    async fn the_timer_runs(engine: Engine) {
        let (blue, auth) = (Upstream::named("blue").await, Upstream::named("auth").await);
        let gateway = gateway(engine, &blue, &auth).await;
        let mut client = gateway.client();
        let first: u64 = client.get("/ticks").send().await.text().parse().unwrap();
        assert_eventually!(client.get("/ticks").send().await.text().parse::<u64>().unwrap() > first + 2, "no ticks");
    }

    async fn both_bodies_are_rewritten(engine: Engine) {
        let blue = Upstream::start(|request| async move {
            Response::builder().status(201).body(full([b"got ", request.into_body().as_ref()].concat())).unwrap()
        }).await;
        let auth = Upstream::named("auth").await;
        let gateway = gateway(engine, &blue, &auth).await;
        let reply = gateway.client().post("/", "hello world").send().await;
        assert_eq!((reply.status.as_u16(), reply.text(), reply.header("x-code")), (201, "GOT HELLO WORLD", "201"));
        assert_eq!(blue.request().body(), "HELLO WORLD");
    }

    async fn properties_are_told_in_the_same_words(engine: Engine) {
        let (blue, auth) = (Upstream::named("blue").await, Upstream::named("auth").await);
        let gateway = gateway(engine, &blue, &auth).await;
        let reply = gateway.client().get("/properties").host("api.example.com").header("x-one", "1").send().await;
        assert_eq!(reply.text(), "GET /properties api.example.com 1 switchover.route 127.0.0.1");
    }

    async fn metrics_are_counted_and_read(engine: Engine) {
        let (blue, auth) = (Upstream::named("blue").await, Upstream::named("auth").await);
        let gateway = gateway(engine, &blue, &auth).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/metrics").send().await.text(), "Ok(2)");
        assert_eq!(client.get("/metrics").send().await.text(), "Ok(4)");
    }
}
