//! Shared queues: byte strings that VMs of one process hand to one another, whatever their worker.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use wasmtime::Caller;

use super::import::family;
use super::memory::{Span, give_bytes, split};
use super::{Outcome, Status};
use crate::vm::state::State;

/// The queues of a process.
#[derive(Debug, Default)]
pub struct Queues(Mutex<Inner>);

/// A root context is to be told that a queue has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The serial number of its VM.
    pub vm: u64,
    /// The root context that registered the queue last.
    pub root: u32,
    /// The queue.
    pub queue: u32,
}

/// Takes word of a ready queue to the worker of a VM. It is called within hostcalls of any worker, so it only passes
/// the word on.
#[derive(Clone)]
pub struct Mailbox(Arc<dyn Fn(Ready) + Send + Sync>);

#[derive(Debug, Default)]
struct Inner {
    /// By `vm_id` and name.
    tokens: HashMap<(String, Bytes), u32>,
    /// A queue's token is its place, counted from 1.
    queues: Vec<Queue>,
    /// Bytes in all of them, and of their names.
    held: usize,
}

#[derive(Debug)]
struct Queue {
    items: VecDeque<Bytes>,
    owner: Owner,
}

/// Who registered a queue last, and so is told.
#[derive(Debug, Clone)]
struct Owner {
    mailbox: Mailbox,
    vm: u64,
    root: u32,
}

/// Bytes in all queues of a process, at most, an item's own weight counted in: a filter that fills a queue nobody
/// empties takes no more. Envoy has no limit.
const MAX_HELD: usize = 64 * 1024 * 1024;
/// What an item takes besides its bytes.
const ITEM: usize = 64;
/// Words to a worker that may wait: no more than there can be items. A guest that puts in and takes out again and again
/// sends more.
pub const MAX_WORDS: usize = MAX_HELD / ITEM;
/// Queues of a process, at most.
const MAX_QUEUES: usize = 10_000;

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_register_shared_queue(name: Bytes, queue: OutU32) => register,
        proxy_resolve_shared_queue(vm_id: Bytes, name: Bytes, queue: OutU32) => resolve,
        proxy_enqueue_shared_queue(queue: Token, value: Bytes) => enqueue,
        proxy_dequeue_shared_queue(queue: Token, value: OutBytes) => dequeue,
    }
}

// === impl Mailbox ===

impl Mailbox {
    /// Calls `post` with each word.
    #[must_use]
    pub fn new(post: impl Fn(Ready) + Send + Sync + 'static) -> Self {
        Self(Arc::new(post))
    }

    /// Passes the word on.
    pub fn post(&self, ready: Ready) {
        (self.0)(ready);
    }
}

impl Default for Mailbox {
    /// Nobody's.
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailbox")
    }
}

// === impl Queues ===

impl Queues {
    /// Opens a queue, made if there is none; `owner` is told of its items from now on.
    fn register(&self, vm_id: &str, name: &[u8], owner: Owner) -> Result<u32, Status> {
        let mut inner = self.lock();
        let Inner {
            tokens,
            queues,
            held,
        } = &mut *inner;
        let key = (vm_id.to_owned(), Bytes::copy_from_slice(name));
        if let Some(token) = tokens.get(&key) {
            let queue = place(*token).and_then(|at| queues.get_mut(at));
            queue.ok_or(Status::InternalFailure)?.owner = owner;
            return Ok(*token);
        }
        let with_name = held.saturating_add(name.len());
        if queues.len() >= MAX_QUEUES || with_name > MAX_HELD {
            return Err(Status::InternalFailure);
        }
        *held = with_name;
        queues.push(Queue {
            items: VecDeque::new(),
            owner,
        });
        let token = u32::try_from(queues.len()).map_err(|_| Status::InternalFailure)?;
        tokens.insert(key, token);
        Ok(token)
    }

    /// The queue of that name, where one was registered.
    #[must_use]
    pub fn resolve(&self, vm_id: &str, name: &[u8]) -> Option<u32> {
        let key = (vm_id.to_owned(), Bytes::copy_from_slice(name));
        self.lock().tokens.get(&key).copied()
    }

    /// Adds an item and tells the queue's owner.
    ///
    /// # Errors
    /// `NotFound` where there is no such queue, `InternalFailure` where the queues are full.
    pub fn enqueue(&self, token: u32, item: &[u8]) -> Result<(), Status> {
        let mut inner = self.lock();
        let held = inner.held.saturating_add(item.len() + ITEM);
        let queue = place(token)
            .and_then(|at| inner.queues.get_mut(at))
            .ok_or(Status::NotFound)?;
        if held > MAX_HELD {
            return Err(Status::InternalFailure);
        }
        queue.items.push_back(Bytes::copy_from_slice(item));
        let Owner { mailbox, vm, root } = queue.owner.clone();
        inner.held = held;
        drop(inner);
        mailbox.post(Ready {
            vm,
            root,
            queue: token,
        });
        Ok(())
    }

    /// Takes the first item.
    ///
    /// # Errors
    /// `NotFound` where there is no such queue, `Empty` where it has none.
    pub fn dequeue(&self, token: u32) -> Result<Bytes, Status> {
        let mut inner = self.lock();
        let item = place(token)
            .and_then(|at| inner.queues.get_mut(at))
            .ok_or(Status::NotFound)?
            .items
            .pop_front()
            .ok_or(Status::Empty)?;
        inner.held = inner.held.saturating_sub(item.len() + ITEM);
        Ok(item)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(token: u32) -> Option<usize> {
    usize::try_from(token.checked_sub(1)?).ok()
}

fn register(caller: &mut Caller<'_, State>, name: Span, out: u32) -> Outcome {
    let (mut view, state) = split(caller)?;
    let owner = Owner {
        mailbox: state.mailbox.clone(),
        vm: state.serial,
        root: state.effective_root(),
    };
    let queues = &state.process.queues;
    let token = queues.register(&state.vm.vm_id, view.name(name)?, owner)?;
    view.write_u32(out, token)
}

/// An empty `vm_id` is the guest's own.
fn resolve(caller: &mut Caller<'_, State>, vm_id: Span, name: Span, out: u32) -> Outcome {
    let (mut view, state) = split(caller)?;
    let vm_id = match view.name(vm_id)? {
        b"" => state.vm.vm_id.as_str(),
        other => std::str::from_utf8(other).map_err(|_| Status::NotFound)?,
    };
    let token = state.process.queues.resolve(vm_id, view.name(name)?);
    let token = token.ok_or(Status::NotFound)?;
    view.write_u32(out, token)
}

fn enqueue(caller: &mut Caller<'_, State>, token: u32, item: Span) -> Outcome {
    let (view, state) = split(caller)?;
    Ok(state.process.queues.enqueue(token, view.span(item)?)?)
}

fn dequeue(caller: &mut Caller<'_, State>, token: u32, out: Span) -> Outcome {
    let item = caller.data().process.queues.dequeue(token)?;
    give_bytes(caller, &item, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_who_registered_is_told() {
        let (queues, told) = (Queues::default(), Arc::new(Mutex::new(Vec::new())));
        let owner = |vm| {
            let told = told.clone();
            Owner {
                mailbox: Mailbox::new(move |ready| told.lock().unwrap().push(ready)),
                vm,
                root: 7,
            }
        };
        assert_eq!(queues.resolve("a", b"q"), None);
        let queue = queues.register("a", b"q", owner(1)).unwrap();
        queues.enqueue(queue, b"one").unwrap();
        assert_eq!(queues.register("a", b"q", owner(2)), Ok(queue));
        assert_ne!(queues.register("b", b"q", owner(3)), Ok(queue));
        queues.enqueue(queue, b"two").unwrap();
        let vms: Vec<_> = told.lock().unwrap().iter().map(|ready| ready.vm).collect();
        assert_eq!(vms, [1, 2]);
        assert_eq!(queues.dequeue(queue).unwrap(), "one");
        assert_eq!(queues.dequeue(queue).unwrap(), "two");
        assert_eq!(queues.dequeue(queue), Err(Status::Empty));
        for none in [0, 99, u32::MAX] {
            assert_eq!(queues.dequeue(none), Err(Status::NotFound));
            assert_eq!(queues.enqueue(none, b""), Err(Status::NotFound));
        }
    }

    #[test]
    fn queues_that_nobody_empties_are_full_one_day() {
        let queues = Queues::default();
        let owner = Owner {
            mailbox: Mailbox::default(),
            vm: 1,
            root: 1,
        };
        let queue = queues.register("a", b"q", owner).unwrap();
        let item = vec![0; MAX_HELD / 4];
        while queues.enqueue(queue, &item).is_ok() {}
        assert_eq!(queues.enqueue(queue, &item), Err(Status::InternalFailure));
        queues.dequeue(queue).unwrap();
        queues.enqueue(queue, &item).unwrap();
    }
}
