//! Timeouts and limits between client and gateway, by Envoy's names.

use std::time::Duration;

use http::Response;
use serde_json::{Value, json};
use switchover_tests::http2::{Http2, request};
use switchover_tests::raw::{Raw, status};
use switchover_tests::upstream::{Body, full};
use switchover_tests::{Engine, Gateway, Setup, Upstream, assert_eventually, cases};
use tokio::net::TcpListener;

/// A gateway whose HTTP connection manager has these fields too.
async fn gateway(engine: Engine, blue: &Upstream, fields: Value) -> Gateway {
    let setup = Setup::new(&[("blue", blue)]).without_filters();
    setup
        .edit(move |bootstrap| merge(bootstrap.http(), fields))
        .start(engine)
        .await
}

fn merge(into: &mut Value, fields: Value) {
    for (name, value) in fields.as_object().unwrap() {
        into[name] = value.clone();
    }
}

/// An upstream that never answers.
async fn silent() -> Upstream {
    Upstream::start(|_| std::future::pending::<Response<Body>>()).await
}

cases! {
    /// A client that sends its head a byte at a time does not hold its place for ever.
    async fn a_slow_head_is_answered_with_408(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = gateway(engine, &blue, json!({"request_headers_timeout": "0.5s"})).await;
        for part in ["G", "GET / HTTP/1.1\r\nhost: "] {
            let mut raw = Raw::connect(gateway.address()).await;
            raw.write(part).await;
            let answer = raw.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\nrequest header timeout"), "{answer}");
        }
        // A second request on a connection has its own time.
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        raw.read_until("blue").await;
        raw.write("GET / HT").await;
        assert!(raw.read_to_end().await.starts_with("HTTP/1.1 408 "));
    }

    async fn a_slow_body_is_answered_with_408(engine: Engine) {
        let blue = Upstream::named("blue").await;
        for (fields, text) in [
            (json!({"request_timeout": "0.3s"}), "request timeout"),
            (json!({"stream_idle_timeout": "0.3s"}), "stream timeout"),
            (json!({"common_http_protocol_options": {"max_stream_duration": "0.3s"}}), "downstream duration timeout"),
        ] {
            let gateway = gateway(engine, &blue, fields).await;
            let mut raw = Raw::connect(gateway.address()).await;
            raw.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
            let answer = raw.read_until(text).await;
            assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
        }
    }

    async fn a_slow_upstream_is_answered_with_504(engine: Engine) {
        let blue = silent().await;
        for (fields, text) in [
            (json!({"stream_idle_timeout": "0.3s"}), "stream timeout"),
            (json!({"common_http_protocol_options": {"max_stream_duration": "0.3s"}}), "downstream duration timeout"),
        ] {
            let gateway = gateway(engine, &blue, fields).await;
            let reply = gateway.client().get("/").send().await;
            assert_eq!((reply.status.as_u16(), reply.text()), (504, text));
        }
    }

    async fn a_route_has_its_own_maximum(engine: Engine) {
        let blue = silent().await;
        let setup = Setup::new(&[("blue", &blue)]).without_filters();
        let own = json!({"max_stream_duration": "0.3s"});
        let gateway = setup.edit(|b| b.route("blue")["route"]["max_stream_duration"] = own).start(engine).await;
        assert_eq!(gateway.client().get("/").send().await.text(), "downstream duration timeout");
    }

    /// The idle time covers the answer too: an upstream that stops in the middle of it.
    async fn a_stalled_answer_is_broken_off(engine: Engine) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let setup = Setup::at(&[("blue", listener.local_addr().unwrap())]).without_filters();
        let gateway = setup.edit(|b| b.http()["stream_idle_timeout"] = "0.3s".into()).start(engine).await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut upstream = Raw::accept(&listener).await;
        upstream.read_until("\r\n\r\n").await;
        upstream.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        assert!(client.read_to_end().await.ends_with("half"));
        assert_eq!(upstream.read_to_end().await, "");
    }

    async fn an_idle_connection_is_closed(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = gateway(engine, &blue, json!({"common_http_protocol_options": {"idle_timeout": "0.3s"}})).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        raw.read_until("blue").await;
        assert_eq!(raw.read_to_end().await, "");
        let mut silent = Raw::connect(gateway.address()).await;
        assert_eq!(silent.read_to_end().await, "");
        let mut http2 = Http2::connect(gateway.address()).await;
        http2.send(request("GET", "/", &[], &[])).await;
        assert_eventually!(http2.closed(), "an idle connection stays");
    }

    async fn a_connection_has_a_maximum_of_requests(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let fields = json!({"common_http_protocol_options": {"max_requests_per_connection": 2}});
        let gateway = gateway(engine, &blue, fields).await;
        let mut client = gateway.client();
        for last in [false, true, false, true] {
            let reply = client.get("/").send().await;
            assert_eq!(reply.header("connection") == "close", last);
        }
        assert_eq!(client.connections(), 2);
        let mut http2 = Http2::connect(gateway.address()).await;
        for _ in 0..2 {
            assert_eq!(http2.send(request("GET", "/", &[], &[])).await.reply.text(), "blue");
        }
        assert_eventually!(http2.closed(), "a third request would pass");
    }

    async fn a_connection_has_a_maximum_age(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let fields = json!({"common_http_protocol_options": {"max_connection_duration": "0.5s"}});
        let gateway = gateway(engine, &blue, fields).await;
        let mut client = gateway.client();
        assert_eventually!({
            assert_eq!(client.get("/").send().await.text(), "blue");
            client.connections() > 1
        }, "the connection stays");
    }

    async fn heads_have_a_maximum_of_fields(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = gateway(engine, &blue, json!({"common_http_protocol_options": {"max_headers_count": 20}})).await;
        let head = |fields: usize| {
            let fields: String = (0..fields).map(|at| format!("x-{at}: 1\r\n")).collect();
            format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n")
        };
        assert_eq!(status(gateway.address(), head(19)).await, 200);
        assert_eq!(status(gateway.address(), head(20)).await, 431);
        let mut call = request("GET", "/", &[], &[]);
        for at in 0..25 {
            call.headers_mut().append(http::HeaderName::try_from(format!("x-{at}")).unwrap(), "1".parse().unwrap());
        }
        assert!(Http2::connect(gateway.address()).await.open(call).await.is_err(), "a reset was expected");
    }

    async fn a_thousand_fields_may_be_allowed(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = gateway(engine, &blue, json!({"common_http_protocol_options": {"max_headers_count": 1000}})).await;
        let mut client = gateway.client();
        let mut call = client.get("/");
        for at in 0..90 {
            call = call.header(&format!("x-{at}"), "1");
        }
        assert_eq!(call.send().await.status, 200);
        assert!(blue.request().headers().contains_key("x-89"));
    }

    async fn underscores_are_as_the_file_says(engine: Engine) {
        let with = |value: &str| json!({"common_http_protocol_options": {"headers_with_underscores_action": value}});
        for (action, code) in [("ALLOW", 200), ("DROP_HEADER", 200), ("REJECT_REQUEST", 400)] {
            let blue = Upstream::named("blue").await;
            let gateway = gateway(engine, &blue, with(action)).await;
            let reply = gateway.client().get("/").header("x_y", "1").send().await;
            assert_eq!(reply.status, code, "{action}");
            if code == 200 {
                assert_eq!(blue.request().headers().contains_key("x_y"), action == "ALLOW", "{action}");
            } else {
                let mut call = request("GET", "/", &[], &[]);
                call.headers_mut().insert("x_y", "1".parse().unwrap());
                assert!(Http2::connect(gateway.address()).await.open(call).await.is_err(), "a reset was expected");
            }
        }
    }

    /// Connections beyond the limit are closed; one that ends makes room.
    async fn connections_are_limited(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let setup = Setup::new(&[("blue", &blue)]).without_filters().workers(2);
        let limit = json!({"name": "limit", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
            "stat_prefix": "gateway", "max_connections": 2,
        }});
        let gateway = setup.edit(|b| {
            b.listeners()[0]["filter_chains"][0]["filters"].as_array_mut().unwrap().insert(0, limit);
        }).start(engine).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut raw = Raw::connect(gateway.address()).await;
            raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
            raw.read_until("blue").await;
            held.push(raw);
        }
        let mut third = Raw::connect(gateway.address()).await;
        third.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(third.read_to_end().await, "");
        held.pop();
        assert_eventually!(status(gateway.address(), "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await == 200, "no room was made");
    }

    async fn a_request_with_time_is_left_alone(engine: Engine) {
        let blue = Upstream::start(|request| async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Response::new(full(request.into_body()))
        }).await;
        let fields = json!({
            "request_headers_timeout": "5s", "request_timeout": "5s", "stream_idle_timeout": "5s",
            "common_http_protocol_options": {"max_stream_duration": "5s", "max_connection_duration": "60s"},
        });
        let gateway = gateway(engine, &blue, fields).await;
        assert_eq!(gateway.client().post("/", "body").send().await.text(), "body");
    }
}
