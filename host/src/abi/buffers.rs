//! Body and configuration buffers.

use bytes::BytesMut;
use wasmtime::Caller;

use super::import::family;
use super::lint::{Rule, lint};
use super::memory::{Span, give, give_bytes, split};
use super::{Failure, Outcome, Reach, Status};
use crate::stream::Direction;
use crate::vm::grpc::Received;
use crate::vm::state::State;

/// A buffer, by the ABI's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Buffer {
    RequestBody,
    ResponseBody,
    /// Of a connection, downstream or upstream: nothing an HTTP filter has.
    Data,
    CalloutBody,
    GrpcMessage,
    VmConfiguration,
    PluginConfiguration,
    /// What a foreign function is called with.
    CallData,
}

impl TryFrom<u32> for Buffer {
    type Error = Failure;

    fn try_from(number: u32) -> Result<Self, Failure> {
        match number {
            0 => Ok(Self::RequestBody),
            1 => Ok(Self::ResponseBody),
            2 | 3 => Ok(Self::Data),
            4 => Ok(Self::CalloutBody),
            5 => Ok(Self::GrpcMessage),
            6 => Ok(Self::VmConfiguration),
            7 => Ok(Self::PluginConfiguration),
            8 => Ok(Self::CallData),
            _ => Err(Status::BadArgument.into()),
        }
    }
}

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_get_buffer_bytes(buffer: Buffer, start: Number, max_size: Number, bytes: OutBytes) => get_bytes,
        proxy_set_buffer_bytes(buffer: Buffer, start: Number, size: Number, bytes: Bytes) => set_bytes,
        proxy_get_buffer_status(buffer: Buffer, size: OutU32, flags: OutU32) => status,
        proxy_get_configuration(configuration: OutBytes) => configuration,
    }
}

/// Runs `look` on a buffer; `None` where it is not available.
fn with_bytes<T>(state: &State, buffer: Buffer, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
    if buffer == Buffer::GrpcMessage
        && let Some(Received::Message(message)) = state.grpc.received()
    {
        return Some(look(message));
    }
    match buffer {
        Buffer::RequestBody if state.reach().has(Reach::REQUEST_BODY) => {
            let stream = state.effective_stream()?.borrow();
            Some(look(stream.body(state.member(), Direction::Request)))
        }
        Buffer::ResponseBody if state.reach().has(Reach::RESPONSE_BODY) => {
            let stream = state.effective_stream()?.borrow();
            Some(look(stream.body(state.member(), Direction::Response)))
        }
        Buffer::CalloutBody => Some(look(&state.callout.as_ref()?.body)),
        Buffer::VmConfiguration => Some(look(&state.vm.configuration)),
        Buffer::PluginConfiguration if state.configuring => {
            Some(look(&state.effective_plugin()?.configuration))
        }
        Buffer::PluginConfiguration => None,
        // Envoy has an empty buffer in the place of one that is not there.
        _ if state.strict() => None,
        _ => {
            lint(state, Rule::UnavailableBuffer);
            Some(look(&[]))
        }
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
    let state = caller.data();
    let (len, all) = with_bytes(state, buffer, |bytes| {
        (part(bytes, start, max).len(), bytes.len())
    })
    .ok_or(Status::NotFound)?;
    if start as usize > all {
        if state.strict() {
            return Err(Status::BadArgument.into());
        }
        lint(state, Rule::PastTheEnd);
    }
    give(caller, len, out, |state, to| {
        with_bytes(state, buffer, |bytes| {
            to.copy_from_slice(part(bytes, start, max))
        });
        Ok(())
    })
}

/// Before 0.2.0: the plugin's configuration where that can be read, else the VM's.
fn configuration(caller: &mut Caller<'_, State>, out: Span) -> Outcome {
    let state = caller.data();
    let configuration = match state.effective_plugin().filter(|_| state.configuring) {
        Some(plugin) => plugin.configuration.clone(),
        None => state.vm.configuration.clone(),
    };
    give_bytes(caller, &configuration, out)
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
    let length = value.1;
    let value = view.span(value)?;
    state.take(length)?;
    if buffer == Buffer::GrpcMessage
        && let strict = state.strict()
        && let Some(message) = state.grpc.message_mut()
    {
        let mut changed = BytesMut::from(&message[..]);
        splice(&mut changed, start, size, value, strict)?;
        *message = changed.freeze();
        return Ok(());
    }
    let (needed, direction) = match buffer {
        Buffer::RequestBody => (Reach::REQUEST_BODY, Direction::Request),
        Buffer::ResponseBody => (Reach::RESPONSE_BODY, Direction::Response),
        // What is there otherwise is not to be changed.
        Buffer::CalloutBody if state.callout.is_none() => return Err(Status::NotFound.into()),
        Buffer::PluginConfiguration if !state.configuring => return Err(Status::NotFound.into()),
        Buffer::Data | Buffer::GrpcMessage | Buffer::CallData if state.strict() => {
            return Err(Status::NotFound.into());
        }
        _ => return Err(Status::BadArgument.into()),
    };
    if !state.reach().has(needed) {
        let status = if state.strict() {
            Status::NotFound
        } else {
            lint(state, Rule::UnavailableBuffer);
            Status::BadArgument
        };
        return Err(status.into());
    }
    let (member, strict) = (state.member(), state.strict());
    let most = state.process.limits.memory;
    let spliced = {
        let stream = state.effective_stream().ok_or(Status::BadArgument)?;
        let mut stream = stream.borrow_mut();
        let body = stream.body_mut(member, direction);
        // Callback after callback may add to a body that is held.
        let replaced = match start as usize >= body.len() && start > 0 {
            true => 0,
            false => body.len().min(size as usize),
        };
        if value.len() > replaced && body.len() - replaced + value.len() > most {
            return Err(Status::InternalFailure.into());
        }
        splice(body, start, size, value, strict)
    };
    if spliced.is_err() {
        lint(state, Rule::PartialReplace);
    }
    spliced
}

/// Puts `value` in the place of `size` bytes at `start`; behind the end it appends. Envoy only appends and replaces what
/// the body begins with; the specification replaces any part.
fn splice(body: &mut BytesMut, start: u32, size: u32, value: &[u8], strict: bool) -> Outcome {
    let (start, size) = (start as usize, size as usize);
    if start > 0 && start >= body.len() {
        body.extend_from_slice(value);
        return Ok(());
    }
    if start == 0 && size >= body.len() {
        body.clear();
        body.extend_from_slice(value);
        return Ok(());
    }
    if !strict && start > 0 {
        return Err(Status::BadArgument.into());
    }
    let mut rest = body.split_off(start);
    let rest = rest.split_off(size.min(rest.len()));
    body.extend_from_slice(value);
    body.unsplit(rest);
    Ok(())
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
        for strict in [false, true] {
            let mut body = BytesMut::from(&b"hello"[..]);
            splice(&mut body, 0, u32::MAX, b"new", strict).unwrap();
            assert_eq!(&body[..], b"new");
            splice(&mut body, 0, 0, b"a ", strict).unwrap();
            assert_eq!(&body[..], b"a new");
            splice(&mut body, 5, 0, b"!", strict).unwrap();
            assert_eq!(&body[..], b"a new!");
            splice(&mut body, 0, 1, b"the", strict).unwrap();
            assert_eq!(&body[..], b"the new!");
            splice(&mut body, 0, 3, b"a", strict).unwrap();
            splice(&mut body, u32::MAX, u32::MAX, b"", strict).unwrap();
            assert_eq!(&body[..], b"a new!");
            assert_eq!(part(&body, 4, 10), b"w!");
            assert_eq!(part(&body, 40, 10), b"");
        }
    }

    #[test]
    fn a_part_is_replaced_by_the_specification_only() {
        let mut body = BytesMut::from(&b"a new!"[..]);
        for (start, size) in [(2, 1), (2, 0)] {
            assert!(splice(&mut body, start, size, b"x", false).is_err());
        }
        assert_eq!(&body[..], b"a new!");
        splice(&mut body, 2, 3, b"old", true).unwrap();
        assert_eq!(&body[..], b"a old!");
        splice(&mut body, 0, 1, b"an", true).unwrap();
        assert_eq!(&body[..], b"an old!");
        splice(&mut body, 6, u32::MAX, b"?", true).unwrap();
        assert_eq!(&body[..], b"an old?");
    }
}
