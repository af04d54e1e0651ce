//! Properties: what the host tells of an exchange, in Envoy's encodings, and what filters leave in it.
//!
//! Paths are joined by NUL. Strings are raw, numbers 8 bytes little-endian, times nanoseconds as a number,
//! maps as in [`super::pairs`].

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use wasmtime::Caller;

use super::import::family;
use super::memory::{Span, give_bytes, split};
use super::{Outcome, Status, pairs};
use crate::process::Clock;
use crate::stream::head::Fields;
use crate::stream::{Stream, UpstreamHost};
use crate::vm::state::State;

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_get_property(path: Path, value: OutBytes) => get,
        proxy_set_property(path: Path, value: Bytes) => set,
    }
}

fn get(caller: &mut Caller<'_, State>, path: Span, out: Span) -> Outcome {
    let value = {
        let (view, state) = split(caller)?;
        let path = view.span(path)?;
        lookup(state, path.strip_suffix(b"\0").unwrap_or(path))?
    };
    give_bytes(caller, &value, out)
}

fn set(caller: &mut Caller<'_, State>, path: Span, value: Span) -> Outcome {
    let (view, state) = split(caller)?;
    let path = view.span(path)?;
    let value = view.span(value)?;
    let mut stream = state
        .effective_stream()
        .ok_or(Status::NotFound)?
        .borrow_mut();
    stream.set_filter_state(path, value);
    Ok(())
}

/// The value at `path`, from filter state first, then from what the host knows.
fn lookup(state: &State, path: &[u8]) -> Result<Bytes, Status> {
    if let Some(stream) = state.effective_stream() {
        let stream = stream.borrow();
        if let Some(value) = stream.filter_state(path) {
            return Ok(value.clone());
        }
        if let Some(found) = of_stream(&stream, &state.process.clock, path) {
            return found;
        }
    }
    of_plugin(state, path).ok_or(Status::NotFound)
}

fn of_plugin(state: &State, path: &[u8]) -> Option<Bytes> {
    let plugin = state.effective_plugin();
    match path {
        b"plugin_name" => Some(Bytes::copy_from_slice(plugin?.name.as_bytes())),
        b"plugin_root_id" => Some(Bytes::copy_from_slice(plugin?.root_id.as_bytes())),
        b"plugin_vm_id" => Some(Bytes::copy_from_slice(state.vm.vm_id.as_bytes())),
        b"xds\0node\0id" | b"node\0id" => {
            Some(Bytes::copy_from_slice(state.process.node.id.as_bytes()))
        }
        b"xds\0node\0cluster" | b"node\0cluster" => Some(Bytes::copy_from_slice(
            state.process.node.cluster.as_bytes(),
        )),
        b"xds\0listener_direction" | b"listener_direction" => Some(number(0)),
        _ => None,
    }
}

/// `None`: not a property of streams. An error: it is one, without a value now.
fn of_stream(stream: &Stream, clock: &Clock, path: &[u8]) -> Option<Result<Bytes, Status>> {
    let (first, rest) = match path.iter().position(|byte| *byte == 0) {
        Some(at) => (path.get(..at)?, path.get(at + 1..)?),
        None => (path, &b""[..]),
    };
    let found = match first {
        b"request" => request(stream, clock, rest),
        b"response" => response(stream, rest),
        b"source" => address(stream.info.source, rest),
        b"destination" => address(stream.info.destination, rest),
        b"connection" if rest == b"id" => Some(number(stream.info.connection_id)),
        b"connection" => connection(stream, rest),
        b"upstream" if rest == b"request_attempt_count" => {
            Some(number(u64::from(stream.info.attempts)))
        }
        b"upstream" => stream
            .info
            .upstream
            .as_ref()
            .and_then(|host| address(host.address, rest)),
        b"xds" => xds(stream, rest),
        // removed in Envoy 1.33, still asked for by older filters
        b"cluster_name" | b"route_name" => xds(stream, first),
        b"upstream_host_metadata" => xds(stream, path),
        _ => return None,
    };
    if found.is_none() && matches!(first, b"xds") && rest.starts_with(b"node") {
        return None;
    }
    Some(found.ok_or(Status::NotFound))
}

/// Of the client's connection, when it is one under TLS.
fn connection(stream: &Stream, name: &[u8]) -> Option<Bytes> {
    let tls = stream.info.tls.as_deref();
    if name == b"mtls" {
        let mutual = tls.is_some_and(|tls| tls.peer.is_some());
        return Some(Bytes::from_static(if mutual { &[1] } else { &[0] }));
    }
    let tls = tls?;
    let text = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
    match name {
        b"tls_version" => text(tls.version),
        b"requested_server_name" => text(&tls.server_name),
        b"subject_peer_certificate" => text(&tls.peer.as_ref()?.subject),
        b"dns_san_peer_certificate" => text(tls.peer.as_ref()?.dns_sans.first()?),
        b"uri_san_peer_certificate" => text(tls.peer.as_ref()?.uri_sans.first()?),
        b"sha256_peer_certificate_digest" => text(&tls.peer.as_ref()?.sha256),
        _ => None,
    }
}

fn request(stream: &Stream, clock: &Clock, name: &[u8]) -> Option<Bytes> {
    let head = &stream.request;
    let header = |name: &[u8]| Fields::Request(head).get(name);
    match name {
        b"path" => Some(Bytes::copy_from_slice(head.path.as_bytes())),
        b"url_path" => Some(Bytes::copy_from_slice(head.path.path()?.as_bytes())),
        b"query" => match &head.path {
            crate::stream::head::Target::Valid(path) => Some(Bytes::copy_from_slice(
                path.query().unwrap_or_default().as_bytes(),
            )),
            crate::stream::head::Target::Invalid(_) => None,
        },
        b"host" => header(b":authority"),
        b"scheme" => Some(Bytes::copy_from_slice(head.scheme.as_bytes())),
        b"method" => Some(Bytes::copy_from_slice(head.method.as_str().as_bytes())),
        b"referer" => header(b"referer"),
        b"useragent" => header(b"user-agent"),
        b"id" => header(b"x-request-id"),
        b"protocol" => Some(Bytes::from_static(stream.info.protocol_name().as_bytes())),
        b"time" => Some(nanoseconds(began(stream)?)),
        b"duration" => {
            let now = Duration::from_nanos(clock.wall());
            Some(nanoseconds(now.checked_sub(began(stream)?)?))
        }
        b"size" => Some(number(stream.info.request_bytes)),
        b"headers" => Some(map(&Fields::Request(head))),
        _ => header(name.strip_prefix(b"headers\0")?),
    }
}

/// When the request came, since 1970.
fn began(stream: &Stream) -> Option<Duration> {
    stream.info.start.duration_since(UNIX_EPOCH).ok()
}

fn response(stream: &Stream, name: &[u8]) -> Option<Bytes> {
    let head = stream.response.as_ref()?;
    match name {
        b"code" => Some(number(u64::from(head.status.as_u16()))),
        b"code_details" if !stream.info.details.is_empty() => {
            Some(Bytes::from_static(stream.info.details.as_bytes()))
        }
        b"size" => Some(number(stream.info.response_bytes)),
        b"headers" => Some(map(&Fields::Response(head))),
        _ => Fields::Response(head).get(name.strip_prefix(b"headers\0")?),
    }
}

fn address(address: std::net::SocketAddr, name: &[u8]) -> Option<Bytes> {
    match name {
        b"address" => Some(Bytes::from(address.to_string())),
        b"port" => Some(number(u64::from(address.port()))),
        _ => None,
    }
}

fn xds(stream: &Stream, name: &[u8]) -> Option<Bytes> {
    let info = &stream.info;
    match name {
        b"cluster_name" => Some(Bytes::copy_from_slice(info.cluster.as_ref()?.as_bytes())),
        b"route_name" => Some(Bytes::copy_from_slice(info.route_name.as_bytes())),
        b"virtual_host_name" => Some(Bytes::copy_from_slice(info.virtual_host.as_bytes())),
        _ => host_metadata(
            info.upstream.as_deref()?,
            name.strip_prefix(b"upstream_host_metadata\0filter_metadata\0")?,
        ),
    }
}

/// `NAMESPACE\0KEY…` of the endpoint's metadata; only scalars have a value.
fn host_metadata(host: &UpstreamHost, path: &[u8]) -> Option<Bytes> {
    let mut parts = path.split(|byte| *byte == 0);
    let mut value = host
        .endpoint
        .metadata
        .get(std::str::from_utf8(parts.next()?).ok()?)?;
    for part in parts {
        value = value.get(std::str::from_utf8(part).ok()?)?;
    }
    match value {
        serde_json::Value::String(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        serde_json::Value::Bool(flag) => Some(Bytes::copy_from_slice(&[u8::from(*flag)])),
        serde_json::Value::Number(n) => Some(Bytes::copy_from_slice(&n.as_f64()?.to_le_bytes())),
        _ => None,
    }
}

fn map(fields: &Fields<'_>) -> Bytes {
    let size = pairs::measure(fields);
    let mut bytes = vec![0; size.bytes];
    match pairs::write(fields, size, &mut bytes) {
        Ok(()) => Bytes::from(bytes),
        Err(_) => Bytes::new(),
    }
}

fn number(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_le_bytes())
}

fn nanoseconds(duration: Duration) -> Bytes {
    number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
