//! HTTP by itself, without a filter.

use http::{Method, Response};
use http_body_util::BodyExt as _;
use switchover_tests::raw::Raw;
use switchover_tests::upstream::full;
use switchover_tests::{Setup, Upstream, cases};
use tokio::net::TcpListener;

cases! {
    async fn a_head_request_has_no_body(engine: Engine) {
        let blue = Upstream::start(|request| async move {
            assert_eq!(request.method(), Method::HEAD);
            Response::builder().header("content-length", "5").header("x-mark", "1").body(full("")).unwrap()
        }).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\ncontent-length: 5\r\n") && answer.contains("\r\nx-mark: 1\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    async fn sized_and_chunked_bodies_go_both_ways(engine: Engine) {
        let blue = Upstream::start(|request| async move { Response::new(full(request.into_body())) }).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nsized").await;
        let answer = raw.read_until("sized").await;
        assert!(answer.contains("\r\ncontent-length: 5\r\n"), "{answer}");
        // The same connection goes on.
        raw.write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nchu\r\n4\r\nnked\r\n0\r\n\r\n").await;
        assert!(raw.read_until("chunked").await.starts_with("HTTP/1.1 200 OK\r\n"));
        let seen = blue.requests();
        assert_eq!(seen[0].headers()["content-length"], "5");
        assert_eq!(seen[1].headers()["transfer-encoding"], "chunked");
        assert_eq!(seen[1].body(), "chunked");
    }

    async fn a_large_body_arrives_unchanged(engine: Engine) {
        let blue = Upstream::start(|request| async move { Response::new(full(request.into_body())) }).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let body: Vec<u8> = (0..8_000_000_u32).map(|i| (i % 251) as u8).collect();
        let reply = gateway.client().post("/", body.clone()).send().await;
        assert!(reply.body == body, "{} bytes came back", reply.body.len());
    }

    async fn expect_continue_is_answered(engine: Engine) {
        let blue = Upstream::start(|request| async move { Response::new(full(request.into_body())) }).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut raw = Raw::connect(gateway.address()).await;
        raw.write("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
        assert_eq!(raw.read_until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        raw.write("body").await;
        assert!(raw.read_until("body").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }

    async fn connections_are_kept_both_ways(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut client = gateway.client();
        for _ in 0..50 {
            assert_eq!(client.get("/").send().await.text(), "blue");
        }
        assert_eq!((client.connections(), blue.connections()), (1, 1));
    }

    async fn hop_by_hop_headers_end_here(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut client = gateway.client();
        let call = client.get("/").header("connection", "keep-alive").header("keep-alive", "timeout=5");
        call.header("proxy-connection", "keep-alive").header("x-kept", "1").send().await;
        let seen = blue.request();
        assert_eq!(seen.headers()["x-kept"], "1");
        for name in ["connection", "keep-alive", "proxy-connection"] {
            assert!(!seen.headers().contains_key(name), "{name} in {:?}", seen.headers());
        }
    }

    /// What Envoy says about a request to its upstream.
    async fn forwarding_headers_are_set(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let reply = gateway.client().get("/a?b=c").send().await;
        assert_eq!(reply.header("server"), "envoy");
        assert!(reply.headers.contains_key("x-envoy-upstream-service-time"));
        let seen = blue.request();
        assert_eq!(seen.uri(), "/a?b=c");
        assert_eq!(seen.headers()["host"], "gateway.test");
        assert_eq!(seen.headers()["x-forwarded-proto"], "http");
        // For a client on the loopback that is an address of the machine's own.
        let forwarded_for = seen.headers()["x-forwarded-for"].to_str().unwrap();
        assert!(forwarded_for.parse::<std::net::IpAddr>().is_ok(), "{forwarded_for}");
        assert_eq!(seen.headers()["x-request-id"].len(), 36);
    }

    async fn a_request_goes_on_before_it_has_ended(engine: Engine) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Setup::at(&[("blue", listener.local_addr().unwrap())]).start(engine).await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
        let mut upstream = Raw::accept(&listener).await;
        upstream.read_until("first").await;
        client.write("6\r\nsecond\r\n0\r\n\r\n").await;
        upstream.read_until("second").await;
        upstream.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await;
        assert!(client.read_until("done").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }

    async fn a_streamed_answer_arrives_chunk_by_chunk(engine: Engine) {
        let (sender, receiver) = tokio::sync::mpsc::channel::<&'static str>(1);
        let receiver = std::sync::Mutex::new(Some(receiver));
        let blue = Upstream::start(move |_| {
            let receiver = receiver.lock().unwrap().take().expect("one request");
            async move { Response::new(switchover_tests::upstream::chunks(receiver)) }
        }).await;
        let gateway = Setup::new(&[("blue", &blue)]).start(engine).await;
        let mut client = gateway.client();
        let mut response = client.get("/").open().await;
        for chunk in ["one", "two", "three"] {
            // The next is written only when this one has come out at the other end.
            sender.send(chunk).await.unwrap();
            let frame = tokio::time::timeout(switchover_tests::PATIENCE, response.body_mut().frame()).await;
            let frame = frame.expect("a chunk in time").unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), chunk);
        }
        drop(sender);
        assert!(response.body_mut().frame().await.is_none());
    }
}
