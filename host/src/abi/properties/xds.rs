//! `xds.*`: where the request goes by the configuration, and metadata.

mod message;

use bytes::Bytes;
use serde_json::Value as Json;

use super::{NO_PAIRS, Status, Value, flag, number, step, string};
use crate::stream::{Stream, UpstreamHost};
use crate::vm::state::State;

/// What needs no stream, or what the stream tells.
pub(super) fn look_up(state: &State, path: &[u8]) -> Value {
    match step(path) {
        (b"", _) => Err(Status::SerializationFailure),
        (b"node", rest) => node(state, rest),
        _ => {
            let stream = state.effective_stream().ok_or(Status::NotFound)?.borrow();
            of_stream(state, &stream, path)
        }
    }
}

/// The whole is a message, `envoy.config.core.v3.Node`, with what the file says.
fn node(state: &State, path: &[u8]) -> Value {
    let node = &state.process.node;
    match path {
        b"" => Ok(message::node(&node.id, &node.cluster)),
        b"id" => Ok(string(&node.id)),
        b"cluster" => Ok(string(&node.cluster)),
        b"locality\0region" | b"locality\0zone" | b"locality\0sub_zone" => Ok(Bytes::new()),
        _ => Err(Status::NotFound),
    }
}

pub(super) fn of_stream(state: &State, stream: &Stream, path: &[u8]) -> Value {
    let info = &stream.info;
    // Every virtual host has a name: without one no route has been chosen.
    let routed = !info.virtual_host.is_empty();
    let (name, rest) = step(path);
    match name {
        b"node" => node(state, rest),
        b"cluster_name" => {
            let name = info.cluster.as_ref().ok_or(Status::NotFound)?;
            Ok(string(name))
        }
        b"route_name" if routed => Ok(string(&info.route_name)),
        b"virtual_host_name" if routed => Ok(string(&info.virtual_host)),
        b"listener_direction" => Ok(number(0)),
        b"filter_chain_name" => Ok(Bytes::new()),
        b"upstream_host_metadata" => {
            host_metadata(info.upstream.as_deref().ok_or(Status::NotFound)?, rest)
        }
        b"upstream_host_locality_metadata" if info.upstream.is_some() && rest.is_empty() => {
            Err(Status::SerializationFailure)
        }
        b"listener_metadata" => no_metadata(rest),
        b"cluster_metadata" if info.cluster.is_some() => no_metadata(rest),
        b"route_metadata" | b"virtual_host_metadata" if routed => no_metadata(rest),
        _ => Err(Status::NotFound),
    }
}

/// Metadata that holds nothing.
pub(super) fn no_metadata(path: &[u8]) -> Value {
    match path {
        b"" => Ok(Bytes::new()),
        b"filter_metadata" => Ok(Bytes::from_static(NO_PAIRS)),
        _ => Err(Status::NotFound),
    }
}

/// `filter_metadata\0NAMESPACE\0KEY…` of the endpoint; the whole is a message, `envoy.config.core.v3.Metadata`.
fn host_metadata(host: &UpstreamHost, path: &[u8]) -> Value {
    let (first, mut path) = step(path);
    let all = &host.endpoint.metadata;
    match first {
        b"" => return Ok(message::metadata(all)),
        b"filter_metadata" => {}
        _ => return Err(Status::NotFound),
    }
    if path.is_empty() {
        let entries = all.iter().map(|(name, value)| (name.as_str(), value));
        return object(entries.collect());
    }
    let (namespace, rest) = step(path);
    let mut value = text(namespace).and_then(|name| all.get(name));
    path = rest;
    while !path.is_empty() {
        let (name, rest) = step(path);
        value = match value {
            Some(Json::Array(items)) => text(name)
                .and_then(|name| name.parse::<usize>().ok())
                .and_then(|at| items.get(at)),
            Some(value) => text(name).and_then(|name| value.get(name)),
            None => None,
        };
        path = rest;
    }
    encoded(value.ok_or(Status::NotFound)?)
}

fn text(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name).ok()
}

/// As CEL's values are: lists as maps without values.
fn encoded(value: &Json) -> Value {
    match value {
        Json::Null => Err(Status::SerializationFailure),
        Json::String(text) => Ok(string(text)),
        Json::Bool(value) => Ok(flag(*value)),
        Json::Number(n) => {
            let n = n.as_f64().ok_or(Status::SerializationFailure)?;
            Ok(Bytes::copy_from_slice(&n.to_le_bytes()))
        }
        Json::Object(entries) => object(
            entries
                .iter()
                .map(|(name, value)| (name.as_str(), value))
                .collect(),
        ),
        Json::Array(items) => {
            let mut fields = Vec::with_capacity(items.len());
            for item in items {
                fields.push((encoded(item)?, Bytes::new()));
            }
            serialized(&fields)
        }
    }
}

fn object(entries: Vec<(&str, &Json)>) -> Value {
    let mut fields = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        fields.push((string(name), encoded(value)?));
    }
    serialized(&fields)
}

fn serialized(fields: &[(Bytes, Bytes)]) -> Value {
    let length = |n: usize| {
        u32::try_from(n)
            .map(u32::to_le_bytes)
            .map_err(|_| Status::SerializationFailure)
    };
    let mut out = length(fields.len())?.to_vec();
    for (name, value) in fields {
        out.extend_from_slice(&length(name.len())?);
        out.extend_from_slice(&length(value.len())?);
    }
    for (name, value) in fields {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
    Ok(Bytes::from(out))
}
