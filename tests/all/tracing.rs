//! Spans for OpenTelemetry: the same file, both engines, the same spans and the same contexts upstream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};
use switchover_tests::setup::Bootstrap;
use switchover_tests::upstream::{Seen, full_backlog, refusing, text};
use switchover_tests::{Engine, Gateway, Setup, Upstream, assert_eventually, cases};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A collector that keeps what it gets.
struct Collector {
    server: Upstream,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    async fn start() -> Self {
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let kept = spans.clone();
        let server = Upstream::start(move |request: Seen| {
            let message = ExportTraceServiceRequest::decode(request.body().clone());
            let message = message.expect("a message of OTLP");
            for resource in message.resource_spans {
                let attributes = attributes(&resource.resource.unwrap_or_default().attributes);
                assert_eq!(attributes["service.name"], "shop");
                let scopes = resource.scope_spans.into_iter();
                kept.lock()
                    .unwrap()
                    .extend(scopes.flat_map(|scope| scope.spans));
            }
            async { text(StatusCode::OK, "") }
        });
        Self {
            server: server.await,
            spans,
        }
    }

    /// The spans, by the path of their request, once there are so many.
    async fn spans(&self, count: usize) -> BTreeMap<String, Span> {
        let now = || self.spans.lock().unwrap().clone();
        assert_eventually!(now().len() >= count, "{} spans, not {count}", now().len());
        let path = |span: &Span| {
            let url = attributes(&span.attributes)["http.url"].clone();
            let (_, path) = url.rsplit_once('/').unwrap();
            format!("/{path}")
        };
        let spans = now();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans.into_iter().map(|span| (path(&span), span)).collect()
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    let pair = |pair: &KeyValue| {
        let value = pair.value.clone().unwrap_or_default().value;
        let Some(Any::StringValue(text)) = value else {
            panic!("{pair:?} is no text");
        };
        (pair.key.clone(), text)
    };
    pairs.iter().map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends spans to this address; `sampling` is in percent.
fn tracing(bootstrap: &mut Bootstrap, collector: std::net::SocketAddr, sampling: u32) {
    bootstrap.http()["tracing"] = json!({
        "random_sampling": {"value": sampling},
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
            "service_name": "shop",
            "http_service": {
                "http_uri": {"uri": "http://collector:4318/v1/traces", "cluster": "collector", "timeout": "0.5s"},
                "request_headers_to_add": [{"header": {"key": "x-token", "value": "t0p"}}],
            },
        }},
    });
    let endpoint = json!({"endpoint": {"address": {"socket_address": {
        "address": collector.ip().to_string(), "port_value": collector.port(),
    }}}});
    bootstrap.clusters().push(json!({
        "name": "collector", "type": "STATIC", "connect_timeout": "0.5s",
        "load_assignment": {"cluster_name": "collector", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }));
}

/// Answers with the status that the path names, 200 where it names none.
async fn obliging(name: &'static str) -> Upstream {
    Upstream::start(move |request: Seen| {
        let status = request.uri().path().trim_start_matches('/').parse();
        let status = status.ok().and_then(|code| StatusCode::from_u16(code).ok());
        async move { text(status.unwrap_or(StatusCode::OK), name) }
    })
    .await
}

/// The demo's clusters and routes without the filter, traced.
async fn start(
    engine: Engine,
    [blue, green]: &[Upstream; 2],
    collector: std::net::SocketAddr,
    sampling: u32,
) -> Gateway {
    Setup::new(&[("blue", blue), ("green", green)])
        .without_filters()
        .edit(move |bootstrap| {
            tracing(bootstrap, collector, sampling);
            bootstrap.routes().insert(
                0,
                json!({"match": {"prefix": "/direct"}, "direct_response": {"status": 418}}),
            );
        })
        .start(engine)
        .await
}

/// `traceparent` and `tracestate` of a request.
fn context(seen: &Seen) -> (String, Option<String>) {
    let header = |name: &str| {
        let value = seen.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    (
        header("traceparent").unwrap_or_default(),
        header("tracestate"),
    )
}

async fn both() -> [Upstream; 2] {
    [obliging("blue").await, obliging("green").await]
}

/// Whether a span's attributes are these among others.
fn has(span: &Span, expected: Value) {
    let attributes = attributes(&span.attributes);
    for (name, value) in expected.as_object().unwrap() {
        let found = attributes.get(name).map(String::as_str);
        assert_eq!(found, value.as_str(), "{name} in {attributes:#?}");
    }
}

cases! {
    async fn a_span_for_each_request(engine: Engine) {
        let collector = Collector::start().await;
        let upstreams = both().await;
        let gateway = start(engine, &upstreams, collector.server.address(), 100).await;
        let mut client = gateway.client();
        for path in ["/plain?x=1", "/404", "/501", "/direct"] {
            client.get(path).header("user-agent", "test/1").host("shop.example").send().await;
        }
        let call = client.get("/child").header("traceparent", PARENT).header("tracestate", "a=b");
        call.header("tracestate", "c=d").send().await;
        // Green fails, blue answers: two attempts under one span.
        let call = client.get("/503").header("x-deployment-mode", "green");
        assert_eq!(call.send().await.status, 503);

        let spans = collector.spans(6).await;
        for (path, url, status, cluster, error) in [
            ("/plain?x=1", "http://shop.example/plain?x=1", "200", Some("blue"), None),
            ("/404", "http://shop.example/404", "404", Some("blue"), None),
            ("/501", "http://shop.example/501", "501", Some("blue"), Some("true")),
            ("/direct", "http://shop.example/direct", "418", None, None),
        ] {
            let span = &spans[path];
            assert_eq!((span.name.as_str(), span.kind, span.flags), ("ingress", 2, 0x101), "{span:#?}");
            assert_eq!(span.status.as_ref().map_or(0, |status| status.code), if error.is_some() { 2 } else { 0 });
            assert_eq!((span.parent_span_id.len(), span.trace_state.as_str()), (0, ""));
            assert!(span.start_time_unix_nano < span.end_time_unix_nano);
            has(span, json!({
                "http.url": url, "http.method": "GET", "http.protocol": "HTTP/1.1", "http.status_code": status,
                "upstream_cluster": cluster, "upstream_cluster.name": cluster, "error": error,
                "user_agent": "test/1", "peer.address": "127.0.0.1", "component": "proxy", "node_id": "switchover-demo",
                "zone": "", "downstream_cluster": "-", "response_flags": "-", "request_size": "0",
            }));
        }
        let child = &spans["/child"];
        assert_eq!((hex(&child.trace_id).as_str(), hex(&child.parent_span_id).as_str()), (TRACE, "b7ad6b7169203331"));
        assert_eq!((child.trace_state.as_str(), child.flags), ("a=b,c=d", 0x301));
        let failed = &spans["/503"];
        has(failed, json!({"http.status_code": "503", "upstream_cluster": "green", "error": "true", "response_flags": "URX"}));
        assert_eq!(failed.status.as_ref().unwrap().code, 2);

        // What upstreams get names the gateway's span as the parent, and so do the request ids.
        let seen: Vec<Seen> = upstreams.iter().flat_map(Upstream::requests).collect();
        assert!(seen.len() > 6, "attempts were repeated");
        for request in &seen {
            let span = &spans[request.uri().path_and_query().unwrap().as_str()];
            let (parent, state) = context(request);
            assert_eq!(parent, format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id)));
            assert_eq!(state.as_deref(), Some(span.trace_state.as_str()));
            let id = request.headers()["x-request-id"].to_str().unwrap();
            has(span, json!({"guid:x-request-id": id}));
            assert_eq!(id.as_bytes()[14], b'9', "{id} says that it is sampled");
        }
        let posts = collector.server.requests();
        assert!(posts.iter().all(|post| post.uri().path() == "/v1/traces"));
        let header = |name: &str| posts[0].headers()[name].to_str().unwrap();
        assert_eq!((header("host"), header("content-type"), header("x-token")), ("collector:4318", "application/x-protobuf", "t0p"));
        gateway.metric("envoy_tracing_opentelemetry_spans_sent").becomes(6.0).await;
        gateway.metric("envoy_http_tracing_random_sampling").becomes(6.0).await;
    }

    /// Contexts as they come and as they go on, where nothing is sampled by chance.
    async fn contexts_are_carried_on(engine: Engine) {
        let collector = Collector::start().await;
        let upstreams = both().await;
        let gateway = start(engine, &upstreams, collector.server.address(), 0).await;
        let mut client = gateway.client();
        let mut carried = async |headers: &[(&str, &str)]| {
            upstreams[0].forget();
            let mut call = client.get("/");
            for (name, value) in headers {
                call = call.header(name, value);
            }
            assert_eq!(call.send().await.status, 200);
            context(&upstreams[0].request())
        };
        let parts = |parent: &str| parent.split('-').map(str::to_owned).collect::<Vec<_>>();
        let (own, state) = carried(&[("tracestate", "a=b")]).await;
        assert_eq!((parts(&own).len(), parts(&own)[3].as_str(), state.as_deref()), (4, "00", Some("")));
        let upper = PARENT.to_uppercase();
        for parent in [PARENT, UNSAMPLED, &upper] {
            let (child, state) = carried(&[("traceparent", parent), ("tracestate", "a=b")]).await;
            assert_eq!((parts(&child)[1].as_str(), parts(&child)[3].as_str()), (TRACE, "00"), "{child}");
            assert_ne!(parts(&child)[2], "b7ad6b7169203331", "its own span");
            assert_eq!(state.as_deref(), Some("a=b"));
        }
        for unreadable in ["garbage", "00-00000000000000000000000000000000-b7ad6b7169203331-01", &format!("{PARENT}-x")] {
            let found = carried(&[("traceparent", unreadable), ("tracestate", "a=b")]).await;
            assert_eq!(found, (unreadable.to_owned(), Some("a=b".to_owned())));
        }
        // Whoever asks for a trace gets one.
        let (forced, _) = carried(&[("x-client-trace-id", "17")]).await;
        assert_eq!(parts(&forced)[3], "01");
        let spans = collector.spans(1).await;
        has(&spans["/"], json!({"guid:x-client-trace-id": "17"}));
    }

    async fn without_tracing_nothing_is_added(engine: Engine) {
        let upstreams = both().await;
        let gateway = Setup::new(&[("blue", &upstreams[0]), ("green", &upstreams[1])]).start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").send().await.status, 200);
        assert_eq!(context(&upstreams[0].request()), (String::new(), None));
        upstreams[0].forget();
        client.get("/").header("traceparent", PARENT).send().await;
        assert_eq!(context(&upstreams[0].request()), (PARENT.to_owned(), None));
        if engine == Engine::Host {
            assert!(!gateway.admin("/stats").await.contains("tracing"));
        }
    }

    /// Requests go on as if nothing were; lost spans are counted. What Envoy counts then depends on how the collector is lost.
    host async fn a_collector_that_is_down_or_slow(engine: Engine) {
        let (down, _reserved) = refusing();
        let (slow, _sockets) = full_backlog().await;
        let silent = Upstream::start(|_| std::future::pending()).await;
        for collector in [down, slow, silent.address()] {
            let upstreams = both().await;
            let gateway = start(engine, &upstreams, collector, 100).await;
            let mut client = gateway.client();
            let start = Instant::now();
            for _ in 0..3_000 {
                assert_eq!(client.get("/").send().await.status, 200);
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
            gateway.metric("envoy_tracing_opentelemetry_spans_dropped").becomes(3_000.0).await;
            gateway.metric("envoy_tracing_opentelemetry_spans_sent").becomes(0.0).await;
        }
    }

    /// A gateway that ends sends its last spans first; Envoy does not.
    host async fn the_last_spans_are_sent(engine: Engine) {
        let collector = Collector::start().await;
        let upstreams = both().await;
        let mut gateway = start(engine, &upstreams, collector.server.address(), 100).await;
        gateway.client().get("/last").send().await;
        gateway.terminate();
        assert!(gateway.ended().await.success());
        assert_eq!(collector.spans(1).await.len(), 1);
    }
}
