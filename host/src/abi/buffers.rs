//! Body and configuration buffers.

use bytes::BytesMut;
use wasmtime::Caller;

use super::import::family;
use super::memory::{Span, give, split};
use super::{Failure, Outcome, Status};
use crate::vm::grpc::Received;
use crate::vm::state::State;

/// The ABI's numbers of buffers that the host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Buffer {
    RequestBody,
    ResponseBody,
    CalloutBody,
    GrpcMessage,
    VmConfiguration,
    PluginConfiguration,
}

impl TryFrom<u32> for Buffer {
    type Error = Failure;

    fn try_from(number: u32) -> Result<Self, Failure> {
        match number {
            0 => Ok(Self::RequestBody),
            1 => Ok(Self::ResponseBody),
            4 => Ok(Self::CalloutBody),
            5 => Ok(Self::GrpcMessage),
            6 => Ok(Self::VmConfiguration),
            7 => Ok(Self::PluginConfiguration),
            _ => Err(Status::NotFound.into()),
        }
    }
}

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_get_buffer_bytes(buffer: Buffer, start: Number, max_size: Number, bytes: OutBytes) => get_bytes,
        proxy_set_buffer_bytes(buffer: Buffer, start: Number, size: Number, bytes: Bytes) => set_bytes,
        proxy_get_buffer_status(buffer: Buffer, size: OutU32, flags: OutU32) => status,
    }
}

fn with_bytes<T>(state: &State, buffer: Buffer, use_it: impl FnOnce(&[u8]) -> T) -> Option<T> {
    match buffer {
        Buffer::RequestBody => state
            .effective_stream()
            .map(|s| use_it(&s.borrow().request_body)),
        Buffer::ResponseBody => state
            .effective_stream()
            .map(|s| use_it(&s.borrow().response_body)),
        Buffer::CalloutBody => state.callout.as_ref().map(|c| use_it(&c.body)),
        Buffer::GrpcMessage => match state.grpc.received() {
            Some(Received::Message(message)) => Some(use_it(message)),
            _ => None,
        },
        Buffer::VmConfiguration => Some(use_it(&state.vm.configuration)),
        Buffer::PluginConfiguration => state.effective_plugin().map(|p| use_it(&p.configuration)),
    }
}

/// The part of `bytes` from `start`, at most `max` long; past the end it is empty, as in Envoy.
fn part(bytes: &[u8], start: u32, max: u32) -> &[u8] {
    let rest = bytes.get(start as usize..).unwrap_or_default();
    rest.get(..max as usize).unwrap_or(rest)
}

fn get_bytes(
    caller: &mut Caller<'_, State>,
    buffer: u32,
    start: u32,
    max: u32,
    out: Span,
) -> Outcome {
    let buffer = Buffer::try_from(buffer)?;
    let len = with_bytes(caller.data(), buffer, |bytes| part(bytes, start, max).len())
        .ok_or(Status::NotFound)?;
    give(caller, len, out, |state, to| {
        with_bytes(state, buffer, |bytes| {
            to.copy_from_slice(part(bytes, start, max))
        });
        Ok(())
    })
}

fn set_bytes(
    caller: &mut Caller<'_, State>,
    buffer: u32,
    start: u32,
    size: u32,
    value: Span,
) -> Outcome {
    let buffer = Buffer::try_from(buffer)?;
    let (view, state) = split(caller)?;
    let value = view.span(value)?;
    let mut stream = state
        .effective_stream()
        .ok_or(Status::BadArgument)?
        .borrow_mut();
    match buffer {
        Buffer::RequestBody => splice(&mut stream.request_body, start, size, value),
        Buffer::ResponseBody => splice(&mut stream.response_body, start, size, value),
        _ => Err(Status::BadArgument.into()),
    }
}

/// From 0: drops `size` bytes and puts `value` first. From the end: appends. In between: refused, as in Envoy.
fn splice(body: &mut BytesMut, start: u32, size: u32, value: &[u8]) -> Outcome {
    if start == 0 {
        let rest = body.split_off((size as usize).min(body.len()));
        body.clear();
        body.extend_from_slice(value);
        body.unsplit(rest);
        Ok(())
    } else if start as usize >= body.len() {
        body.extend_from_slice(value);
        Ok(())
    } else {
        Err(Status::BadArgument.into())
    }
}

fn status(caller: &mut Caller<'_, State>, buffer: u32, out_len: u32, out_flags: u32) -> Outcome {
    let buffer = Buffer::try_from(buffer)?;
    let len = with_bytes(caller.data(), buffer, <[u8]>::len).ok_or(Status::NotFound)?;
    let len = u32::try_from(len).map_err(|_| Status::InternalFailure)?;
    let (mut view, _) = split(caller)?;
    view.write_u32(out_len, len)?;
    view.write_u32(out_flags, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_replaced_prepended_and_appended() {
        let mut body = BytesMut::from(&b"hello"[..]);
        splice(&mut body, 0, u32::MAX, b"new").unwrap();
        assert_eq!(&body[..], b"new");
        splice(&mut body, 0, 0, b"a ").unwrap();
        assert_eq!(&body[..], b"a new");
        splice(&mut body, 5, 0, b"!").unwrap();
        assert_eq!(&body[..], b"a new!");
        assert!(splice(&mut body, 2, 1, b"x").is_err());
        assert_eq!(part(&body, 4, 10), b"w!");
        assert_eq!(part(&body, 40, 10), b"");
    }
}
