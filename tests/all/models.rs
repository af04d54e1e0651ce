//! The LLM layer: models in request bodies, what answers take, what consumers may use up.

mod answers;
mod limits;
mod odd;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use switchover_tests::keys::consumer;
use switchover_tests::upstream::{Body, Seen};
use switchover_tests::{Gateway, Reply, Setup, Upstream, assert_eventually, cases, programs};

const CHAT: &str = "/v1/chat/completions";

/// The document of these cases; `models` are fields more, or others.
fn document(models: Value) -> Value {
    let mut document = json!({
        "routing": {"blue": {"weight": 1, "clusters": ["blue-only"]}, "green": {"weight": 0, "clusters": ["green-only"]}},
        "auth": {"mode": "replace", "consumers": [consumer("team-a", "key-a"), consumer("team-b", "key-b")]},
        "attempts": true,
        "models": {
            "catalogue": [
                {"id": "gpt-4.1", "owned_by": "openai", "usd_per_million": {"input": 2, "cached_input": 0.5, "output": 8}, "reference_usd_per_million": 10},
                {"id": "gpt-4.1-mini", "usd_per_million": 0.4},
            ],
            "aliases": {"gpt-4": "gpt-4.1", "mini*": "gpt-4.1-mini"},
        },
    });
    document["auth"]["consumers"][1]["models"] = json!(["gpt-4.1-mini"]);
    let own = document["models"].as_object_mut().unwrap();
    own.extend(models.as_object().unwrap().clone());
    document
}

fn setup(document: Value, upstreams: [&Upstream; 2]) -> Setup {
    let holds = document["models"]["hold_headers"] == true;
    let [blue, green] = upstreams;
    let setup = Setup::new(&[("blue", blue), ("green", green)]).document(document);
    let setup = setup.edit(|bootstrap| {
        bootstrap.listeners()[0]["per_connection_buffer_limit_bytes"] = (8 << 20).into();
    });
    setup.plugin(move |plugin| {
        if holds {
            plugin["allow_on_headers_stop_iteration"] = true.into();
        }
    })
}

async fn start(
    engine: switchover_tests::Engine,
    document: Value,
    upstreams: [&Upstream; 2],
) -> Gateway {
    setup(document, upstreams).start(engine).await
}

/// An upstream that answers as the API does: in one piece, or as a stream.
async fn api(name: &'static str) -> Upstream {
    Upstream::start(move |request: Seen| async move {
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let usage = json!({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "prompt_tokens_details": {"cached_tokens": 400}});
        let (kind, text) = if body["stream"] == true {
            let word = json!({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": name}}]});
            let last = json!({"object": "chat.completion.chunk", "choices": [], "usage": usage});
            let last = if body["stream_options"]["include_usage"] == true { format!("data: {last}\n\n") } else { String::new() };
            ("text/event-stream", format!("data: {word}\n\n{last}data: [DONE]\n\n"))
        } else {
            ("application/json", json!({"object": "chat.completion", "upstream": name, "choices": [], "usage": usage}).to_string())
        };
        let body = http_body_util::Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
        // To say that it is not encoded is as good as to say nothing.
        Response::builder().header("content-type", kind).header("content-encoding", "identity").body(body).unwrap()
    })
    .await
}

fn chat(model: &str) -> String {
    json!({"messages": [{"role": "user", "content": "model"}], "model": model}).to_string()
}

fn error(reply: &Reply, status: u16, code: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.json()["error"]["code"], code, "{reply:?}");
}

cases! {
    /// Whoever wants names alone pays for no more: answers pass unread, and what clients accept is theirs.
    async fn answers_are_counted_only_where_that_is_wanted(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let gateway = start(engine, document(json!({"count_usage": false, "hold_headers": true})), [&blue, &green]).await;
        let mut client = gateway.client();
        for streams in [false, true] {
            let body = |model: &str| json!({"model": model, "stream": streams, "messages": []}).to_string();
            let call = client.post(CHAT, body("gpt-4")).bearer("key-a").header("accept-encoding", "br");
            assert_eq!(call.send().await.status, 200);
            let seen = blue.request();
            assert_eq!(str::from_utf8(seen.body()).unwrap(), body("gpt-4.1"), "no usage is asked for");
            assert_eq!(seen.headers()["accept-encoding"], "br");
            blue.forget();
        }
        gateway.metric("switchover_model_requests").label("model", "gpt-4.1").becomes(2.0).await;
        let metrics = gateway.admin("/stats/prometheus").await;
        assert!(!metrics.contains("switchover_answers"), "{metrics}");
        assert!(!metrics.contains("switchover_input_tokens"), "{metrics}");
    }

    async fn an_alias_goes_on_as_the_model(engine: Engine) {
        for holds in [false, true] {
            let (blue, green) = (api("blue").await, api("green").await);
            let gateway = start(engine, document(json!({"hold_headers": holds})), [&blue, &green]).await;
            let mut client = gateway.client();
            let reply = client.post(CHAT, chat("gpt-4")).bearer("key-a").send().await;
            assert_eq!((reply.status.as_u16(), reply.header("x-deployment-mode")), (200, "blue"), "{reply:?}");
            let seen = blue.request();
            assert_eq!(str::from_utf8(seen.body()).unwrap(), chat("gpt-4.1"));
            assert_eq!(seen.headers()["accept-encoding"], "identity");
            let length = seen.headers().get("content-length").map(|length| length.to_str().unwrap().to_owned());
            assert_eq!(length, holds.then(|| chat("gpt-4.1").len().to_string()));
            // A long body, its model behind the rest.
            let long = json!({"input": "a\"".repeat(200_000), "z": 1}).to_string().replace("\"z\":1", "\"model\":\"mini-2\"");
            blue.forget();
            assert_eq!(client.post("/v1/embeddings", long.clone()).bearer("key-a").send().await.status, 200);
            assert_eq!(str::from_utf8(blue.request().body()).unwrap(), long.replace("mini-2", "gpt-4.1-mini"));
            let requests = gateway.metric("switchover_model_requests").label("outcome", "aliased");
            requests.label("model", "gpt-4.1").becomes(1.0).await;
        }
    }

    async fn an_unknown_model_is_not_found(engine: Engine) {
        for holds in [false, true] {
            let (blue, green) = (api("blue").await, api("green").await);
            let mut document = document(json!({"hold_headers": holds}));
            document["guard"] = json!({"environment": "green", "max_error_rate": 0.1, "min_requests": 1});
            document["routing"]["green"]["weight"] = 1.into();
            let gateway = start(engine, document, [&blue, &green]).await;
            let mut client = gateway.client();
            for _ in 0..4 {
                let reply = client.post(CHAT, chat("gpt-4.1-mimi")).bearer("key-a").send().await;
                error(&reply, 404, "model_not_found");
                let message = reply.json()["error"]["message"].to_string();
                assert!(message.contains("Did you mean `gpt-4.1-mini`"), "{message}");
            }
            error(&client.post(CHAT, chat("gpt-4.1")).bearer("key-b").send().await, 404, "model_not_found");
            assert_eq!(client.post(CHAT, chat("gpt-4.1")).bearer("wrong").send().await.status, 401);
            if holds {
                assert_eq!(blue.count() + green.count(), 0);
            }
            let requests = gateway.metric("switchover_model_requests").label("outcome", "unknown");
            requests.label("model", "other").becomes(5.0).await;
            assert_eq!(gateway.metric("switchover_failures").value().await, 0.0, "broken off for the request's sake");
        }
    }

    async fn a_model_may_stay_in_one_environment(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let mut document = document(json!({"hold_headers": true}));
        document["routing"]["blue"]["weight"] = 0.into();
        document["routing"]["green"] = json!({"weight": 1, "clusters": ["green-only"], "models": ["gpt-4.1-mini"]});
        let gateway = start(engine, document, [&blue, &green]).await;
        let mut client = gateway.client();
        for (model, environment) in [("gpt-4.1", "blue"), ("mini", "green"), ("gpt-4", "blue")] {
            let reply = client.post(CHAT, chat(model)).bearer("key-a").send().await;
            assert_eq!((reply.status.as_u16(), reply.header("x-deployment-mode")), (200, environment), "{model}");
        }
        gateway.metric("switchover_requests").label("reason", "model").becomes(2.0).await;
    }

    /// Where green fails over to blue, what blue does not take ends there, in a VM of the attempt role's own too.
    async fn a_retry_does_not_take_a_model_elsewhere(engine: Engine) {
        for apart in [false, true] {
            let blue = api("blue").await;
            let green = Upstream::failing("green", StatusCode::SERVICE_UNAVAILABLE).await;
            let mut document = document(json!({"hold_headers": true}));
            document["routing"] = json!({
                "blue": {"weight": 0, "clusters": ["blue-only"], "models": ["gpt-4.1"]},
                "green": {"weight": 1, "clusters": ["green-only"]},
            });
            document["stable"] = json!("blue");
            document["guard"] = json!({"environment": "green", "max_error_rate": 0.9, "min_requests": 100});
            let setup = setup(document, [&blue, &green]);
            let gateway = setup.edit(move |bootstrap| bootstrap.edit_attempt_role(|plugin| if apart {
                plugin["vm_config"]["configuration"] = json!({"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "apart"});
            })).start(engine).await;
            let mut client = gateway.client();
            for _ in 0..2 {
                let reply = client.post(CHAT, chat("gpt-4.1-mini")).bearer("key-a").send().await;
                error(&reply, 503, "model_unavailable");
                assert!(reply.headers.get("x-deployment-mode").is_none(), "nobody has answered: {reply:?}");
                assert_eq!(blue.count(), 0);
                let reply = client.post(CHAT, chat("gpt-4")).bearer("key-a").send().await;
                assert_eq!((reply.status.as_u16(), reply.header("x-deployment-mode")), (200, "blue"), "{reply:?}");
                assert_eq!(str::from_utf8(blue.request().body()).unwrap(), chat("gpt-4.1"));
                blue.forget();
            }
            let of = |family: &str, environment| gateway.metric(family).label("environment", environment);
            of("switchover_attempts", "green").becomes(4.0).await;
            of("switchover_failures", "green").becomes(4.0).await;
            of("switchover_failovers", "blue").label("from", "green").becomes(2.0).await;
            of("switchover_refused_attempts", "blue").becomes(2.0).await;
            assert_eq!(of("switchover_attempts", "blue").value().await, 2.0);
            assert_eq!(of("switchover_failures", "blue").value().await, 0.0);
        }
    }

    async fn what_cannot_be_read_is_answered_or_passes(engine: Engine) {
        let utf16: Vec<u8> = chat("gpt-4.1").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let deep = format!("{{\"model\":\"gpt-4.1\",\"x\":{}1{}}}", "[".repeat(1_000), "]".repeat(1_000));
        let long = format!("{{\"model\":\"gpt-4.1\",\"x\":\"{}\"}}", "a".repeat(40_000));
        let cases: Vec<(Bytes, &str, u16)> = vec![
            ("not json".into(), "", 400),
            ("".into(), "", 400),
            (utf16.into(), "", 400),
            (chat("gpt-4.1").split_off(3).into(), "", 400),
            (chat("gpt-4.1").trim_end_matches('}').to_owned().into(), "", 400),
            (deep.into(), "", 400),
            ("{\"model\":1}".into(), "", 400),
            ("{}".into(), "", 400),
            (b"{\"model\":\"\xff\"}"[..].into(), "", 400),
            (b"\x1f\x8b\x08"[..].into(), "gzip", 415),
            (long.into(), "", 413),
            ("\u{feff}{\"model\":\"gpt-4.1\"}".into(), "", 200),
            ("{\"model\":\"x\",\"model\":\"gpt-4.1\"}".into(), "identity", 200),
        ];
        for (unknown, holds) in [("reject", true), ("reject", false), ("pass", true), ("pass", false)] {
            let (blue, green) = (api("blue").await, api("green").await);
            let models = json!({"unknown": unknown, "hold_headers": holds, "max_body": "16KiB"});
            let gateway = start(engine, document(models), [&blue, &green]).await;
            for (body, encoding, expected) in &cases {
                let mut client = gateway.client();
                let mut call = client.post(CHAT, body.clone()).bearer("key-a");
                if !encoding.is_empty() {
                    call = call.header("content-encoding", encoding);
                }
                let reply = call.send().await;
                let expected = if unknown == "pass" { 200 } else { *expected };
                assert_eq!(reply.status, expected, "{unknown} {holds} {:?}: {reply:?}", &body[..body.len().min(40)]);
                if expected != 200 {
                    assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
                } else {
                    let seen = blue.requests().pop().unwrap();
                    assert!(seen.body() == body, "passed as it was");
                }
            }
        }
    }

    async fn usage_and_cost_are_counted(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let gateway = start(engine, document(json!({})), [&blue, &green]).await;
        let mut client = gateway.client();
        let stream = |options: Value| json!({"model": "gpt-4.1", "stream": true, "stream_options": options}).to_string();
        let whole = client.post(CHAT, chat("gpt-4.1")).bearer("key-a").send().await;
        assert_eq!(whole.json()["usage"]["prompt_tokens"], 1000);
        let hidden = client.post(CHAT, stream(Value::Null)).bearer("key-a").send().await;
        assert!(hidden.text().contains("\"content\":\"blue\"") && hidden.text().ends_with("data: [DONE]\n\n"), "{hidden:?}");
        assert!(!hidden.text().contains("prompt_tokens"), "{hidden:?}");
        let asked = client.post(CHAT, stream(json!({"include_usage": true}))).bearer("key-a").send().await;
        assert!(asked.text().contains("prompt_tokens"), "{asked:?}");
        let metric = |family: &str| {
            let metric = gateway.metric(&format!("switchover_{family}"));
            metric.label("environment", "blue").label("model", "gpt-4.1").label("consumer", "team-a")
        };
        metric("answers").label("usage", "told").becomes(3.0).await;
        metric("input_tokens").becomes(3000.0).await;
        metric("cached_input_tokens").becomes(1200.0).await;
        metric("output_tokens").becomes(300.0).await;
        // 600 at 2, 400 at 0.50 and 100 at 8 dollars a million, three times.
        metric("cost_microdollars").becomes(6600.0).await;
        metric("reference_cost_microdollars").becomes(33000.0).await;
        gateway.metric("switchover_time_to_first_token_ms_count").label("model", "gpt-4.1").becomes(2.0).await;
        let page = std::fs::read_to_string(programs::root().join("host/METRICS.md")).unwrap();
        let (_, section) = page.split_once("## Of models").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let families = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let text = gateway.admin("/stats/prometheus").await;
        let mut told = 0;
        // Of environments with models, which this document has not.
        for family in families.filter(|family| *family != "switchover_refused_attempts") {
            assert!(text.contains(&format!("# TYPE {family} ")), "{family} is not told: {text}");
            told += 1;
        }
        assert_eq!(told, 9);
    }

    /// What a stream has told counts, also where the client leaves before its end.
    async fn usage_counts_where_the_client_leaves(engine: Engine) {
        let blue = Upstream::start(|_| async {
            let event = json!({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}});
            let first = futures_util::stream::once(async move { Ok(Frame::data(Bytes::from(format!("data: {event}\n\n")))) });
            let body: Body = BodyExt::boxed(StreamBody::new(first.chain(futures_util::stream::pending())));
            Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
        }).await;
        let green = api("green").await;
        let gateway = start(engine, document(json!({})), [&blue, &green]).await;
        let text = json!({"model": "gpt-4.1", "stream": true, "stream_options": {"include_usage": true}}).to_string();
        let mut client = gateway.client();
        let call = client.post(CHAT, text).bearer("key-a").send();
        let left = tokio::time::timeout(Duration::from_millis(300), call).await;
        assert!(left.is_err(), "the stream has no end");
        drop(client);
        gateway.metric("switchover_input_tokens").label("consumer", "team-a").becomes(7.0).await;
    }

    async fn what_is_used_up_is_refused(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let mut document = document(json!({"limits": {"requests_per_minute": 3, "tokens_per_minute": 100_000}}));
        document["auth"]["consumers"][1]["limits"] = json!({"usd_per_day": 0.01});
        document["models"]["catalogue"][1]["usd_per_million"] = json!(8);
        let gateway = start(engine, document, [&blue, &green]).await;
        for left in ["2", "1", "0"] {
            let reply = gateway.client().post(CHAT, chat("gpt-4.1")).bearer("key-a").send().await;
            assert_eq!((reply.status.as_u16(), reply.header("x-ratelimit-remaining-requests")), (200, left));
            assert_eq!(reply.header("x-ratelimit-limit-tokens"), "100000");
        }
        let reply = gateway.client().post(CHAT, chat("gpt-4.1")).bearer("key-a").send().await;
        error(&reply, 429, "rate_limit_exceeded");
        assert_eq!((reply.json()["error"]["type"].as_str(), reply.header("x-ratelimit-remaining-requests")), (Some("requests"), "0"));
        let wait: u64 = reply.header("retry-after").parse().unwrap();
        assert!((1..=20).contains(&wait), "{wait}");
        // 1100 tokens at 8 dollars a million are 0.0088 dollars: the second request is the last.
        let mut replies = Vec::new();
        assert_eventually!({
            replies.push(gateway.client().post(CHAT, chat("mini")).bearer("key-b").send().await);
            replies.last().is_some_and(|reply| reply.status == StatusCode::TOO_MANY_REQUESTS)
        }, "{replies:?}");
        error(replies.last().unwrap(), 429, "insufficient_quota");
        assert!(replies.len() <= 4, "{replies:?}");
        gateway.metric("switchover_model_requests").label("outcome", "limited").becomes(2.0).await;
    }

    async fn the_catalogue_is_listed(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let gateway = start(engine, document(json!({})), [&blue, &green]).await;
        let mut client = gateway.client();
        let ids = |reply: Reply| -> Vec<String> {
            let list = reply.json()["data"].as_array().unwrap().clone();
            list.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(ids(client.get("/v1/models").bearer("key-a").send().await), ["gpt-4.1", "gpt-4.1-mini"]);
        assert_eq!(ids(client.get("/v1/models").bearer("key-b").send().await), ["gpt-4.1-mini"]);
        assert_eq!(client.get("/v1/models/gpt-4").bearer("key-a").send().await.json()["owned_by"], "openai");
        error(&client.get("/v1/models/none").bearer("key-a").send().await, 404, "model_not_found");
        assert_eq!(client.get("/v1/models").send().await.status, 401);
        assert_eq!(blue.count(), 0);
    }

    /// The list may be the upstream's, and models may stand in bodies elsewhere.
    async fn the_list_and_the_paths_are_as_the_document_says(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let models = json!({"list": "upstream", "endpoints": ["/own/chat"]});
        let gateway = start(engine, document(models), [&blue, &green]).await;
        let mut client = gateway.client();
        for path in ["/v1/models", "/v1/models/gpt-4.1", "/v1/models/none"] {
            let reply = client.get(path).bearer("key-a").send().await;
            assert_eq!(reply.json()["upstream"], "blue", "{path}: {reply:?}");
        }
        for (path, arrives) in [("/own/chat", "gpt-4.1"), ("/own/chat?a=b", "gpt-4.1"), (CHAT, "gpt-4")] {
            client.post(path, chat("gpt-4")).bearer("key-a").send().await;
            let seen: Value = serde_json::from_slice(blue.requests().pop().unwrap().body()).unwrap();
            assert_eq!(seen["model"], arrives, "{path}");
        }
        error(&client.post("/own/chat", chat("none")).bearer("key-a").send().await, 404, "model_not_found");
    }
}
