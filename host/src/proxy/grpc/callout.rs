//! Carries guests' gRPC callouts out: a task for each, over the cluster's connections, through its upstream filters.

use std::rc::{Rc, Weak};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};

use super::frame::{self, Decoder, Invalid};
use super::{CONTENT_TYPE, TIMEOUT, code};
use crate::abi::{GrpcAction, GrpcEffect, GrpcStart, MAX_MESSAGE};
use crate::proxy::attempt::{self, AttemptBody, Outgoing};
use crate::proxy::callout::detached;
use crate::proxy::pump::Ending;
use crate::proxy::reply;
use crate::proxy::upstream::balancer::History;
use crate::proxy::worker::Worker;
use crate::stream::StreamCell;
use crate::stream::head::{RequestHead, Target};
use crate::vm::grpc::{Outbox, Received};
use crate::vm::plugin::{CallTask, VmCell};

/// Who is told.
struct Caller {
    vm: Weak<VmCell>,
    root: u32,
    token: u32,
    unary: bool,
}

/// How a call has ended: with gRPC's number, and why.
struct End {
    code: u32,
    message: Bytes,
}

/// What Envoy says where the time is up.
const TIMED_OUT: &str = "upstream request timeout{response_timeout}";
/// What it says where a cluster has no host.
const NO_HOST: &str = "no healthy upstream{no_healthy_upstream}";

/// Does what a guest asks for.
pub(in crate::proxy) fn act(worker: &Rc<Worker>, vm: &Rc<VmCell>, effect: GrpcEffect) {
    let GrpcEffect { root, token, what } = effect;
    match what {
        GrpcAction::Start(start) => begin(worker, vm, (root, token), *start),
        GrpcAction::Send { message, end } => send(vm, token, message, end),
        GrpcAction::Close => {
            if let Some(call) = vm.calls.borrow().get(&token) {
                call.outbox.end();
            }
        }
        GrpcAction::Cancel => {
            let call = vm.calls.borrow_mut().remove(&token);
            drop(call);
        }
    }
}

fn begin(worker: &Rc<Worker>, vm: &Rc<VmCell>, (root, token): (u32, u32), start: GrpcStart) {
    let outbox = Rc::new(Outbox::default());
    let caller = Caller {
        vm: Rc::downgrade(vm),
        root,
        token,
        unary: start.message.is_some(),
    };
    if let Some(message) = &start.message {
        put(&outbox, message.clone());
        outbox.end();
    }
    let task = tokio::task::spawn_local(caller.run(worker.clone(), start, outbox.clone()));
    let task = CallTask {
        root,
        outbox,
        task: task.abort_handle(),
    };
    vm.calls.borrow_mut().insert(token, task);
}

/// A guest that sends faster than the upstream takes loses its stream, not the worker's memory.
fn send(vm: &Rc<VmCell>, token: u32, message: Bytes, end: bool) {
    let Some((outbox, root)) = vm
        .calls
        .borrow()
        .get(&token)
        .map(|call| (call.outbox.clone(), call.root))
    else {
        return;
    };
    if outbox.size() > MAX_MESSAGE {
        drop(vm.calls.borrow_mut().remove(&token));
        let message = Bytes::from_static(b"more messages wait to be sent than may");
        let _ = vm.run(|guest| guest.grpc_closed(root, token, code::RESOURCE_EXHAUSTED, message));
        return;
    }
    put(&outbox, message);
    if end {
        outbox.end();
    }
}

/// The message itself and no copy: it counts for its guest until it has been sent.
fn put(outbox: &Outbox, message: Bytes) {
    outbox.put(frame::head(&message));
    if !message.is_empty() {
        outbox.put(message);
    }
}

// === impl Caller ===

impl Caller {
    async fn run(self, worker: Rc<Worker>, start: GrpcStart, outbox: Rc<Outbox>) {
        let timeout = start.timeout;
        let exchange = self.exchange(&worker, start, outbox);
        let outcome = match timeout.is_zero() {
            true => exchange.await,
            false => tokio::time::timeout(timeout, exchange)
                .await
                .unwrap_or_else(|_| Err(End::of(code::UNAVAILABLE, TIMED_OUT))),
        };
        let Some(vm) = self.vm.upgrade() else { return };
        // A guest that fails in it is failed for its next stream.
        let _ = match outcome {
            Ok(message) => vm.run(|guest| {
                guest.grpc_received(self.root, self.token, Received::Message(message))
            }),
            Err(End { code, message }) => {
                vm.run(|guest| guest.grpc_closed(self.root, self.token, code, message))
            }
        };
        let call = vm.calls.borrow_mut().remove(&self.token);
        drop(call);
    }

    /// The message of a call that went well, or how it ended.
    async fn exchange(
        &self,
        worker: &Rc<Worker>,
        start: GrpcStart,
        outbox: Rc<Outbox>,
    ) -> Result<Bytes, End> {
        let unavailable = || self.unanswered(End::of(code::UNAVAILABLE, NO_HOST));
        let cluster = worker.cluster(&start.cluster).ok_or_else(unavailable)?;
        let choice = cluster.upstream.next(&mut History::default(), None);
        let cell = detached(worker, head(start));
        cell.borrow_mut().info.cluster = Some(cluster.upstream.shared.name.clone());
        let choice = choice.ok_or_else(unavailable)?;
        let attempt = attempt::run(&cluster, choice, &cell, Outgoing::Messages(outbox), None).await;
        let attempt = attempt.map_err(|failure| {
            let reply = reply::attempt(&failure, false);
            self.unanswered(End {
                code: super::of_http(reply.status),
                message: explained(&reply.body, &reply.details),
            })
        })?;
        self.answered(&cell, attempt).await
    }

    async fn answered(&self, cell: &StreamCell, mut attempt: AttemptBody) -> Result<Bytes, End> {
        let head = cell.borrow_mut().response.take();
        let head = head.ok_or_else(|| End::of(code::INTERNAL, ""))?;
        let whole = attempt.is_empty();
        let (status, trailers) = match whole {
            true => (head.status, Some(head.headers)),
            false => {
                let status = head.status;
                self.tell(Received::Initial(Some(head)));
                (status, None)
            }
        };
        if whole {
            attempt.finish();
            self.tell(Received::Initial(None));
        }
        if status != http::StatusCode::OK && trailers.as_ref().and_then(super::status).is_none() {
            return Err(self.broken(End::of(super::of_http(status), "")));
        }
        let mut last = None;
        let mut decoder = Decoder::default();
        let trailers = match trailers {
            Some(trailers) => trailers,
            None => loop {
                let part = std::future::poll_fn(|cx| attempt.poll(cx)).await;
                let part = part.map_err(|_| self.broken(End::of(code::INTERNAL, "")))?;
                self.messages(&mut decoder, &part.data, &mut last)?;
                match part.ending {
                    Ending::More => {}
                    Ending::End => break HeaderMap::new(),
                    Ending::Trailers => {
                        break cell
                            .borrow_mut()
                            .response_trailers
                            .take()
                            .unwrap_or_default();
                    }
                }
            },
        };
        self.ended(trailers, last)
    }

    /// Tells of the messages that are whole; the only one of a call is kept.
    fn messages(
        &self,
        decoder: &mut Decoder,
        data: &[u8],
        last: &mut Option<Bytes>,
    ) -> Result<(), End> {
        decoder.put(data);
        loop {
            match decoder.next() {
                Ok(None) => return Ok(()),
                Ok(Some(message)) if self.unary => *last = Some(message),
                Ok(Some(message)) => self.tell(Received::Message(message)),
                Err(Invalid::Compressed) => return Err(self.broken(End::of(code::INTERNAL, ""))),
                Err(Invalid::TooLong) => {
                    let end = End::of(code::RESOURCE_EXHAUSTED, "the message is too long");
                    return Err(self.broken(end));
                }
            }
        }
    }

    fn ended(&self, trailers: HeaderMap, last: Option<Bytes>) -> Result<Bytes, End> {
        let end = End {
            code: super::status(&trailers).unwrap_or(code::UNKNOWN),
            message: explained(&super::message(&trailers), "via_upstream"),
        };
        self.tell(Received::Trailing(trailers));
        match last {
            Some(message) if end.code == 0 => Ok(message),
            None if end.code == 0 && self.unary => Err(End::of(code::INTERNAL, "")),
            _ => Err(end),
        }
    }

    /// An end without any answer, which Envoy makes one of its own.
    fn unanswered(&self, end: End) -> End {
        self.tell(Received::Initial(None));
        self.broken(end)
    }

    /// An end without trailers: a stream is told of none first, as in Envoy.
    fn broken(&self, end: End) -> End {
        self.tell(Received::Trailing(HeaderMap::new()));
        end
    }

    /// Tells a stream's owner; who made a call hears of its end only.
    fn tell(&self, received: Received) {
        if !self.unary
            && let Some(vm) = self.vm.upgrade()
        {
            let _ = vm.run(|guest| guest.grpc_received(self.root, self.token, received));
        }
    }
}

// === impl End ===

impl End {
    fn of(code: u32, message: &'static str) -> Self {
        Self {
            code,
            message: Bytes::from_static(message.as_bytes()),
        }
    }
}

/// A status's words with the reason behind them that Envoy gives.
fn explained(message: &[u8], details: &str) -> Bytes {
    match message.is_empty() {
        true => Bytes::copy_from_slice(details.as_bytes()),
        false => [message, b"{", details.as_bytes(), b"}"].concat().into(),
    }
}

/// The request's head, as gRPC wants it.
fn head(start: GrpcStart) -> RequestHead {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, start.authority);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE.clone());
    if !start.timeout.is_zero() {
        headers.insert(TIMEOUT.clone(), super::timeout_value(start.timeout));
    }
    for (name, value) in &start.metadata {
        headers.append(name, value.clone());
    }
    RequestHead::new(
        Method::POST,
        Target::from_bytes(start.path.as_bytes()),
        HeaderValue::from_static("http"),
        headers,
    )
}
