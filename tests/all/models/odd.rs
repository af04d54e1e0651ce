//! Requests and answers that are not what they say: lengths, trailers, streams without an end, a line or a usage.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use switchover_tests::http2::{Http2, request};
use switchover_tests::raw::Raw;
use switchover_tests::upstream::Body;
use switchover_tests::{Engine, Gateway, Upstream, assert_eventually, cases};
use tokio::sync::Notify;

use super::{CHAT, api, chat, document, error, setup, start};

/// As a body that gzip has made begins.
const ENCODED: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03data: {\n\n\xff\xfe";
/// What a piece of a long line has.
const PIECE: usize = 64 * 1024;
/// Pieces of it: 32 MiB.
const PIECES: usize = 512;

async fn still_serves(gateway: &Gateway) {
    let reply = gateway
        .client()
        .post(CHAT, chat("gpt-4"))
        .bearer("key-a")
        .send()
        .await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// A stream of these pieces, which ends after them.
async fn streaming(pieces: impl Fn() -> Vec<Bytes> + Clone + Send + Sync + 'static) -> Upstream {
    Upstream::start(move |_| {
        let pieces = pieces();
        async move {
            let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
            let body: Body = BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)));
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(body)
                .unwrap()
        }
    })
    .await
}

cases! {
    /// The filter looks at sixteen bytes at once: what ends a text is found at each of their places, and nothing else is.
    async fn texts_end_anywhere(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let gateway = start(engine, document(json!({"hold_headers": true})), [&blue, &green]).await;
        let mut client = gateway.client();
        for before in 0..18 {
            let pad = "\u{7f}é!#[]".chars().cycle().take(before).collect::<String>();
            let body = |text: &str, model: &str| format!("{{\"input\": \"{pad}{text}{pad}\", \"model\": \"{model}\"}}");
            for text in ["", r#"\""#, r"\\", r#"\",\"model\":\"a"#, r"\u00e9\n", r#"\\\""#] {
                blue.forget();
                let reply = client.post(CHAT, body(text, "gpt-4")).bearer("key-a").send().await;
                assert_eq!(reply.status, 200, "{before} {text}: {reply:?}");
                assert_eq!(str::from_utf8(blue.request().body()).unwrap(), body(text, "gpt-4.1"));
            }
            for text in ["\n", "\u{1f}", "\0", "\"", r"\x", r"\u12g4"] {
                let reply = client.post(CHAT, body(text, "gpt-4")).bearer("key-a").send().await;
                error(&reply, 400, "invalid_json");
            }
        }
    }

    /// A body shorter than its length never ends: nobody gets it, and the client may leave. What is longer is another
    /// request, and no good one.
    async fn lengths_that_lie_over_http1(engine: Engine) {
        for holds in [false, true] {
            let (blue, green) = (api("blue").await, api("green").await);
            let gateway = start(engine, document(json!({"hold_headers": holds})), [&blue, &green]).await;
            let body = chat("gpt-4");
            let head = |length: usize| {
                format!("POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer key-a\r\ncontent-length: {length}\r\n\r\n{body}")
            };
            let mut raw = Raw::connect(gateway.address()).await;
            raw.write(head(body.len() + 1)).await;
            let (got, _) = raw.read_for(std::time::Duration::from_millis(200)).await;
            assert_eq!(got, "");
            drop(raw);
            let mut raw = Raw::connect(gateway.address()).await;
            raw.write(head(body.len() - 1)).await;
            let answers = raw.read_to_end().await;
            // Cut off, the body is no JSON; the byte behind it begins no request.
            assert!(answers.starts_with("HTTP/1.1 400 "), "{answers}");
            assert!(answers.contains("invalid_json"), "{answers}");
            still_serves(&gateway).await;
            let whole = blue.requests().iter().filter(|seen| !seen.body().is_empty()).count();
            assert_eq!(whole, 1, "only the last one came whole");
        }
    }

    /// HTTP/2 knows where a body ends: such a stream is reset.
    async fn lengths_that_lie_over_http2(engine: Engine) {
        for holds in [false, true] {
            let (blue, green) = (api("blue").await, api("green").await);
            let gateway = start(engine, document(json!({"hold_headers": holds})), [&blue, &green]).await;
            for wrong in [-1, 1] {
                let body = chat("gpt-4");
                let length = body.len().checked_add_signed(wrong).unwrap();
                let pieces = futures_util::stream::iter([Ok(Frame::data(Bytes::from(body)))]);
                let call = Request::post(format!("http://gateway.test{CHAT}"))
                    .header("authorization", "Bearer key-a")
                    .header("content-length", length)
                    .body(BodyExt::boxed(StreamBody::new(pieces)))
                    .unwrap();
                let mut client = Http2::connect(gateway.address()).await;
                let answer = client.open(call).await;
                let status = answer.as_ref().map(|answer| answer.status().as_u16());
                assert!(!matches!(status, Ok(200)), "{wrong}: {answer:?}");
            }
            still_serves(&gateway).await;
            let whole = blue.requests().iter().filter(|seen| !seen.body().is_empty()).count();
            assert_eq!(whole, 1, "only the last one came whole");
        }
    }

    /// Where nobody says how long a body is, it is too long once more of it has come than may.
    async fn long_bodies_of_unknown_length(engine: Engine) {
        for (unknown, status, arrives) in [("reject", 413, false), ("pass", 200, true)] {
            for holds in [true, false] {
                let (blue, green) = (api("blue").await, api("green").await);
                let models = json!({"unknown": unknown, "hold_headers": holds, "max_body": "16KiB"});
                let gateway = start(engine, document(models), [&blue, &green]).await;
                let body = format!("{{\"model\": \"gpt-4\", \"x\": \"{}\"}}", "a".repeat(20_000));
                let mut raw = Raw::connect(gateway.address()).await;
                raw.write(format!(
                    "POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer key-a\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                    body.len()
                ))
                .await;
                raw.read_until(&format!("HTTP/1.1 {status} ")).await;
                let whole = || blue.requests().iter().any(|seen| seen.body() == body.as_bytes());
                if arrives {
                    assert_eventually!(whole(), "{unknown} {holds}: it did not arrive as it was");
                }
                still_serves(&gateway).await;
                assert_eq!(whole(), arrives, "{unknown} {holds}");
                let bodies = gateway.metric("switchover_model_requests").label("outcome", "too_large");
                bodies.becomes(1.0).await;
            }
        }
    }

    /// Host only: Envoy does not bound a filter's memory.
    host async fn a_body_that_memory_has_no_room_for(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let document = document(json!({"hold_headers": true, "max_body": "6MiB"}));
        let setup = setup(document, [&blue, &green]).argument("--filter-memory").argument("8");
        let gateway = setup.start(engine).await;
        let body = |size: usize| format!("{{\"input\": \"{}\", \"model\": \"gpt-4\"}}", "a".repeat(size));
        let mut client = gateway.client();
        for (size, status) in [(1 << 20, 200), (5 << 20, 413), (1 << 20, 200)] {
            let reply = client.post(CHAT, body(size)).bearer("key-a").send().await;
            assert_eq!(reply.status, status, "{size}: {reply:?}");
        }
        assert_eq!(blue.count(), 2);
        assert!(blue.requests().iter().all(|seen| seen.body().ends_with(b"\"gpt-4.1\"}")));
        assert!(!gateway.output().contains("trapped"), "{}", gateway.output());
    }

    /// The body's end is in the trailers.
    async fn a_held_body_may_end_in_trailers(engine: Engine) {
        for holds in [false, true] {
            let (blue, green) = (api("blue").await, api("green").await);
            let gateway = start(engine, document(json!({"hold_headers": holds})), [&blue, &green]).await;
            for (model, status) in [("gpt-4", 200), ("gpt-9", 404)] {
                let body = chat(model).leak();
                let (before, after) = body.split_at(10);
                let mut call = request("POST", CHAT, &[before, after], &[("x-checksum", "1")]);
                call.headers_mut().insert("authorization", "Bearer key-a".parse().unwrap());
                let answer = Http2::connect(gateway.address()).await.send(call).await;
                assert_eq!(answer.reply.status, status, "{holds} {answer:?}");
            }
            let seen = blue.requests();
            let bodies: Vec<_> = seen.iter().map(|seen| str::from_utf8(seen.body()).unwrap()).filter(|body| !body.is_empty()).collect();
            assert_eq!(bodies, [chat("gpt-4.1")]);
        }
    }

    /// All that was announced is there: nothing is waited for.
    async fn a_held_body_goes_on_once_it_is_whole(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let gateway = start(engine, document(json!({"hold_headers": true})), [&blue, &green]).await;
        let body = chat("gpt-4");
        let length = body.len();
        let (before, after) = body.split_at(10);
        let pieces = [before, after].map(|piece| Ok(Frame::data(Bytes::from(piece.to_owned()))));
        let unended = futures_util::stream::iter(pieces).chain(futures_util::stream::pending());
        let call = Request::post(format!("http://gateway.test{CHAT}"))
            .header("authorization", "Bearer key-a")
            .header("content-length", length)
            .body(BodyExt::boxed(StreamBody::new(unended)))
            .unwrap();
        let mut client = Http2::connect(gateway.address()).await;
        assert_eq!(client.open(call).await.unwrap().status(), 200);
        assert_eq!(blue.requests().last().unwrap().body(), chat("gpt-4.1").as_bytes());
    }

    /// A line of 32 MiB, and events that tell nothing: all of it passes, and no more memory is taken than for others.
    async fn long_lines_are_not_kept(engine: Engine) {
        // Bytes that tell a piece that is missing, or there twice, or elsewhere.
        let pieces = || {
            let counted = |at: usize| (at * PIECE..(at + 1) * PIECE).map(|at| b'a' + u8::try_from(at / 7 % 26).unwrap());
            let mut pieces = vec![Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"")];
            pieces.extend((0..PIECES).map(|at| counted(at).collect()));
            pieces.push(Bytes::from_static(b"\"}}]}\n\ndata: [DONE]\n\n"));
            pieces
        };
        let blue = streaming(pieces).await;
        let green = api("green").await;
        let gateway = start(engine, document(json!({})), [&blue, &green]).await;
        let stream = json!({"model": "gpt-4.1", "stream": true}).to_string();
        let before = memory(&gateway).await;
        let reply = gateway.client().post(CHAT, stream).bearer("key-a").send().await;
        let sent = pieces().concat();
        assert_eq!(reply.body.len(), sent.len());
        assert!(reply.body == sent, "it arrived otherwise");
        untold(&gateway, 1.0).await;
        let grown = memory(&gateway).await - before;
        assert!(grown <= 1024.0 * 1024.0, "the guest's memory has grown by {grown} bytes");
    }

    /// An answer that is encoded although nobody asked for that passes as it is.
    async fn encoded_answers_are_untold(engine: Engine) {
        let blue = Upstream::start(|seen| async move {
            assert_eq!(seen.headers()["accept-encoding"], "identity");
            let kind = if seen.body().ends_with(b"true}") { "text/event-stream" } else { "application/json" };
            let body = http_body_util::Full::new(Bytes::from_static(ENCODED)).map_err(|never| match never {}).boxed();
            Response::builder().header("content-type", kind).header("content-encoding", "gzip").body(body).unwrap()
        }).await;
        let green = api("green").await;
        let gateway = start(engine, document(json!({})), [&blue, &green]).await;
        let mut client = gateway.client();
        for stream in [true, false] {
            let text = format!("{{\"model\": \"gpt-4.1\", \"stream\": {stream}}}");
            let reply = client.post(CHAT, text).bearer("key-a").header("accept-encoding", "gzip").send().await;
            assert_eq!((reply.header("content-encoding"), &reply.body[..]), ("gzip", ENCODED));
        }
        untold(&gateway, 2.0).await;
    }

    /// A usage counts when it is told, though the stream stays open; one that is told again counts for what is more in it.
    async fn a_usage_counts_when_it_is_told(engine: Engine) {
        let further = Arc::new(Notify::new());
        let goes_on = Arc::clone(&further);
        let blue = Upstream::start(move |_| {
            let goes_on = Arc::clone(&goes_on);
            async move {
                let event = |input: u32, output: u32| {
                    let event = json!({"choices": [], "usage": {"prompt_tokens": input, "completion_tokens": output}});
                    Ok(Frame::data(Bytes::from(format!("data: {event}\n\n"))))
                };
                let first = futures_util::stream::once(async move { event(17, 3) });
                let last = futures_util::stream::once(async move {
                    goes_on.notified().await;
                    event(17, 5)
                });
                let body: Body = BodyExt::boxed(StreamBody::new(first.chain(last)));
                Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
            }
        }).await;
        let green = api("green").await;
        let mut document = document(json!({}));
        document["auth"]["consumers"][0]["limits"] = json!({"tokens_per_minute": 10});
        let gateway = start(engine, document, [&blue, &green]).await;
        let stream = json!({"model": "gpt-4.1", "stream": true, "stream_options": {"include_usage": true}}).to_string();
        let (mut client, mut other) = (gateway.client(), gateway.client());
        let mut body = client.post(CHAT, stream.clone()).bearer("key-a").open().await.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        let of = |family: &str| gateway.metric(family).label("consumer", "team-a");
        of("switchover_output_tokens").becomes(3.0).await;
        of("switchover_input_tokens").becomes(17.0).await;
        let refused = other.post(CHAT, stream).bearer("key-a").send().await;
        error(&refused, 429, "rate_limit_exceeded");
        further.notify_one();
        body.collect().await.unwrap();
        of("switchover_output_tokens").becomes(5.0).await;
        assert_eq!(of("switchover_input_tokens").value().await, 17.0);
        assert_eq!(of("switchover_answers").label("usage", "told").value().await, 1.0);
        assert_eq!(of("switchover_answers").label("usage", "untold").value().await, 0.0);
    }

    /// A stream that breaks off without a usage is counted as an answer that did not tell.
    async fn a_stream_without_an_end_is_untold(engine: Engine) {
        let gone = Arc::new(Notify::new());
        let breaks = Arc::clone(&gone);
        let blue = Upstream::start(move |_| {
            let gone = Arc::clone(&breaks);
            async move {
                let event = Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choi");
                let first = futures_util::stream::once(async move { Ok(Frame::data(event)) });
                let last = futures_util::stream::once(async move {
                    gone.notified().await;
                    Err(std::io::Error::other("gone"))
                });
                let body: Body = BodyExt::boxed(StreamBody::new(first.chain(last)));
                Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
            }
        }).await;
        let green = api("green").await;
        let gateway = start(engine, document(json!({})), [&blue, &green]).await;
        let stream = json!({"model": "gpt-4.1", "stream": true, "stream_options": {"include_usage": true}}).to_string();
        let mut client = gateway.client();
        let mut body = client.post(CHAT, stream).bearer("key-a").open().await.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        gone.notify_one();
        assert!(body.collect().await.is_err(), "it breaks off here too");
        untold(&gateway, 1.0).await;
    }
}

/// So many answers did not tell what they took.
async fn untold(gateway: &Gateway, count: f64) {
    let answers = gateway
        .metric("switchover_answers")
        .label("usage", "untold");
    answers.becomes(count).await;
}

/// What the guests have; Envoy does not tell, and there the host's figure stands for the same filter.
async fn memory(gateway: &Gateway) -> f64 {
    match gateway.engine() {
        Engine::Host => gateway.metric("switchover_host_memory_bytes").value().await,
        Engine::Envoy => 0.0,
    }
}
