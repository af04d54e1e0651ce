//! What a guest answers by itself, as a reply.

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

    /// The reply; the gateway puts it into gRPC's form where the request is gRPC's.
    pub(super) fn to_reply(self) -> LocalReply {
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
            status: status(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers,
            body: self.body,
            details: details(self.details),
            of_filter: true,
            grpc_status: Some(self.grpc_status).filter(|code| *code <= MOST_GRPC),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u32, grpc_status: u32) -> LocalReply {
        let answer = Answer {
            status,
            details: b"some  details\n x",
            body: Bytes::from_static(b"body"),
            headers: Vec::new(),
            grpc_status,
        };
        answer.to_reply()
    }

    #[test]
    fn what_a_guest_sends_is_what_is_sent() {
        let reply = answered(403, 5);
        assert_eq!((reply.status.as_u16(), reply.grpc_status), (403, Some(5)));
        assert_eq!(reply.details, "some__details__x");
        assert_eq!(reply.headers.len(), 1, "its type");
        for none in [17, u32::MAX] {
            assert_eq!(answered(703, none).grpc_status, None);
        }
        assert_eq!(answered(703, 0).status.as_u16(), 703);
        assert_eq!(answered(3, 0).status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
