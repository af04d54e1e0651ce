//! A VM's contexts by number.
//!
//! Numbers rise and are not used again while the number space lasts, as in Envoy: a callout's late answer never meets
//! another stream under an old number. A context lies in the slot that the low bits of its number name; a number whose
//! slot is taken is passed over. So a look-up is one comparison, and numbers never run out.

use std::rc::Rc;

use crate::abi::Reach;
use crate::config::WasmPlugin;
use crate::stream::StreamCell;

/// A context of the guest.
pub(super) enum Context {
    /// Of a plugin.
    Root(Rc<WasmPlugin>),
    /// Of one exchange.
    Stream {
        /// Its root context.
        root: u32,
        /// What it filters.
        cell: StreamCell,
        /// What it reaches of that, while it is not the effective context.
        reach: Reach,
    },
}

/// All contexts of a VM.
pub(super) struct Contexts {
    /// A power of two of them, at least twice as many as contexts live.
    slots: Vec<Option<(u32, Context)>>,
    live: usize,
    /// The number given last; 0 is no context's.
    last: u32,
}

/// Slots at first.
const FEWEST: usize = 16;

// === impl Contexts ===

impl Default for Contexts {
    fn default() -> Self {
        Self {
            slots: empty(FEWEST),
            live: 0,
            last: 0,
        }
    }
}

fn empty(slots: usize) -> Vec<Option<(u32, Context)>> {
    std::iter::repeat_with(|| None).take(slots).collect()
}

impl Contexts {
    fn slot(&self, id: u32) -> usize {
        id as usize & (self.slots.len() - 1)
    }

    /// Adds a context and gives its number.
    pub(super) fn add(&mut self, context: Context) -> u32 {
        if self.live * 2 >= self.slots.len() {
            self.grow();
        }
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            let (id, at) = (self.last, self.slot(self.last));
            // At least half of the slots are free.
            if let Some(slot @ None) = self.slots.get_mut(at) {
                *slot = Some((id, context));
                self.live += 1;
                return id;
            }
        }
    }

    /// Numbers that differ in their low bits still do with one bit more.
    #[cold]
    fn grow(&mut self) {
        let before = std::mem::take(&mut self.slots);
        self.slots = empty(before.len() * 2);
        for (id, context) in before.into_iter().flatten() {
            let at = self.slot(id);
            if let Some(slot) = self.slots.get_mut(at) {
                *slot = Some((id, context));
            }
        }
    }

    /// The context of that number.
    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&Context> {
        match self.slots.get(self.slot(id)) {
            Some(Some((own, context))) if *own == id => Some(context),
            _ => None,
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Context> {
        self.slots.iter().flatten().map(|(_, context)| context)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Context> {
        let at = self.slot(id);
        match self.slots.get_mut(at) {
            Some(Some((own, context))) if *own == id => Some(context),
            _ => None,
        }
    }

    /// Forgets it.
    pub(super) fn remove(&mut self, id: u32) {
        let at = self.slot(id);
        if let Some(slot) = self.slots.get_mut(at)
            && slot.as_ref().is_some_and(|(own, _)| *own == id)
        {
            *slot = None;
            self.live -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(contexts: &mut Contexts) -> u32 {
        let nothing = bytes::Bytes::new;
        let plugin = crate::rig::plugin(
            "a.wasm".into(),
            String::new(),
            nothing(),
            nothing(),
            std::collections::BTreeMap::new(),
        );
        contexts.add(Context::Root(Rc::new(plugin)))
    }

    #[test]
    fn numbers_never_run_out_and_never_meet_a_living_one() {
        let mut contexts = Contexts {
            last: u32::MAX - 20,
            ..Contexts::default()
        };
        let old = root(&mut contexts);
        assert_eq!(old, u32::MAX - 19);
        let mut seen = std::collections::BTreeSet::from([old]);
        for _ in 0..100 {
            let id = root(&mut contexts);
            assert!(id != 0 && seen.insert(id), "{id} is used twice");
            contexts.remove(id);
            assert!(contexts.get(id).is_none());
        }
        assert!(seen.contains(&1), "counting went on from 1");
        assert!(contexts.get(old).is_some());
    }

    #[test]
    fn many_live_at_once() {
        let mut contexts = Contexts::default();
        let ids: Vec<u32> = (0..1_000).map(|_| root(&mut contexts)).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| contexts.get(*id).is_some()));
        for id in &ids {
            contexts.remove(*id);
            contexts.remove(*id);
        }
        assert_eq!(contexts.live, 0);
        assert!(contexts.get(ids[0]).is_none());
    }
}
