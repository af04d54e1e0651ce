//! What a guest answers by itself.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::lint::{Rule, lint};
use crate::stream::LocalReply;
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

    /// The reply; to a client of gRPC the gateway says it in gRPC's way.
    pub(super) fn reply(self) -> LocalReply {
        let details = details(self.details);
        let status = status(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = self.headers;
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
            // other numbers, such as the usual -1, mean that the HTTP status says enough
            grpc_status: u8::try_from(self.grpc_status)
                .ok()
                .filter(|code| u32::from(*code) <= MOST_GRPC),
        }
    }
}

/// A status that can end an exchange, as those below 200 cannot.
fn status(number: u32) -> Option<StatusCode> {
    let status = StatusCode::from_u16(u16::try_from(number).ok()?).ok();
    status.filter(|status| !status.is_informational())
}

/// As Envoy keeps them: without white space.
fn details(bytes: &[u8]) -> Cow<'static, str> {
    let text = String::from_utf8_lossy(bytes);
    Cow::Owned(text.replace(|c: char| c.is_ascii_whitespace(), "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u32, grpc_status: u32) -> LocalReply {
        let answer = Answer {
            status,
            details: b"some  details\n x",
            body: Bytes::from_static(b"50% \n"),
            headers: Vec::new(),
            grpc_status,
        };
        answer.reply()
    }

    #[test]
    fn a_reply_is_what_was_sent() {
        let reply = answered(403, 5);
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert_eq!(reply.grpc_status, Some(5));
        assert_eq!(reply.headers[0].0, header::CONTENT_TYPE);
        assert_eq!(reply.headers[0].1, "text/plain");
        assert_eq!(reply.details, "some__details__x");
        let wrong = answered(3, u32::MAX);
        assert_eq!(wrong.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(wrong.grpc_status, None);
        assert_eq!(answered(703, 17).status.as_u16(), 703);
        for early in [100, 101, 199] {
            assert_eq!(
                answered(early, u32::MAX).status,
                StatusCode::INTERNAL_SERVER_ERROR
            );
        }
    }
}
