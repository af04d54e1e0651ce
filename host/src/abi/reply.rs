//! What a guest answers by itself, as a reply to this request: to gRPC clients in gRPC's form.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::lint::{Rule, lint};
use crate::stream::LocalReply;
use crate::stream::head::RequestHead;
use crate::vm::state::State;

/// What `proxy_send_local_response` was given.
pub(super) struct Answer<'a> {
    /// Any number; what is no status becomes 500.
    pub(super) status: u32,
    /// Why, for logs and properties.
    pub(super) details: &'a [u8],
    pub(super) body: Bytes,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// 0 to 16; others, such as the usual -1, mean none.
    pub(super) grpc_status: u32,
}

/// The highest status number of gRPC.
const MOST_GRPC: u32 = 16;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

impl Answer<'_> {
    /// Looks for what other hosts take otherwise.
    pub(super) fn lint(&self, state: &State) {
        if self.grpc_status > MOST_GRPC && self.grpc_status != u32::MAX {
            lint(state, Rule::GrpcStatus);
        }
        if status(self.status).is_none() {
            lint(state, Rule::InvalidStatus);
        }
    }

    /// The reply to `request`.
    pub(super) fn to(self, request: &RequestHead) -> LocalReply {
        let details = details(self.details);
        let status = status(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = self.headers;
        if is_grpc(request) {
            let code = match self.grpc_status {
                code @ 0..=MOST_GRPC => code,
                _ => grpc_code(status),
            };
            headers.retain(|(name, _)| *name != header::CONTENT_TYPE);
            let grpc = HeaderValue::from_static("application/grpc");
            headers.push((header::CONTENT_TYPE, grpc));
            headers.push((GRPC_STATUS.clone(), HeaderValue::from(code)));
            if !self.body.is_empty()
                && let Ok(message) = HeaderValue::from_str(&percent_encoded(&self.body))
            {
                headers.push((GRPC_MESSAGE.clone(), message));
            }
            return LocalReply {
                status: StatusCode::OK,
                headers,
                body: Bytes::new(),
                details,
                of_filter: true,
            };
        }
        if !self.body.is_empty()
            && !headers
                .iter()
                .any(|(name, _)| *name == header::CONTENT_TYPE)
        {
            let plain = HeaderValue::from_static("text/plain");
            headers.push((header::CONTENT_TYPE, plain));
        }
        LocalReply {
            status,
            headers,
            body: self.body,
            details,
            of_filter: true,
        }
    }
}

fn status(number: u32) -> Option<StatusCode> {
    StatusCode::from_u16(u16::try_from(number).ok()?).ok()
}

/// As Envoy keeps them: without white space.
fn details(bytes: &[u8]) -> Cow<'static, str> {
    let text = String::from_utf8_lossy(bytes);
    Cow::Owned(text.replace(|c: char| c.is_ascii_whitespace(), "_"))
}

/// Whether the client speaks gRPC. Source: Envoy.
fn is_grpc(request: &RequestHead) -> bool {
    let kind = request.headers.get(header::CONTENT_TYPE);
    let rest = kind.and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// What an HTTP status is to gRPC. Source: gRPC, HTTP to gRPC status code mapping.
pub(super) fn grpc_code(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// Source: gRPC over HTTP/2, `Status-Message`.
fn percent_encoded(message: &[u8]) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message {
        match byte {
            b' '..=b'~' if *byte != b'%' => out.push(char::from(*byte)),
            _ => {
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    out.extend(
                        char::from_digit(u32::from(digit), 16).map(|c| c.to_ascii_uppercase()),
                    );
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::stream::head::Target;

    fn answered(content_type: &'static str, status: u32, grpc_status: u32) -> LocalReply {
        let answer = Answer {
            status,
            details: b"some  details\n x",
            body: Bytes::from_static(b"50% \n"),
            headers: Vec::new(),
            grpc_status,
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer.to(&RequestHead {
            method: Method::POST,
            path: Target::from_bytes(b"/"),
            scheme: HeaderValue::from_static("http"),
            headers,
        })
    }

    fn field<'a>(reply: &'a LocalReply, name: &str) -> Option<&'a str> {
        let found = reply.headers.iter().find(|(own, _)| own == name);
        found.and_then(|(_, value)| value.to_str().ok())
    }

    #[test]
    fn a_grpc_client_gets_grpc() {
        for kind in ["application/grpc", "application/grpc+proto"] {
            let reply = answered(kind, 403, 5);
            assert_eq!(reply.status, StatusCode::OK);
            assert_eq!(field(&reply, "content-type"), Some("application/grpc"));
            assert_eq!(field(&reply, "grpc-status"), Some("5"));
            assert_eq!(field(&reply, "grpc-message"), Some("50%25 %0A"));
            assert!(reply.body.is_empty());
        }
        let reply = answered("application/grpc", 403, u32::MAX);
        assert_eq!(field(&reply, "grpc-status"), Some("7"));
    }

    #[test]
    fn others_get_what_was_sent() {
        for kind in ["text/html", "application/grpc-web"] {
            let reply = answered(kind, 403, 5);
            assert_eq!(reply.status, StatusCode::FORBIDDEN);
            assert_eq!(field(&reply, "grpc-status"), None);
            assert_eq!(field(&reply, "content-type"), Some("text/plain"));
            assert_eq!(reply.details, "some__details__x");
        }
        let wrong = answered("text/html", 3, u32::MAX);
        assert_eq!(wrong.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answered("text/html", 703, u32::MAX).status.as_u16(), 703);
    }
}
