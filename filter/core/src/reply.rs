//! Answers that the filter gives itself, in the shape of an OpenAI-compatible API.

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

/// The body `{"error": {…}}`; `parameter` is the part of the request that is wrong.
pub(crate) fn error_body(message: &str, parameter: Option<&str>, code: &str) -> String {
    error_body_of("invalid_request_error", message, parameter, code)
}

/// The same with another `type`.
pub(crate) fn error_body_of(
    kind: &str,
    message: &str,
    parameter: Option<&str>,
    code: &str,
) -> String {
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
            let body: serde_json::Value = serde_json::from_str(&error_body(&message, parameter.as_deref(), "code")).unwrap();
            let plain = |text: &str| text.replace(|character: char| character.is_control(), " ");
            prop_assert_eq!(body["error"]["message"].as_str().unwrap(), plain(&message));
            prop_assert_eq!(body["error"]["param"].as_str().map(str::to_owned), parameter.as_deref().map(plain));
            prop_assert_eq!(&body["error"]["type"], "invalid_request_error");
        }
    }
}
