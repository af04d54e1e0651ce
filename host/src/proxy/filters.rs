//! Filter chains: as configured on a worker, and as they run for one exchange.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use smallvec::SmallVec;

use super::reply::{GatewayError, gateway};
use super::router;
use crate::config::listener::HeaderMutation;
use crate::config::plugin::FailurePolicy;
pub use crate::stream::Direction;
use crate::stream::head::Fields;
use crate::stream::{LocalReply, Member, StreamCell};
use crate::vm::plugin::{Plugin, Root};
use crate::vm::{Action, Failed};

/// A chain of a listener or a cluster on one worker.
pub struct Chain {
    /// Its filters in order, the terminal one left out.
    pub filters: Vec<Filter>,
}

/// One filter of a chain.
pub enum Filter {
    /// A guest; `None` until its document has come.
    Wasm(RefCell<Option<Rc<Plugin>>>),
    /// Header edits.
    Mutation(Rc<HeaderMutation>),
}

/// A chain at work on one exchange. Requests pass it forwards, responses backwards.
pub struct Active {
    cell: StreamCell,
    /// Most chains have one or two, which need no allocation of their own.
    filters: SmallVec<[ActiveFilter; 2]>,
}

enum ActiveFilter {
    Wasm(Guest),
    Mutation(Rc<HeaderMutation>),
    /// A guest without configuration, or one that cannot be started: answers every request.
    Unready(GatewayError),
    /// A guest that failed under FAIL_OPEN.
    Bypassed,
}

/// A guest's part in one exchange.
struct Guest {
    plugin: Rc<Plugin>,
    root: Rc<Root>,
    /// Its stream context; 0 until the request reaches it.
    id: Cell<u32>,
    /// It failed and is passed over (FAIL_OPEN).
    bypassed: Cell<bool>,
}

/// What a filter wants after a callback.
#[derive(Debug)]
pub enum Step {
    /// On to the next.
    Continue,
    /// Wait.
    Pause,
    /// Answer the client with this.
    Reply(LocalReply),
    /// Break the exchange off.
    Reset,
}

// === impl Chain ===

impl Chain {
    /// Puts the chain to work on an exchange.
    #[must_use]
    pub fn activate(&self, cell: &StreamCell) -> Active {
        // Collecting costs some eighty instructions more.
        let mut filters = SmallVec::new();
        for filter in &self.filters {
            filters.push(filter.activate());
        }
        Active {
            cell: cell.clone(),
            filters,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }
}

impl Filter {
    fn activate(&self) -> ActiveFilter {
        match self {
            Self::Mutation(edits) => ActiveFilter::Mutation(edits.clone()),
            Self::Wasm(slot) => {
                // Without configuration Envoy answers 500 to all.
                let Some(plugin) = slot.borrow().clone() else {
                    return ActiveFilter::Unready(GatewayError::FilterUnconfigured);
                };
                match plugin.root() {
                    Ok(root) => ActiveFilter::Wasm(Guest {
                        plugin,
                        root,
                        id: Cell::new(0),
                        bypassed: Cell::new(false),
                    }),
                    Err(_) if plugin.config.failure_policy == FailurePolicy::FailOpen => {
                        ActiveFilter::Bypassed
                    }
                    Err(_) => ActiveFilter::Unready(GatewayError::FilterUnready),
                }
            }
        }
    }
}

/// The answer to a request whose guest has failed. Source: Envoy.
fn fail_stream() -> Step {
    Step::Reply(gateway(GatewayError::FilterFailed))
}

// === impl Active ===

impl Active {
    /// How many filters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Filters that want to see bodies of that direction, in the order they see them.
    #[must_use]
    pub fn interested(&self, direction: Direction) -> Vec<usize> {
        let wants = |filter: &ActiveFilter| match filter {
            ActiveFilter::Wasm(guest) => guest.wants(direction),
            _ => false,
        };
        let mut found: Vec<usize> = self
            .filters
            .iter()
            .enumerate()
            .filter(|(_, filter)| wants(filter))
            .map(|(at, _)| at)
            .collect();
        if direction == Direction::Response {
            found.reverse();
        }
        found
    }

    /// Whether the body is to flow to this filter while it holds the head.
    #[must_use]
    pub fn takes_body_while_paused(&self, at: usize, direction: Direction) -> bool {
        match self.filters.get(at) {
            Some(ActiveFilter::Wasm(guest)) => {
                guest.plugin.config.allow_on_headers_stop_iteration && guest.wants(direction)
            }
            _ => false,
        }
    }

    /// Keeps a body where the guest of the filter at that place, which has paused it, reaches it from any callback.
    pub fn hold(&self, at: usize, direction: Direction, data: BytesMut) {
        if let Some(member) = self.member(at) {
            self.cell.borrow_mut().hold(member, direction, data);
        }
    }

    /// What [`Self::hold`] has kept, as the guest has left it.
    pub fn release(&self, at: usize, direction: Direction) -> BytesMut {
        let member = self.member(at);
        member.map_or_else(BytesMut::new, |member| {
            self.cell.borrow_mut().release(member, direction)
        })
    }

    /// The context of the guest at that place.
    fn member(&self, at: usize) -> Option<Member> {
        match self.filters.get(at) {
            Some(ActiveFilter::Wasm(guest)) => Some(guest.member()),
            _ => None,
        }
    }

    /// Gives the request's head to the filter at that place.
    pub fn request_headers(&self, at: usize, end_of_stream: bool) -> Step {
        match self.filters.get(at) {
            None | Some(ActiveFilter::Bypassed) => Step::Continue,
            Some(ActiveFilter::Unready(error)) => Step::Reply(gateway(*error)),
            Some(ActiveFilter::Mutation(edits)) => {
                let mut stream = self.cell.borrow_mut();
                router::edit(&mut stream.request.headers, &edits.request);
                Step::Continue
            }
            Some(ActiveFilter::Wasm(guest)) => self.guest(guest, Direction::Request, |guest| {
                let fields = Fields::Request(&self.cell.borrow().request).len();
                let cell = self.cell.clone();
                guest.root.vm.run(|vm| {
                    let (id, action) = vm.begin(guest.root.id, cell, fields, end_of_stream)?;
                    guest.id.set(id);
                    action
                })
            }),
        }
    }

    /// Gives the response's head to the filter at that place, if it has seen the request.
    pub fn response_headers(&self, at: usize, end_of_stream: bool) -> Step {
        match self.filters.get(at) {
            Some(ActiveFilter::Mutation(edits)) => {
                if let Some(head) = &mut self.cell.borrow_mut().response {
                    router::edit(&mut head.headers, &edits.response);
                }
                Step::Continue
            }
            Some(ActiveFilter::Wasm(guest)) if guest.id.get() != 0 => {
                self.guest(guest, Direction::Response, |guest| {
                    let fields = self
                        .cell
                        .borrow()
                        .response
                        .as_ref()
                        .map_or(0, |head| Fields::Response(head).len());
                    guest
                        .root
                        .vm
                        .run(|vm| vm.response_headers(guest.id.get(), fields, end_of_stream))
                })
            }
            _ => Step::Continue,
        }
    }

    /// Gives a part of a body to the filter at that place; `data` comes back as the filter left it.
    pub fn body(
        &self,
        at: usize,
        direction: Direction,
        data: &mut BytesMut,
        end_of_stream: bool,
    ) -> Step {
        let Some(ActiveFilter::Wasm(guest)) = self.filters.get(at) else {
            return Step::Continue;
        };
        if guest.id.get() == 0 {
            return Step::Continue;
        }
        let size = data.len();
        self.swap_body(direction, data);
        let step = self.guest(guest, direction, |guest| {
            guest.root.vm.run(|vm| match direction {
                Direction::Request => vm.request_body(guest.id.get(), size, end_of_stream),
                Direction::Response => vm.response_body(guest.id.get(), size, end_of_stream),
            })
        });
        self.swap_body(direction, data);
        step
    }

    /// Whether a guest has seen the request, and may look at the exchange to its end.
    #[must_use]
    pub fn has_guests(&self) -> bool {
        self.filters
            .iter()
            .any(|filter| matches!(filter, ActiveFilter::Wasm(guest) if guest.id.get() != 0))
    }

    /// Whether the stream has trailers of that direction.
    #[must_use]
    pub fn has_trailers(&self, direction: Direction) -> bool {
        let stream = self.cell.borrow();
        match direction {
            Direction::Request => stream.request_trailers.is_some(),
            Direction::Response => stream.response_trailers.is_some(),
        }
    }

    fn swap_body(&self, direction: Direction, data: &mut BytesMut) {
        let mut stream = self.cell.borrow_mut();
        match direction {
            Direction::Request => std::mem::swap(&mut stream.request_body, data),
            Direction::Response => std::mem::swap(&mut stream.response_body, data),
        }
    }

    /// Gives trailers, which the stream holds, to the filter at that place.
    pub fn trailers(&self, at: usize, direction: Direction) -> Step {
        let Some(ActiveFilter::Wasm(guest)) = self.filters.get(at) else {
            return Step::Continue;
        };
        if guest.id.get() == 0 {
            return Step::Continue;
        }
        self.guest(guest, direction, |guest| {
            let stream = self.cell.borrow();
            let map = match direction {
                Direction::Request => &stream.request_trailers,
                Direction::Response => &stream.response_trailers,
            };
            let fields = map.as_ref().map_or(0, http::HeaderMap::len);
            drop(stream);
            guest.root.vm.run(|vm| match direction {
                Direction::Request => vm.request_trailers(guest.id.get(), fields),
                Direction::Response => vm.response_trailers(guest.id.get(), fields),
            })
        })
    }

    /// Runs a callback and reads what it left in the stream.
    fn guest(
        &self,
        guest: &Guest,
        direction: Direction,
        callback: impl FnOnce(&Guest) -> Result<Action, Failed>,
    ) -> Step {
        if guest.bypassed.get() {
            return Step::Continue;
        }
        // To go on what was not held then says nothing about what comes now.
        let _ = self
            .cell
            .borrow_mut()
            .take_resumed(guest.member(), direction);
        let action = match callback(guest) {
            Ok(action) => action,
            Err(Failed) if guest.plugin.config.failure_policy == FailurePolicy::FailOpen => {
                guest.bypassed.set(true);
                return Step::Continue;
            }
            Err(Failed) => {
                self.cell.borrow_mut().vm_failed = false;
                return fail_stream();
            }
        };
        let mut stream = self.cell.borrow_mut();
        if let Some(reply) = stream.local_reply.take() {
            return Step::Reply(reply);
        }
        if std::mem::take(&mut stream.closed) {
            return Step::Reset;
        }
        match action {
            Action::Continue => Step::Continue,
            Action::Pause => Step::Pause,
        }
    }

    /// Waits until the filter at that place, which has paused, lets the stream go on, answers, or breaks it off.
    pub async fn resumed(&self, at: usize, direction: Direction) -> Step {
        std::future::poll_fn(|cx| match self.poll_resumed(at, direction, cx.waker()) {
            Some(step) => Poll::Ready(step),
            None => Poll::Pending,
        })
        .await
    }

    /// What [`Self::resumed`] waits for, if it is there; else `waker` is told.
    pub fn poll_resumed(
        &self,
        at: usize,
        direction: Direction,
        waker: &std::task::Waker,
    ) -> Option<Step> {
        let failed = std::mem::take(&mut self.cell.borrow_mut().vm_failed);
        if failed && let Some(step) = self.failed_elsewhere(at) {
            return Some(step);
        }
        let mut stream = self.cell.borrow_mut();
        if let Some(reply) = stream.local_reply.take() {
            return Some(Step::Reply(reply));
        }
        if std::mem::take(&mut stream.closed) {
            return Some(Step::Reset);
        }
        let member = self.member(at)?;
        if stream.take_resumed(member, direction) {
            return Some(Step::Continue);
        }
        stream.wait(direction, waker);
        None
    }

    /// What becomes of a stream one of whose guests has failed in another's callback, by that guest's policy; `at` is
    /// the filter that has paused.
    #[cold]
    fn failed_elsewhere(&self, at: usize) -> Option<Step> {
        let mut step = None;
        for (place, filter) in self.filters.iter().enumerate() {
            let ActiveFilter::Wasm(guest) = filter else {
                continue;
            };
            if guest.id.get() == 0 || guest.bypassed.get() || !guest.root.vm.failed() {
                continue;
            }
            if guest.plugin.config.failure_policy != FailurePolicy::FailOpen {
                return Some(fail_stream());
            }
            guest.bypassed.set(true);
            if place == at {
                step = Some(Step::Continue);
            }
        }
        step
    }

    /// Ends every guest's context; `log` where `proxy_on_log` is to be called.
    pub fn end(&self, log: bool) {
        for filter in &self.filters {
            if let ActiveFilter::Wasm(guest) = filter {
                let id = guest.id.replace(0);
                if id != 0 {
                    guest.root.vm.run(|vm| vm.end(id, log));
                }
            }
        }
    }
}

// === impl Guest ===

impl Guest {
    fn member(&self) -> Member {
        Member {
            vm: self.root.vm.serial,
            context: self.id.get(),
        }
    }

    /// Whether it has a callback for bodies of that direction.
    fn wants(&self, direction: Direction) -> bool {
        match direction {
            Direction::Request => self.root.interests.request_body,
            Direction::Response => self.root.interests.response_body,
        }
    }
}
