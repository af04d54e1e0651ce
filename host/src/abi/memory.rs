//! Guest memory: the only place that touches it. Every access is checked; nothing is held across a guest call.

use std::rc::Rc;

use wasmtime::{Caller, Memory, StoreContextMut, TypedFunc};

use super::{Failure, Outcome, Restriction, Status};
use crate::vm::state::State;

/// A guest's memory and its allocator, found once when it is instantiated.
#[derive(Clone, Default)]
pub struct GuestMemory {
    memory: Option<Memory>,
    /// Counted, since cloning the function itself is atomic.
    allocate: Option<Rc<TypedFunc<u32, u32>>>,
}

/// No longer name is looked at, in bytes: a property's path, a key, a queue's name, a cluster's, the details of an answer.
const MAX_NAME: u32 = 64 * 1024;

/// Address and length: of bytes in guest memory, or where both are written for what is returned.
pub(crate) type Span = (u32, u32);

/// Guest memory during one hostcall.
pub(crate) struct View<'a>(&'a mut [u8]);

/// Guest memory to look at, for observers.
#[derive(Debug, Clone, Copy)]
pub struct Peek<'a>(&'a [u8]);

impl GuestMemory {
    /// Finds `memory` and the allocator: `malloc`, else `proxy_on_memory_allocate` (the order of Envoy's host).
    pub fn find(store: &mut wasmtime::Store<State>, instance: &wasmtime::Instance) -> Self {
        let memory = instance.get_memory(&mut *store, "memory");
        let allocate = ["malloc", "proxy_on_memory_allocate"]
            .into_iter()
            .find_map(|name| instance.get_typed_func::<u32, u32>(&mut *store, name).ok());
        Self {
            memory,
            allocate: allocate.map(Rc::new),
        }
    }

    /// Bytes of memory the guest has.
    pub fn size(&self, store: &wasmtime::Store<State>) -> usize {
        self.memory.map_or(0, |memory| memory.data_size(store))
    }
}

/// Guest memory and the store's state, side by side.
///
/// # Errors
/// `InvalidMemoryAccess` where the guest exports no memory.
pub(crate) fn split<'a>(
    caller: &'a mut Caller<'_, State>,
) -> Result<(View<'a>, &'a mut State), Failure> {
    let memory = caller
        .data()
        .memory
        .memory
        .ok_or(Status::InvalidMemoryAccess)?;
    let (bytes, state) = memory.data_and_store_mut(caller);
    Ok((View(bytes), state))
}

/// Guest memory to look at, beside the store's state; without a memory there is nothing to see.
pub(super) fn peek<R>(
    mut context: StoreContextMut<'_, State>,
    look: impl FnOnce(Peek<'_>, &mut State) -> R,
) -> R {
    match context.data().memory.memory {
        Some(memory) => {
            let (bytes, state) = memory.data_and_store_mut(&mut context);
            look(Peek(bytes), state)
        }
        None => look(Peek(&[]), context.data_mut()),
    }
}

impl<'a> Peek<'a> {
    /// `len` bytes at `at`; `None` where they leave the memory.
    #[must_use]
    pub fn bytes(&self, at: u32, len: u32) -> Option<&'a [u8]> {
        let at = usize::try_from(at).ok()?;
        self.0.get(at..at.checked_add(usize::try_from(len).ok()?)?)
    }

    /// A little-endian number.
    #[must_use]
    pub fn u32(&self, at: u32) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(at, 4)?.try_into().ok()?))
    }

    /// A little-endian number.
    #[must_use]
    pub fn u64(&self, at: u32) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(at, 8)?.try_into().ok()?))
    }
}

impl View<'_> {
    /// `len` bytes at `at`.
    pub(crate) fn bytes(&self, at: u32, len: u32) -> Result<&[u8], Failure> {
        let at = at as usize;
        at.checked_add(len as usize)
            .and_then(|end| self.0.get(at..end))
            .ok_or(Failure::Status(Status::InvalidMemoryAccess))
    }

    /// The bytes of a span.
    #[inline]
    pub(crate) fn span(&self, (at, len): Span) -> Result<&[u8], Failure> {
        self.bytes(at, len)
    }

    /// The bytes of a span that names something.
    ///
    /// # Errors
    /// `BadArgument` where it is longer than any name.
    #[inline]
    pub(crate) fn name(&self, span: Span) -> Result<&[u8], Failure> {
        match span.1 <= MAX_NAME {
            true => self.span(span),
            false => Err(Status::BadArgument.into()),
        }
    }

    /// `len` bytes at `at`, to write to.
    pub(crate) fn bytes_mut(&mut self, at: u32, len: u32) -> Result<&mut [u8], Failure> {
        let at = at as usize;
        at.checked_add(len as usize)
            .and_then(|end| self.0.get_mut(at..end))
            .ok_or(Failure::Status(Status::InvalidMemoryAccess))
    }

    /// Writes `bytes` at `at`.
    pub(crate) fn write(&mut self, at: u32, bytes: &[u8]) -> Outcome {
        let len = u32::try_from(bytes.len()).map_err(|_| Status::InvalidMemoryAccess)?;
        self.bytes_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes a little-endian number.
    pub(crate) fn write_u32(&mut self, at: u32, value: u32) -> Outcome {
        self.write(at, &value.to_le_bytes())
    }

    /// Reads a little-endian number.
    pub(crate) fn read_u32(&self, at: u32) -> Result<u32, Failure> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.bytes(at, 4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes a little-endian number.
    pub(crate) fn write_u64(&mut self, at: u32, value: u64) -> Outcome {
        self.write(at, &value.to_le_bytes())
    }
}

/// Gives the guest `len` bytes: asks its allocator, lets `fill` write them, and stores pointer and length.
///
/// An empty value is pointer 0 and length 0, without an allocation, as Envoy answers.
///
/// # Errors
/// A bad out-pointer, an allocator that is missing or answers 0, or a trap in it.
pub(crate) fn give(
    caller: &mut Caller<'_, State>,
    len: usize,
    out: Span,
    fill: impl FnOnce(&State, &mut [u8]) -> Outcome,
) -> Outcome {
    let len = u32::try_from(len).map_err(|_| Status::InternalFailure)?;
    let at = if len == 0 { 0 } else { allocate(caller, len)? };
    let memory = caller
        .data()
        .memory
        .memory
        .ok_or(Status::InvalidMemoryAccess)?;
    let (bytes, state) = memory.data_and_store_mut(caller);
    let mut view = View(bytes);
    if len > 0 {
        fill(state, view.bytes_mut(at, len)?)?;
    }
    view.write_u32(out.0, at)?;
    view.write_u32(out.1, len)
}

/// Gives the guest a copy of `value`.
///
/// # Errors
/// As [`give`].
pub(crate) fn give_bytes(caller: &mut Caller<'_, State>, value: &[u8], out: Span) -> Outcome {
    give(caller, value.len(), out, |_, to| {
        to.copy_from_slice(value);
        Ok(())
    })
}

fn allocate(caller: &mut Caller<'_, State>, len: u32) -> Result<u32, Failure> {
    caller.data_mut().allocations += 1;
    let allocate = caller
        .data()
        .memory
        .allocate
        .clone()
        .ok_or(Status::InternalFailure)?;
    caller.data_mut().restrict(Restriction::Allocation);
    let allocated = allocate.call(&mut *caller, len);
    caller.data_mut().restrict(Restriction::None);
    match allocated {
        Ok(0) => Err(Failure::Status(Status::InvalidMemoryAccess)),
        Ok(at) => Ok(at),
        Err(trap) => Err(Failure::Trap(trap)),
    }
}
