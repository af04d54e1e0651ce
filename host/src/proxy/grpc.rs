//! gRPC: what a proxy has to know of it, and the callouts of guests.

pub(super) mod callout;
mod frame;

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::stream::{LocalReply, RequestHead};

/// The status of a call, in trailers, or in the head where nothing else comes.
static STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The same in words.
static MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// How long a client waits.
static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// gRPC's status codes, as far as the host gives them itself.
pub(super) mod code {
    pub(crate) const UNKNOWN: u32 = 2;
    pub(crate) const PERMISSION_DENIED: u32 = 7;
    pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(crate) const UNIMPLEMENTED: u32 = 12;
    pub(crate) const INTERNAL: u32 = 13;
    pub(crate) const UNAVAILABLE: u32 = 14;
    pub(crate) const UNAUTHENTICATED: u32 = 16;
}

/// Whether a request is gRPC's: `application/grpc` or `application/grpc+…`, as in Envoy.
#[must_use]
pub(super) fn is_request(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
    })
}

/// The status in trailers or in a head; `None` where there is none, or no number.
#[must_use]
pub(super) fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get(&STATUS)?.to_str().ok()?.parse().ok()
}

/// The status's words.
#[must_use]
pub(super) fn message(headers: &HeaderMap) -> Bytes {
    let message = headers.get(&MESSAGE);
    message.map_or_else(Bytes::new, |value| Bytes::copy_from_slice(value.as_bytes()))
}

/// The status of an answer that is not gRPC's. Source: gRPC's "HTTP to gRPC Status Code Mapping".
#[must_use]
pub(crate) fn of_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => code::INTERNAL,
        401 => code::UNAUTHENTICATED,
        403 => code::PERMISSION_DENIED,
        404 => code::UNIMPLEMENTED,
        429 | 502..=504 => code::UNAVAILABLE,
        _ => code::UNKNOWN,
    }
}

/// An answer of the gateway's own, as a client of gRPC expects it: a head that is all, with status and words. One to
/// another client stays as it is. As in Envoy.
#[must_use]
pub(crate) fn local_reply(request: &RequestHead, reply: LocalReply) -> LocalReply {
    if !is_request(&request.headers) {
        return reply;
    }
    let status = reply
        .grpc_status
        .map_or_else(|| of_http(reply.status), u32::from);
    let mut headers = reply.headers;
    let replaced = [&header::CONTENT_TYPE, &header::CONTENT_LENGTH, &STATUS];
    headers.retain(|(name, _)| !replaced.contains(&name));
    headers.push((header::CONTENT_TYPE, CONTENT_TYPE.clone()));
    headers.push((STATUS.clone(), HeaderValue::from(status)));
    if !reply.body.is_empty() && request.method != http::Method::HEAD {
        headers.retain(|(name, _)| *name != MESSAGE);
        headers.push((MESSAGE.clone(), encoded(&reply.body)));
    }
    LocalReply {
        status: StatusCode::OK,
        headers,
        body: Bytes::new(),
        details: reply.details,
        of_filter: reply.of_filter,
        grpc_status: None,
    }
}

/// Words as `grpc-message` has them. Source: gRPC over HTTP/2, "Responses".
fn encoded(message: &[u8]) -> HeaderValue {
    let mut text = String::with_capacity(message.len());
    for byte in message {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => {
                let _ = write!(text, "%{byte:02X}");
            }
            _ => text.push(char::from(*byte)),
        }
    }
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `grpc-timeout` for a time: the smallest unit in which it has eight digits. Source: gRPC over HTTP/2, "Requests".
fn timeout_value(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let milliseconds = timeout.as_millis();
    let units = [(1, "m"), (1_000, "S"), (60_000, "M"), (3_600_000, "H")];
    let fitting = units
        .into_iter()
        .find(|(unit, _)| milliseconds / unit <= MOST);
    let text = match fitting {
        Some((unit, name)) => format!("{}{name}", milliseconds / unit),
        None => format!("{MOST}H"),
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("99999999H"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_their_type() {
        let is = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            is_request(&headers)
        };
        assert!(is("application/grpc") && is("application/grpc+proto"));
        assert!(!is("application/grpc-web") && !is("application/json"));
        assert!(!is_request(&HeaderMap::new()));
    }

    #[test]
    fn words_are_escaped() {
        assert_eq!(encoded("100 % né\n".as_bytes()), "100 %25 n%C3%A9%0A");
    }

    #[test]
    fn times_have_eight_digits() {
        for (time, value) in [
            (Duration::from_millis(1_500), "1500m"),
            (Duration::from_secs(99_999), "99999000m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(timeout_value(time), value);
        }
    }
}
