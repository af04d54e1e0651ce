//! Memory that the host fills: each hostcall that returns data first asks the guest for room.
//!
//! Buffers are used again and again, so a request allocates nothing once the first ones have passed. A hostcall that fails
//! after it asked for room leaks nothing either: its buffer is found spare by the next one.

use std::cell::RefCell;
use std::ops::Deref;
use std::ptr;

/// Most requests' headers fit.
const SMALLEST: usize = 4096;
/// What is larger is given back to the allocator, so that one large document does not stay for good.
const LARGEST_KEPT: usize = 64 * 1024;
/// Headers, a property, shared data: hardly more are in use at a time.
const SPARE_KEPT: usize = 4;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { given: Vec::new(), spare: Vec::new() }) };
}

/// Buffers are zeroed once, when they are made; their length is all the room they have.
struct Pool {
    /// In the hands of the host.
    given: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

/// Data from the host; its room goes back to the pool.
pub(crate) struct Buffer {
    room: Vec<u8>,
    length: usize,
}

/// Room for the host to write to; null if there is none.
pub(crate) fn give(size: usize) -> *mut u8 {
    let room = POOL.try_with(|pool| pool.try_borrow_mut().ok()?.give(size));
    room.ok().flatten().unwrap_or(ptr::null_mut())
}

/// The room that was given out at `address`, which the host has filled with `length` bytes.
pub(crate) fn take(address: *const u8, length: usize) -> Option<Buffer> {
    POOL.try_with(|pool| pool.try_borrow_mut().ok()?.take(address, length))
        .ok()
        .flatten()
}

// === impl Pool ===

impl Pool {
    fn give(&mut self, size: usize) -> Option<*mut u8> {
        // The one that was used last is still in the processor's cache.
        let fitting = self.spare.iter().rposition(|room| room.len() >= size);
        let mut room = match fitting {
            Some(index) => self.spare.swap_remove(index),
            None => {
                let size = size.max(SMALLEST);
                let mut room = Vec::new();
                room.try_reserve_exact(size).ok()?;
                room.resize(size, 0);
                room
            }
        };
        let address = room.as_mut_ptr();
        self.given.push(room);
        Some(address)
    }

    fn take(&mut self, address: *const u8, length: usize) -> Option<Buffer> {
        let index = self
            .given
            .iter()
            .position(|room| ptr::eq(room.as_ptr(), address));
        let room = index.map(|index| self.given.swap_remove(index));
        // A host asks for one buffer in each hostcall: what else was given out belongs to a call that failed.
        while let Some(forgotten) = self.given.pop() {
            self.keep(forgotten);
        }
        room.map(|room| Buffer {
            length: length.min(room.len()),
            room,
        })
    }

    fn keep(&mut self, room: Vec<u8>) {
        if self.spare.len() < SPARE_KEPT && room.len() <= LARGEST_KEPT {
            self.spare.push(room);
        }
    }
}

// === impl Buffer ===

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.room.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let room = std::mem::take(&mut self.room);
        // Where the pool cannot be reached the room is simply freed.
        let _ = POOL.try_with(|pool| pool.try_borrow_mut().map(|mut pool| pool.keep(room)));
    }
}
