//! gRPC: through the gateway with a real client and a real server, and callouts of guests to that server.

use serde_json::{Value, json};
use switchover_tests::python::{Server, client};
use switchover_tests::setup::endpoint;
use switchover_tests::{Engine, Gateway, Setup, Upstream, cases, programs, upstream};

const HTTP2: &str = "explicit_http_config";

/// A cluster that speaks HTTP/2.
fn cluster(name: &str, address: std::net::SocketAddr) -> Value {
    json!({
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint(address, "blue")]}]},
    })
}

/// A gateway with the guest that makes callouts, to clusters `grpc` (the server) and `refusing`.
async fn with_guest(engine: Engine, server: &Server) -> (Gateway, tokio::net::TcpSocket) {
    let (address, (refusing, socket)) = (server.address(), upstream::refusing());
    let blue = upstream::refusing().0;
    let gateway = Setup::at(&[("blue", blue)])
        .route_guest(&programs::guest("grpc"))
        .without_attempt_role()
        .edit(move |bootstrap| {
            for (name, address) in [("grpc", address), ("refusing", refusing)] {
                bootstrap.clusters().push(cluster(name, address));
                bootstrap.speak(name, json!({HTTP2: {"http2_protocol_options": {}}}));
            }
        })
        .start(engine)
        .await;
    (gateway, socket)
}

/// What the guest tells.
async fn told(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> String {
    let mut client = gateway.client();
    let mut call = client.get(path);
    for (name, value) in headers {
        call = call.header(name, value);
    }
    let reply = call.send().await;
    assert_eq!(reply.header("x-guest"), "grpc", "{reply:?}");
    reply.text().to_owned()
}

/// What the real client gets through the gateway.
const THROUGH: &str = "\
unary: b'HELLO' after 'world', before 'to world', OK
large: all of it
count: 1000, the last b'999'
collect: b'a+b+c'
bidi: b'ONE'
bidi: b'TWO'
bidi: b'THREE'
bidi: OK, 'over'
broken: b'one'
broken: b'two'
broken: DATA_LOSS 'broken: 100 % of it'
fail 9 not now: FAILED_PRECONDITION 'not now'
fail 16 who?: UNAUTHENTICATED 'who?'
missing : UNIMPLEMENTED 'Method not found!'
slow: DEADLINE_EXCEEDED
cancelled: the next is served
nowhere.Service: UNIMPLEMENTED ''
refused.Service: UNAVAILABLE 'upstream connect error or disconnect/reset before headers. reset reason: remote connection failure'
forbidden.Service: PERMISSION_DENIED 'you may not'
";

/// A gateway in front of the server, for each service a route; without filters.
fn in_front_of(server: &Server, refusing: std::net::SocketAddr) -> Setup {
    let setup = Setup::at(&[("blue", server.address())]);
    setup.without_filters().edit(move |bootstrap| {
        bootstrap.clusters().push(cluster("refusing", refusing));
        for name in ["blue-only", "refusing"] {
            bootstrap.speak(name, json!({HTTP2: {"http2_protocol_options": {}}}));
        }
        let route = |service: &str, action: Value| {
            let mut route = json!({"match": {"prefix": format!("/{service}/")}});
            route.as_object_mut().unwrap().extend(action.as_object().unwrap().clone());
            route
        };
        *bootstrap.routes() = vec![
            route("test.Echo", json!({"route": {"cluster": "blue", "timeout": "0s"}})),
            route("refused.Service", json!({"route": {"cluster": "refusing"}})),
            route("forbidden.Service", json!({"direct_response": {"status": 403, "body": {"inline_string": "you may not"}}})),
        ];
    })
}

cases! {
    /// HTTP/2 from the client to the server, bodies and trailers as they come, answers of the gateway's own in gRPC.
    async fn a_real_client_meets_a_real_server(engine: Engine) {
        let server = Server::start("grpc_server.py", &[]).await;
        let (refusing, _socket) = upstream::refusing();
        let gateway = in_front_of(&server, refusing).start(engine).await;
        let address = gateway.address().to_string();
        assert_eq!(client("grpc_client.py", &[&address]).await, THROUGH);
    }

    /// `grpc_timeout_header_max`: as long as the client waits, and no longer than the route says.
    async fn a_clients_time_counts(engine: Engine) {
        let blue = Upstream::start(|_| std::future::pending()).await;
        let gateway = Setup::new(&[("blue", &blue)]).without_filters().edit(|bootstrap| {
            let route = &mut bootstrap.route("blue")["route"];
            route["timeout"] = "0s".into();
            route["max_stream_duration"] = json!({"grpc_timeout_header_max": "10s", "grpc_timeout_header_offset": "0.05s"});
        }).start(engine).await;
        let mut client = gateway.client();
        let call = client.post("/a.B/C", "").header("content-type", "application/grpc");
        let reply = call.header("grpc-timeout", "250m").send().await;
        assert_eq!((reply.status.as_u16(), reply.header("grpc-status")), (200, "4"), "{reply:?}");
        assert_eq!(reply.header("grpc-message"), "downstream duration timeout");
        assert_eq!(blue.request().headers()["grpc-timeout"], "200m");
    }

    async fn a_call_is_answered(engine: Engine) {
        let server = Server::start("grpc_server.py", &[]).await;
        let (gateway, _socket) = with_guest(engine, &server).await;
        let call = |message: &'static str| [("x-upstream", "grpc"), ("x-method", "Unary"), ("x-message", message)];
        assert_eq!(told(&gateway, "/call", &call("hello")).await, "answer \"HELLO\"");
        assert_eq!(told(&gateway, "/call", &call("")).await, "answer \"\"");
        let large = [("x-upstream", "grpc"), ("x-method", "Unary"), ("x-size", "1000000")];
        assert_eq!(told(&gateway, "/call", &large).await, "answer \"1000000 bytes\"");
        // As a `GrpcService` with `envoy_grpc: {cluster_name: grpc}`.
        let service = [("x-service", "0a060a0467727063"), ("x-method", "Unary"), ("x-message", "hi")];
        assert_eq!(told(&gateway, "/call", &service).await, "answer \"HI\"");
    }

    async fn a_call_that_fails_tells_why(engine: Engine) {
        let server = Server::start("grpc_server.py", &[]).await;
        let (gateway, _socket) = with_guest(engine, &server).await;
        let fail = [("x-upstream", "grpc"), ("x-method", "Fail"), ("x-message", "9 not now")];
        assert_eq!(told(&gateway, "/call", &fail).await, "status 9 9 Some(\"not now{via_upstream}\")");
        let missing = [("x-upstream", "grpc"), ("x-method", "Missing"), ("x-message", "")];
        assert_eq!(told(&gateway, "/call", &missing).await, "status 12 12 Some(\"Method not found!{via_upstream}\")");
        let refusing = [("x-upstream", "refusing"), ("x-method", "Unary"), ("x-message", "")];
        let refused = told(&gateway, "/call", &refusing).await;
        assert!(refused.starts_with("status 14 14 Some(\"upstream connect error"), "{refused}");
        let slow = [("x-upstream", "grpc"), ("x-method", "Slow"), ("x-message", "20000"), ("x-timeout", "200")];
        // The server is told how long it has; whoever's clock is first says so.
        let ends = ["status 14 14 Some(\"upstream request timeout{response_timeout}\")", "status 4 4 Some(\"Deadline Exceeded{via_upstream}\")"];
        let slow = told(&gateway, "/call", &slow).await;
        assert!(ends.contains(&&*slow), "{slow}");
    }

    async fn a_stream_goes_both_ways(engine: Engine) {
        let server = Server::start("grpc_server.py", &[]).await;
        let (gateway, _socket) = with_guest(engine, &server).await;
        let bidi = [("x-upstream", "grpc"), ("x-method", "Bidi"), ("x-messages", "one,two,three")];
        assert_eq!(
            told(&gateway, "/stream", &bidi).await,
            "initial Some(\"bidi\") true\nmessage \"ONE\"\nmessage \"TWO\"\nmessage \"THREE\"\n\
             trailing Some(\"over\") true\nclose 0 0 Some(\"via_upstream\")"
        );
        let broken = [("x-upstream", "grpc"), ("x-method", "Broken"), ("x-messages", "any")];
        assert_eq!(
            told(&gateway, "/stream", &broken).await,
            "initial None true\nmessage \"one\"\nmessage \"two\"\n\
             trailing None true\nclose 15 15 Some(\"broken: 100 %25 of it{via_upstream}\")"
        );
    }

    async fn a_stream_that_fails_tells_why(engine: Engine) {
        let server = Server::start("grpc_server.py", &[]).await;
        let (gateway, _socket) = with_guest(engine, &server).await;
        let missing = [("x-upstream", "grpc"), ("x-method", "Missing"), ("x-messages", "any")];
        assert_eq!(
            told(&gateway, "/stream", &missing).await,
            "initial None true\ntrailing None true\nclose 12 12 Some(\"Method not found!{via_upstream}\")"
        );
        let refusing = [("x-upstream", "refusing"), ("x-method", "Bidi"), ("x-messages", "any")];
        let refused = told(&gateway, "/stream", &refusing).await;
        let start = "initial None true\ntrailing None true\nclose 14 14 Some(\"upstream connect error";
        assert!(refused.starts_with(start), "{refused}");
    }

    async fn what_is_cancelled_is_not_answered(engine: Engine) {
        let server = Server::start("grpc_server.py", &[]).await;
        let (gateway, _socket) = with_guest(engine, &server).await;
        let slow = [("x-upstream", "grpc"), ("x-method", "Slow")];
        assert_eq!(told(&gateway, "/cancel", &slow).await, "cancelled, then [Err(NotFound), Err(NotFound)]");
        let call = [("x-upstream", "grpc"), ("x-method", "Unary"), ("x-message", "next")];
        assert_eq!(told(&gateway, "/call", &call).await, "answer \"NEXT\"");
    }

    async fn misuse_has_its_statuses(engine: Engine) {
        let server = Server::start("grpc_server.py", &[]).await;
        let (gateway, _socket) = with_guest(engine, &server).await;
        assert_eq!(
            told(&gateway, "/misuse", &[]).await,
            "Err(ParseFailure) Err(ParseFailure) \
             [Err(NotFound), Err(BadArgument), Err(NotFound), Err(NotFound)]"
        );
    }
}
