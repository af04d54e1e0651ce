//! `/v1/completions`.

use serde_json::{Value, json};

use super::chat::{usage, with_usage};
use super::spoken::{Spoken, now, words};
use super::{Answer, Options};

/// Completes a prompt.
pub(super) fn answer(body: &Value, options: &Options) -> Result<Answer, String> {
    let prompt = match body.get("prompt") {
        Some(prompt @ (Value::String(_) | Value::Array(_))) => words(prompt),
        _ => return Err("`prompt` must be a string or a list.".to_owned()),
    };
    let spoken = Spoken::new(body, 0, prompt, options)?;
    if spoken.stream {
        let all = spoken.words.iter().map(|word| (word.as_str(), Value::Null));
        let all = all.chain([("", json!("stop"))]);
        let chunks = all.map(|(text, finish)| envelope(&spoken, options, choices(text, &finish)));
        let last = envelope(&spoken, options, json!([]));
        return Ok(Answer::Events(with_usage(chunks.collect(), last, &spoken)));
    }
    let mut whole = envelope(&spoken, options, choices(&spoken.text(), &json!("stop")));
    whole["usage"] = usage(&spoken);
    Ok(Answer::Whole(whole))
}

fn choices(text: &str, finish: &Value) -> Value {
    json!([{"index": 0, "text": text, "logprobs": null, "finish_reason": finish}])
}

fn envelope(spoken: &Spoken, options: &Options, choices: Value) -> Value {
    json!({
        "id": format!("cmpl-{}", options.name),
        "object": "text_completion",
        "created": now(),
        "model": spoken.model,
        "system_fingerprint": format!("{}-{}", options.name, options.version),
        "choices": choices,
    })
}
