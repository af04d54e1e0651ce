//! Going on, closing, answering: `proxy_continue_stream`, `proxy_close_stream`, `proxy_send_local_response`, and
//! the lifecycle calls `proxy_done` and `proxy_set_effective_context`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use wasmtime::Caller;

use super::import::family;
use super::lint::{Rule, lint};
use super::memory::{Span, split};
use super::reply::Answer;
use super::{Outcome, Reach, Status, pairs};
use crate::stream::Direction;
use crate::vm::entry;
use crate::vm::state::{Effect, State};

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_continue_stream(stream: Stream) => continue_stream,
        proxy_continue_request() => |caller: &mut Caller<'_, State>| continue_stream(caller, REQUEST),
        proxy_continue_response() => |caller: &mut Caller<'_, State>| continue_stream(caller, RESPONSE),
        proxy_close_stream(stream: Stream) => close_stream,
        proxy_send_local_response(
            code: Number, details: Bytes, body: Bytes, headers: Pairs, grpc_status: Signed,
        ) => local_response,
        proxy_clear_route_cache() => |_: &mut Caller<'_, State>| -> Outcome { Ok(()) },
        proxy_done() => done,
        proxy_set_effective_context(context: Context) => set_effective,
    }
}

/// Numbers of `proxy_stream_type_t`; what belongs to connections (2 downstream, 3 upstream) is no HTTP filter's.
const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;
const DOWNSTREAM: u32 = 2;
const UPSTREAM: u32 = 3;

/// Lets the effective context's own filter go on when the callback has returned, whichever others have paused. Without a
/// stream it does nothing, as in Envoy.
fn continue_stream(caller: &mut Caller<'_, State>, which: u32) -> Outcome {
    let state = caller.data_mut();
    match which {
        REQUEST | RESPONSE => {}
        DOWNSTREAM => {
            lint(state, Rule::ConnectionStream);
            return Ok(());
        }
        UPSTREAM => {
            lint(state, Rule::ConnectionStream);
            return Err(Status::Unimplemented.into());
        }
        _ => return Err(Status::BadArgument.into()),
    }
    let member = state.member();
    let mut held = false;
    if let Some(stream) = state.effective_stream() {
        let direction = match which {
            REQUEST => Direction::Request,
            _ => Direction::Response,
        };
        let mut stream = stream.borrow_mut();
        stream.resume(member, direction);
        held = stream.holds(member, Direction::Request);
    }
    state.resume(held);
    Ok(())
}

/// Resets the stream, whichever direction is named; connections stay.
fn close_stream(caller: &mut Caller<'_, State>, which: u32) -> Outcome {
    let state = caller.data();
    match which {
        REQUEST | RESPONSE => {}
        DOWNSTREAM | UPSTREAM => {
            lint(state, Rule::ConnectionStream);
            return Ok(());
        }
        _ => return Err(Status::BadArgument.into()),
    }
    if let Some(stream) = state.effective_stream() {
        let mut stream = stream.borrow_mut();
        stream.closed = true;
        stream.wake();
    }
    Ok(())
}

/// A root that has put its end off is deleted when the callback has returned.
fn done(caller: &mut Caller<'_, State>) -> Outcome {
    let state = caller.data_mut();
    let context = match state.effective_stream() {
        Some(_) if state.strict() => state.effective_context(),
        _ => state.effective_root(),
    };
    if !state.finish(context) {
        return Err(Status::NotFound.into());
    }
    state.effects.push(Effect::Delete { context });
    Ok(())
}

/// 0 stands for the context that the callback began on, as in Envoy.
fn set_effective(caller: &mut Caller<'_, State>, id: u32) -> Outcome {
    if id == 0 {
        caller.data_mut().set_effective_back();
        return Ok(());
    }
    entry::leave(caller)?;
    match caller.data_mut().set_effective(id) {
        true => Ok(()),
        false => Err(Status::BadArgument.into()),
    }
}

/// Takes effect when the callback has returned, whatever it returns. Without a stream it does nothing, as in Envoy.
fn local_response(
    caller: &mut Caller<'_, State>,
    status: u32,
    details: Span,
    body: Span,
    headers: Span,
    grpc_status: u32,
) -> Outcome {
    let (view, state) = split(caller)?;
    let details = view.name(details)?;
    let body = Bytes::copy_from_slice(view.span(body)?);
    let mut fields = Vec::new();
    for (name, value) in pairs::read(state, view.span(headers)?) {
        let field = HeaderName::from_bytes(name)
            .ok()
            .zip(HeaderValue::from_bytes(value).ok());
        match field {
            Some(field) => fields.push(field),
            None => {
                lint(state, Rule::InvalidHeader);
                return Err(Status::BadArgument.into());
            }
        }
    }
    let Some(stream) = state.effective_stream() else {
        return Ok(());
    };
    let answer = Answer {
        status,
        details,
        body,
        headers: fields,
        grpc_status,
    };
    answer.lint(state);
    let late = Reach::RESPONSE_BODY
        .with(Reach::RESPONSE_TRAILERS)
        .with(Reach::LOG);
    if state.reach().meets(late) {
        lint(state, Rule::LateReply);
    }
    let mut stream = stream.borrow_mut();
    // Of several in one callback the first counts, as in Envoy.
    if stream.local_reply.is_none() {
        stream.local_reply = Some(answer.reply());
    }
    stream.wake();
    drop(stream);
    state.stopped = true;
    Ok(())
}
