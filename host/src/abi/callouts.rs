//! HTTP callouts: `proxy_http_call`.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method};
use wasmtime::Caller;

use super::import::family;
use super::memory::{Span, split};
use super::{Outcome, Status, pairs};
use crate::stream::LocalReply;
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
    /// Its trailers; empty where there are none.
    pub trailers: HeaderMap,
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

/// What a client would get in the place of an answer: Envoy's guests get that too.
impl From<LocalReply> for CalloutResponse {
    fn from(reply: LocalReply) -> Self {
        let mut headers: HeaderMap = reply.headers.into_iter().collect();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
        Self {
            head: ResponseHead::new(reply.status, headers),
            body: reply.body,
            trailers: HeaderMap::new(),
        }
    }
}

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_http_call(
            upstream: Bytes, headers: Pairs, body: Bytes, trailers: Pairs, timeout: Milliseconds, call: OutU32,
        ) => http_call,
    }
}

/// Sent when the callback has returned. An unknown cluster or a missing pseudo header is `BadArgument`, as in Envoy.
fn http_call(
    caller: &mut Caller<'_, State>,
    cluster: Span,
    headers: Span,
    body: Span,
    trailers: Span,
    timeout: u32,
    out: u32,
) -> Outcome {
    let (mut view, state) = split(caller)?;
    for span in [headers, body, trailers] {
        view.span(span)?;
        state.take(span.1)?;
    }
    let cluster = String::from_utf8_lossy(view.name(cluster)?).into_owned();
    if !state.process.clusters.contains(&cluster) {
        return Err(Status::BadArgument.into());
    }
    let head = request_head(&pairs::read(state, view.span(headers)?))?;
    let body = Bytes::copy_from_slice(view.span(body)?);
    let mut fields = HeaderMap::new();
    FieldsMut::Plain(&mut fields)
        .set_all(
            pairs::read(state, view.span(trailers)?).into_iter(),
            &mut Interner::default(),
        )
        .map_err(|_| Status::BadArgument)?;
    state.begin_callout()?;
    let token = state.next_token();
    view.write_u32(out, token)?;
    let root = state.effective_root();
    let callout = Callout {
        root,
        token,
        cluster,
        head,
        body,
        trailers: fields,
        timeout: Duration::from_millis(u64::from(timeout)),
    };
    Ok(state.ask(Effect::Call(Box::new(callout)))?)
}

fn request_head(fields: &[(&[u8], &[u8])]) -> Result<RequestHead, Status> {
    for required in [&b":method"[..], b":path", b":authority"] {
        if !fields.iter().any(|(name, _)| *name == required) {
            return Err(Status::BadArgument);
        }
    }
    let mut head = RequestHead::new(
        Method::GET,
        Target::from_bytes(b"/"),
        HeaderValue::from_static("http"),
        HeaderMap::new(),
    );
    FieldsMut::Request(&mut head)
        .set_all(fields.iter().copied(), &mut Interner::default())
        .map_err(|_| Status::BadArgument)?;
    Ok(head)
}
