//! HTTP/2 between client and gateway, cleartext by prior knowledge.

mod nghttp;
mod violations;

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body_util::BodyExt as _;
use switchover_tests::http2::{
    END_HEADERS, END_STREAM, Frames, Http2, Refusal, fields, frame, get, kind, request,
};
use switchover_tests::raw::{Raw, status};
use switchover_tests::upstream::full;
use switchover_tests::{PATIENCE, Setup, Upstream, assert_eventually, cases};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What every refusal is followed by: others are served.
async fn others_are_served(address: std::net::SocketAddr) {
    let answer = Http2::connect(address)
        .await
        .send(request("GET", "/", &[], &[]))
        .await;
    assert_eq!(answer.reply.text(), "blue");
}

cases! {
    async fn requests_and_bodies_go_both_ways(engine: Engine) {
        let blue = Upstream::start(|request| async move { Response::new(full(request.into_body())) }).await;
        let gateway = Setup::new(&[("blue", &blue)]).start(engine).await;
        let mut client = Http2::connect(gateway.address()).await;
        let answer = client.send(request("POST", "/a?b=c", &["first ", "second"], &[])).await;
        assert_eq!((answer.reply.status.as_u16(), answer.reply.text()), (200, "first second"));
        assert_eq!(answer.reply.header("server"), "envoy");
        let seen = blue.request();
        assert_eq!(seen.uri(), "/a?b=c");
        assert_eq!(seen.headers()["host"], "gateway.test");
        assert_eq!(seen.headers()["x-forwarded-proto"], "http");
        assert_eq!(seen.headers()["transfer-encoding"], "chunked");
    }

    async fn a_large_body_arrives_unchanged(engine: Engine) {
        let blue = Upstream::start(|request| async move { Response::new(full(request.into_body())) }).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let parts = ["0123456789abcdef"; 4096];
        let parts = vec![parts.concat().leak() as &'static str; 100];
        let answer = Http2::connect(gateway.address()).await.send(request("POST", "/", &parts, &[])).await;
        assert!(answer.reply.body == parts.concat(), "{} bytes came back", answer.reply.body.len());
    }

    async fn cookies_are_joined(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut call = request("GET", "/", &[], &[]);
        for cookie in ["a=1", "b=2", "c=3"] {
            call.headers_mut().append("cookie", cookie.parse().unwrap());
        }
        Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!(blue.request().headers()["cookie"], "a=1; b=2; c=3");
    }

    async fn te_is_kept_for_trailers_only(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut call = request("GET", "/", &[], &[]);
        call.headers_mut().insert("te", "trailers".parse().unwrap());
        Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!(blue.request().headers()["te"], "trailers");
    }

    async fn streams_do_not_wait_for_each_other(engine: Engine) {
        let gate = Arc::new(Notify::new());
        let held = Arc::clone(&gate);
        let blue = Upstream::start(move |request| {
            let gate = Arc::clone(&held);
            async move {
                if request.uri() == "/slow" {
                    gate.notified().await;
                }
                Response::new(full("blue"))
            }
        }).await;
        let gateway = Setup::new(&[("blue", &blue)]).start(engine).await;
        let client = Http2::connect(gateway.address()).await;
        let mut slow = client.clone();
        let slow = tokio::spawn(async move { slow.send(request("GET", "/slow", &[], &[])).await });
        assert_eventually!(blue.count() == 1, "the slow request did not arrive");
        for _ in 0..20 {
            assert_eq!(client.clone().send(request("GET", "/", &[], &[])).await.reply.text(), "blue");
        }
        gate.notify_one();
        assert_eq!(slow.await.unwrap().reply.text(), "blue");
    }

    /// Debian's own client: many streams at once over a few connections.
    async fn h2load_succeeds_with_every_request(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).start(engine).await;
        let url = format!("http://{}/", gateway.address());
        let output = tokio::process::Command::new("h2load")
            .args(["-n", "2000", "-c", "4", "-m", "20", &url])
            .output().await.expect("h2load of nghttp2-client");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{output}");
    }

    /// What a client no longer wants is broken off upstream too.
    async fn a_reset_stream_ends_its_attempt(engine: Engine) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Setup::at(&[("blue", listener.local_addr().unwrap())]).start(engine).await;
        let mut client = Http2::connect(gateway.address()).await;
        let waiting = tokio::spawn(async move { client.open(request("GET", "/", &[], &[])).await.map(drop) });
        let mut upstream = Raw::accept(&listener).await;
        upstream.read_until("\r\n\r\n").await;
        // Dropped, the request's future resets the stream.
        waiting.abort();
        assert_eq!(upstream.read_to_end().await, "");
    }

    /// An upstream that breaks off in the middle of a body: the client hears of it.
    async fn a_broken_answer_resets_its_stream(engine: Engine) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Setup::at(&[("blue", listener.local_addr().unwrap())]).without_filters().start(engine).await;
        let mut client = Http2::connect(gateway.address()).await;
        let answer = tokio::spawn(async move { (client.open(request("GET", "/", &[], &[])).await, client) });
        let mut upstream = Raw::accept(&listener).await;
        upstream.read_until("\r\n\r\n").await;
        upstream.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
        let (answer, _client) = answer.await.unwrap();
        let mut body = answer.unwrap().into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        drop(upstream);
        assert!(body.frame().await.unwrap().is_err());
    }

    /// A client that reads slowly holds back its upstream, not the gateway's memory.
    async fn a_slow_reader_holds_its_upstream_back(engine: Engine) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let setup = Setup::at(&[("blue", listener.local_addr().unwrap())]).without_filters();
        let gateway = setup.start(engine).await;
        let mut client = Frames::connect(gateway.address()).await;
        client.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])).await;
        let mut upstream = Raw::accept(&listener).await;
        upstream.read_until("\r\n\r\n").await;
        upstream.write("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
        let piece = vec![b'x'; 1 << 20];
        let mut written = 0;
        // The client's window is 64 KiB and stays so: what more goes is in buffers, which end.
        while tokio::time::timeout(Duration::from_millis(500), upstream.write(&piece)).await.is_ok() {
            written += 1;
            assert!(written < 64, "the gateway took {written} MiB");
        }
    }

    async fn http1_is_refused_where_the_file_says_http2(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let setup = Setup::new(&[("blue", &blue)]).without_filters();
        let gateway = setup.edit(|b| b.http()["codec_type"] = "HTTP2".into()).start(engine).await;
        others_are_served(gateway.address()).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(!raw.read_to_end().await.contains("blue"));
    }

    async fn http2_is_refused_where_the_file_says_http1(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let setup = Setup::new(&[("blue", &blue)]).without_filters();
        let gateway = setup.edit(|b| b.http()["codec_type"] = "HTTP1".into()).start(engine).await;
        let mut frames = Frames::connect(gateway.address()).await;
        frames.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        raw.read_until("blue").await;
    }

    /// A client that begins as HTTP/2 does and goes on as nobody does.
    async fn a_bad_preface_is_no_request(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let refused = status(gateway.address(), "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
        assert!(matches!(refused, 0 | 400 | 505), "{refused}");
        others_are_served(gateway.address()).await;
    }

    async fn a_flood_of_continuations_ends_the_connection(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut frames = Frames::connect(gateway.address()).await;
        frames.send(kind::HEADERS, END_STREAM, 1, &get(&[])).await;
        let mut flood = Vec::new();
        for _ in 0..20_000 {
            flood.extend(frame(kind::CONTINUATION, 0, 1, &fields(&[("x-more", "0123456789")])));
        }
        frames.write(&flood).await;
        assert!(matches!(frames.refusal().await, Refusal::GoAway(_) | Refusal::Closed));
        others_are_served(gateway.address()).await;
    }

    async fn a_bomb_of_headers_is_refused(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut frames = Frames::connect(gateway.address()).await;
        // One entry of the table, and 15,000 mentions of it: 60 MB of headers in 19 KB.
        let mut block = get(&[]);
        block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
        block.extend(vec![b'y'; 4000]);
        block.extend(vec![0xbe; 10_000]);
        frames.send(kind::HEADERS, END_STREAM | END_HEADERS, 1, &block).await;
        assert_ne!(frames.refusal().await, Refusal::Closed);
        others_are_served(gateway.address()).await;
        assert_eq!(blue.count(), 1, "the bomb went upstream");
    }

    async fn rapid_resets_end_the_connection(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut frames = Frames::connect(gateway.address()).await;
        let mut flood = Vec::new();
        for at in 0..4_000 {
            flood.extend(frame(kind::HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, &get(&[])));
            flood.extend(frame(kind::RST_STREAM, 0, 2 * at + 1, &8_u32.to_be_bytes()));
        }
        frames.write(&flood).await;
        assert!(matches!(frames.refusal().await, Refusal::GoAway(_) | Refusal::Closed));
        others_are_served(gateway.address()).await;
    }

    /// Host only: on SIGTERM Envoy ends at once.
    host async fn a_drain_says_goaway_and_lets_streams_finish(engine: Engine) {
        let gate = Arc::new(Notify::new());
        let held = Arc::clone(&gate);
        let blue = Upstream::start(move |request| {
            let gate = Arc::clone(&held);
            async move {
                if request.uri() == "/slow" {
                    gate.notified().await;
                }
                Response::new(full("blue"))
            }
        }).await;
        let mut gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let client = Http2::connect(gateway.address()).await;
        let mut waiting = client.clone();
        let waiting = tokio::spawn(async move { waiting.send(request("GET", "/slow", &[], &[])).await });
        assert_eventually!(blue.count() == 1, "the request did not arrive");
        gateway.terminate();
        let mut late = client.clone();
        let refused = async move {
            while late.open(request("GET", "/", &[], &[])).await.is_ok() {}
        };
        tokio::time::timeout(PATIENCE, refused).await.expect("no more requests on a drained connection");
        gate.notify_one();
        assert_eq!(waiting.await.unwrap().reply.text(), "blue");
        assert!(gateway.ended().await.success());
    }
}
