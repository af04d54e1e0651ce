//! What consumers may use up, to the end: tokens, dollars, and all workers together.

use http::StatusCode;
use serde_json::json;
use switchover_tests::{Reply, assert_eventually, cases};

use super::{CHAT, api, chat, document, error, setup, start};

/// Asks until it is refused, at most so often; the answers before.
async fn until_refused(
    gateway: &switchover_tests::Gateway,
    key: &str,
    most: usize,
) -> (Vec<Reply>, Reply) {
    let mut served = Vec::new();
    loop {
        let call = gateway
            .client()
            .post(CHAT, chat("gpt-4.1"))
            .bearer(key)
            .send()
            .await;
        if call.status == StatusCode::TOO_MANY_REQUESTS {
            return (served, call);
        }
        assert_eq!(call.status, 200, "{call:?}");
        served.push(call);
        assert!(served.len() <= most, "{} were served", served.len());
    }
}

cases! {
    /// An answer takes 1,100 tokens: two of a minute's 2,000 are admitted, since the first leaves some.
    async fn tokens_of_a_minute_are_used_up(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let document = document(json!({"limits": {"tokens_per_minute": 2_000}}));
        let gateway = start(engine, document, [&blue, &green]).await;
        let (served, refused) = until_refused(&gateway, "key-a", 3).await;
        assert!(served.len() >= 2, "{served:?}");
        assert_eq!(served[0].header("x-ratelimit-limit-tokens"), "2000");
        error(&refused, 429, "rate_limit_exceeded");
        assert_eq!(refused.json()["error"]["type"], "tokens");
        assert_eq!(refused.header("x-ratelimit-remaining-tokens"), "0");
        // 200 tokens too many are six seconds of 2,000 a minute; one answer more, which counted late, is 33 more.
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=42).contains(&wait), "{wait}");
        gateway.metric("switchover_model_requests").label("outcome", "limited").becomes(1.0).await;
    }

    /// A stream's tokens count as much.
    async fn streams_use_up_tokens(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let gateway = start(engine, document(json!({"limits": {"tokens_per_minute": 1_000}})), [&blue, &green]).await;
        let stream = json!({"model": "gpt-4.1", "stream": true}).to_string();
        let reply = gateway.client().post(CHAT, stream).bearer("key-a").send().await;
        assert_eq!(reply.status, 200);
        let ask = async || gateway.client().post(CHAT, chat("gpt-4.1")).bearer("key-a").send().await;
        assert_eventually!(ask().await.status == 429, "it goes on");
    }

    /// 1,100 tokens are 0.0026 dollars; another consumer has a budget of its own.
    async fn dollars_of_a_month_are_used_up(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let mut document = document(json!({"limits": {"usd_per_month": 0.01}}));
        document["auth"]["consumers"][1].as_object_mut().unwrap().remove("models");
        let gateway = start(engine, document, [&blue, &green]).await;
        let (served, refused) = until_refused(&gateway, "key-a", 6).await;
        assert!(served.len() >= 4, "{}", served.len());
        error(&refused, 429, "insufficient_quota");
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains("dollars per month"), "{refused:?}");
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=31 * 86_400).contains(&wait), "{wait}");
        assert_eq!(gateway.client().post(CHAT, chat("gpt-4.1")).bearer("key-b").send().await.status, 200);
    }

    /// As many as the limit says are admitted, whichever workers they come to; one every three seconds comes back.
    async fn workers_count_together(engine: Engine) {
        let (blue, green) = (api("blue").await, api("green").await);
        let document = document(json!({"limits": {"requests_per_minute": 20}}));
        let gateway = setup(document, [&blue, &green]).workers(2).start(engine).await;
        let began = std::time::Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let mut client = gateway.client();
            calls.spawn(async move { client.post(CHAT, chat("gpt-4.1")).bearer("key-a").send().await.status.as_u16() });
        }
        let statuses = calls.join_all().await;
        let admitted = statuses.iter().filter(|status| **status == 200).count() as u64;
        let back = began.elapsed().as_secs() / 3 + 1;
        assert!((20..=20 + back).contains(&admitted), "{admitted} of {statuses:?}");
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    }
}
