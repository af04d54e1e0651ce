//! Values of command operators, as Envoy writes them.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Instant;

use http::HeaderMap;

use crate::config::access_log::{AddressPart, Field, Format, JsonNode, Operator, Part, PeerFact};
use crate::proxy::reply::{Flag, RETRY_LIMIT, flag};
use crate::stream::Stream;
use crate::stream::head::{Fields, Target};

/// Names of gRPC's codes in their order. Source: gRPC's status codes.
const GRPC: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// An exchange that has ended.
pub(super) struct Line<'a> {
    pub(super) stream: &'a Stream,
    pub(super) ended: Instant,
}

/// An operator's value.
enum Value<'a> {
    Absent,
    Number(u64),
    Text(Cow<'a, [u8]>),
}

/// An exchange's response flags, by short and by long names.
pub(in crate::proxy) fn flags(stream: &Stream) -> Vec<Flag> {
    let limit = stream.info.retry_limit_exceeded.then_some(RETRY_LIMIT);
    limit
        .into_iter()
        .chain(flag(&stream.info.details))
        .collect()
}

// === impl Line ===

impl<'a> Line<'a> {
    /// Appends it in this format.
    pub(super) fn render(&self, format: &Format, out: &mut Vec<u8>) {
        match format {
            Format::Text(parts) => self.text(parts, "-", out),
            Format::Json { root, omit_empty } => {
                self.json(root, *omit_empty, out);
                out.push(b'\n');
            }
        }
    }

    /// How long the exchange has taken, in milliseconds.
    pub(super) fn duration(&self) -> u64 {
        millis(self.stream.info.began, Some(self.ended)).unwrap_or_default()
    }

    fn text(&self, parts: &[Part], absent: &str, out: &mut Vec<u8>) {
        for part in parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Operator(operator, length) => match self.value(operator) {
                    Value::Absent => out.extend_from_slice(absent.as_bytes()),
                    Value::Number(number) => {
                        let _ = write!(out, "{number}");
                    }
                    Value::Text(text) => out.extend_from_slice(cut(&text, *length)),
                },
            }
        }
    }

    /// Appends a JSON value; false where it is empty and left out.
    fn json(&self, node: &JsonNode, omit_empty: bool, out: &mut Vec<u8>) -> bool {
        match node {
            JsonNode::Literal(value) => {
                let _ = write!(out, "{value}");
            }
            JsonNode::List(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    self.json(item, false, out);
                }
                out.push(b']');
            }
            JsonNode::Object(fields) => {
                out.push(b'{');
                let mut first = true;
                for (name, value) in fields {
                    let before = out.len();
                    if !first {
                        out.push(b',');
                    }
                    string(name.as_bytes(), out);
                    out.push(b':');
                    if self.json(value, omit_empty, out) {
                        first = false;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b'}');
            }
            JsonNode::Text(parts) => match parts.as_slice() {
                [Part::Operator(operator, length)] => match self.value(operator) {
                    Value::Absent if omit_empty => return false,
                    Value::Absent => out.extend_from_slice(b"null"),
                    Value::Number(number) => {
                        let _ = write!(out, "{number}");
                    }
                    Value::Text(text) => string(cut(&text, *length), out),
                },
                parts => {
                    let mut text = Vec::new();
                    self.text(parts, if omit_empty { "" } else { "-" }, &mut text);
                    string(&text, out);
                }
            },
        }
        true
    }

    fn value(&self, operator: &Operator) -> Value<'a> {
        let stream = self.stream;
        let info = &stream.info;
        let response = stream.response.as_ref();
        match operator {
            Operator::StartTime(format) => started(info.start, format),
            Operator::Request(first, second) => {
                either(first, second.as_ref(), |field| self.request(field))
            }
            Operator::Response(first, second) => either(first, second.as_ref(), |field| {
                let fields = Fields::Response(response?);
                fields
                    .get(name(field).as_bytes())
                    .map(|value| Cow::Owned(value.to_vec()))
            }),
            Operator::Trailer(first, second) => either(first, second.as_ref(), |field| {
                of_map(stream.response_trailers.as_ref()?, field)
            }),
            Operator::Path { query } => match &stream.request.path {
                Target::Valid(path) if !query => text(path.path()),
                path => bytes(path.as_bytes()),
            },
            Operator::QueryParameter(name) => optional(self.query(name)),
            Operator::Protocol => text(info.protocol_name()),
            Operator::ResponseCode => {
                Value::Number(response.map_or(0, |head| head.status.as_u16().into()))
            }
            Operator::ResponseCodeDetails if info.details.is_empty() => Value::Absent,
            Operator::ResponseCodeDetails => text(&info.details),
            Operator::ResponseFlags { long } => {
                let all: Vec<&str> = flags(stream)
                    .into_iter()
                    .map(|(short, name)| if *long { name } else { short })
                    .collect();
                match all.is_empty() {
                    true => text("-"),
                    false => Value::Text(Cow::Owned(all.join(",").into_bytes())),
                }
            }
            Operator::BytesReceived => Value::Number(info.request_bytes),
            Operator::BytesSent => Value::Number(info.response_bytes),
            Operator::Duration => Value::Number(self.duration()),
            Operator::RequestDuration => number(millis(info.began, info.request_ended)),
            Operator::ResponseDuration => number(millis(info.began, info.response_began)),
            Operator::ResponseTxDuration => number(
                info.response_began
                    .and_then(|began| millis(began, Some(self.ended))),
            ),
            Operator::UpstreamHost => optional(info.upstream.as_ref().map(|host| host.address)),
            Operator::UpstreamCluster => match &info.cluster {
                Some(cluster) => bytes(cluster.as_bytes()),
                None => Value::Absent,
            },
            Operator::Attempts => Value::Number(info.attempts.into()),
            Operator::UpstreamMetadata(path) => optional(self.metadata(path)),
            Operator::RouteName if info.route_name.is_empty() => Value::Absent,
            Operator::RouteName => bytes(info.route_name.as_bytes()),
            Operator::RemoteAddress(part) => address(info.source, *part),
            Operator::DirectRemoteAddress(part) => address(info.direct_source, *part),
            Operator::LocalAddress(part) => address(info.destination, *part),
            Operator::ConnectionId => Value::Number(info.connection_id),
            Operator::FilterState(name) => match self.filter_state(name) {
                Some(value) => bytes(value),
                None => Value::Absent,
            },
            Operator::GrpcStatus { number } => self.grpc(*number),
            Operator::RequestedServerName | Operator::TlsVersion | Operator::Peer(_) => {
                self.tls(operator)
            }
            Operator::Never => Value::Absent,
        }
    }

    fn request(&self, field: &Field) -> Option<Cow<'a, [u8]>> {
        match field {
            Field::Header(_) => of_map(&self.stream.request.headers, field),
            // `CONNECT` has no path.
            Field::Pseudo(name)
                if name == ":path" && self.stream.request.method == http::Method::CONNECT =>
            {
                None
            }
            Field::Pseudo(name) => Fields::Request(&self.stream.request)
                .get(name.as_bytes())
                .map(|value| Cow::Owned(value.to_vec())),
        }
    }

    fn query(&self, name: &str) -> Option<&'a str> {
        let Target::Valid(path) = &self.stream.request.path else {
            return None;
        };
        let mut pairs = path.query()?.split('&');
        pairs.find_map(|pair| {
            let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
            (own == name).then_some(value)
        })
    }

    fn metadata(&self, path: &[String]) -> Option<String> {
        let (namespace, keys) = path.split_first()?;
        let host = self.stream.info.upstream.as_ref()?;
        let mut value = host.endpoint.metadata.get(namespace)?;
        for key in keys {
            value = value.get(key)?;
        }
        Some(match value {
            serde_json::Value::String(text) => text.clone(),
            value => value.to_string(),
        })
    }

    /// What a filter left, in Envoy under `wasm.` and its name.
    fn filter_state(&self, name: &str) -> Option<&'a [u8]> {
        let name = name.strip_prefix("wasm.").unwrap_or(name);
        self.stream
            .filter_state(name.as_bytes())
            .map(|value| &value[..])
    }

    fn grpc(&self, as_number: bool) -> Value<'a> {
        let status = |map: &HeaderMap| -> Option<usize> {
            map.get("grpc-status")?.to_str().ok()?.parse().ok()
        };
        let trailers = self.stream.response_trailers.as_ref().and_then(status);
        let head = || {
            self.stream
                .response
                .as_ref()
                .and_then(|head| status(&head.headers))
        };
        match trailers.or_else(head) {
            None => Value::Absent,
            Some(code) if as_number => Value::Number(code as u64),
            Some(code) => match GRPC.get(code) {
                Some(name) => text(name),
                None => Value::Text(Cow::Owned(code.to_string().into_bytes())),
            },
        }
    }

    fn tls(&self, operator: &Operator) -> Value<'a> {
        let Some(tls) = &self.stream.info.tls else {
            return Value::Absent;
        };
        let peer = tls.peer.as_ref();
        let found = match operator {
            Operator::TlsVersion => Some(tls.version),
            Operator::RequestedServerName => tls.server_name.as_deref(),
            Operator::Peer(PeerFact::Subject) => peer.map(|peer| &*peer.subject),
            Operator::Peer(PeerFact::DnsSan) => peer.and_then(|peer| peer.dns_san.as_deref()),
            Operator::Peer(PeerFact::UriSan) => peer.and_then(|peer| peer.uri_san.as_deref()),
            Operator::Peer(PeerFact::Sha256) => peer.map(|peer| &*peer.sha256),
            _ => None,
        };
        match found.filter(|found| !found.is_empty()) {
            None => Value::Absent,
            Some(found) => text(found),
        }
    }
}

fn name(field: &Field) -> &str {
    match field {
        Field::Pseudo(name) => name,
        Field::Header(name) => name.as_str(),
    }
}

fn of_map<'a>(map: &'a HeaderMap, field: &Field) -> Option<Cow<'a, [u8]>> {
    map.get(name(field))
        .map(|value| Cow::Borrowed(value.as_bytes()))
}

fn either<'a>(
    first: &Field,
    second: Option<&Field>,
    get: impl Fn(&Field) -> Option<Cow<'a, [u8]>>,
) -> Value<'a> {
    match get(first).or_else(|| get(second?)) {
        Some(value) => Value::Text(value),
        None => Value::Absent,
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text.as_bytes()))
}

fn bytes(bytes: &[u8]) -> Value<'_> {
    Value::Text(Cow::Borrowed(bytes))
}

fn number<'a>(number: Option<u64>) -> Value<'a> {
    number.map_or(Value::Absent, Value::Number)
}

fn optional<'a>(value: Option<impl ToString>) -> Value<'a> {
    match value {
        Some(value) => Value::Text(Cow::Owned(value.to_string().into_bytes())),
        None => Value::Absent,
    }
}

fn address<'a>(address: SocketAddr, part: AddressPart) -> Value<'a> {
    match part {
        AddressPart::Whole => optional(Some(address)),
        AddressPart::WithoutPort => optional(Some(address.ip())),
        AddressPart::Port => Value::Number(address.port().into()),
    }
}

fn started<'a>(start: std::time::SystemTime, format: &str) -> Value<'a> {
    let Ok(timestamp) = jiff::Timestamp::try_from(start) else {
        return Value::Absent;
    };
    let zoned = timestamp.to_zoned(jiff::tz::TimeZone::UTC);
    optional(jiff::fmt::strtime::format(format, &zoned).ok())
}

fn millis(from: Instant, until: Option<Instant>) -> Option<u64> {
    u64::try_from(until?.saturating_duration_since(from).as_millis()).ok()
}

fn cut(text: &[u8], length: Option<usize>) -> &[u8] {
    length.and_then(|length| text.get(..length)).unwrap_or(text)
}

/// Appends a JSON string; bytes that are no UTF-8 are replaced.
fn string(text: &[u8], out: &mut Vec<u8>) {
    // A vector takes all that is written.
    let _ = serde_json::to_writer(out, &String::from_utf8_lossy(text));
}
