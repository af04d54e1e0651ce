//! HTTP callouts: `proxy_http_call`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use wasmtime::{Caller, Linker};

use super::memory::split;
use super::{Outcome, Status, answer, count, pairs};
use crate::stream::head::{FieldsMut, RequestHead, ResponseHead, Target};
use crate::stream::intern::Interner;
use crate::vm::state::{Effect, State};

/// A request that a guest wants sent.
#[derive(Debug)]
pub struct Callout {
    /// The root context that gets the answer.
    pub root: u32,
    /// The number the guest knows it by.
    pub token: u32,
    /// The cluster it goes to; exists.
    pub cluster: String,
    /// Its head.
    pub head: RequestHead,
    /// Its body.
    pub body: Bytes,
    /// How long it may take.
    pub timeout: Duration,
}

/// A callout's answer, while its callback runs.
#[derive(Debug)]
pub struct CalloutResponse {
    /// Status and headers.
    pub head: ResponseHead,
    /// The whole body.
    pub body: Bytes,
    /// Trailers.
    pub trailers: HeaderMap,
}

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_http_call",
        |mut caller: Caller<'_, State>,
         cluster: u32,
         cluster_len: u32,
         headers: u32,
         headers_len: u32,
         body: u32,
         body_len: u32,
         _trailers: u32,
         _trailers_len: u32,
         timeout_ms: u32,
         out: u32| {
            count(&mut caller);
            let arguments = Arguments {
                cluster: (cluster, cluster_len),
                headers: (headers, headers_len),
                body: (body, body_len),
                timeout: Duration::from_millis(u64::from(timeout_ms)),
            };
            answer(http_call(&mut caller, &arguments, out))
        },
    )?;
    Ok(())
}

/// Where the guest put what; (address, length) each.
struct Arguments {
    cluster: (u32, u32),
    headers: (u32, u32),
    body: (u32, u32),
    timeout: Duration,
}

/// Sent when the callback has returned. An unknown cluster or a missing pseudo header is `BadArgument`, as in Envoy.
fn http_call(caller: &mut Caller<'_, State>, arguments: &Arguments, out: u32) -> Outcome {
    let (mut view, state) = split(caller)?;
    let cluster =
        String::from_utf8_lossy(view.bytes(arguments.cluster.0, arguments.cluster.1)?).into_owned();
    if !state.process.clusters.contains(&cluster) {
        return Err(Status::BadArgument.into());
    }
    let head = request_head(&pairs::read(
        view.bytes(arguments.headers.0, arguments.headers.1)?,
    )?)?;
    let body = Bytes::copy_from_slice(view.bytes(arguments.body.0, arguments.body.1)?);
    let token = state.next_token();
    view.write_u32(out, token)?;
    let root = state.effective_root();
    let callout = Callout {
        root,
        token,
        cluster,
        head,
        body,
        timeout: arguments.timeout,
    };
    state.effects.push(Effect::Call(Box::new(callout)));
    Ok(())
}

fn request_head(fields: &[(&[u8], &[u8])]) -> Result<RequestHead, Status> {
    for required in [&b":method"[..], b":path", b":authority"] {
        if !fields.iter().any(|(name, _)| *name == required) {
            return Err(Status::BadArgument);
        }
    }
    let mut head = RequestHead {
        method: Method::GET,
        path: Target::from_bytes(b"/"),
        scheme: http::HeaderValue::from_static("http"),
        headers: HeaderMap::new(),
    };
    FieldsMut::Request(&mut head)
        .set_all(fields.iter().copied(), &mut Interner::default())
        .map_err(|_| Status::BadArgument)?;
    Ok(head)
}
