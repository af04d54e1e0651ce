//! Properties: what the host tells of an exchange, in Envoy's encodings, and what filters leave in it.
//!
//! A path's names are joined by NUL. Strings are raw, numbers 8 bytes little-endian, times and durations nanoseconds as a
//! number, booleans a byte, maps as in [`super::pairs`]. What each path answers when was taken down from Envoy 1.40.

mod exchange;
mod peers;
mod xds;

use std::time::Duration;

use bytes::Bytes;
use wasmtime::Caller;

use super::import::family;
use super::lint::{Rule, lint};
use super::memory::{Span, give_bytes, split};
use super::{Outcome, Status};
use crate::stream::Stream;
use crate::vm::state::State;

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_get_property(path: Path, value: OutBytes) => get,
        proxy_set_property(path: Path, value: Bytes) => set,
    }
}

/// A property's value: `NotFound` where it has none now, `SerializationFailure` where it is no value but a group.
type Value = Result<Bytes, Status>;

/// An empty map.
const NO_PAIRS: &[u8] = &[0; 4];

fn get(caller: &mut Caller<'_, State>, path: Span, out: Span) -> Outcome {
    let value = {
        let (view, state) = split(caller)?;
        let path = view.name(path)?;
        lookup(state, path.strip_suffix(b"\0").unwrap_or(path))?
    };
    give_bytes(caller, &value, out)
}

/// Left under the path as it is; a path of several names cannot be read again, as in Envoy.
fn set(caller: &mut Caller<'_, State>, path: Span, value: Span) -> Outcome {
    let (view, state) = split(caller)?;
    let lengths = [path.1, value.1];
    let path = view.name(path)?;
    let value = view.span(value)?;
    lengths
        .into_iter()
        .try_for_each(|length| state.take(length))?;
    let mut stream = state
        .effective_stream()
        .ok_or(Status::NotFound)?
        .borrow_mut();
    if path.contains(&0) {
        lint(state, Rule::NestedProperty);
    }
    if state.is_read_only(path) && stream.filter_state(path).is_some() {
        return Err(Status::BadArgument.into());
    }
    match stream.set_filter_state(path, value) {
        true => Ok(()),
        false => Err(Status::InternalFailure.into()),
    }
}

/// The first name of a path, and the rest.
fn step(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == 0) {
        Some(at) => path
            .split_at_checked(at)
            .map_or((path, &[][..]), |(first, rest)| {
                (first, rest.split_first().map_or(&[][..], |(_, rest)| rest))
            }),
        None => (path, &[]),
    }
}

fn lookup(state: &State, path: &[u8]) -> Value {
    let (first, rest) = step(path);
    match first {
        b"" => Err(Status::SerializationFailure),
        b"xds" => xds::look_up(state, rest),
        b"plugin_name" | b"plugin_root_id" | b"plugin_vm_id" => of_plugin(state, first, rest),
        _ => {
            let stream = state.effective_stream().ok_or(Status::NotFound)?.borrow();
            of_stream(state, &stream, first, rest)
        }
    }
}

fn of_stream(state: &State, stream: &Stream, first: &[u8], rest: &[u8]) -> Value {
    match first {
        b"request" => exchange::request(state, stream, rest),
        b"response" => exchange::response(state, stream, rest),
        b"connection" => peers::connection(stream, rest),
        b"connection_id" if rest.is_empty() => Ok(number(stream.info.connection_id)),
        b"upstream" => peers::upstream(stream, rest),
        b"source" => peers::address(stream.info.source, rest),
        b"destination" => peers::address(stream.info.destination, rest),
        b"metadata" => xds::no_metadata(rest),
        b"filter_state" => filter_state(stream, rest),
        b"upstream_filter_state" => match rest {
            b"" if stream.info.upstream.is_some() => Err(Status::SerializationFailure),
            _ => Err(Status::NotFound),
        },
        // What a filter has left is a value without parts.
        _ if rest.is_empty() && stream.filter_state(first).is_some() => left(stream, first),
        b"cluster_name"
        | b"route_name"
        | b"upstream_host_metadata"
        | b"node"
        | b"listener_direction" => {
            lint(state, Rule::BareProperty);
            let mut path = first.to_vec();
            if !rest.is_empty() {
                path.push(0);
                path.extend_from_slice(rest);
            }
            xds::of_stream(state, stream, &path)
        }
        _ => Err(Status::NotFound),
    }
}

fn of_plugin(state: &State, name: &[u8], rest: &[u8]) -> Value {
    if !rest.is_empty() {
        return Err(Status::NotFound);
    }
    let text = match name {
        b"plugin_vm_id" => Some(&state.vm.vm_id),
        b"plugin_name" => state.effective_plugin().map(|plugin| &plugin.name),
        _ => state.effective_plugin().map(|plugin| &plugin.root_id),
    };
    text.map(|text| string(text)).ok_or(Status::NotFound)
}

/// By its whole name there: `wasm.` and the path for what `proxy_set_property` left.
fn filter_state(stream: &Stream, name: &[u8]) -> Value {
    match name.strip_prefix(b"wasm.") {
        _ if name.is_empty() => Err(Status::SerializationFailure),
        Some(path) => left(stream, path),
        None => left(stream, &object(name)),
    }
}

/// The key of an object of the filter state that is none of `proxy_set_property`'s.
pub(super) fn object(name: &[u8]) -> Vec<u8> {
    [b"\0", name].concat()
}

fn left(stream: &Stream, key: &[u8]) -> Value {
    stream.filter_state(key).cloned().ok_or(Status::NotFound)
}

fn string(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn number(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_le_bytes())
}

fn flag(flag: bool) -> Bytes {
    Bytes::copy_from_slice(&[u8::from(flag)])
}

fn nanoseconds(duration: Duration) -> Bytes {
    number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
