//! gRPC callouts as a VM sees them: which are open, what has just come, and the callbacks that tell.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use rustc_hash::FxBuildHasher;

use super::exports::{Export, Exports};
use super::{Failed, Vm, narrow};
use crate::stream::ResponseHead;
use crate::stream::head::Fields;

/// A callback's root, token, and size or status.
type Callback = Export<(u32, u32, u32), ()>;

/// Calls of one VM.
#[derive(Debug, Default)]
pub struct Calls {
    /// The root of each call that is not over, and the bytes that it holds.
    open: HashMap<u32, (u32, usize), FxBuildHasher>,
    /// Of all of them.
    held: usize,
    /// What messages of streams come to that have not been sent.
    waiting: Arc<AtomicUsize>,
    opened: u32,
    received: Option<Received>,
    status: CallStatus,
}

/// A message of a stream; counts as long as anybody has it, the library that sends it too.
struct Waiting {
    message: Box<[u8]>,
    all: Arc<AtomicUsize>,
}

/// What a message costs besides its bytes, so that empty ones come to something.
const MESSAGE: usize = 128;

/// What a callback is about.
#[derive(Debug)]
pub enum Received {
    /// The head of a stream's answer; `None` where it was all that came.
    Initial(Option<ResponseHead>),
    /// A message, without its frame.
    Message(Bytes),
    /// What came behind the last message.
    Trailing(HeaderMap),
}

/// How the callout that ended last has ended.
#[derive(Debug, Default)]
pub struct CallStatus {
    /// gRPC's number.
    pub code: u32,
    /// In the peer's words.
    pub message: Bytes,
}

/// The two kinds of call, told apart by their numbers, as in Envoy: the last two bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// One message there, one back.
    Unary = 1,
    /// Any number of messages both ways.
    Stream = 2,
}

/// Messages that a guest has sent, until the connection takes them.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: RefCell<VecDeque<Bytes>>,
    /// Of all of them, in bytes.
    size: Cell<usize>,
    ended: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

// === impl Outbox ===

impl Outbox {
    /// Adds one; what comes after [`Self::end`] is dropped, as in Envoy.
    pub fn put(&self, message: Bytes) {
        if !self.ended.get() {
            self.size.set(self.size.get() + message.len());
            self.messages.borrow_mut().push_back(message);
            self.wake();
        }
    }

    /// No more will come.
    pub fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    /// How much waits to be taken, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size.get()
    }

    /// Takes the next one; `None` at the end.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(message) = self.messages.borrow_mut().pop_front() {
            self.size.set(self.size.get().saturating_sub(message.len()));
            return Poll::Ready(Some(message));
        }
        if self.ended.get() {
            return Poll::Ready(None);
        }
        *self.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }
}

// === impl Waiting ===

impl Waiting {
    fn new(message: Box<[u8]>, all: Arc<AtomicUsize>) -> Self {
        all.fetch_add(message.len() + MESSAGE, Ordering::Relaxed);
        Self { message, all }
    }
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all
            .fetch_sub(self.message.len() + MESSAGE, Ordering::Relaxed);
    }
}

// === impl CallKind ===

impl CallKind {
    /// The kind of the call of that number.
    #[must_use]
    pub fn of(token: u32) -> Option<Self> {
        match token & 3 {
            1 => Some(Self::Unary),
            2 => Some(Self::Stream),
            _ => None,
        }
    }
}

// === impl Calls ===

impl Calls {
    /// A number for a call of that root's. Numbers rise, and are not used again while the number space lasts.
    pub fn open(&mut self, kind: CallKind, root: u32, bytes: usize) -> u32 {
        loop {
            self.opened = self.opened.wrapping_add(4);
            let token = self.opened | kind as u32;
            if let Entry::Vacant(place) = self.open.entry(token) {
                place.insert((root, bytes));
                self.held = self.held.saturating_add(bytes);
                return token;
            }
        }
    }

    /// Whether a call is that root's and not over.
    #[must_use]
    pub fn has(&self, token: u32, root: u32) -> bool {
        self.open.get(&token).is_some_and(|(own, _)| *own == root)
    }

    /// How many are not over.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// What they hold, in bytes: what they began with, and messages that wait to be sent.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
            .saturating_add(self.waiting.load(Ordering::Relaxed))
    }

    /// Whether so long a message more would make them hold more than `most`.
    #[must_use]
    pub fn have_room(&self, bytes: usize, most: usize) -> bool {
        self.held().saturating_add(bytes).saturating_add(MESSAGE) <= most
    }

    /// A message of a stream, which counts from now until it has been sent or dropped.
    #[must_use]
    pub fn message(&self, message: &[u8]) -> Bytes {
        Bytes::from_owner(Waiting::new(message.into(), self.waiting.clone()))
    }

    /// It is over.
    pub fn forget(&mut self, token: u32) {
        if let Some((_, bytes)) = self.open.remove(&token) {
            self.held = self.held.saturating_sub(bytes);
        }
    }

    /// Forgets all calls of a root that ends.
    pub fn forget_root(&mut self, root: u32) {
        if !self.open.is_empty() {
            self.open.retain(|_, (owner, _)| *owner != root);
            self.held = self.open.values().map(|(_, bytes)| bytes).sum();
        }
    }

    /// What the callback that runs is about.
    #[must_use]
    pub fn received(&self) -> Option<&Received> {
        self.received.as_ref()
    }

    /// The message that the callback is about, to be changed.
    pub fn message_mut(&mut self) -> Option<&mut Bytes> {
        match &mut self.received {
            Some(Received::Message(message)) => Some(message),
            _ => None,
        }
    }

    /// How the callout that ended last has ended.
    #[must_use]
    pub fn status(&self) -> &CallStatus {
        &self.status
    }

    /// Notes how a callout has ended; what it says is known while its callback runs.
    pub fn end(&mut self, code: u32, message: Bytes) {
        self.status = CallStatus { code, message };
    }

    /// The callback is over: only the number is known from now on.
    pub(super) fn forget_message(&mut self) {
        self.status.message = Bytes::new();
    }
}

// === impl Vm ===

impl Vm {
    /// Tells a root what has come for a call of its; a root or a call that is over is told nothing.
    ///
    /// # Errors
    /// Where the guest traps or has.
    pub fn grpc_received(
        &mut self,
        root: u32,
        token: u32,
        received: Received,
    ) -> Result<(), Failed> {
        if !self.store.data().grpc.has(token, root) {
            return Ok(());
        }
        let size = match &received {
            Received::Initial(head) => head.as_ref().map_or(0, |h| Fields::Response(h).len()),
            Received::Message(message) => message.len(),
            Received::Trailing(trailers) => trailers.len(),
        };
        let callback: fn(&Exports) -> &Callback = match &received {
            Received::Initial(_) => |e| &e.grpc_initial,
            Received::Message(_) => |e| &e.grpc_message,
            Received::Trailing(_) => |e| &e.grpc_trailing,
        };
        let last = matches!(received, Received::Message(_))
            && CallKind::of(token) == Some(CallKind::Unary);
        self.store.data_mut().grpc.received = Some(received);
        let result = self.call(root, callback, (root, token, narrow(size)), ());
        let calls = &mut self.store.data_mut().grpc;
        calls.received = None;
        if last {
            calls.forget(token);
        }
        result
    }

    /// `proxy_on_grpc_close`.
    ///
    /// # Errors
    /// As [`Self::grpc_received`].
    pub fn grpc_closed(
        &mut self,
        root: u32,
        token: u32,
        code: u32,
        message: Bytes,
    ) -> Result<(), Failed> {
        if !self.store.data().grpc.has(token, root) {
            return Ok(());
        }
        self.store.data_mut().grpc.end(code, message);
        let result = self.call(root, |e| &e.grpc_close, (root, token, code), ());
        let calls = &mut self.store.data_mut().grpc;
        calls.forget_message();
        calls.forget(token);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_the_kind() {
        let mut calls = Calls::default();
        let (call, stream) = (
            calls.open(CallKind::Unary, 1, 10),
            calls.open(CallKind::Stream, 2, 5),
        );
        assert_eq!(CallKind::of(call), Some(CallKind::Unary));
        assert_eq!(CallKind::of(stream), Some(CallKind::Stream));
        assert_eq!(CallKind::of(4), None, "an HTTP callout's in Envoy");
        assert!(calls.has(call, 1) && !calls.has(call, 2) && calls.has(stream, 2));
        calls.forget_root(2);
        assert!(calls.has(call, 1) && !calls.has(stream, 2));
        assert_eq!((calls.count(), calls.held()), (1, 10));
        calls.forget(call);
        assert_eq!((calls.count(), calls.held()), (0, 0));
    }

    #[test]
    fn messages_count_until_nobody_has_them() {
        let calls = Calls::default();
        let first = calls.message(&[1; 1000]);
        let part = first.slice(10..20);
        let second = calls.message(b"");
        assert_eq!(calls.held(), 1000 + 2 * MESSAGE);
        assert!(calls.have_room(500, 1500 + 3 * MESSAGE));
        assert!(!calls.have_room(501, 1500 + 3 * MESSAGE));
        drop((first, second));
        assert_eq!(calls.held(), 1000 + MESSAGE, "a part of it is left");
        drop(part);
        assert_eq!(calls.held(), 0);
    }
}
