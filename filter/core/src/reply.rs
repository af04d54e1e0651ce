//! Answers that the filter gives itself, in the shape of an OpenAI-compatible API.

/// Details of answers for a body's sake.
const BODY: &str = "switchover_body";
/// Details of answers for a limit's sake.
const LIMIT: &str = "switchover_limit";

/// A whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers, `content-type` among them.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// A word for the host's access log.
    pub details: &'static str,
}

/// Why the filter answers a request itself. What is said of each stands in `host/ERRORS.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(strum::EnumMessage, strum::VariantArray))]
pub enum Refusal {
    /// An override names an environment that there is not; the answer lists them.
    UnknownEnvironment,
    /// No key, a wrong one, one outside its time, or two that disagree; `error.message` says which.
    Unauthorized,
    /// The body is not JSON, or is nested too deeply.
    InvalidJson,
    /// The body has no `model`.
    MissingModel,
    /// `model` is no string.
    ModelNotText,
    /// The catalogue has no such model, or the consumer may not use it; the answer names models that are called alike.
    ModelNotFound,
    /// An attempt came to an environment that does not take the request's `model`, where Envoy fails over to one; 429 where
    /// the attempt before was answered so, and with its `retry-after`.
    ModelUnavailable,
    /// The body is larger than `models.max_body`.
    BodyTooLarge,
    /// The body has a `content-encoding`.
    EncodedBody,
    /// The consumer's requests of the minute are used up; `retry-after` says for how long.
    TooManyRequests,
    /// The consumer's tokens of the minute are used up; `retry-after` says for how long.
    TooManyTokens,
    /// The consumer's dollars of the day or the month are used up; `retry-after` says for how long.
    QuotaUsedUp,
}

/// What answers of one kind have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The status.
    pub status: u16,
    /// `error.type`.
    pub kind: &'static str,
    /// `error.code`.
    pub code: &'static str,
    /// The word for the access log.
    pub details: &'static str,
}

// === impl Refusal ===

impl Refusal {
    /// How it is answered.
    #[must_use]
    pub fn shape(self) -> Shape {
        let invalid = "invalid_request_error";
        let (status, kind, code, details) = match self {
            Self::UnknownEnvironment => {
                let details = "switchover_unknown_environment";
                (400, invalid, "unknown_environment", details)
            }
            Self::Unauthorized => (401, invalid, "invalid_api_key", "switchover_unauthorized"),
            Self::InvalidJson => (400, invalid, "invalid_json", BODY),
            Self::MissingModel => (400, invalid, "missing_required_parameter", BODY),
            Self::ModelNotText => (400, invalid, "invalid_type", BODY),
            Self::ModelNotFound => (
                404,
                invalid,
                "model_not_found",
                "switchover_model_not_found",
            ),
            Self::ModelUnavailable => (
                503,
                "server_error",
                "model_unavailable",
                "switchover_model_unavailable",
            ),
            Self::BodyTooLarge => (413, invalid, "request_too_large", BODY),
            Self::EncodedBody => (415, invalid, "unsupported_content_encoding", BODY),
            Self::TooManyRequests => (429, "requests", "rate_limit_exceeded", LIMIT),
            Self::TooManyTokens => (429, "tokens", "rate_limit_exceeded", LIMIT),
            Self::QuotaUsedUp => (429, "insufficient_quota", "insufficient_quota", LIMIT),
        };
        Shape {
            status,
            kind,
            code,
            details,
        }
    }

    /// The answer, with this message; `parameter` is the part of the request that is wrong.
    pub(crate) fn reply(self, message: &str, parameter: Option<&str>) -> Reply {
        let shape = self.shape();
        Reply {
            status: shape.status,
            headers: vec![("content-type", "application/json".into())],
            body: error_body(shape.kind, message, parameter, shape.code),
            details: shape.details,
        }
    }
}

/// The body `{"error": {…}}`.
fn error_body(kind: &str, message: &str, parameter: Option<&str>, code: &str) -> String {
    let mut body = String::from("{\"error\":{\"message\":");
    quote(message, &mut body);
    body.push_str(",\"type\":");
    quote(kind, &mut body);
    body.push_str(",\"param\":");
    match parameter {
        Some(parameter) => quote(parameter, &mut body),
        None => body.push_str("null"),
    }
    body.push_str(",\"code\":");
    quote(code, &mut body);
    body.push_str("}}");
    body
}

/// A JSON string. Control characters become spaces: none of our texts needs them.
pub(crate) fn quote(text: &str, into: &mut String) {
    into.push('"');
    // Most need no closer look.
    if text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte))
    {
        into.push_str(text);
        return into.push('"');
    }
    for character in text.chars() {
        match character {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            _ if character.is_control() => into.push(' '),
            _ => into.push(character),
        }
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bodies_are_json(message in ".*", parameter in proptest::option::of(".*")) {
            let body: serde_json::Value = serde_json::from_str(&error_body("kind", &message, parameter.as_deref(), "code")).unwrap();
            let plain = |text: &str| text.replace(|character: char| character.is_control(), " ");
            prop_assert_eq!(body["error"]["message"].as_str().unwrap(), plain(&message));
            prop_assert_eq!(body["error"]["param"].as_str().map(str::to_owned), parameter.as_deref().map(plain));
            prop_assert_eq!(&body["error"]["type"], "kind");
        }
    }
}
