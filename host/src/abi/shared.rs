//! Shared data: a map for each `vm_id`, common to all workers, with compare-and-swap.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use wasmtime::Caller;

use super::import::family;
use super::lint::{Rule, lint};
use super::memory::{Span, give_bytes, split};
use super::{Outcome, Status};
use crate::vm::state::State;

/// Bytes that keys and values may have in all.
const MAX_HELD: usize = 64 * 1024 * 1024;
/// What an entry takes beside them.
const ENTRY: usize = 128;

/// The shared data of the process.
#[derive(Debug, Default)]
pub struct SharedData(Mutex<Spaces>);

#[derive(Debug, Default)]
struct Spaces {
    of: HashMap<String, Space>,
    /// Bytes of all keys and values, and of what they take beside.
    held: usize,
}

/// The keys of one `vm_id`.
#[derive(Debug, Default)]
struct Space {
    values: HashMap<Bytes, (Bytes, u32)>,
    /// The version that was given last; 0 means "none" in the ABI.
    last_version: u32,
}

impl SharedData {
    /// The value of `key` and its version.
    #[must_use]
    pub fn get(&self, vm_id: &str, key: &[u8]) -> Option<(Bytes, u32)> {
        let spaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.of.get(vm_id)?.values.get(key).cloned()
    }

    /// Sets `key`. A `cas` other than 0 must be the present version; on a missing key it creates, as in Envoy.
    ///
    /// # Errors
    /// `CasMismatch` where another version is there, `InternalFailure` where there is no room.
    pub fn set(&self, vm_id: &str, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut spaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Spaces { of, held } = &mut *spaces;
        let space = of.entry(vm_id.to_owned()).or_default();
        let before = match space.values.get(key) {
            Some((_, version)) if cas != 0 && cas != *version => return Err(Status::CasMismatch),
            Some((before, _)) => ENTRY + key.len() + before.len(),
            None => 0,
        };
        let after = *held - before + ENTRY + key.len() + value.len();
        if after > MAX_HELD && after > *held {
            return Err(Status::InternalFailure);
        }
        *held = after;
        space.last_version = space.last_version.checked_add(1).unwrap_or(1);
        space.values.insert(
            Bytes::copy_from_slice(key),
            (Bytes::copy_from_slice(value), space.last_version),
        );
        Ok(())
    }
}

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_get_shared_data(key: Bytes, value: OutBytes, cas: OutU32) => get,
        proxy_set_shared_data(key: Bytes, value: Bytes, cas: Number) => set,
    }
}

fn get(caller: &mut Caller<'_, State>, key: Span, out: Span, out_cas: u32) -> Outcome {
    let (value, version) = {
        let (view, state) = split(caller)?;
        let key = view.name(key)?;
        state
            .process
            .shared_data
            .get(&state.vm.vm_id, key)
            .ok_or(Status::NotFound)?
    };
    give_bytes(caller, &value, out)?;
    split(caller)?.0.write_u32(out_cas, version)
}

fn set(caller: &mut Caller<'_, State>, key: Span, value: Span, cas: u32) -> Outcome {
    let (view, state) = split(caller)?;
    let key = view.name(key)?;
    let value = view.span(value)?;
    let data = &state.process.shared_data;
    if cas != 0 && data.get(&state.vm.vm_id, key).is_none() {
        lint(state, Rule::CasOnMissing);
        if state.strict() {
            return Err(Status::CasMismatch.into());
        }
    }
    Ok(data.set(&state.vm.vm_id, key, value, cas)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compare_and_swap() {
        let data = SharedData::default();
        assert_eq!(data.get("vm", b"k"), None);
        data.set("vm", b"k", b"1", 77).unwrap();
        let (value, version) = data.get("vm", b"k").unwrap();
        assert_eq!(&value[..], b"1");
        assert_eq!(
            data.set("vm", b"k", b"2", version + 1),
            Err(Status::CasMismatch)
        );
        data.set("vm", b"k", b"2", version).unwrap();
        data.set("vm", b"k", b"3", 0).unwrap();
        assert_eq!(&data.get("vm", b"k").unwrap().0[..], b"3");
        assert_eq!(data.get("other", b"k"), None, "each vm_id has its own");
    }

    /// A guest that keeps more and more must not take the process with it.
    #[test]
    fn what_is_held_has_a_limit() {
        let data = SharedData::default();
        let large = vec![0; MAX_HELD / 2];
        data.set("vm", b"a", &large, 0).unwrap();
        assert_eq!(
            data.set("other", b"b", &large, 0),
            Err(Status::InternalFailure)
        );
        data.set("vm", b"a", &large, 0).unwrap();
        data.set("vm", b"a", b"small", 0).unwrap();
        data.set("other", b"b", &large, 0).unwrap();
    }
}
