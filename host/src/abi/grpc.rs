//! gRPC callouts: one call with one answer, and streams. What the statuses mean, and which the answers are, is Envoy's.

mod service;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use wasmtime::Caller;

use super::import::family;
use super::memory::{Span, give, split};
use super::{Outcome, Status, pairs};
use crate::vm::grpc::CallKind;
use crate::vm::state::{Effect, State};
use service::{Service, service};

/// No longer message is sent or taken, in bytes.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// What a guest wants done with one of its calls.
#[derive(Debug)]
pub struct GrpcEffect {
    /// The root context that gets the answers.
    pub root: u32,
    /// The number the guest knows the call by.
    pub token: u32,
    /// What.
    pub what: GrpcAction,
}

/// What a guest can do with a call.
#[derive(Debug)]
pub enum GrpcAction {
    /// Begin it.
    Start(Box<GrpcStart>),
    /// Send a message on it, the last one perhaps.
    Send {
        /// The message, without gRPC's frame.
        message: Bytes,
        /// Whether no other follows.
        end: bool,
    },
    /// Send no more.
    Close,
    /// Forget it.
    Cancel,
}

/// A call that begins.
#[derive(Debug, Clone)]
pub struct GrpcStart {
    /// The cluster it goes to; exists.
    pub cluster: String,
    /// `:authority`.
    pub authority: HeaderValue,
    /// `/SERVICE/METHOD`.
    pub path: String,
    /// What is sent ahead of the first message.
    pub metadata: HeaderMap,
    /// The only message, without gRPC's frame; `None`: a stream.
    pub message: Option<Bytes>,
    /// How long the whole of it may take; zero is no limit.
    pub timeout: Duration,
}

// === impl GrpcStart ===

impl GrpcStart {
    /// What it comes to.
    fn bytes(&self) -> usize {
        let fields = self.metadata.iter();
        let metadata: usize = fields.map(|(n, v)| n.as_str().len() + v.len()).sum();
        let message = self.message.as_ref().map_or(0, Bytes::len);
        message + metadata + self.path.len() + self.authority.len()
    }
}

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_grpc_call(
            upstream: Bytes, service: Bytes, method: Bytes, metadata: Pairs, message: Bytes,
            timeout: Milliseconds, call: OutU32,
        ) => call,
        proxy_grpc_stream(
            upstream: Bytes, service: Bytes, method: Bytes, metadata: Pairs, stream: OutU32,
        ) => stream,
        proxy_grpc_send(stream: Token, message: Bytes, end_of_stream: Flag) => send,
        proxy_grpc_cancel(call: Token) => cancel,
        proxy_grpc_close(call: Token) => close,
        proxy_get_status(code: OutU32, message: OutBytes) => get_status,
    }
}

#[expect(clippy::too_many_arguments, reason = "the ABI has so many")]
fn call(
    caller: &mut Caller<'_, State>,
    upstream: Span,
    service: Span,
    method: Span,
    metadata: Span,
    message: Span,
    timeout: u32,
    out: u32,
) -> Outcome {
    let message = {
        let (view, state) = split(caller)?;
        let bytes = view.span(message)?;
        if bytes.len() > MAX_MESSAGE {
            return Err(Status::InternalFailure.into());
        }
        state.take(message.1)?;
        Bytes::copy_from_slice(bytes)
    };
    let mut start = start(caller, upstream, (service, method), metadata)?;
    start.message = Some(message);
    start.timeout = Duration::from_millis(u64::from(timeout));
    begin(caller, CallKind::Unary, start, out)
}

fn stream(
    caller: &mut Caller<'_, State>,
    upstream: Span,
    service: Span,
    method: Span,
    metadata: Span,
    out: u32,
) -> Outcome {
    let start = start(caller, upstream, (service, method), metadata)?;
    begin(caller, CallKind::Stream, start, out)
}

/// What both have in common. An upstream that is neither a cluster's name nor a `GrpcService` is `ParseFailure`, one whose
/// cluster is not there `InternalFailure`. A name comes first here: Envoy takes some names, as "empty", for a message without
/// a target, and ends.
fn start(
    caller: &mut Caller<'_, State>,
    upstream: Span,
    (service_name, method): (Span, Span),
    metadata: Span,
) -> Result<GrpcStart, super::Failure> {
    let (view, state) = split(caller)?;
    let clusters = &state.process.clusters;
    let bytes = view.name(upstream)?;
    let named = std::str::from_utf8(bytes)
        .ok()
        .filter(|name| clusters.contains(name));
    let service = match (named, service(bytes)) {
        (Some(name), _) => service::EnvoyGrpc::of(name),
        (None, Some(Service::Envoy(service))) if clusters.contains(&service.cluster) => service,
        (None, Some(_)) => return Err(Status::InternalFailure.into()),
        (None, None) => return Err(Status::ParseFailure.into()),
    };
    let name = |span| {
        let bytes = view.name(span)?;
        std::str::from_utf8(bytes).map_err(|_| super::Failure::from(Status::InternalFailure))
    };
    let path = format!("/{}/{}", name(service_name)?, name(method)?);
    let authority = match service.authority.is_empty() {
        true => &service.cluster,
        false => &service.authority,
    };
    let authority = HeaderValue::from_str(authority).map_err(|_| Status::InternalFailure)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &service.metadata {
        append(&mut headers, name, value);
    }
    for (name, value) in pairs::read(state, view.span(metadata)?) {
        append(&mut headers, name, value);
    }
    Ok(GrpcStart {
        cluster: service.cluster,
        authority,
        path,
        metadata: headers,
        message: None,
        timeout: Duration::ZERO,
    })
}

/// Metadata that can stand in a header; other does not go out.
fn append(headers: &mut HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        headers.append(name, value);
    }
}

fn begin(caller: &mut Caller<'_, State>, kind: CallKind, start: GrpcStart, out: u32) -> Outcome {
    let (mut view, state) = split(caller)?;
    view.write_u32(out, 0)?;
    let bytes = start.bytes();
    state.has_room_for_call(bytes)?;
    let root = state.effective_root();
    let token = state.grpc.open(kind, root, bytes);
    view.write_u32(out, token)?;
    push(state, token, GrpcAction::Start(Box::new(start)))
}

fn push(state: &mut State, token: u32, what: GrpcAction) -> Outcome {
    let root = state.effective_root();
    let effect = GrpcEffect { root, token, what };
    Ok(state.ask(Effect::Grpc(Box::new(effect)))?)
}

/// `BadArgument` where it is the number of no stream, `NotFound` where the stream is over.
fn send(caller: &mut Caller<'_, State>, token: u32, message: Span, end: u32) -> Outcome {
    let (view, state) = split(caller)?;
    let bytes = view.span(message)?;
    if CallKind::of(token) != Some(CallKind::Stream) {
        return Err(Status::BadArgument.into());
    }
    if !state.grpc.has(token, state.effective_root()) {
        return Err(Status::NotFound.into());
    }
    if bytes.len() > MAX_MESSAGE {
        return Err(Status::InternalFailure.into());
    }
    let message = state.grpc_message(bytes)?;
    let end = end != 0;
    push(state, token, GrpcAction::Send { message, end })
}

/// Of a stream: nothing more is sent, answers still come. Of a call: as [`cancel`].
fn close(caller: &mut Caller<'_, State>, token: u32) -> Outcome {
    match known(caller.data(), token)? {
        CallKind::Unary => cancel(caller, token),
        CallKind::Stream => push(caller.data_mut(), token, GrpcAction::Close),
    }
}

/// No answer comes any more.
fn cancel(caller: &mut Caller<'_, State>, token: u32) -> Outcome {
    known(caller.data(), token)?;
    let state = caller.data_mut();
    state.grpc.forget(token);
    push(state, token, GrpcAction::Cancel)
}

fn known(state: &State, token: u32) -> Result<CallKind, Status> {
    let kind = CallKind::of(token).ok_or(Status::BadArgument)?;
    match state.grpc.has(token, state.effective_root()) {
        true => Ok(kind),
        false => Err(Status::NotFound),
    }
}

/// The status of the callout that ended last, while its callback runs; the code also afterwards.
fn get_status(caller: &mut Caller<'_, State>, code: u32, message: Span) -> Outcome {
    let (number, len) = {
        let status = caller.data().grpc.status();
        (status.code, status.message.len())
    };
    split(caller)?.0.write_u32(code, number)?;
    give(caller, len, message, |state, to| {
        to.copy_from_slice(&state.grpc.status().message);
        Ok(())
    })
}
