//! Upgrades and `CONNECT`: bytes both ways.

use hyper_util::rt::TokioIo;
use serde_json::json;
use switchover_tests::http2::{Http2, request};
use switchover_tests::raw::{Raw, status};
use switchover_tests::setup::Bootstrap;
use switchover_tests::{Engine, Gateway, PATIENCE, Setup, Upstream, cases, python};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

fn websocket(bootstrap: &mut Bootstrap) {
    bootstrap.http()["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
}

async fn gateway(
    engine: Engine,
    upstream: &TcpListener,
    edit: impl FnOnce(&mut Bootstrap) + Send + 'static,
) -> Gateway {
    let setup = Setup::at(&[("blue", upstream.local_addr().unwrap())]).without_filters();
    setup.edit(edit).start(engine).await
}

async fn upstream() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A client and an upstream with a tunnel between them.
async fn tunnel(gateway: &Gateway, listener: &TcpListener) -> (Raw, Raw) {
    let mut client = Raw::connect(gateway.address()).await;
    client.write(UPGRADE).await;
    let mut upstream = Raw::accept(listener).await;
    let head = upstream.read_until("\r\n\r\n").await;
    assert!(
        head.contains("\r\nconnection: Upgrade\r\n") && head.contains("\r\nupgrade: websocket\r\n"),
        "{head}"
    );
    upstream.write(SWITCHING).await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(
        !head.contains("content-length") && !head.contains("transfer-encoding"),
        "{head}"
    );
    (client, upstream)
}

cases! {
    /// The library `websockets` on both sides.
    async fn a_websocket_passes(engine: Engine) {
        let server = python::Server::start("websocket.py", &["serve"]).await;
        let setup = Setup::at(&[("blue", server.address())]).edit(websocket);
        let gateway = setup.start(engine).await;
        let uri = format!("ws://{}/chat", gateway.address());
        assert_eq!(python::client("websocket.py", &["talk", &uri]).await.trim(), "talked");
    }

    async fn bytes_go_both_ways_at_once(engine: Engine) {
        let listener = upstream().await;
        let gateway = gateway(engine, &listener, websocket).await;
        let (mut client, mut upstream) = tunnel(&gateway, &listener).await;
        upstream.write("from above").await;
        client.read_until("from above").await;
        client.write("from below").await;
        upstream.read_until("from below").await;
    }

    /// Early bytes of either side are not lost.
    async fn bytes_behind_a_head_belong_to_the_tunnel(engine: Engine) {
        let listener = upstream().await;
        let gateway = gateway(engine, &listener, websocket).await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write(UPGRADE).await;
        let mut upstream = Raw::accept(&listener).await;
        upstream.read_until("\r\n\r\n").await;
        upstream.write(format!("{SWITCHING}early")).await;
        client.read_until("\r\n\r\nearly").await;
    }

    async fn a_side_that_ends_ends_the_other(engine: Engine) {
        let listener = upstream().await;
        let gateway = gateway(engine, &listener, websocket).await;
        let (mut client, upstream) = tunnel(&gateway, &listener).await;
        drop(upstream);
        assert_eq!(client.read_to_end().await, "");
        let (client, mut upstream) = tunnel(&gateway, &listener).await;
        drop(client);
        assert_eq!(upstream.read_to_end().await, "");
    }

    async fn an_answer_that_switches_nothing_is_an_answer(engine: Engine) {
        let listener = upstream().await;
        let gateway = gateway(engine, &listener, websocket).await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write(UPGRADE).await;
        let mut upstream = Raw::accept(&listener).await;
        upstream.read_until("\r\n\r\n").await;
        upstream.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
        assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 403 Forbidden\r\n"));
    }

    async fn an_idle_tunnel_ends(engine: Engine) {
        let listener = upstream().await;
        let gateway = gateway(engine, &listener, |bootstrap| {
            websocket(bootstrap);
            bootstrap.route("blue")["route"]["idle_timeout"] = "0.3s".into();
        }).await;
        let (mut client, mut upstream) = tunnel(&gateway, &listener).await;
        assert_eq!((client.read_to_end().await, upstream.read_to_end().await), (String::new(), String::new()));
    }

    /// What is not allowed is refused; a route may allow or forbid what the listener says nothing of, or says.
    async fn upgrades_are_refused_unless_allowed(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        assert_eq!(status(gateway.address(), UPGRADE).await, 403);
        let setup = Setup::new(&[("blue", &blue)]).without_filters().edit(|bootstrap| {
            websocket(bootstrap);
            bootstrap.route("blue")["route"]["upgrade_configs"] =
                json!([{"upgrade_type": "websocket", "enabled": false}, {"upgrade_type": "other"}]);
        });
        let gateway = setup.start(engine).await;
        assert_eq!(status(gateway.address(), UPGRADE).await, 403);
        assert_eq!(status(gateway.address(), UPGRADE.replace("websocket", "third")).await, 403);
        assert_eq!(blue.count(), 0);
        assert_eq!(status(gateway.address(), UPGRADE.replace("websocket", "other")).await, 200);
    }

    async fn an_upgrade_to_http2_is_served_as_it_is(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let asked = "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
        assert_eq!(status(gateway.address(), asked).await, 200);
        let seen = blue.request();
        for name in ["connection", "upgrade", "http2-settings"] {
            assert!(!seen.headers().contains_key(name), "{name}");
        }
    }

    async fn connect_goes_on_to_an_upstream(engine: Engine) {
        let listener = upstream().await;
        let gateway = gateway(engine, &listener, |bootstrap| {
            let route = bootstrap.route("blue");
            route["match"] = json!({"connect_matcher": {}});
            route["route"]["upgrade_configs"] = json!([{"upgrade_type": "CONNECT"}]);
        }).await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write("CONNECT far.test:443 HTTP/1.1\r\nhost: far.test:443\r\n\r\nearly").await;
        let mut upstream = Raw::accept(&listener).await;
        let head = upstream.read_until("\r\n\r\n").await;
        assert!(head.starts_with("CONNECT far.test:443 HTTP/1.1\r\n"), "{head}");
        upstream.write("HTTP/1.1 200 OK\r\n\r\n").await;
        let head = client.read_until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("content-length"), "{head}");
        upstream.read_until("early").await;
        upstream.write("late").await;
        client.read_until("late").await;
    }

    /// With `connect_config` the upstream gets what the client sends, and nothing else.
    async fn connect_may_end_at_the_gateway(engine: Engine) {
        let listener = upstream().await;
        let gateway = gateway(engine, &listener, |bootstrap| {
            let route = bootstrap.route("blue");
            route["match"] = json!({"connect_matcher": {}});
            route["route"]["upgrade_configs"] = json!([{"upgrade_type": "CONNECT", "connect_config": {}}]);
        }).await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write("CONNECT far.test:443 HTTP/1.1\r\nhost: far.test:443\r\n\r\n").await;
        let mut upstream = Raw::accept(&listener).await;
        client.read_until("\r\n\r\n").await;
        client.write("anything").await;
        assert_eq!(upstream.read_until("anything").await, "anything");
        upstream.write("whatever").await;
        assert_eq!(client.read_until("whatever").await, "whatever");
    }

    async fn connect_is_not_found_without_a_route(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().edit(websocket).start(engine).await;
        assert_eq!(status(gateway.address(), "CONNECT far.test:443 HTTP/1.1\r\nhost: far.test:443\r\n\r\n").await, 404);
    }

    /// A WebSocket over a stream of HTTP/2 is one over HTTP/1 upstream. Source: RFC 8441.
    async fn an_extended_connect_becomes_an_upgrade(engine: Engine) {
        let listener = upstream().await;
        let gateway = gateway(engine, &listener, |bootstrap| {
            websocket(bootstrap);
            bootstrap.http()["http2_protocol_options"] = json!({"allow_connect": true});
        }).await;
        let mut client = Http2::connect(gateway.address()).await;
        // The server's settings, which allow it, come first.
        let first = tokio::spawn({
            let mut client = client.clone();
            async move { client.send(request("GET", "/", &[], &[])).await }
        });
        let mut plain = Raw::accept(&listener).await;
        plain.read_until("\r\n\r\n").await;
        plain.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(first.await.unwrap().reply.status, 200);
        let mut call = request("CONNECT", "/chat", &[], &[]);
        call.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        let opening = tokio::spawn(async move { (client.open(call).await, client) });
        let mut upstream = Raw::accept(&listener).await;
        let head = upstream.read_until("\r\n\r\n").await;
        assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("\r\nupgrade: websocket\r\n"), "{head}");
        upstream.write(SWITCHING).await;
        let (answer, _client) = opening.await.unwrap();
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
        stream.write_all(b"from below").await.unwrap();
        upstream.read_until("from below").await;
        upstream.write("from above").await;
        let mut read = [0; 10];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut read)).await.expect("bytes in time").unwrap();
        assert_eq!(&read, b"from above");
        drop(upstream);
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the end in time");
        assert_eq!(rest, b"");
    }

    /// Filters see what a tunnel carries as bodies.
    async fn filters_see_a_tunnel_as_bodies(engine: Engine) {
        let listener = upstream().await;
        let gateway = gateway(engine, &listener, |bootstrap| {
            websocket(bootstrap);
            crate::flow::install(bootstrap);
        }).await;
        let (mut client, mut upstream) = tunnel(&gateway, &listener).await;
        client.write("ping").await;
        upstream.read_until("ping").await;
        upstream.write("pong").await;
        client.read_until("pong").await;
        for name in ["L", "M", "U"] {
            crate::flow::told(&gateway, &format!("{name}: request body \"ping\" end false")).await;
            crate::flow::told(&gateway, &format!("{name}: response body \"pong\" end false")).await;
        }
    }
}
