//! `/v1/chat/completions`.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::spoken::{Spoken, now, words};
use super::{Answer, DONE, Options, event};

/// Answers a chat.
pub(super) fn answer(body: &Value, options: &Options) -> Result<Answer, String> {
    let Some(messages) = body.get("messages").and_then(Value::as_array) else {
        return Err("`messages` must be a list.".to_owned());
    };
    let (mut cached, mut asked) = (0, 0);
    for message in messages {
        let count = message.get("content").map_or(0, words);
        match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => cached += count,
            _ => asked += count,
        }
    }
    let spoken = Spoken::new(body, cached, asked, options)?;
    if spoken.stream {
        return Ok(Answer::Events(events(&spoken, options)));
    }
    let message = json!({"role": "assistant", "content": spoken.text(), "refusal": null});
    let choices =
        json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}]);
    let mut whole = envelope("chat.completion", &spoken, options, choices);
    whole["usage"] = usage(&spoken);
    Ok(Answer::Whole(whole))
}

fn envelope(object: &str, spoken: &Spoken, options: &Options, choices: Value) -> Value {
    json!({
        "id": format!("chatcmpl-{}", options.name),
        "object": object,
        "created": now(),
        "model": spoken.model,
        "system_fingerprint": format!("{}-{}", options.name, options.version),
        "choices": choices,
    })
}

/// Of a chat or a completion.
pub(super) fn usage(spoken: &Spoken) -> Value {
    json!({
        "prompt_tokens": spoken.prompt,
        "completion_tokens": spoken.words.len(),
        "total_tokens": spoken.prompt + spoken.words.len(),
        "prompt_tokens_details": {"cached_tokens": spoken.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    })
}

/// The events of a stream; where its usage is asked for, each chunk has a place for it.
pub(super) fn with_usage(
    mut chunks: Vec<Value>,
    last: Value,
    spoken: &Spoken,
) -> VecDeque<bytes::Bytes> {
    if spoken.include_usage {
        for chunk in &mut chunks {
            chunk["usage"] = Value::Null;
        }
        let mut last = last;
        last["usage"] = usage(spoken);
        chunks.push(last);
    }
    chunks.iter().map(event).chain([DONE]).collect()
}

fn events(spoken: &Spoken, options: &Options) -> VecDeque<bytes::Bytes> {
    let chunk = |choices| envelope("chat.completion.chunk", spoken, options, choices);
    let delta = |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]))
    };
    let mut chunks = vec![delta(
        json!({"role": "assistant", "content": "", "refusal": null}),
        Value::Null,
    )];
    let words = spoken.words.iter();
    chunks.extend(words.map(|word| delta(json!({"content": word}), Value::Null)));
    chunks.push(delta(json!({}), json!("stop")));
    with_usage(chunks, chunk(json!([])), spoken)
}
