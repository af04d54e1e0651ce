//! Answers in every shape that the API's reference has, from an upstream that gives them as they are.

use std::path::PathBuf;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use serde_json::json;
use switchover_tests::upstream::Seen;
use switchover_tests::{Upstream, cases, programs};

use super::{api, document, start};

fn folder() -> PathBuf {
    programs::root().join("filter/core/tests/answers")
}

/// Gives the answer whose file the request names.
async fn recorded() -> Upstream {
    Upstream::start(|request: Seen| async move {
        let name = request.headers()["x-answer"].to_str().unwrap();
        let text = std::fs::read(folder().join(name)).unwrap();
        let body = http_body_util::Full::new(Bytes::from(text)).map_err(|never| match never {});
        let kind = match name.ends_with(".sse") {
            true => "text/event-stream; charset=utf-8",
            false => "application/json",
        };
        let status = if name == "error.json" { 429 } else { 200 };
        let response = Response::builder()
            .status(status)
            .header("content-type", kind);
        response.body(body.boxed()).unwrap()
    })
    .await
}

fn endpoint(name: &str) -> &str {
    match name.split(['-', '.']).next().unwrap() {
        "chat" | "error" => "/v1/chat/completions",
        "completion" => "/v1/completions",
        "embeddings" => "/v1/embeddings",
        "response" => "/v1/responses",
        other => panic!("an answer of what kind: {other}"),
    }
}

cases! {
    /// Sums over all of them: what each tells by itself is in the core's tests.
    async fn each_shape_of_answer_is_counted(engine: Engine) {
        let (blue, green) = (recorded().await, api("green").await);
        let gateway = start(engine, document(json!({})), [&blue, &green]).await;
        let mut client = gateway.client();
        let mut names: Vec<_> = std::fs::read_dir(folder())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 18);
        for name in &names {
            let streams = name.ends_with(".sse");
            let body = json!({"model": "gpt-4.1", "stream": streams}).to_string();
            let call = client.post(endpoint(name), body).bearer("key-a").header("x-answer", name);
            let reply = call.send().await;
            let given = std::fs::read_to_string(folder().join(name)).unwrap();
            // The client has not asked for the usage of a completion's stream.
            let is_hidden = |event: &str| streams && event.contains("\"choices\":[]") && event.contains("\"usage\":{");
            let expected: String = given.split_inclusive("\n\n").filter(|event| !is_hidden(event)).collect();
            assert_eq!(reply.text(), expected, "{name}");
        }
        let of = |family: &str| gateway.metric(&format!("switchover_{family}")).label("environment", "blue");
        of("answers").label("usage", "told").becomes(13.0).await;
        of("answers").label("usage", "untold").becomes(4.0).await;
        of("input_tokens").becomes(329.0).await;
        of("cached_input_tokens").becomes(117.0).await;
        of("output_tokens").becomes(399.0).await;
    }
}
