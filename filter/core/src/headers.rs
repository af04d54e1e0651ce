//! Request headers as a host serialises them: found by name in one pass, without copies.
//!
//! A document knows beforehand which headers it will ask for. Each of those names has a [`Slot`]; one pass over the
//! serialised map notes where each slot's value is, and everything after that is a lookup by number.

use std::iter;

/// The number of a header name that a document asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

/// The header names that a document asks for.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: Vec<Box<str>>,
    /// The names' fingerprints, which tell nearly all of them apart.
    fingerprints: Vec<u32>,
    /// Bit n: some name has n bytes (the last bit: 63 or more), so that most headers are passed over at once.
    lengths: u64,
}

/// Where the values of one request are; kept from request to request, so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Spans(Vec<Span>);

#[derive(Debug, Default, Clone, Copy)]
struct Span {
    start: usize,
    length: usize,
    /// How many headers have the name.
    count: usize,
}

/// One request's headers.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    pairs: &'a [u8],
    spans: &'a [Span],
    names: &'a Names,
}

/// The pairs of a serialised map; ends early where the map is malformed.
struct Pairs<'a> {
    sizes: &'a [[u8; 8]],
    data: &'a [u8],
    position: usize,
}

// === impl Spans ===

impl Spans {
    /// Spans that have not been used yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }
}

// === impl Names ===

impl Names {
    /// The slot of a name, which must be in small letters; the same for the same name.
    pub(crate) fn slot(&mut self, name: &str) -> Slot {
        if let Some(slot) = self.find(name.as_bytes()) {
            return slot;
        }
        self.lengths |= length_bit(name.len());
        self.fingerprints.push(fingerprint(name.as_bytes()));
        self.names.push(name.into());
        Slot(self.names.len() - 1)
    }

    /// Notes where the values of all slots are in a map as Proxy-Wasm serialises it: the number of pairs, the sizes of
    /// each name and value (all little-endian u32), then each name and value, each with a zero byte behind it.
    ///
    /// `None` if the map is malformed.
    #[inline]
    pub(crate) fn index<'a>(
        &'a self,
        pairs: &'a [u8],
        spans: &'a mut Spans,
    ) -> Option<Headers<'a>> {
        spans.0.clear();
        spans.0.resize(self.names.len(), Span::default());
        let mut iterator = Pairs::new(pairs)?;
        while let Some((name, start, length)) = iterator.next_pair()? {
            if self.lengths & length_bit(name.len()) == 0 {
                continue;
            }
            let Some(span) = self.find(name).and_then(|slot| spans.0.get_mut(slot.0)) else {
                continue;
            };
            if span.count == 0 {
                (span.start, span.length) = (start, length);
            }
            span.count += 1;
        }
        Some(self.indexed(pairs, spans))
    }

    /// The headers of the map in which [`Names::index`] has found these spans.
    #[inline]
    pub(crate) fn indexed<'a>(&'a self, pairs: &'a [u8], spans: &'a Spans) -> Headers<'a> {
        Headers {
            pairs,
            spans: &spans.0,
            names: self,
        }
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<Slot> {
        let wanted = fingerprint(name);
        for (index, own) in self.fingerprints.iter().enumerate() {
            if *own == wanted
                && self
                    .names
                    .get(index)
                    .is_some_and(|own| own.as_bytes() == name)
            {
                return Some(Slot(index));
            }
        }
        None
    }
}

#[inline]
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// Length, first and last byte.
#[inline]
fn fingerprint(name: &[u8]) -> u32 {
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
    let first = name.first().copied().unwrap_or(0);
    let last = name.last().copied().unwrap_or(0);
    u32::from(length) << 16 | u32::from(first) << 8 | u32::from(last)
}

// === impl Headers ===

impl<'a> Headers<'a> {
    /// The first value of a header.
    #[must_use]
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&'a [u8]> {
        let span = self.spans.get(slot.0).filter(|span| span.count > 0)?;
        self.pairs.get(span.start..)?.get(..span.length)
    }

    /// How many headers of the name there are.
    #[must_use]
    #[inline]
    pub fn count(&self, slot: Slot) -> usize {
        self.spans.get(slot.0).map_or(0, |span| span.count)
    }

    /// All values of a header, in order.
    #[inline]
    pub fn values(&self, slot: Slot) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let name = self
            .names
            .names
            .get(slot.0)
            .map(Box::as_ref)
            .unwrap_or_default();
        // One pass more only where a header is repeated, which is rare.
        let mut rest = if self.count(slot) > 1 {
            Pairs::new(self.pairs)
        } else {
            None
        };
        let pairs = self.pairs;
        let again = iter::from_fn(move || {
            loop {
                let (found, start, length) = rest.as_mut()?.next_pair()??;
                if found == name.as_bytes() {
                    return pairs.get(start..)?.get(..length);
                }
            }
        });
        self.get(slot).into_iter().chain(again.skip(1))
    }
}

/// Headers as a host reads them, in the form that [`crate::document::Document::index`] reads.
#[must_use]
pub fn serialise(headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = length(headers.len()).to_vec();
    for (name, value) in headers {
        bytes.extend(length(name.len()));
        bytes.extend(length(value.len()));
    }
    for (name, value) in headers {
        for text in [name, value] {
            bytes.extend_from_slice(text);
            bytes.push(0);
        }
    }
    bytes
}

/// All headers of a serialised map, in order; `None` if it is malformed.
pub(crate) fn all(pairs: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut headers = Vec::new();
    let mut iterator = Pairs::new(pairs)?;
    while let Some((name, start, length)) = iterator.next_pair()? {
        headers.push((name, pairs.get(start..)?.get(..length)?));
    }
    Some(headers)
}

// === impl Pairs ===

impl<'a> Pairs<'a> {
    fn new(pairs: &'a [u8]) -> Option<Self> {
        let (count, rest) = pairs.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (sizes, _) = rest.split_at_checked(count.checked_mul(8)?)?;
        Some(Self {
            sizes: sizes.as_chunks().0,
            data: pairs,
            position: 4 + sizes.len(),
        })
    }

    /// The next name, and start and length of its value. `Some(None)` at the end, `None` if the map is malformed.
    #[inline(always)]
    #[expect(
        clippy::option_option,
        reason = "malformed and ended are different things"
    )]
    fn next_pair(&mut self) -> Option<Option<(&'a [u8], usize, usize)>> {
        let Some(([k0, k1, k2, k3, v0, v1, v2, v3], rest)) = self.sizes.split_first() else {
            return Some(None);
        };
        self.sizes = rest;
        let name_length = usize::try_from(u32::from_le_bytes([*k0, *k1, *k2, *k3])).ok()?;
        let length = usize::try_from(u32::from_le_bytes([*v0, *v1, *v2, *v3])).ok()?;
        let name = self
            .data
            .get(self.position..self.position.checked_add(name_length)?)?;
        let start = self.position.checked_add(name_length)?.checked_add(1)?;
        let end = start.checked_add(length)?;
        if end >= self.data.len() {
            return None;
        }
        self.position = end + 1;
        Some(Some((name, start, length)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Serialises headers as a host does.
    pub(crate) fn serialise(headers: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = u32::try_from(headers.len()).unwrap().to_le_bytes().to_vec();
        for (name, value) in headers {
            bytes.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
            bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        }
        for (name, value) in headers {
            bytes.extend(name.as_bytes());
            bytes.push(0);
            bytes.extend(*value);
            bytes.push(0);
        }
        bytes
    }

    #[test]
    fn finds_first_and_all_values() {
        let mut names = Names::default();
        let (key, absent, path) = (
            names.slot("api-key"),
            names.slot("absent"),
            names.slot(":path"),
        );
        assert_eq!(names.slot("api-key"), key);
        let map = serialise(&[
            (":path", b"/"),
            ("api-key", b"a\xff"),
            ("other", b"x"),
            ("api-key", b""),
            ("api-key", b"c"),
        ]);
        let mut spans = Spans::default();
        let headers = names.index(&map, &mut spans).unwrap();
        assert_eq!(headers.get(key), Some(&b"a\xff"[..]));
        assert_eq!(
            headers.values(key).collect::<Vec<_>>(),
            [&b"a\xff"[..], b"", b"c"]
        );
        assert_eq!(headers.values(path).collect::<Vec<_>>(), [b"/"]);
        assert_eq!(
            (
                headers.count(key),
                headers.get(absent),
                headers.values(absent).count()
            ),
            (3, None, 0)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0_u8..8) {
            if let Some(first) = bytes.first_mut() {
                *first = count;
            }
            let mut names = Names::default();
            let slot = names.slot("a");
            let mut spans = Spans::default();
            if let Some(headers) = names.index(&bytes, &mut spans) {
                prop_assert_eq!(headers.values(slot).count(), headers.count(slot));
            }
        }

        #[test]
        fn cut_maps_are_refused(values in proptest::collection::vec(("[a-c]{1,3}", proptest::collection::vec(any::<u8>(), 0..5)), 0..6), cut in 1_usize..10) {
            let headers: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let map = serialise(&headers);
            let mut names = Names::default();
            let slots: Vec<_> = headers.iter().map(|(name, _)| (names.slot(name), *name)).collect();
            let mut spans = Spans::default();
            let indexed = names.index(&map, &mut spans).unwrap();
            for (slot, name) in slots {
                let expected: Vec<_> = headers.iter().filter(|(other, _)| *other == name).map(|(_, value)| *value).collect();
                prop_assert_eq!(indexed.values(slot).collect::<Vec<_>>(), expected);
            }
            let shorter = map.len().saturating_sub(cut);
            prop_assert!(names.index(&map[..shorter], &mut Spans::default()).is_none());
        }
    }
}
