//! The keys of all consumers, found by digest in constant time whatever their number.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::AuthOutcome;
use crate::auth::recent::Recent;
use crate::time::Timestamp;

/// A key: whose it is and when it is good.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) digest: [u8; 32],
    /// Index of the consumer.
    pub(crate) consumer: usize,
    /// Good from here on.
    pub(crate) not_before: Option<Timestamp>,
    /// No longer good from here on.
    pub(crate) not_after: Option<Timestamp>,
}

/// A flat table with open addressing, at most half full.
#[derive(Debug, Default)]
pub(crate) struct KeyTable {
    /// Index of a key plus one; zero is empty. The length is a power of two.
    slots: Vec<u32>,
    keys: Vec<Key>,
}

/// The SHA-256 digest of some bytes.
#[must_use]
pub fn digest(credential: &[u8]) -> [u8; 32] {
    Sha256::digest(credential).into()
}

impl KeyTable {
    /// A table for this many keys.
    pub(crate) fn with_capacity(keys: usize) -> Self {
        let slots = keys.saturating_mul(2).max(1).next_power_of_two();
        Self {
            slots: vec![0; slots],
            keys: Vec::with_capacity(keys),
        }
    }

    /// Adds a key; where its digest is there already, it is left out and the one that is there is the error. The table
    /// must have been made for at least as many keys as are added.
    pub(crate) fn insert(&mut self, key: Key) -> Result<(), Key> {
        if let Some(same) = self.find(&key.digest).and_then(|same| self.keys.get(same)) {
            return Err(*same);
        }
        self.keys.push(key);
        let number = u32::try_from(self.keys.len()).unwrap_or(0);
        let free = self
            .probe(&key.digest)
            .find(|slot| self.slots.get(*slot) == Some(&0));
        if let Some(slot) = free.and_then(|slot| self.slots.get_mut(slot)) {
            *slot = number;
        }
        Ok(())
    }

    /// Looks a credential up at this instant: how that ends, and the index of the consumer whose key it is, good or not.
    #[inline]
    pub(crate) fn verify(
        &self,
        credential: &[u8],
        now: Timestamp,
        recent: &mut Recent,
    ) -> (AuthOutcome, Option<usize>) {
        let tag = recent.tag(credential);
        let known = recent.key(tag).or_else(|| {
            let found = self.find(&digest(credential))?;
            recent.remember_key(tag, found);
            Some(found)
        });
        let Some(key) = known.and_then(|key| self.keys.get(key)) else {
            return (AuthOutcome::Wrong, None);
        };
        let outcome = if key.not_before.is_some_and(|from| now < from) {
            AuthOutcome::NotYetValid
        } else if key.not_after.is_some_and(|until| now >= until) {
            AuthOutcome::Expired
        } else {
            AuthOutcome::Ok
        };
        (outcome, Some(key.consumer))
    }

    /// The index of a digest's key.
    #[inline]
    fn find(&self, digest: &[u8; 32]) -> Option<usize> {
        for slot in self.probe(digest) {
            let number = self.slots.get(slot).copied().unwrap_or(0);
            let index = usize::try_from(number).ok()?.checked_sub(1)?;
            let key = self.keys.get(index)?;
            // Which slot is looked at depends on a digest that nobody can choose; the comparison shows nothing more.
            if bool::from(key.digest.ct_eq(digest)) {
                return Some(index);
            }
        }
        None
    }

    /// The slots where a digest may be, in order.
    #[inline]
    fn probe(&self, digest: &[u8; 32]) -> impl Iterator<Item = usize> + use<> {
        let [b0, b1, b2, b3, ..] = digest;
        let start = usize::try_from(u32::from_le_bytes([*b0, *b1, *b2, *b3])).unwrap_or(0);
        let slots = self.slots.len();
        (0..slots).map(move |step| start.wrapping_add(step) & slots.wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(text: &str, consumer: usize) -> Key {
        Key {
            digest: digest(text.as_bytes()),
            consumer,
            not_before: None,
            not_after: None,
        }
    }

    #[test]
    fn windows_begin_inclusive_and_end_exclusive() {
        let mut table = KeyTable::with_capacity(1);
        let at = Timestamp::from_millis;
        table
            .insert(Key {
                not_before: Some(at(10)),
                not_after: Some(at(20)),
                ..key("k", 3)
            })
            .unwrap();
        let mut recent = Recent::new((1, 2));
        let mut verify = |millis| table.verify(b"k", at(millis), &mut recent);
        assert_eq!(
            [9, 10, 19, 20].map(&mut verify),
            [
                (AuthOutcome::NotYetValid, Some(3)),
                (AuthOutcome::Ok, Some(3)),
                (AuthOutcome::Ok, Some(3)),
                (AuthOutcome::Expired, Some(3)),
            ]
        );
        assert_eq!(
            table.verify(b"K", at(15), &mut Recent::new((1, 2))),
            (AuthOutcome::Wrong, None)
        );
        assert_eq!(table.insert(key("k", 4)).unwrap_err().consumer, 3);
        assert_eq!(
            KeyTable::default().verify(b"k", at(0), &mut Recent::new((1, 2))),
            (AuthOutcome::Wrong, None)
        );
    }

    proptest! {
        #[test]
        fn finds_what_was_added_and_nothing_else(count in 0_usize..300) {
            let mut table = KeyTable::with_capacity(count);
            for index in 0..count {
                table.insert(key(&format!("key {index}"), index)).unwrap();
            }
            let mut recent = Recent::new((1, 2));
            for index in (0..count * 2).chain(0..count * 2) {
                let expected = if index < count { (AuthOutcome::Ok, Some(index)) } else { (AuthOutcome::Wrong, None) };
                prop_assert_eq!(table.verify(format!("key {index}").as_bytes(), Timestamp::from_millis(0), &mut recent), expected);
            }
        }
    }
}
