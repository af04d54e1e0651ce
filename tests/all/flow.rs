//! Bodies and trailers through filters of listeners and of clusters.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::json;
use switchover_tests::http2::{Http2, request};
use switchover_tests::setup::{Bootstrap, wasm};
use switchover_tests::upstream::{Seen, full, text};
use switchover_tests::{Engine, Gateway, Setup, Upstream, assert_eventually, cases, programs};
use tokio::sync::Notify;

/// A plugin of the guest `flow` by this name.
fn plugin(name: &str) -> serde_json::Value {
    json!({
        "name": name,
        "root_id": name,
        "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": name},
        "vm_config": {
            "vm_id": "flow",
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": programs::guest("flow")}},
        },
    })
}

fn filter(name: &str) -> serde_json::Value {
    json!({"name": name, "typed_config": wasm(&plugin(name))})
}

/// The same with bodies that flow to it while it holds the head.
fn stopping_filter(name: &str) -> serde_json::Value {
    let mut plugin = plugin(name);
    plugin["allow_on_headers_stop_iteration"] = true.into();
    json!({"name": name, "typed_config": wasm(&plugin)})
}

/// Listener filters `L` and `M`.
pub(crate) fn listen(bootstrap: &mut Bootstrap) {
    bootstrap.filters().splice(0..0, [filter("L"), filter("M")]);
}

/// Listener filters `L` and `M`, and the filter `U` upstream.
pub(crate) fn install(bootstrap: &mut Bootstrap) {
    listen(bootstrap);
    let options = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": [filter("U"), {
            "name": "codec",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"},
        }],
    });
    bootstrap.cluster("blue")["typed_extension_protocol_options"] =
        json!({"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options});
}

async fn gateway(engine: Engine, blue: &Upstream) -> Gateway {
    Setup::new(&[("blue", blue)])
        .without_filters()
        .edit(install)
        .start(engine)
        .await
}

/// An upstream that echoes bodies.
async fn echo() -> Upstream {
    Upstream::start(|request| async move { Response::new(full(request.into_body())) }).await
}

/// The same, and it answers each filter's callout with the filter's name; that of `late` when it may.
async fn answering(late: &'static str, when: &Arc<Notify>) -> Upstream {
    let when = Arc::clone(when);
    Upstream::start(move |request| {
        let when = Arc::clone(&when);
        async move {
            let Some(name) = request.uri().path().strip_prefix("/side/") else {
                return Response::new(full(request.into_body()));
            };
            if name == late {
                when.notified().await;
            }
            let answer = format!("answer-{name}");
            Response::new(full(answer))
        }
    })
    .await
}

/// Asks for this of filters that let bodies flow while they hold heads, of which `late`'s callout is answered when `line`
/// has been said; the upstream's last request, and the answer.
async fn in_turns(
    engine: Engine,
    what: &str,
    late: &'static str,
    line: &str,
) -> (Seen, switchover_tests::http2::Answer) {
    let when = Arc::new(Notify::new());
    let blue = answering(late, &when).await;
    let gateway = Setup::new(&[("blue", &blue)])
        .without_filters()
        .edit(|bootstrap| {
            let filters = [stopping_filter("L"), stopping_filter("M")];
            bootstrap.filters().splice(0..0, filters);
        })
        .start(engine)
        .await;
    let mut client = Http2::connect(gateway.address()).await;
    let (answer, ()) = tokio::join!(client.send(asking(what, &["body"], &[])), async {
        told(&gateway, line).await;
        when.notify_one();
    });
    let mut seen = blue.requests().into_iter();
    let request = seen.find(|request| !request.uri().path().starts_with("/side/"));
    (request.unwrap(), answer)
}

fn asking(
    what: &str,
    parts: &[&'static str],
    trailers: &[(&'static str, &'static str)],
) -> http::Request<switchover_tests::http2::Body> {
    let mut call = request("POST", "/", parts, trailers);
    call.headers_mut().insert("x-flow", what.parse().unwrap());
    call
}

/// Waits until a filter has said this.
pub(crate) async fn told(gateway: &Gateway, line: &str) {
    let line = format!("flow {line}");
    assert_eventually!(
        gateway.output().contains(&line),
        "nobody said {line:?}:\n{}",
        gateway.output()
    );
}

cases! {
    async fn request_trailers_reach_filters_of_both_chains(engine: Engine) {
        let blue = echo().await;
        let gateway = gateway(engine, &blue).await;
        let answer = Http2::connect(gateway.address()).await.send(asking("", &["body"], &[("x-client", "1")])).await;
        assert_eq!(answer.reply.text(), "body");
        for name in ["L", "M", "U"] {
            told(&gateway, &format!("{name}: request body \"body\" end false")).await;
            told(&gateway, &format!("{name}: request trailers x-client=1")).await;
        }
    }

    /// Without `enable_trailers`, HTTP/1's are dropped.
    async fn trailers_of_http1_are_dropped_unless_wanted(engine: Engine) {
        for wanted in [false, true] {
            let blue = echo().await;
            let setup = Setup::new(&[("blue", &blue)]).without_filters().edit(install);
            let setup = setup.edit(move |b| b.http()["http_protocol_options"] = json!({"enable_trailers": wanted}));
            let gateway = setup.start(engine).await;
            let mut raw = switchover_tests::raw::Raw::connect(gateway.address()).await;
            raw.write("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-client: 1\r\n\r\n").await;
            raw.read_until("body").await;
            assert_eventually!(gateway.output().contains("flow U: response body"), "no answer");
            assert_eq!(gateway.output().contains("request trailers x-client=1"), wanted);
        }
    }

    /// What a filter has held back goes before the trailers.
    async fn trailers_release_a_held_body(engine: Engine) {
        let blue = echo().await;
        let gateway = gateway(engine, &blue).await;
        let call = asking("L:buffer-request M:buffer-request U:buffer-request", &["one", "two"], &[("x-client", "1")]);
        let answer = Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!(answer.reply.text(), "onetwo");
        told(&gateway, "M: request body \"onetwo\" end false").await;
        told(&gateway, "U: request body \"onetwo\" end false").await;
    }

    async fn a_filter_may_hold_the_trailers(engine: Engine) {
        let blue = echo().await;
        let gateway = gateway(engine, &blue).await;
        let call = asking("L:buffer-request L:hold-request-trailers", &["one", "two"], &[("x-client", "1")]);
        let answer = Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!(answer.reply.text(), "onetwo");
        told(&gateway, "L: goes on").await;
        told(&gateway, "M: request trailers x-client=1").await;
    }

    async fn a_filter_may_add_trailers_to_the_end_of_a_body(engine: Engine) {
        let blue = echo().await;
        let gateway = gateway(engine, &blue).await;
        let call = asking("L:add-request-trailers U:add-response-trailers", &["body"], &[]);
        let answer = Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!((answer.reply.text(), &answer.trailers["x-added"]), ("body", &"U".parse().unwrap()));
        told(&gateway, "L: request body \"\" end true").await;
        told(&gateway, "M: request body \"\" end false").await;
        told(&gateway, "M: request trailers x-added=L").await;
        told(&gateway, "U: request trailers x-added=L").await;
        told(&gateway, "L: response trailers x-added=U").await;
        assert!(!gateway.output().contains("flow L: request trailers"), "a filter sees its own trailers");
    }

    async fn added_trailers_wait_for_a_filter_that_holds_the_body(engine: Engine) {
        let blue = echo().await;
        let gateway = gateway(engine, &blue).await;
        let call = asking("M:add-response-trailers M:hold-response-body", &["body"], &[]);
        let answer = Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!((answer.reply.text(), &answer.trailers["x-added"]), ("body", &"M".parse().unwrap()));
        told(&gateway, "L: response trailers x-added=M").await;
    }

    async fn a_filter_may_hold_response_trailers(engine: Engine) {
        let blue = echo().await;
        let gateway = gateway(engine, &blue).await;
        let call = asking("U:add-response-trailers M:hold-response-trailers", &["body"], &[]);
        let answer = Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!((answer.reply.text(), &answer.trailers["x-added"]), ("body", &"U".parse().unwrap()));
        told(&gateway, "M: goes on").await;
    }

    /// Bodies pass a cluster's filters after the listener's, and before them on the way back.
    async fn filters_of_a_cluster_change_bodies(engine: Engine) {
        let blue = echo().await;
        let gateway = gateway(engine, &blue).await;
        let words = "L:sign-request M:sign-request U:sign-request L:sign-response M:sign-response U:sign-response";
        let mut call = asking(words, &["body"], &[]);
        call.headers_mut().insert("x-kept", "1".parse().unwrap());
        let answer = Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!(blue.request().body(), "body+L+M+U");
        assert_eq!(answer.reply.headers.get("content-length"), None, "{:?}", answer.reply);
        assert_eq!(answer.reply.text(), "body+L+M+U+U+M+L");
    }

    async fn a_cluster_filter_may_hold_a_response(engine: Engine) {
        let blue = echo().await;
        let gateway = gateway(engine, &blue).await;
        let call = asking("U:buffer-request U:buffer-response U:hold-response-body", &["one", "two"], &[]);
        let answer = Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!(answer.reply.text(), "onetwo");
        told(&gateway, "U: goes on").await;
    }

    async fn a_held_request_body_is_replaced_with_a_callouts_answer(engine: Engine) {
        let blue = answering("", &Arc::default()).await;
        let gateway = gateway(engine, &blue).await;
        let call = asking("L:buffer-request L:hold-request-body L:take-body", &["one", "two"], &[]);
        let answer = Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!(answer.reply.text(), "answer-L");
    }

    async fn a_held_response_body_is_replaced_with_a_callouts_answer(engine: Engine) {
        for name in ["M", "U"] {
            let blue = answering("", &Arc::default()).await;
            let gateway = gateway(engine, &blue).await;
            let what = format!("{name}:buffer-response {name}:hold-response-body {name}:take-body");
            let answer = Http2::connect(gateway.address()).await.send(asking(&what, &["one", "two"], &[])).await;
            assert_eq!(answer.reply.text(), format!("answer-{name}"));
        }
    }

    /// `M` holds the head while `L` holds the body: each lets go of its own.
    async fn two_filters_hold_one_request(engine: Engine) {
        let what = "L:buffer-request L:hold-request-body L:take-body M:hold-request-headers M:take-header";
        let (request, answer) = in_turns(engine, what, "M", "M: request body \"answer-L\" end true").await;
        assert_eq!(request.headers()["x-side"], "answer-M");
        assert_eq!(request.body(), "answer-L");
        assert_eq!(answer.reply.text(), "answer-L");
    }

    async fn two_filters_hold_one_response(engine: Engine) {
        let what = "M:buffer-response M:hold-response-body M:take-body L:hold-response-headers L:take-header";
        let (_, answer) = in_turns(engine, what, "L", "L: response body \"answer-M\" end true").await;
        assert_eq!(answer.reply.headers["x-side"], "answer-L");
        assert_eq!(answer.reply.text(), "answer-M");
    }

    /// Host only: Envoy lets the request go on as soon as its connection is there, whether or not the filter still holds it.
    host async fn a_cluster_filter_may_hold_a_request(engine: Engine) {
        let blue = echo().await;
        let gateway = gateway(engine, &blue).await;
        let call = asking("U:buffer-request U:hold-request-body", &["one", "two"], &[]);
        let answer = Http2::connect(gateway.address()).await.send(call).await;
        assert_eq!(answer.reply.text(), "onetwo");
        told(&gateway, "U: goes on").await;
    }

    async fn each_attempt_has_its_own_look_at_the_body(engine: Engine) {
        let failed = std::sync::atomic::AtomicBool::new(false);
        let blue = Upstream::start(move |request| {
            let again = failed.swap(true, std::sync::atomic::Ordering::SeqCst);
            async move {
                match again {
                    true => Response::new(full(request.into_body())),
                    false => text(StatusCode::SERVICE_UNAVAILABLE, "not yet"),
                }
            }
        }).await;
        let setup = Setup::new(&[("blue", &blue)]).without_filters().edit(install);
        let retry = json!({"retry_on": "5xx", "num_retries": 2});
        let gateway = setup.edit(move |b| b.route("blue")["route"]["retry_policy"] = retry).start(engine).await;
        let answer = Http2::connect(gateway.address()).await.send(asking("U:sign-request", &["body"], &[])).await;
        assert_eq!(answer.reply.text(), "body+U");
        let bodies: Vec<_> = blue.requests().into_iter().map(|seen| seen.into_body()).collect();
        assert_eq!(bodies, ["body+U", "body+U"]);
    }
}
