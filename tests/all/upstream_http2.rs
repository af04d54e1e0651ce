//! HTTP/2 to upstreams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use switchover_tests::http2::{frame, kind};
use switchover_tests::upstream::{Wire, full, text};
use switchover_tests::{Setup, Upstream, assert_eventually, cases};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const HTTP2: Wire = Wire {
    tls: None,
    http2: true,
    max_streams: None,
};

/// A gateway without filters whose only cluster speaks HTTP/2.
fn over_http2(upstream: &Upstream) -> Setup {
    over_http2_with(upstream, json!({}))
}

fn over_http2_with(upstream: &Upstream, options: Value) -> Setup {
    Setup::new(&[("blue", upstream)])
        .without_filters()
        .edit(move |bootstrap| {
            bootstrap.speak(
                "blue-only",
                json!({"explicit_http_config": {"http2_protocol_options": options}}),
            );
        })
}

cases! {
    async fn requests_share_a_connection(engine: Engine) {
        let blue = Upstream::speaking(HTTP2, |request| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Response::new(full(request.into_body()))
        }).await;
        let gateway = over_http2(&blue).start(engine).await;
        let mut clients: Vec<_> = (0..8).map(|_| gateway.client()).collect();
        let calls = clients.iter_mut().map(|client| client.post("/a?b=c", "body").header("te", "trailers").send());
        for reply in futures_util::future::join_all(calls).await {
            assert_eq!((reply.status, reply.text()), (StatusCode::OK, "body"));
        }
        assert_eq!(blue.connections(), 1);
        for seen in blue.requests() {
            assert_eq!(seen.version(), http::Version::HTTP_2);
            assert_eq!(seen.uri(), "http://gateway.test/a?b=c");
            assert!(!seen.headers().contains_key("host"), "{seen:?}");
            assert_eq!(seen.headers()["content-length"], "4");
            assert_eq!(seen.headers()["te"], "trailers");
        }
    }

    async fn a_full_connection_gets_company(engine: Engine) {
        let blue = Upstream::speaking(HTTP2, |_| async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            text(StatusCode::OK, "blue")
        }).await;
        let gateway = over_http2_with(&blue, json!({"max_concurrent_streams": 2})).start(engine).await;
        let mut clients: Vec<_> = (0..6).map(|_| gateway.client()).collect();
        let calls = clients.iter_mut().map(|client| client.get("/").send());
        for reply in futures_util::future::join_all(calls).await {
            assert_eq!(reply.text(), "blue");
        }
        assert_eq!(blue.connections(), 3);
    }

    /// `max_requests_per_connection`.
    async fn a_connection_has_a_maximum_of_requests(engine: Engine) {
        let blue = Upstream::speaking(HTTP2, |_| async { text(StatusCode::OK, "blue") }).await;
        let gateway = over_http2(&blue).edit(|bootstrap| bootstrap.speak("blue-only", json!({
            "explicit_http_config": {"http2_protocol_options": {}},
            "common_http_protocol_options": {"max_requests_per_connection": 2},
        }))).start(engine).await;
        let mut client = gateway.client();
        for _ in 0..6 {
            assert_eq!(client.get("/").send().await.text(), "blue");
        }
        assert_eq!(blue.connections(), 3);
    }

    /// `connection_keepalive`: a connection whose PING is not answered is given up, with the request on it.
    async fn a_connection_that_is_dead_is_found_out(engine: Engine) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keepalive = json!({"connection_keepalive": {"interval": "0.1s", "timeout": "0.1s"}});
        let gateway = at_http2(listener.local_addr().unwrap()).edit(move |bootstrap| {
            bootstrap.speak("blue-only", json!({"explicit_http_config": {"http2_protocol_options": keepalive}}));
        }).start(engine).await;
        let mut client = gateway.client();
        let (reply, wire) = tokio::join!(client.get("/").send(), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Settings and their acknowledgement, and nothing after them.
            stream.write_all(&frame(kind::SETTINGS, 0, 0, b"")).await.unwrap();
            stream.write_all(&frame(kind::SETTINGS, 1, 0, b"")).await.unwrap();
            let mut wire = Vec::new();
            tokio::time::timeout(switchover_tests::PATIENCE, stream.read_to_end(&mut wire)).await.expect("it is given up").unwrap();
            wire
        });
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{reply:?}");
        // Of eight bytes, on the connection.
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
        assert!(wire.windows(ping.len()).any(|bytes| bytes == ping), "no PING in {wire:?}");
    }

    async fn large_bodies_go_both_ways(engine: Engine) {
        let blue = Upstream::speaking(HTTP2, |request| async move { Response::new(full(request.into_body())) }).await;
        let gateway = over_http2(&blue).start(engine).await;
        let body: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
        let reply = gateway.client().post("/", body.clone()).send().await;
        assert!(reply.body == body, "{} bytes came back", reply.body.len());
    }

    async fn nobody_listens(engine: Engine) {
        let (address, _socket) = switchover_tests::upstream::refusing();
        let gateway = Setup::at(&[("blue", address)]).without_filters().edit(|bootstrap| {
            bootstrap.speak("blue-only", json!({"explicit_http_config": {"http2_protocol_options": {}}}));
            bootstrap.route("blue")["route"]["retry_policy"] = Value::Null;
        }).start(engine).await;
        let reply = gateway.client().get("/").send().await;
        assert_eq!(reply.status, 503);
        assert!(reply.text().starts_with("upstream connect error or disconnect/reset before headers."), "{reply:?}");
    }

    /// A client that leaves takes its stream with it, and nothing else.
    async fn a_client_that_leaves_resets_its_stream(engine: Engine) {
        let (dropped, mut seen) = tokio::sync::mpsc::unbounded_channel();
        struct Told(tokio::sync::mpsc::UnboundedSender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let blue = Upstream::speaking(HTTP2, move |request| {
            let told = Told(dropped.clone());
            async move {
                if request.uri().path() == "/slow" {
                    let _told = told;
                    std::future::pending::<()>().await;
                }
                text(StatusCode::OK, "blue")
            }
        }).await;
        let gateway = over_http2(&blue).start(engine).await;
        let mut leaving = gateway.client();
        let call = leaving.get("/slow").send();
        let gone = tokio::time::timeout(Duration::from_millis(300), call).await;
        assert!(gone.is_err());
        drop(leaving);
        tokio::time::timeout(switchover_tests::PATIENCE, seen.recv()).await.expect("the stream was reset");
        assert_eq!(gateway.client().get("/").send().await.text(), "blue");
        assert_eq!(blue.connections(), 1);
    }

    /// A connection that was told to go away takes no more requests.
    async fn a_restarted_upstream_is_found_again(engine: Engine) {
        let blue = Upstream::speaking(HTTP2, |_| async { text(StatusCode::OK, "first") }).await;
        let address = blue.address();
        let gateway = over_http2(&blue).start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").send().await.text(), "first");
        drop(blue);
        let blue = Upstream::speaking_at(address, HTTP2, |_| async { text(StatusCode::OK, "second") }).await;
        assert_eventually!(client.get("/").send().await.text() == "second", "the new upstream was not found");
        assert_eq!(blue.connections(), 1);
    }

    /// A connection that is told to go away ends its requests; the next go elsewhere, and none fails.
    async fn connections_that_go_away_cost_no_request(engine: Engine) {
        let blue = Frames::start(|nth| match nth % 5 {
            4 => Act::AnswerAndGoAway,
            _ => Act::Answer,
        }).await;
        let gateway = at_http2(blue.address).start(engine).await;
        let mut clients: Vec<_> = (0..4).map(|_| gateway.client()).collect();
        for round in 0..15 {
            let calls = clients.iter_mut().map(|client| client.get("/").send());
            for reply in futures_util::future::join_all(calls).await {
                assert_eq!((reply.status, reply.text()), (StatusCode::OK, "answer"), "round {round}");
            }
        }
        assert!(blue.connections() > 2, "{} connections", blue.connections());
    }

    /// `refused-stream`: the upstream has not looked at the request.
    async fn a_refused_stream_is_tried_again(engine: Engine) {
        let blue = Frames::start(|nth| if nth == 0 { Act::Refuse } else { Act::Answer }).await;
        let retried = at_http2(blue.address).edit(|bootstrap| {
            bootstrap.route("blue")["route"]["retry_policy"] = json!({"retry_on": "refused-stream"});
        }).start(engine).await;
        assert_eq!(retried.client().get("/").send().await.text(), "answer");
        assert_eq!(blue.requests(), 2);

        let green = Frames::start(|_| Act::Refuse).await;
        let reply = at_http2(green.address).start(engine).await.client().get("/").send().await;
        let expected = "upstream connect error or disconnect/reset before headers. reset reason: remote refused stream reset";
        assert_eq!((reply.status, reply.text()), (StatusCode::SERVICE_UNAVAILABLE, expected));
    }

    async fn a_reset_is_told_of(engine: Engine) {
        let blue = Frames::start(|_| Act::Reset).await;
        let gateway = at_http2(blue.address).start(engine).await;
        let reply = gateway.client().get("/").send().await;
        let expected = "upstream connect error or disconnect/reset before headers. reset reason: remote reset";
        assert_eq!((reply.status, reply.text()), (StatusCode::SERVICE_UNAVAILABLE, expected));
    }

    /// `retry_on` with gRPC's conditions: the status is in the head where nothing follows it.
    async fn statuses_of_grpc_are_retried(engine: Engine) {
        let blue = Upstream::speaking(HTTP2, |request| async move {
            assert_eq!(request.uri().path(), "/a.B/C");
            let mut reply = text(StatusCode::OK, "");
            reply.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            reply.headers_mut().insert("grpc-status", "14".parse().unwrap());
            reply
        }).await;
        for (condition, requests) in [("unavailable", 3), ("internal,cancelled", 1)] {
            blue.forget();
            let gateway = over_http2(&blue).edit(move |bootstrap| {
                bootstrap.route("blue")["route"]["retry_policy"] = json!({"retry_on": condition, "num_retries": 2});
            }).start(engine).await;
            let reply = gateway.client().post("/a.B/C", "").header("content-type", "application/grpc").send().await;
            assert_eq!((reply.status.as_u16(), reply.header("grpc-status")), (200, "14"));
            assert_eq!(blue.count(), requests, "{condition}");
        }
    }

    async fn health_checks_speak_it_too(engine: Engine) {
        let blue = Upstream::speaking(HTTP2, |_| async { text(StatusCode::OK, "blue") }).await;
        let gateway = over_http2(&blue).edit(|bootstrap| {
            bootstrap.cluster("blue-only")["health_checks"] = json!([{
                "timeout": "5s", "interval": "60s", "unhealthy_threshold": 1, "healthy_threshold": 1,
                "http_health_check": {"path": "/health", "codec_client_type": "HTTP2"},
            }]);
        }).start(engine).await;
        assert_eventually!(blue.count() > 0, "no check came");
        assert_eq!(blue.requests()[0].uri(), "http://blue-only/health");
        assert_eq!(gateway.client().get("/").send().await.text(), "blue");
    }
}

/// What [`Frames`] does with a request.
#[derive(Clone, Copy)]
enum Act {
    Answer,
    /// Answers, and takes no more on this connection.
    AnswerAndGoAway,
    /// Says that it has not looked at it.
    Refuse,
    /// Breaks it off.
    Reset,
}

/// An HTTP/2 server that does what no well-behaved one does at will.
struct Frames {
    address: std::net::SocketAddr,
    counts: Arc<[AtomicU32; 2]>,
}

impl Frames {
    /// Starts one; `act` decides by the request's number on its connection.
    async fn start(act: impl Fn(u32) -> Act + Copy + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts: Arc<[AtomicU32; 2]> = Arc::default();
        let counting = counts.clone();
        // Ends with the case's runtime.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counting[0].fetch_add(1, Ordering::SeqCst);
                tokio::spawn(Self::serve(stream, act, counting.clone()));
            }
        });
        Self { address, counts }
    }

    async fn serve(
        stream: tokio::net::TcpStream,
        act: impl Fn(u32) -> Act,
        counts: Arc<[AtomicU32; 2]>,
    ) {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut nth = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            counts[1].fetch_add(1, Ordering::SeqCst);
            match act(nth) {
                Act::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
                Act::Reset => respond.send_reset(h2::Reason::INTERNAL_ERROR),
                act => {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data("answer".into(), true).unwrap();
                    if matches!(act, Act::AnswerAndGoAway) {
                        connection.graceful_shutdown();
                    }
                }
            }
            nth += 1;
        }
    }

    fn connections(&self) -> u32 {
        self.counts[0].load(Ordering::SeqCst)
    }

    fn requests(&self) -> u32 {
        self.counts[1].load(Ordering::SeqCst)
    }
}

/// As [`over_http2`], for an address; what fails is not tried again.
fn at_http2(address: std::net::SocketAddr) -> Setup {
    Setup::at(&[("blue", address)])
        .without_filters()
        .edit(|bootstrap| {
            bootstrap.speak(
                "blue-only",
                json!({"explicit_http_config": {"http2_protocol_options": {}}}),
            );
            bootstrap.route("blue")["route"]["retry_policy"] = Value::Null;
        })
}
