//! `request.*` and `response.*`.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderMap;

use super::{NO_PAIRS, Status, Value, nanoseconds, number, step, string};
use crate::abi::lint::{Rule, lint};
use crate::abi::{Reach, pairs};
use crate::proxy::grpc::of_http;
use crate::stream::Stream;
use crate::stream::head::{Fields, Target};
use crate::vm::state::State;

/// Whether Envoy shows what needs these headers: in their own callback, in the log, and by no means in between.
fn shown(state: &State, needed: Reach) -> bool {
    state.reach().has(needed) || state.reach().has(Reach::LOG) || state.strict()
}

pub(super) fn request(state: &State, stream: &Stream, path: &[u8]) -> Value {
    let (name, rest) = step(path);
    if !rest.is_empty() && name != b"headers" {
        return Err(Status::NotFound);
    }
    let info = &stream.info;
    let fields = Fields::Request(&stream.request);
    let shown = shown(state, Reach::REQUEST_HEADERS);
    let found = match name {
        b"" => return Err(Status::SerializationFailure),
        b"headers" => return headers(state, shown.then_some(&fields), rest),
        b"headers_bytes" => Some(number(size(shown.then_some(&fields)))),
        b"protocol" => Some(string(info.protocol_name())),
        b"time" => began(stream).map(nanoseconds),
        b"duration" => (state.reach().has(Reach::LOG) || state.strict())
            .then(|| {
                let now = Duration::from_nanos(state.process.clock.wall());
                now.checked_sub(began(stream)?).map(nanoseconds)
            })
            .flatten(),
        b"size" => match content_length(&stream.request.headers).filter(|_| shown) {
            Some(length) => Some(number(length)),
            None => Some(number(info.request_bytes)),
        },
        b"total_size" => Some(number(info.request_bytes + size(shown.then_some(&fields)))),
        b"path" | b"url_path" | b"query" | b"host" | b"scheme" | b"method" | b"referer"
        | b"useragent" | b"id"
            if !shown =>
        {
            lint(state, Rule::LateProperty);
            None
        }
        b"path" => Some(Bytes::copy_from_slice(stream.request.path.as_bytes())),
        b"url_path" => Some(parts(&stream.request.path).0),
        b"query" => Some(parts(&stream.request.path).1),
        b"host" => fields.get(b":authority"),
        b"scheme" => fields.get(b":scheme"),
        b"method" => fields.get(b":method"),
        b"referer" => fields.get(b"referer"),
        b"useragent" => fields.get(b"user-agent"),
        b"id" => fields.get(b"x-request-id"),
        _ => None,
    };
    found.ok_or(Status::NotFound)
}

/// The path without its query, and the query, both as they are written.
fn parts(target: &Target) -> (Bytes, Bytes) {
    let whole = Bytes::copy_from_slice(target.as_bytes());
    let Some(at) = whole.iter().position(|byte| *byte == b'?') else {
        return (whole, Bytes::new());
    };
    let query = whole.slice(at + 1..);
    let end = query.iter().position(|byte| *byte == b'#');
    (whole.slice(..at), query.slice(..end.unwrap_or(query.len())))
}

/// When the request came, since 1970.
fn began(stream: &Stream) -> Option<Duration> {
    stream.info.start.duration_since(UNIX_EPOCH).ok()
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(http::header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

pub(super) fn response(state: &State, stream: &Stream, path: &[u8]) -> Value {
    let (name, rest) = step(path);
    if !rest.is_empty() && name != b"headers" && name != b"trailers" {
        return Err(Status::NotFound);
    }
    let info = &stream.info;
    let head = stream.response.as_ref();
    let fields = head.map(Fields::Response);
    let fields = fields
        .as_ref()
        .filter(|_| shown(state, Reach::RESPONSE_HEADERS));
    let trailers = stream.response_trailers.as_ref().map(Fields::Plain);
    let trailers = trailers
        .as_ref()
        .filter(|_| shown(state, Reach::RESPONSE_TRAILERS));
    let found = match name {
        b"" => return Err(Status::SerializationFailure),
        b"headers" => return headers(state, fields, rest),
        b"trailers" => return headers(state, trailers, rest),
        b"headers_bytes" => Some(number(size(fields))),
        b"code" => head.map(|head| number(u64::from(head.status.as_u16()))),
        b"code_details" => (!info.details.is_empty()).then(|| string(&info.details)),
        b"flags" => Some(number(info.flags)),
        b"grpc_status" => [trailers, fields]
            .into_iter()
            .flatten()
            .find_map(|fields| {
                let value = fields.get(b"grpc-status")?;
                std::str::from_utf8(&value).ok()?.parse().ok()
            })
            .or_else(|| head.map(|head| u64::from(of_http(head.status))))
            .map(number),
        b"size" => Some(number(info.response_bytes)),
        b"total_size" => Some(number(info.response_bytes + size(fields) + size(trailers))),
        b"backend_latency" => info.backend_latency.map(nanoseconds),
        _ => None,
    };
    found.ok_or(Status::NotFound)
}

/// All fields, or one by its name: its values joined by commas.
fn headers(state: &State, fields: Option<&Fields<'_>>, name: &[u8]) -> Value {
    match (fields, name) {
        (None, b"") => Ok(Bytes::from_static(NO_PAIRS)),
        (None, _) => {
            lint(state, Rule::LateProperty);
            Err(Status::NotFound)
        }
        (Some(fields), b"") => map(fields),
        (Some(fields), name) => joined(fields, name).ok_or(Status::NotFound),
    }
}

fn joined(fields: &Fields<'_>, name: &[u8]) -> Option<Bytes> {
    let name = name.to_ascii_lowercase();
    let name: &[u8] = match fields {
        Fields::Request(_) if name == b"host" => b":authority",
        _ => &name,
    };
    let mut found: Option<Vec<u8>> = None;
    fields.for_each(|own, value| {
        if own == name {
            match &mut found {
                Some(values) => {
                    values.push(b',');
                    values.extend_from_slice(value);
                }
                None => found = Some(value.to_vec()),
            }
        }
    });
    found.map(Bytes::from)
}

fn map(fields: &Fields<'_>) -> Value {
    let size = pairs::measure(fields);
    if size.bytes == 0 {
        return Ok(Bytes::from_static(NO_PAIRS));
    }
    let mut bytes = vec![0; size.bytes];
    pairs::write(fields, size, &mut bytes)?;
    Ok(Bytes::from(bytes))
}

fn size(fields: Option<&Fields<'_>>) -> u64 {
    fields.map_or(0, |fields| {
        u64::try_from(fields.byte_size()).unwrap_or(u64::MAX)
    })
}
