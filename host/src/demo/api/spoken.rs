//! What a demo model says, and what that counts as.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::Options;

/// A call of a model that talks.
pub(super) struct Spoken {
    /// The model's name, as it was given.
    pub(super) model: String,
    /// The answer, word by word.
    pub(super) words: Vec<String>,
    /// Tokens of the prompt. A token is a word here; a demo needs a plausible count, not a tokenizer.
    pub(super) prompt: usize,
    /// Those of them that a model would have had in its cache: the words of the instructions.
    pub(super) cached: usize,
    /// Whether the answer is to be streamed.
    pub(super) stream: bool,
    /// Whether the stream is to end with its usage.
    pub(super) include_usage: bool,
}

// === impl Spoken ===

impl Spoken {
    /// For a call with so many words of instructions, and so many besides.
    pub(super) fn new(
        body: &Value,
        cached: usize,
        asked: usize,
        options: &Options,
    ) -> Result<Self, String> {
        let model = model(body)?;
        let answer = format!(
            "Hello from {} {}, by {model}.",
            options.name, options.version
        );
        let flag = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        Ok(Self {
            model: model.to_owned(),
            words: answer.split_inclusive(' ').map(str::to_owned).collect(),
            prompt: cached + asked,
            cached,
            stream: flag(body.get("stream")),
            include_usage: flag(body.pointer("/stream_options/include_usage")),
        })
    }

    /// The whole answer.
    pub(super) fn text(&self) -> String {
        self.words.concat()
    }
}

/// The model that a call names.
pub(super) fn model(body: &Value) -> Result<&str, String> {
    let model = body.get("model").and_then(Value::as_str);
    model.ok_or_else(|| "`model` must be a string.".to_owned())
}

/// Words of a text, of the texts in a list, or of what parts of a message hold.
pub(super) fn words(content: &Value) -> usize {
    match content {
        Value::String(text) => text.split_whitespace().count(),
        Value::Array(parts) => parts.iter().map(words).sum(),
        Value::Object(part) => part.get("text").map_or(0, words),
        // A list of numbers is one of tokens.
        Value::Number(_) => 1,
        Value::Null | Value::Bool(_) => 0,
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}
