//! A map from context ids to per-stream state: open addressing, no allocation once it has grown to the load.

/// A map with `u32` keys. Envoy's context ids only ever rise, others use theirs again; both spread well here.
#[derive(Debug)]
pub struct IdMap<T> {
    /// The length is a power of two; at most half are taken.
    slots: Vec<Option<(u32, T)>>,
    taken: usize,
}

const SMALLEST: usize = 64;

// === impl IdMap ===

impl<T> Default for IdMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> IdMap<T> {
    /// An empty map, which allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            taken: 0,
        }
    }

    /// How many ids are in the map.
    #[must_use]
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Adds an id; gives the value that it replaces.
    #[inline]
    pub fn insert(&mut self, id: u32, value: T) -> Option<T> {
        if (self.taken + 1) * 2 > self.slots.len() {
            self.resize((self.slots.len() * 2).max(SMALLEST));
        }
        self.put(id, value)
    }

    /// The value of an id.
    #[inline]
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        let slot = self.find(id)?;
        self.slots.get_mut(slot)?.as_mut().map(|(_, value)| value)
    }

    /// Takes an id out. The ones behind it move up, so that no marks of the dead pile up.
    #[inline]
    pub fn remove(&mut self, id: u32) -> Option<T> {
        let mut hole = self.find(id)?;
        let (_, removed) = self.slots.get_mut(hole)?.take()?;
        self.taken -= 1;
        let mask = self.slots.len().wrapping_sub(1);
        let mut next = hole.wrapping_add(1) & mask;
        while let Some(Some((other, _))) = self.slots.get(next) {
            // It may move into the hole unless its home lies between the two.
            let from_home = next.wrapping_sub(self.home(*other)) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.slots.swap(hole, next);
                hole = next;
            }
            next = next.wrapping_add(1) & mask;
        }
        Some(removed)
    }

    #[inline]
    fn home(&self, id: u32) -> usize {
        let spread = id.wrapping_mul(0x9e37_79b1);
        usize::try_from(spread ^ spread >> 16).unwrap_or(0) & self.slots.len().wrapping_sub(1)
    }

    /// The slots where an id may be, in order.
    #[inline]
    fn probe(&self, id: u32) -> impl Iterator<Item = usize> + use<T> {
        let (home, slots) = (self.home(id), self.slots.len());
        (0..slots).map(move |step| home.wrapping_add(step) & slots.wrapping_sub(1))
    }

    #[inline]
    fn find(&self, id: u32) -> Option<usize> {
        for slot in self.probe(id) {
            match self.slots.get(slot)? {
                Some((own, _)) if *own == id => return Some(slot),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    #[inline]
    fn put(&mut self, id: u32, value: T) -> Option<T> {
        let is_home = |slot: &usize| {
            self.slots
                .get(*slot)
                .is_some_and(|slot| slot.as_ref().is_none_or(|(own, _)| *own == id))
        };
        let slot = self.probe(id).find(is_home)?;
        let previous = self.slots.get_mut(slot)?.replace((id, value));
        if previous.is_none() {
            self.taken += 1;
        }
        previous.map(|(_, value)| value)
    }

    fn resize(&mut self, slots: usize) {
        let mut larger = Vec::new();
        larger.resize_with(slots, || None);
        let old = std::mem::replace(&mut self.slots, larger);
        self.taken = 0;
        for (id, value) in old.into_iter().flatten() {
            self.put(id, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_hash_map(steps in proptest::collection::vec((0_u8..3, 0_u32..200, any::<u16>()), 0..600)) {
            let (mut ours, mut theirs) = (IdMap::default(), HashMap::new());
            for (step, id, value) in steps {
                match step {
                    0 => prop_assert_eq!(ours.insert(id, value), theirs.insert(id, value)),
                    1 => prop_assert_eq!(ours.remove(id), theirs.remove(&id)),
                    _ => prop_assert_eq!(ours.get_mut(id), theirs.get_mut(&id)),
                }
                prop_assert_eq!(ours.len(), theirs.len());
            }
        }
    }

    #[test]
    fn rising_ids_do_not_make_it_grow() {
        let mut map = IdMap::default();
        for id in 0..1_000_000_u32 {
            map.insert(id, id);
            assert_eq!(
                id.checked_sub(20).and_then(|old| map.remove(old)),
                id.checked_sub(20)
            );
        }
        assert_eq!((map.len(), map.slots.len()), (20, SMALLEST));
        assert!(!map.is_empty());
    }
}
