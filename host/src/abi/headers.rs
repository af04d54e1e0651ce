//! Header maps: whole, by name, size.

use std::cell::RefMut;

use http::HeaderMap;
use wasmtime::Caller;

use super::import::family;
use super::lint::{Rule, lint};
use super::memory::{Span, give, give_bytes, split};
use super::{Failure, Outcome, Reach, Status, Version, pairs};
use crate::stream::Stream;
use crate::stream::head::{Fields, FieldsMut, InvalidField, Target};
use crate::stream::intern::Interner;
use crate::vm::grpc::Received;
use crate::vm::state::State;

/// A header map, by the ABI's number.
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

impl Map {
    /// What a context must reach for it, where it is one of the stream's.
    #[inline]
    fn reach(self) -> Option<Reach> {
        match self {
            Self::Request => Some(Reach::REQUEST_HEADERS),
            Self::RequestTrailers => Some(Reach::REQUEST_TRAILERS),
            Self::Response => Some(Reach::RESPONSE_HEADERS),
            Self::ResponseTrailers => Some(Reach::RESPONSE_TRAILERS),
            _ => None,
        }
    }

    /// Where the trailers may be added that did not come: at the end of the body.
    fn body(self) -> Option<Reach> {
        match self {
            Self::RequestTrailers => Some(Reach::REQUEST_BODY.with(Reach::END)),
            Self::ResponseTrailers => Some(Reach::RESPONSE_BODY.with(Reach::END)),
            _ => None,
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

/// Runs `look` on the map with that number, if the effective context reaches it now.
#[inline]
fn with_fields<T>(state: &State, map: Map, look: impl FnOnce(&Fields<'_>) -> T) -> Option<T> {
    let Some(needed) = map.reach() else {
        return with_answer(state, map, look);
    };
    let reach = state.reach();
    let reached = match reach.has(Reach::LOG) {
        // Envoy's access log knows nothing of request trailers.
        true => map != Map::RequestTrailers || state.strict(),
        false => reach.has(needed),
    };
    if !reached {
        return None;
    }
    let stream = state.effective_stream()?.borrow();
    match map {
        Map::Request => Some(look(&Fields::Request(&stream.request))),
        Map::Response => Some(look(&Fields::Response(stream.response.as_ref()?))),
        Map::RequestTrailers => Some(look(&Fields::Plain(stream.request_trailers.as_ref()?))),
        _ => Some(look(&Fields::Plain(stream.response_trailers.as_ref()?))),
    }
}

/// The same for the maps of a callout's answer.
fn with_answer<T>(state: &State, map: Map, look: impl FnOnce(&Fields<'_>) -> T) -> Option<T> {
    match map {
        Map::CalloutHeaders => Some(look(&Fields::Response(&state.callout.as_ref()?.head))),
        // An answer without trailers has no map of them.
        Map::CalloutTrailers => {
            let trailers = &state.callout.as_ref()?.trailers;
            (!trailers.is_empty()).then(|| look(&Fields::Plain(trailers)))
        }
        Map::GrpcInitial => match state.grpc.received()? {
            Received::Initial(Some(head)) => Some(look(&Fields::Response(head))),
            Received::Initial(None) => Some(look(&Fields::Plain(&HeaderMap::new()))),
            _ => None,
        },
        Map::GrpcTrailing => match state.grpc.received()? {
            Received::Trailing(trailers) => Some(look(&Fields::Plain(trailers))),
            _ => None,
        },
        _ => None,
    }
}

/// An unavailable map is OK with no bytes, as in Envoy; so is an empty one.
fn get_pairs(caller: &mut Caller<'_, State>, map: u32, out: Span) -> Outcome {
    let map = Map::try_from(map)?;
    let size = match with_fields(caller.data(), map, pairs::measure) {
        Some(size) => size,
        None => {
            lint(caller.data(), Rule::UnavailablePairs);
            pairs::Size::default()
        }
    };
    give(caller, size.bytes, out, |state, to| {
        with_fields(state, map, |fields| pairs::write(fields, size, to))
            .unwrap_or(Ok(()))
            .map_err(Failure::from)
    })
}

fn get_value(caller: &mut Caller<'_, State>, map: u32, key: Span, out: Span) -> Outcome {
    let map = Map::try_from(map)?;
    let (view, state) = split(caller)?;
    let key = view.span(key)?;
    // The guest's allocator may run before the value is written, so it is copied: that costs less than to share it.
    let mut value = std::mem::take(&mut state.scratch);
    value.clear();
    let outcome = match read_value(state, map, key, &mut value) {
        Some(true) => give_bytes(caller, &value, out),
        Some(false) => absent(caller, out),
        None => unavailable(caller, out),
    };
    caller.data_mut().scratch = value;
    outcome
}

/// Appends a header's value to `to`; false where there is none, `None` where there is no map.
#[inline]
fn read_value(state: &State, map: Map, key: &[u8], to: &mut Vec<u8>) -> Option<bool> {
    if key.first() == Some(&b':') {
        return with_fields(state, map, |fields| fields.read_pseudo(key, to));
    }
    let mut known = state.known();
    let name = known.name(key).ok();
    with_fields(state, map, |fields| {
        name.is_some_and(|name| fields.read(name, to))
    })
}

/// A header that is not there: before 0.2.0 it was an empty one.
fn absent(caller: &mut Caller<'_, State>, out: Span) -> Outcome {
    if caller.data().version == Version::V0_1_0 {
        return give_bytes(caller, b"", out);
    }
    Err(Status::NotFound.into())
}

/// A header of a map that is not there. Envoy answers `BadArgument`, except to its access log.
#[cold]
fn unavailable(caller: &mut Caller<'_, State>, out: Span) -> Outcome {
    let state = caller.data();
    if state.reach().has(Reach::LOG) || state.strict() {
        return absent(caller, out);
    }
    lint(state, Rule::UnavailableHeader);
    Err(Status::BadArgument.into())
}

/// Bytes of all names and values; in the specification's sense, of the whole map as it is handed over.
fn get_size(caller: &mut Caller<'_, State>, map: u32, out: u32) -> Outcome {
    let map = Map::try_from(map)?;
    let state = caller.data_mut();
    let size = if state.strict() {
        with_fields(state, map, |fields| pairs::measure(fields).bytes).unwrap_or(0)
    } else {
        let mut size = 0;
        with_fields_mut(state, map, |fields, _| {
            size = fields.fields().byte_size();
            Ok(())
        })?;
        size
    };
    let size = u32::try_from(size).map_err(|_| Status::InternalFailure)?;
    split(caller)?.0.write_u32(out, size)
}

/// Runs `change` on a map of the effective stream, which the context must reach; callout maps cannot be changed.
#[inline]
fn with_fields_mut(
    state: &mut State,
    map: Map,
    change: impl FnOnce(&mut FieldsMut<'_>, &mut Interner) -> Result<(), InvalidField>,
) -> Outcome {
    let needed = map.reach().ok_or(Status::BadArgument)?;
    if !state.reach().has(needed) {
        let at_end = map.body().is_some_and(|body| state.reach().has(body));
        if !at_end {
            lint(state, Rule::UnavailableEdit);
            return Err(Status::BadArgument.into());
        }
        // Envoy adds the trailers where they are first asked for.
        state.see(needed, None);
    }
    let stream = state.effective_stream().ok_or(Status::BadArgument)?;
    let mut stream: RefMut<'_, Stream> = stream.borrow_mut();
    let stream = &mut *stream;
    let mut fields = match map {
        Map::Request => FieldsMut::Request(&mut stream.request),
        Map::Response => FieldsMut::Response(stream.response.as_mut().ok_or(Status::BadArgument)?),
        Map::RequestTrailers => FieldsMut::Plain(stream.request_trailers.get_or_insert_default()),
        _ => FieldsMut::Plain(stream.response_trailers.get_or_insert_default()),
    };
    let changed = change(&mut fields, &mut state.known());
    changed.map_err(|InvalidField| Failure::Status(Status::BadArgument))
}

/// For the lint: how many values the header has that a guest asked for, and whether the first is UTF-8.
pub(super) fn values(state: &State, map: u32, name: &[u8]) -> (usize, bool) {
    let Ok(map) = Map::try_from(map) else {
        return (0, true);
    };
    let (mut found, mut text) = (0, true);
    with_fields(state, map, |fields| {
        fields.for_each(|own, value| {
            if own.eq_ignore_ascii_case(name) {
                text &= found > 0 || std::str::from_utf8(value).is_ok();
                found += 1;
            }
        });
    });
    (found, text)
}

/// Whether a map without the pseudo header of that name is no message.
fn needs(map: Map, name: &[u8]) -> bool {
    match map {
        Map::Request => matches!(name, b":method" | b":path" | b":authority"),
        Map::Response => name == b":status",
        _ => false,
    }
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
    if matches!(how, Edit::Remove) && key.first() == Some(&b':') && needs(map, key) {
        lint(state, Rule::MissingPseudo);
    }
    let value = match value {
        // No longer one could be set with the whole map.
        Some(span) if span.1 as usize > pairs::MAX_BYTES => return Err(Status::BadArgument.into()),
        Some(span) => {
            let value = view.span(span)?;
            state.take(span.1)?;
            value
        }
        None => &[],
    };
    let edited = with_fields_mut(state, map, |fields, known| match how {
        Edit::Replace => fields.replace(key, value, known),
        Edit::Add => fields.add(key, value, known),
        Edit::Remove => {
            fields.remove(key, known);
            Ok(())
        }
    });
    invalid(state, map, &edited);
    let sets = !matches!(how, Edit::Remove);
    if sets && key == b":path" && matches!(Target::from_bytes(value), Target::Invalid(_)) {
        lint(state, Rule::InvalidPath);
    }
    edited
}

fn set_pairs(caller: &mut Caller<'_, State>, map: u32, pairs: Span) -> Outcome {
    let map = Map::try_from(map)?;
    let (view, state) = split(caller)?;
    let bytes = view.span(pairs)?;
    state.take(pairs.1)?;
    let fields = pairs::read(state, bytes);
    let required: [&[u8]; 4] = [b":method", b":path", b":authority", b":status"];
    for name in required.iter().filter(|name| needs(map, name)) {
        if !fields.iter().any(|(own, _)| own == name) {
            lint(state, Rule::MissingPseudo);
        }
    }
    let set = with_fields_mut(state, map, |to, known| {
        to.set_all(fields.into_iter(), known)
    });
    invalid(state, map, &set);
    set
}

/// Tells the lint of a field that was refused though its map is there.
#[inline]
fn invalid(state: &State, map: Map, outcome: &Outcome) {
    if outcome.is_err() && map.reach().is_some_and(|needed| state.reach().has(needed)) {
        lint(state, Rule::InvalidHeader);
    }
}
