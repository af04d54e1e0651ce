//! Envoy's command operators, compiled once.

use std::time::UNIX_EPOCH;

use super::Field;

/// What a line says.
#[derive(Debug, Clone)]
pub enum Format {
    /// `text_format_source`.
    Text(Vec<Part>),
    /// `json_format`: one object a line, its names in order.
    Json {
        /// The object.
        root: JsonNode,
        /// `omit_empty_values`.
        omit_empty: bool,
    },
}

/// A value of a JSON format.
#[derive(Debug, Clone)]
pub enum JsonNode {
    /// Text with operators; one operator alone keeps its type.
    Text(Vec<Part>),
    /// An object, its names in order.
    Object(Vec<(String, JsonNode)>),
    /// A list.
    List(Vec<JsonNode>),
    /// Itself.
    Literal(serde_json::Value),
}

/// A piece of a text.
#[derive(Debug, Clone)]
pub enum Part {
    /// Itself.
    Literal(Vec<u8>),
    /// An operator, and how many bytes of its value there are at most.
    Operator(Operator, Option<usize>),
}

/// A command operator. Source: Envoy's "Access logging" reference.
#[derive(Debug, Clone)]
pub enum Operator {
    /// `START_TIME`, as `strftime` writes it.
    StartTime(String),
    /// `REQ(X?Y)`.
    Request(Field, Option<Field>),
    /// `RESP(X?Y)`.
    Response(Field, Option<Field>),
    /// `TRAILER(X?Y)`.
    Trailer(Field, Option<Field>),
    /// `PATH(NQ)`, `PATH(WQ)`: with the query or without.
    Path {
        /// With it.
        query: bool,
    },
    /// `QUERY_PARAM(X)`.
    QueryParameter(String),
    /// `PROTOCOL`.
    Protocol,
    /// `RESPONSE_CODE`.
    ResponseCode,
    /// `RESPONSE_CODE_DETAILS`.
    ResponseCodeDetails,
    /// `RESPONSE_FLAGS`, or `RESPONSE_FLAGS_LONG`.
    ResponseFlags {
        /// By their long names.
        long: bool,
    },
    /// `BYTES_RECEIVED`.
    BytesReceived,
    /// `BYTES_SENT`.
    BytesSent,
    /// `DURATION`.
    Duration,
    /// `REQUEST_DURATION`.
    RequestDuration,
    /// `RESPONSE_DURATION`.
    ResponseDuration,
    /// `RESPONSE_TX_DURATION`.
    ResponseTxDuration,
    /// `UPSTREAM_HOST`.
    UpstreamHost,
    /// `UPSTREAM_CLUSTER`.
    UpstreamCluster,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`.
    Attempts,
    /// `UPSTREAM_METADATA(NAMESPACE:KEY…)`: the endpoint's.
    UpstreamMetadata(Vec<String>),
    /// `ROUTE_NAME`.
    RouteName,
    /// `DOWNSTREAM_REMOTE_ADDRESS` and its parts.
    RemoteAddress(AddressPart),
    /// `DOWNSTREAM_DIRECT_REMOTE_ADDRESS` and its parts.
    DirectRemoteAddress(AddressPart),
    /// `DOWNSTREAM_LOCAL_ADDRESS` and its parts.
    LocalAddress(AddressPart),
    /// `CONNECTION_ID`.
    ConnectionId,
    /// `REQUESTED_SERVER_NAME`.
    RequestedServerName,
    /// `DOWNSTREAM_TLS_VERSION`.
    TlsVersion,
    /// `DOWNSTREAM_PEER_SUBJECT` and the like.
    Peer(PeerFact),
    /// `FILTER_STATE(NAME:PLAIN)`: what filters left with `set_property`.
    FilterState(String),
    /// `GRPC_STATUS`, or `GRPC_STATUS_NUMBER`.
    GrpcStatus {
        /// As a number.
        number: bool,
    },
    /// What is never known here: `CONNECTION_TERMINATION_DETAILS` and the like.
    Never,
}

/// Part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPart {
    /// Address and port.
    Whole,
    /// The address.
    WithoutPort,
    /// The port.
    Port,
}

/// A fact of the client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerFact {
    /// `DOWNSTREAM_PEER_SUBJECT`.
    Subject,
    /// `DOWNSTREAM_PEER_DNS_SAN`: the first.
    DnsSan,
    /// `DOWNSTREAM_PEER_URI_SAN`: the first.
    UriSan,
    /// `DOWNSTREAM_PEER_FINGERPRINT_256`.
    Sha256,
}

// === impl Format ===

impl Format {
    /// Whether an operator of it passes a test.
    pub(super) fn any(&self, test: &dyn Fn(&Operator) -> bool) -> bool {
        match self {
            Self::Text(parts) => any(parts, test),
            Self::Json { root, .. } => root.any(test),
        }
    }
}

impl JsonNode {
    fn any(&self, test: &dyn Fn(&Operator) -> bool) -> bool {
        match self {
            Self::Text(parts) => any(parts, test),
            Self::Object(fields) => fields.iter().any(|(_, node)| node.any(test)),
            Self::List(items) => items.iter().any(|node| node.any(test)),
            Self::Literal(_) => false,
        }
    }
}

fn any(parts: &[Part], test: &dyn Fn(&Operator) -> bool) -> bool {
    parts
        .iter()
        .any(|part| matches!(part, Part::Operator(operator, _) if test(operator)))
}

/// Compiles a text with operators.
///
/// # Errors
/// What is wrong with it.
pub fn compile(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let (command, behind) = command(after)?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into_bytes()));
        }
        parts.push(command);
        rest = behind;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into_bytes()));
    }
    Ok(parts)
}

/// Reads `NAME(ARGUMENT):LENGTH%`, and gives what is behind it.
fn command(text: &str) -> Result<(Part, &str), String> {
    let named = text
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(named);
    let bad = || {
        format!(
            "%{text}: expected a command operator such as %REQ(:METHOD)%, or %% for a percent sign"
        )
    };
    if name.is_empty() {
        return Err(bad());
    }
    let (argument, rest) = match rest.strip_prefix('(') {
        None => (None, rest),
        Some(rest) => {
            let (argument, rest) = rest.split_once(')').ok_or_else(bad)?;
            (Some(argument), rest)
        }
    };
    let (length, rest) = match rest.strip_prefix(':') {
        None => (None, rest.strip_prefix('%').ok_or_else(bad)?),
        Some(rest) => {
            let (length, rest) = rest.split_once('%').ok_or_else(bad)?;
            (Some(length.parse().map_err(|_| bad())?), rest)
        }
    };
    let operator = operator(name, argument)?;
    Ok((Part::Operator(operator, length), rest))
}

fn operator(name: &str, argument: Option<&str>) -> Result<Operator, String> {
    if let Some(operator) = plain(name) {
        return match argument {
            None => Ok(operator),
            Some(_) => Err(format!("%{name}% takes no argument")),
        };
    }
    let required = || argument.ok_or_else(|| format!("%{name}% needs an argument, in parentheses"));
    Ok(match name {
        "START_TIME" => Operator::StartTime(time(argument.unwrap_or("%Y-%m-%dT%H:%M:%E3SZ"))?),
        "REQ" | "RESP" | "TRAILER" => {
            let (first, second) = fields(required()?)?;
            match name {
                "REQ" => Operator::Request(first, second),
                "RESP" => Operator::Response(first, second),
                _ => Operator::Trailer(first, second),
            }
        }
        "PATH" => match argument.unwrap_or("WQ") {
            "NQ" | "NQ:PATH" => Operator::Path { query: false },
            "WQ" | "WQ:PATH" => Operator::Path { query: true },
            other => {
                return Err(format!(
                    "%PATH({other})%: supported are NQ and WQ, with :PATH or without"
                ));
            }
        },
        "QUERY_PARAM" => Operator::QueryParameter(required()?.to_owned()),
        "FILTER_STATE" => {
            let argument = required()?;
            let (name, kind) = argument.split_once(':').unwrap_or((argument, "PLAIN"));
            if kind != "PLAIN" {
                return Err(format!(
                    "%FILTER_STATE({argument})%: only PLAIN is supported"
                ));
            }
            Operator::FilterState(name.to_owned())
        }
        "UPSTREAM_METADATA" => {
            Operator::UpstreamMetadata(required()?.split(':').map(str::to_owned).collect())
        }
        "GRPC_STATUS" => match argument.unwrap_or("CAMEL_STRING") {
            "CAMEL_STRING" => Operator::GrpcStatus { number: false },
            "NUMBER" => Operator::GrpcStatus { number: true },
            other => {
                return Err(format!(
                    "%GRPC_STATUS({other})%: supported are CAMEL_STRING and NUMBER"
                ));
            }
        },
        _ => return Err(format!("%{name}% is not supported here")),
    })
}

/// Operators without arguments.
fn plain(name: &str) -> Option<Operator> {
    use AddressPart::{Port, Whole, WithoutPort};
    Some(match name {
        "PROTOCOL" => Operator::Protocol,
        "RESPONSE_CODE" => Operator::ResponseCode,
        "RESPONSE_CODE_DETAILS" => Operator::ResponseCodeDetails,
        "RESPONSE_FLAGS" => Operator::ResponseFlags { long: false },
        "RESPONSE_FLAGS_LONG" => Operator::ResponseFlags { long: true },
        "BYTES_RECEIVED" => Operator::BytesReceived,
        "BYTES_SENT" => Operator::BytesSent,
        "DURATION" => Operator::Duration,
        "REQUEST_DURATION" => Operator::RequestDuration,
        "RESPONSE_DURATION" => Operator::ResponseDuration,
        "RESPONSE_TX_DURATION" => Operator::ResponseTxDuration,
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Operator::UpstreamHost,
        "UPSTREAM_CLUSTER" => Operator::UpstreamCluster,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Operator::Attempts,
        "ROUTE_NAME" => Operator::RouteName,
        "DOWNSTREAM_REMOTE_ADDRESS" => Operator::RemoteAddress(Whole),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Operator::RemoteAddress(WithoutPort),
        "DOWNSTREAM_REMOTE_PORT" => Operator::RemoteAddress(Port),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Operator::DirectRemoteAddress(Whole),
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
            Operator::DirectRemoteAddress(WithoutPort)
        }
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => Operator::DirectRemoteAddress(Port),
        "DOWNSTREAM_LOCAL_ADDRESS" => Operator::LocalAddress(Whole),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Operator::LocalAddress(WithoutPort),
        "DOWNSTREAM_LOCAL_PORT" => Operator::LocalAddress(Port),
        "CONNECTION_ID" => Operator::ConnectionId,
        "REQUESTED_SERVER_NAME" => Operator::RequestedServerName,
        "DOWNSTREAM_TLS_VERSION" => Operator::TlsVersion,
        "DOWNSTREAM_PEER_SUBJECT" => Operator::Peer(PeerFact::Subject),
        "DOWNSTREAM_PEER_DNS_SAN" => Operator::Peer(PeerFact::DnsSan),
        "DOWNSTREAM_PEER_URI_SAN" => Operator::Peer(PeerFact::UriSan),
        "DOWNSTREAM_PEER_FINGERPRINT_256" => Operator::Peer(PeerFact::Sha256),
        "GRPC_STATUS_NUMBER" => Operator::GrpcStatus { number: true },
        "CONNECTION_TERMINATION_DETAILS" | "UPSTREAM_TRANSPORT_FAILURE_REASON" => Operator::Never,
        _ => return None,
    })
}

fn fields(argument: &str) -> Result<(Field, Option<Field>), String> {
    let (first, second) = match argument.split_once('?') {
        Some((first, second)) => (first, Some(second)),
        None => (argument, None),
    };
    Ok((field(first)?, second.map(field).transpose()?))
}

fn field(name: &str) -> Result<Field, String> {
    let lower = name.to_ascii_lowercase();
    if lower.starts_with(':') {
        return Ok(Field::Pseudo(lower));
    }
    lower
        .parse()
        .map(Field::Header)
        .map_err(|_| format!("{name:?} is no header's name"))
}

/// Envoy's `strftime` in that of the library.
fn time(format: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(digits) = after
            .strip_prefix('E')
            .and_then(|after| after.split_once('S'))
            && digits.0.len() == 1
            && digits.0.bytes().all(|b| b.is_ascii_digit())
        {
            out.push_str(&format!("%S.%{}f", digits.0));
            rest = digits.1;
        } else if let Some(after) = after.strip_prefix('f') {
            out.push_str("%9f");
            rest = after;
        } else {
            out.push('%');
            let next = after.chars().next().map_or(0, char::len_utf8);
            let (one, behind) = after.split_at(next);
            out.push_str(one);
            rest = behind;
        }
    }
    out.push_str(rest);
    let timestamp = jiff::Timestamp::try_from(UNIX_EPOCH).map_err(|error| error.to_string())?;
    jiff::fmt::strtime::format(&out, &timestamp.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|error| format!("%START_TIME({format})%: {error}"))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compiled() {
        let parts = compile("a %REQ(X-One?:path):7% %PROTOCOL%%%\n").unwrap();
        assert_eq!(parts.len(), 5);
        let Part::Operator(Operator::Request(first, second), Some(7)) = &parts[1] else {
            panic!("{parts:?}");
        };
        assert_eq!(*first, Field::Header("x-one".parse().unwrap()));
        assert_eq!(*second, Some(Field::Pseudo(":path".to_owned())));
        assert!(matches!(&parts[4], Part::Literal(text) if text == b"%\n"));
    }

    #[test]
    fn unknown_operators_are_errors() {
        for (text, said) in [
            ("%FOO%", "%FOO% is not supported here"),
            ("%REQ%", "%REQ% needs an argument"),
            ("%PROTOCOL(x)%", "%PROTOCOL% takes no argument"),
            ("%REQ(a b)%", "\"a b\" is no header's name"),
            ("100%", "expected a command operator"),
            ("%REQ(a):x%", "expected a command operator"),
            ("%START_TIME(%E*S)%", "%START_TIME(%E*S)%"),
        ] {
            let error = compile(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn times_are_translated() {
        assert_eq!(time("%Y %E3S %f %6f %s").unwrap(), "%Y %S.%3f %9f %6f %s");
    }
}
