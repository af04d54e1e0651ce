//! What was worked out about recent requests and need not be worked out again: whose key a credential is, and which
//! environment a consumer belongs to.
//!
//! A credential is known again by a keyed 128-bit hash (SipHash-2-4 under a random key of this worker), which costs a
//! quarter of its digest; the credential itself is not kept. Nobody who does not know the key can make a credential that
//! is taken for another. Validity windows are looked at on each request all the same.

use std::hash::Hasher;

use siphasher::sip128::{Hash128, Hasher128, SipHasher24};

/// Credentials that are remembered: a power of two; a newcomer takes the place of whoever has it.
const ENTRIES: usize = 256;
/// A consumer whose environment has not been worked out.
const UNKNOWN: u8 = u8::MAX;

/// The memory of one worker for one rollout under one set of weights.
#[derive(Debug)]
pub struct Recent {
    hasher: SipHasher24,
    credentials: Vec<Entry>,
    /// By consumer.
    environments: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    tag: (u64, u64),
    /// Index of the key plus one; zero is empty.
    key: u32,
}

/// A credential as it is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tag(u64, u64);

impl Recent {
    /// An empty memory. `secret` must be random.
    #[must_use]
    pub fn new(secret: (u64, u64)) -> Self {
        let empty = Entry {
            tag: (0, 0),
            key: 0,
        };
        Self {
            hasher: SipHasher24::new_with_keys(secret.0, secret.1),
            credentials: vec![empty; ENTRIES],
            environments: Vec::new(),
        }
    }

    /// How a credential is remembered.
    #[inline]
    pub(crate) fn tag(&self, credential: &[u8]) -> Tag {
        let mut hasher = self.hasher;
        hasher.write(credential);
        let Hash128 { h1, h2 } = hasher.finish128();
        Tag(h1, h2)
    }

    /// The key that a credential was last time.
    #[inline]
    pub(crate) fn key(&self, tag: Tag) -> Option<usize> {
        let entry = self.credentials.get(place(tag))?;
        // One comparison of both halves: nothing to be told from its time.
        let differs = (entry.tag.0 ^ tag.0) | (entry.tag.1 ^ tag.1);
        let key = usize::try_from(entry.key).ok()?;
        if differs == 0 {
            key.checked_sub(1)
        } else {
            None
        }
    }

    /// Remembers a credential's key.
    pub(crate) fn remember_key(&mut self, tag: Tag, key: usize) {
        let Some(number) = key
            .checked_add(1)
            .and_then(|number| u32::try_from(number).ok())
        else {
            return;
        };
        if let Some(entry) = self.credentials.get_mut(place(tag)) {
            *entry = Entry {
                tag: (tag.0, tag.1),
                key: number,
            };
        }
    }

    /// The environment that a consumer belongs to, as it was worked out last time.
    #[inline]
    pub(crate) fn environment(&self, consumer: usize) -> Option<usize> {
        let known = self
            .environments
            .get(consumer)
            .filter(|known| **known != UNKNOWN)?;
        Some(usize::from(*known))
    }

    /// Remembers a consumer's environment, of `consumers` in all.
    #[inline]
    pub(crate) fn remember_environment(
        &mut self,
        consumer: usize,
        consumers: usize,
        environment: usize,
    ) {
        if self.environments.len() < consumers {
            self.environments.resize(consumers, UNKNOWN);
        }
        if let (Some(known), Ok(environment)) = (
            self.environments.get_mut(consumer),
            u8::try_from(environment),
        ) {
            *known = environment;
        }
    }

    /// Forgets the consumers' environments, for the weights have changed.
    pub fn forget_environments(&mut self) {
        self.environments.fill(UNKNOWN);
    }
}

fn place(tag: Tag) -> usize {
    usize::try_from(tag.0 & 0xffff).unwrap_or(0) & (ENTRIES - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_takes_one_credential_for_another(credentials in proptest::collection::vec("[a-z]{0,12}", 1..2_000)) {
            let mut recent = Recent::new((1, 2));
            let mut all = std::collections::HashMap::new();
            for (number, credential) in credentials.iter().enumerate() {
                let number = *all.entry(credential).or_insert(number);
                let tag = recent.tag(credential.as_bytes());
                prop_assert!(recent.key(tag).is_none_or(|known| known == number));
                recent.remember_key(tag, number);
                prop_assert_eq!(recent.key(tag), Some(number));
            }
        }
    }

    #[test]
    fn remembers_environments_by_consumer() {
        let mut recent = Recent::new((1, 2));
        assert_eq!(recent.environment(3), None);
        recent.remember_environment(3, 5, 1);
        assert_eq!(
            (
                recent.environment(3),
                recent.environment(4),
                recent.environment(9)
            ),
            (Some(1), None, None)
        );
        recent.remember_environment(0, 5, 300);
        assert_eq!(
            recent.environment(0),
            None,
            "too many environments to remember"
        );
    }

    #[test]
    fn another_secret_is_another_memory() {
        let (one, other) = (Recent::new((1, 2)), Recent::new((1, 3)));
        assert_ne!(one.tag(b"k").0, other.tag(b"k").0);
    }
}
