//! HTTP/2 to upstreams.

use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use switchover_tests::upstream::{Wire, full, text};
use switchover_tests::{Setup, Upstream, assert_eventually, cases};

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
                    tokio::time::sleep(Duration::from_secs(60)).await;
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
}
