//! What a connection manager adds to every request and takes off: where it comes from, and by which way.

use std::net::{IpAddr, SocketAddr};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::head::{HTTP, HTTPS, request_id};
use crate::config::listener::{EscapedSlashes, Forwarding, HttpConnectionManager, StripPort};
use crate::proxy::attempt;
use crate::proxy::reply::GatewayError;
use crate::stream::Stream;
use crate::stream::head::Target;

static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
static EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// What only Envoys of one's own may say, and a client of an edge may not. Source: Envoy's connection manager.
const INTERNAL_ONLY: [&str; 16] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
];

/// Completes a request's head, and finds out where it comes from.
pub(super) fn complete(stream: &mut Stream, config: &HttpConnectionManager) {
    let Stream {
        request,
        info,
        tunnel,
        ..
    } = stream;
    let headers = &mut request.headers;
    // What asks for a tunnel goes on.
    if tunnel.is_none() {
        attempt::remove_hop_by_hop(headers);
    }
    headers.remove(header::EXPECT);
    let forwarding = &config.forwarding;
    let direct = info.source;
    let single = !headers.contains_key(&FORWARDED_FOR);
    if let Some(address) = original(headers, config, direct) {
        info.source = address;
    }
    let proto = if info.tls.is_some() { &HTTPS } else { &HTTP };
    if config.use_remote_address {
        if !forwarding.skip_append {
            append(headers, direct.ip(), info.destination.ip());
        }
        if forwarding.trusted_hops == 0 || !headers.contains_key(&FORWARDED_PROTO) {
            headers.insert(FORWARDED_PROTO.clone(), proto.clone());
        }
    } else {
        headers
            .entry(&FORWARDED_PROTO)
            .or_insert_with(|| proto.clone());
    }
    if request.scheme.is_empty() {
        request.scheme = match headers.get(&FORWARDED_PROTO) {
            Some(given) if *given == HTTPS || *given == HTTP => given.clone(),
            _ => proto.clone(),
        };
    }
    mark(headers, config, info.source.ip(), single);
    if !forwarding.forward_client_cert {
        headers.remove(&FORWARDED_CLIENT_CERT);
    }
    if let Some(via) = &forwarding.via {
        headers.append(header::VIA, via.clone());
    }
}

/// The client that the trusted proxies before this one tell of.
fn original(
    headers: &HeaderMap,
    config: &HttpConnectionManager,
    direct: SocketAddr,
) -> Option<SocketAddr> {
    let hops = match (config.use_remote_address, config.forwarding.trusted_hops) {
        (true, 0) => return None,
        (true, hops) => hops - 1,
        (false, hops) => hops,
    };
    let all = headers.get(&FORWARDED_FOR)?.to_str().ok()?;
    let hops = usize::try_from(hops).ok()?;
    let address: IpAddr = all.rsplit(',').nth(hops)?.trim().parse().ok()?;
    (address != direct.ip()).then_some(SocketAddr::new(address, 0))
}

/// Adds the client's address; for one on this machine the one it has reached, as in Envoy.
fn append(headers: &mut HeaderMap, client: IpAddr, local: IpAddr) {
    let own = if client.is_loopback() { local } else { client };
    let own = own.to_string();
    let value = match headers.get(&FORWARDED_FOR) {
        Some(before) if !before.is_empty() => {
            let all = [before.as_bytes(), b",", own.as_bytes()].concat();
            HeaderValue::from_bytes(&all)
        }
        _ => HeaderValue::from_str(&own),
    };
    if let Ok(value) = value {
        headers.insert(FORWARDED_FOR.clone(), value);
    }
}

/// Says whether the client is one of one's own, and takes from others what only those may say.
fn mark(headers: &mut HeaderMap, config: &HttpConnectionManager, client: IpAddr, single: bool) {
    let forwarding = &config.forwarding;
    let internal = single
        && forwarding
            .internal
            .iter()
            .any(|range| range.contains(client));
    let edge = config.use_remote_address && !internal;
    if internal {
        headers.insert(INTERNAL.clone(), HeaderValue::from_static("true"));
    } else {
        headers.remove(&INTERNAL);
    }
    if edge {
        let any = |name: &HeaderName| name.as_str().starts_with("x-envoy-");
        if headers.keys().any(any) {
            for name in INTERNAL_ONLY {
                headers.remove(name);
            }
        }
        if let Ok(address) = HeaderValue::from_str(&client.to_string()) {
            headers.insert(EXTERNAL_ADDRESS.clone(), address);
        }
    }
    if config.generate_request_id {
        let own = edge && !forwarding.preserve_external_request_id;
        if own || !headers.contains_key(&REQUEST_ID) {
            headers.insert(REQUEST_ID.clone(), request_id());
        }
    }
}

/// Takes the port off `host` where the file says so.
pub(super) fn strip_port(headers: &mut HeaderMap, strip: StripPort, local: SocketAddr) {
    let Some(host) = headers.get(header::HOST) else {
        return;
    };
    let host = host.to_str().unwrap_or_default();
    let Some((name, port)) = host.rsplit_once(':') else {
        return;
    };
    // The colons of an IPv6 address without a port are its own.
    let whole = !name.contains(':') || name.ends_with(']');
    let Ok(port) = port.parse::<u16>() else {
        return;
    };
    if whole
        && (strip == StripPort::Any || port == local.port())
        && let Ok(name) = HeaderValue::from_str(name)
    {
        headers.insert(header::HOST, name);
    }
}

/// Normalizes a path as the file says.
///
/// # Errors
/// Where it is refused, or the client is sent to the normalized one.
pub(super) fn normalize(
    method: &Method,
    path: &mut Target,
    forwarding: &Forwarding,
) -> Result<(), GatewayError> {
    let Target::Valid(target) = path else {
        return Ok(());
    };
    if *method == Method::CONNECT || target.path() == "*" {
        return Ok(());
    }
    let mut normal = target.path().to_owned();
    if forwarding.normalize_path {
        normal = without_dots(&unreserved(&normal.replace('\\', "/")));
    }
    if forwarding.merge_slashes {
        while normal.contains("//") {
            normal = normal.replace("//", "/");
        }
    }
    let lower = normal.to_ascii_lowercase();
    let escaped = lower.contains("%2f") || lower.contains("%5c");
    match forwarding.escaped_slashes {
        EscapedSlashes::Reject if escaped => return Err(GatewayError::Target),
        EscapedSlashes::Forward if escaped => normal = unescape_slashes(&normal),
        _ => {}
    }
    if normal == target.path() {
        return Ok(());
    }
    let whole = match target.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal,
    };
    *path = PathAndQuery::try_from(whole)
        .map(Target::Valid)
        .map_err(|_| GatewayError::Target)?;
    Ok(())
}

/// Writes unreserved characters as themselves. Source: RFC 3986, section 6.2.2.2.
fn unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let code = after
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~') => {
                out.push(c);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Takes dot segments away. Source: RFC 3986, section 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

fn unescape_slashes(path: &str) -> String {
    let mut out = path.to_owned();
    for (escaped, plain) in [("%2f", "/"), ("%2F", "/"), ("%5c", "\\"), ("%5C", "\\")] {
        out = out.replace(escaped, plain);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_removed() {
        for (path, normal) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a//b", "/a//b"),
            ("/", "/"),
        ] {
            assert_eq!(without_dots(path), normal, "{path}");
        }
    }

    #[test]
    fn unreserved_characters_are_themselves() {
        assert_eq!(unreserved("/%41%2e%2E%7e%2F%zz%"), "/A..~%2F%zz%");
    }
}
