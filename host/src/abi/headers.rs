//! Header maps: whole, by name, size.

use std::cell::RefMut;

use http::HeaderMap;
use wasmtime::Caller;

use super::import::family;
use super::memory::{Span, give, give_bytes, split};
use super::{Failure, Outcome, Status, pairs};
use crate::stream::head::{Fields, FieldsMut, InvalidField};
use crate::stream::intern::Interner;
use crate::stream::{Direction, Stream};
use crate::vm::grpc::Received;
use crate::vm::state::State;

/// The ABI's numbers of header maps that the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Map {
    Request,
    RequestTrailers,
    Response,
    ResponseTrailers,
    GrpcInitial,
    GrpcTrailing,
    CalloutHeaders,
    CalloutTrailers,
}

impl TryFrom<u32> for Map {
    type Error = Failure;

    fn try_from(number: u32) -> Result<Self, Failure> {
        match number {
            0 => Ok(Self::Request),
            1 => Ok(Self::RequestTrailers),
            2 => Ok(Self::Response),
            3 => Ok(Self::ResponseTrailers),
            4 => Ok(Self::GrpcInitial),
            5 => Ok(Self::GrpcTrailing),
            6 => Ok(Self::CalloutHeaders),
            7 => Ok(Self::CalloutTrailers),
            _ => Err(Status::BadArgument.into()),
        }
    }
}

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_get_header_map_pairs(map: Map, pairs: OutPairs) => get_pairs,
        proxy_set_header_map_pairs(map: Map, pairs: Pairs) => set_pairs,
        proxy_get_header_map_value(map: Map, name: Bytes, value: OutBytes) => get_value,
        proxy_replace_header_map_value(map: Map, name: Bytes, value: Bytes) => replace,
        proxy_add_header_map_value(map: Map, name: Bytes, value: Bytes) => add,
        proxy_remove_header_map_value(map: Map, name: Bytes) => remove,
        proxy_get_header_map_size(map: Map, size: OutU32) => get_size,
    }
}

/// What an edit of one name does.
#[derive(Clone, Copy)]
enum Edit {
    Replace,
    Add,
    Remove,
}

/// The map with that number, if the effective context has it now.
fn with_fields<T>(state: &State, map: Map, use_it: impl FnOnce(&Fields<'_>) -> T) -> Option<T> {
    match map {
        Map::CalloutHeaders => state
            .callout
            .as_ref()
            .map(|r| use_it(&Fields::Response(&r.head))),
        Map::CalloutTrailers => state
            .callout
            .as_ref()
            .map(|r| use_it(&Fields::Plain(&r.trailers))),
        Map::GrpcInitial => match state.grpc.received()? {
            Received::Initial(Some(head)) => Some(use_it(&Fields::Response(head))),
            Received::Initial(None) => Some(use_it(&Fields::Plain(&HeaderMap::new()))),
            _ => None,
        },
        Map::GrpcTrailing => match state.grpc.received()? {
            Received::Trailing(trailers) => Some(use_it(&Fields::Plain(trailers))),
            _ => None,
        },
        _ => {
            let stream = state.effective_stream()?.borrow();
            match map {
                Map::Request => Some(use_it(&Fields::Request(&stream.request))),
                Map::Response => stream
                    .response
                    .as_ref()
                    .map(|head| use_it(&Fields::Response(head))),
                Map::RequestTrailers => stream
                    .request_trailers
                    .as_ref()
                    .map(|map| use_it(&Fields::Plain(map))),
                Map::ResponseTrailers => stream
                    .response_trailers
                    .as_ref()
                    .map(|map| use_it(&Fields::Plain(map))),
                Map::GrpcInitial
                | Map::GrpcTrailing
                | Map::CalloutHeaders
                | Map::CalloutTrailers => None,
            }
        }
    }
}

/// An unavailable map is OK with no bytes, as in Envoy.
fn get_pairs(caller: &mut Caller<'_, State>, map: u32, out: Span) -> Outcome {
    let map = Map::try_from(map)?;
    let size = with_fields(caller.data(), map, pairs::measure).unwrap_or_default();
    give(caller, size.bytes, out, |state, to| {
        with_fields(state, map, |fields| pairs::write(fields, size, to))
            .unwrap_or(Ok(()))
            .map_err(Failure::from)
    })
}

fn get_value(caller: &mut Caller<'_, State>, map: u32, key: Span, out: Span) -> Outcome {
    let map = Map::try_from(map)?;
    let value = {
        let (view, state) = split(caller)?;
        let key = view.span(key)?;
        if key.first() == Some(&b':') {
            with_fields(state, map, |fields| fields.pseudo(key))
        } else {
            // standard names and those that are known are copied without an allocation
            let name = state.editing().1.name(key).cloned();
            let name = name.map_err(|_| Status::NotFound)?;
            with_fields(state, map, |fields| fields.get_named(&name))
        }
        .flatten()
        .ok_or(Status::NotFound)?
    };
    give_bytes(caller, value.as_bytes(), out)
}

fn get_size(caller: &mut Caller<'_, State>, map: u32, out: u32) -> Outcome {
    let map = Map::try_from(map)?;
    let size = with_fields(caller.data(), map, |fields| fields.byte_size()).unwrap_or(0);
    let size = u32::try_from(size).map_err(|_| Status::InternalFailure)?;
    split(caller)?.0.write_u32(out, size)
}

/// Runs `change` on a map of the effective stream; callout maps cannot be changed.
fn with_fields_mut(
    state: &mut State,
    map: Map,
    change: impl FnOnce(FieldsMut<'_>, &mut Interner) -> Result<(), InvalidField>,
) -> Outcome {
    let (stream, known) = state.editing();
    let mut stream: RefMut<'_, Stream> = stream.ok_or(Status::BadArgument)?.borrow_mut();
    let stream = &mut *stream;
    let fields = match map {
        Map::Request => FieldsMut::Request(&mut stream.request),
        Map::Response => FieldsMut::Response(stream.response.as_mut().ok_or(Status::BadArgument)?),
        Map::RequestTrailers => FieldsMut::Plain(
            stream
                .trailers_mut(Direction::Request)
                .ok_or(Status::BadArgument)?,
        ),
        Map::ResponseTrailers => FieldsMut::Plain(
            stream
                .trailers_mut(Direction::Response)
                .ok_or(Status::BadArgument)?,
        ),
        Map::GrpcInitial | Map::GrpcTrailing | Map::CalloutHeaders | Map::CalloutTrailers => {
            return Err(Status::BadArgument.into());
        }
    };
    change(fields, known).map_err(|_| Failure::Status(Status::BadArgument))
}

fn replace(caller: &mut Caller<'_, State>, map: u32, key: Span, value: Span) -> Outcome {
    edit(caller, map, key, Some(value), Edit::Replace)
}

fn add(caller: &mut Caller<'_, State>, map: u32, key: Span, value: Span) -> Outcome {
    edit(caller, map, key, Some(value), Edit::Add)
}

fn remove(caller: &mut Caller<'_, State>, map: u32, key: Span) -> Outcome {
    edit(caller, map, key, None, Edit::Remove)
}

fn edit(
    caller: &mut Caller<'_, State>,
    map: u32,
    key: Span,
    value: Option<Span>,
    how: Edit,
) -> Outcome {
    let map = Map::try_from(map)?;
    let (view, state) = split(caller)?;
    let key = view.span(key)?;
    let value = match value {
        Some(value) => view.span(value)?,
        None => &[],
    };
    with_fields_mut(state, map, |mut fields, known| match how {
        Edit::Replace => fields.replace(key, value, known),
        Edit::Add => fields.add(key, value, known),
        Edit::Remove => {
            fields.remove(key, known);
            Ok(())
        }
    })
}

fn set_pairs(caller: &mut Caller<'_, State>, map: u32, pairs: Span) -> Outcome {
    let map = Map::try_from(map)?;
    let (view, state) = split(caller)?;
    let fields = pairs::read(view.span(pairs)?)?;
    with_fields_mut(state, map, |mut to, known| {
        to.set_all(fields.into_iter(), known)
    })
}
