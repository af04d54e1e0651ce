//! Header names and values that guests set again and again: read and allocated once, then shared.
//!
//! Two small direct-mapped tables; a newcomer takes the place of whoever has it. A hit costs a comparison and a
//! reference count instead of a validation, an allocation and, later, a release.

use http::{HeaderName, HeaderValue};

use super::head::InvalidField;

/// Entries of each table; a power of two. A filter sets a handful of names, and a value for each consumer.
const ENTRIES: usize = 128;
/// Longer values are not worth a comparison.
const LONGEST: usize = 128;

/// Names and values one guest has set.
pub struct Interner {
    names: Box<[Option<HeaderName>; ENTRIES]>,
    values: Box<[Option<HeaderValue>; ENTRIES]>,
}

impl Default for Interner {
    fn default() -> Self {
        Self {
            names: Box::new([const { None }; ENTRIES]),
            values: Box::new([const { None }; ENTRIES]),
        }
    }
}

impl Interner {
    /// The name that `bytes` spell.
    ///
    /// # Errors
    /// Where they are no header name.
    #[inline]
    pub fn name(&mut self, bytes: &[u8]) -> Result<&HeaderName, InvalidField> {
        let entry = self.names.get_mut(place(bytes)).ok_or(InvalidField)?;
        let known = entry
            .as_ref()
            .is_some_and(|name| name.as_str().as_bytes() == bytes);
        if !known {
            *entry = Some(parse_name(bytes)?);
        }
        entry.as_ref().ok_or(InvalidField)
    }

    /// The value that `bytes` are.
    ///
    /// # Errors
    /// Where they cannot stand in a header.
    #[inline]
    pub fn value(&mut self, bytes: &[u8]) -> Result<HeaderValue, InvalidField> {
        if bytes.len() > LONGEST {
            return parse_value(bytes);
        }
        let entry = self.values.get_mut(place(bytes)).ok_or(InvalidField)?;
        if let Some(value) = entry
            && value.as_bytes() == bytes
        {
            return Ok(value.clone());
        }
        let value = parse_value(bytes)?;
        *entry = Some(value.clone());
        Ok(value)
    }
}

/// Where bytes belong: by length and the two ends, which is enough to spread what filters set.
#[inline]
fn place(bytes: &[u8]) -> usize {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let short = || {
        bytes
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (head, tail) = match bytes.first_chunk::<8>() {
        None => (short(), 0),
        head => (word(head), word(bytes.last_chunk::<8>())),
    };
    let mixed =
        (head ^ tail.rotate_left(29) ^ bytes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // the upper bits are the mixed ones
    usize::try_from(mixed >> 57).unwrap_or(0) & (ENTRIES - 1)
}

fn parse_name(bytes: &[u8]) -> Result<HeaderName, InvalidField> {
    HeaderName::from_bytes(bytes).map_err(|_| InvalidField)
}

fn parse_value(bytes: &[u8]) -> Result<HeaderValue, InvalidField> {
    HeaderValue::from_bytes(bytes).map_err(|_| InvalidField)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_the_same_field() {
        let mut interner = Interner::default();
        for _ in 0..2 {
            assert_eq!(
                interner.name(b"x-deployment-mode").unwrap(),
                "x-deployment-mode"
            );
            assert_eq!(interner.name(b"X-Mixed").unwrap(), "x-mixed");
            assert_eq!(
                interner.value(b"green\xff").unwrap().as_bytes(),
                b"green\xff"
            );
            assert_eq!(interner.value(b"").unwrap().as_bytes(), b"");
            assert_eq!(interner.name(b"a b"), Err(InvalidField));
            assert_eq!(interner.value(b"a\r\nb: c"), Err(InvalidField));
        }
    }

    #[test]
    fn neighbours_in_a_table_do_not_mix() {
        let mut interner = Interner::default();
        for round in 0..3 {
            for n in 0..1_000 {
                let value = format!("value-{n}");
                assert_eq!(
                    interner.value(value.as_bytes()).unwrap(),
                    value.as_str(),
                    "round {round}"
                );
            }
        }
    }
}
