//! Going on, closing, answering: `proxy_continue_stream`, `proxy_close_stream`, `proxy_send_local_response`, and
//! the lifecycle calls `proxy_done` and `proxy_set_effective_context`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use wasmtime::Caller;

use super::import::family;
use super::memory::{Span, split};
use super::{Failure, Outcome, Status, pairs};
use crate::stream::LocalReply;
use crate::vm::state::State;

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_continue_stream(stream: Stream) => continue_stream,
        proxy_close_stream(stream: Stream) => close_stream,
        proxy_send_local_response(
            code: Number, details: Bytes, body: Bytes, headers: Pairs, grpc_status: Signed,
        ) => local_response,
        proxy_done() => done,
        proxy_set_effective_context(context: Context) => set_effective,
    }
}

/// 0 request, 1 response; downstream and upstream (2, 3) are TCP's. Takes effect when the callback has returned.
fn continue_stream(caller: &mut Caller<'_, State>, which: u32) -> Outcome {
    let mut stream = caller
        .data()
        .effective_stream()
        .ok_or(Status::BadArgument)?
        .borrow_mut();
    match which {
        0 => stream.resume_request = true,
        1 => stream.resume_response = true,
        _ => return Err(Status::BadArgument.into()),
    }
    stream.wake();
    Ok(())
}

fn close_stream(caller: &mut Caller<'_, State>, which: u32) -> Outcome {
    let mut stream = caller
        .data()
        .effective_stream()
        .ok_or(Status::BadArgument)?
        .borrow_mut();
    if which > 1 {
        return Err(Status::BadArgument.into());
    }
    stream.closed = true;
    stream.wake();
    Ok(())
}

/// A root that put its end off is deleted with its VM.
fn done(_caller: &mut Caller<'_, State>) -> Outcome {
    Ok(())
}

fn set_effective(caller: &mut Caller<'_, State>, id: u32) -> Outcome {
    if let Some(switched) = caller.data().switched {
        switched
            .set(&mut *caller, wasmtime::Val::I32(1))
            .map_err(Failure::Trap)?;
    }
    match caller.data_mut().set_effective(id) {
        true => Ok(()),
        false => Err(Status::BadArgument.into()),
    }
}

fn local_response(
    caller: &mut Caller<'_, State>,
    status: u32,
    _details: Span,
    body: Span,
    headers: Span,
    grpc_status: u32,
) -> Outcome {
    let (view, state) = split(caller)?;
    let status = u16::try_from(status)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Status::BadArgument)?;
    let body = Bytes::copy_from_slice(view.span(body)?);
    let mut fields = Vec::new();
    for (name, value) in pairs::read(view.span(headers)?)? {
        let name = HeaderName::from_bytes(name).map_err(|_| Status::BadArgument)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)?;
        fields.push((name, value));
    }
    if !body.is_empty() && !fields.iter().any(|(name, _)| *name == header::CONTENT_TYPE) {
        fields.push((header::CONTENT_TYPE, HeaderValue::from_static("text/plain")));
    }
    let mut stream = state
        .effective_stream()
        .ok_or(Status::BadArgument)?
        .borrow_mut();
    stream.local_reply = Some(LocalReply {
        status,
        headers: fields,
        body,
        details: "wasm_local_response",
        grpc_status: Some(grpc_status).filter(|status| (0..=16).contains(status)),
    });
    stream.wake();
    Ok(())
}
