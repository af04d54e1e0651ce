//! `/v1/responses`.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use super::spoken::{Spoken, now, words};
use super::{Answer, Options};

/// Answers an input.
pub(super) fn answer(body: &Value, options: &Options) -> Result<Answer, String> {
    let asked = match body.get("input") {
        Some(text @ Value::String(_)) => words(text),
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(|item| item.get("content"))
            .map(words)
            .sum(),
        _ => return Err("`input` must be a string or a list.".to_owned()),
    };
    let cached = body.get("instructions").map_or(0, words);
    let spoken = Spoken::new(body, cached, asked, options)?;
    if spoken.stream {
        return Ok(Answer::Events(events(&spoken, options)));
    }
    Ok(Answer::Whole(response(&spoken, options, "completed")))
}

fn response(spoken: &Spoken, options: &Options, status: &str) -> Value {
    let done = status == "completed";
    let output = match done {
        true => json!([item(spoken, status)]),
        false => json!([]),
    };
    let usage = json!({
        "input_tokens": spoken.prompt,
        "input_tokens_details": {"cached_tokens": spoken.cached},
        "output_tokens": spoken.words.len(),
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": spoken.prompt + spoken.words.len(),
    });
    json!({
        "id": format!("resp_{}", options.name),
        "object": "response",
        "created_at": now(),
        "status": status,
        "error": null,
        "incomplete_details": null,
        "instructions": null,
        "metadata": {},
        "model": spoken.model,
        "output": output,
        "parallel_tool_calls": true,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": if done { usage } else { Value::Null },
    })
}

const ITEM: &str = "msg_demo";

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn item(spoken: &Spoken, status: &str) -> Value {
    let content = match status {
        "completed" => json!([part(&spoken.text())]),
        _ => json!([]),
    };
    json!({"type": "message", "id": ITEM, "status": status, "role": "assistant", "content": content})
}

/// The events of a stream: named, numbered, and without an end mark of their own.
fn events(spoken: &Spoken, options: &Options) -> VecDeque<Bytes> {
    let begun = response(spoken, options, "in_progress");
    let place = json!({"item_id": ITEM, "output_index": 0, "content_index": 0});
    let at = |more: Value| merged(&place, &more);
    let mut all = vec![
        ("response.created", json!({"response": begun})),
        ("response.in_progress", json!({"response": begun})),
        (
            "response.output_item.added",
            json!({"output_index": 0, "item": item(spoken, "in_progress")}),
        ),
        ("response.content_part.added", at(json!({"part": part("")}))),
    ];
    let delta = |word: &String| at(json!({"delta": word, "logprobs": []}));
    let words = spoken.words.iter();
    all.extend(words.map(|word| ("response.output_text.delta", delta(word))));
    let text = spoken.text();
    all.extend([
        (
            "response.output_text.done",
            at(json!({"text": text, "logprobs": []})),
        ),
        (
            "response.content_part.done",
            at(json!({"part": part(&text)})),
        ),
        (
            "response.output_item.done",
            json!({"output_index": 0, "item": item(spoken, "completed")}),
        ),
        (
            "response.completed",
            json!({"response": response(spoken, options, "completed")}),
        ),
    ]);
    let numbered = all.into_iter().enumerate();
    numbered
        .map(|(number, (name, data))| {
            let data = merged(&json!({"type": name, "sequence_number": number}), &data);
            Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
        })
        .collect()
}

/// The members of two objects.
fn merged(one: &Value, other: &Value) -> Value {
    let members = [one, other]
        .into_iter()
        .filter_map(Value::as_object)
        .flatten();
    members
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
