//! Going on, closing, answering: `proxy_continue_stream`, `proxy_close_stream`, `proxy_send_local_response`, and
//! the lifecycle calls `proxy_done` and `proxy_set_effective_context`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use wasmtime::{Caller, Linker};

use super::memory::split;
use super::{Outcome, Status, answer, count, pairs};
use crate::stream::LocalReply;
use crate::vm::state::State;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_continue_stream",
        |mut caller: Caller<'_, State>, stream: u32| {
            count(&mut caller);
            answer(continue_stream(&mut caller, stream))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_close_stream",
        |mut caller: Caller<'_, State>, stream: u32| {
            count(&mut caller);
            answer(close_stream(&mut caller, stream))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        |mut caller: Caller<'_, State>,
         status: u32,
         _details: u32,
         _details_len: u32,
         body: u32,
         body_len: u32,
         headers: u32,
         headers_len: u32,
         grpc_status: i32| {
            count(&mut caller);
            answer(local_response(
                &mut caller,
                status,
                (body, body_len),
                (headers, headers_len),
                grpc_status,
            ))
        },
    )?;
    linker.func_wrap("env", "proxy_done", |mut caller: Caller<'_, State>| {
        count(&mut caller);
        // A root that put its end off is deleted with its VM.
        answer(Ok(()))
    })?;
    linker.func_wrap(
        "env",
        "proxy_set_effective_context",
        |mut caller: Caller<'_, State>, id: u32| {
            count(&mut caller);
            if let Some(switched) = caller.data().switched {
                switched.set(&mut caller, wasmtime::Val::I32(1))?;
            }
            answer(if caller.data_mut().set_effective(id) {
                Ok(())
            } else {
                Err(Status::BadArgument.into())
            })
        },
    )?;
    Ok(())
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

fn local_response(
    caller: &mut Caller<'_, State>,
    status: u32,
    body: (u32, u32),
    headers: (u32, u32),
    grpc_status: i32,
) -> Outcome {
    let (view, state) = split(caller)?;
    let status = u16::try_from(status)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Status::BadArgument)?;
    let body = Bytes::copy_from_slice(view.bytes(body.0, body.1)?);
    let mut fields = Vec::new();
    for (name, value) in pairs::read(view.bytes(headers.0, headers.1)?)? {
        let name = HeaderName::from_bytes(name).map_err(|_| Status::BadArgument)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Status::BadArgument)?;
        fields.push((name, value));
    }
    if !body.is_empty() && !fields.iter().any(|(name, _)| *name == header::CONTENT_TYPE) {
        fields.push((header::CONTENT_TYPE, HeaderValue::from_static("text/plain")));
    }
    if (0..=16).contains(&grpc_status) {
        fields.push((
            HeaderName::from_static("grpc-status"),
            HeaderValue::from(grpc_status),
        ));
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
    });
    stream.wake();
    Ok(())
}
