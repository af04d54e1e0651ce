//! How far text goes on in one kind, eight bytes at a time.

/// Eight bytes that are one.
const ONES: u64 = u64::MAX / 255;
/// The highest bit of each.
const HIGHEST: u64 = ONES << 7;

/// How many bytes of a string that does not matter come before its end, or before what takes a closer look.
#[inline]
pub(super) fn harmless(bytes: &[u8]) -> usize {
    let mut at = 0;
    'words: while let Some(word) = word(bytes, at) {
        let mut ends = special(word);
        while ends != 0 {
            let offset = (ends.trailing_zeros() / 8) as usize;
            let Some(length) = bytes.get(at + offset..).and_then(escaped) else {
                return at + offset;
            };
            let behind = offset + length;
            if behind >= 8 {
                at += behind;
                continue 'words;
            }
            ends &= u64::MAX << (behind * 8);
        }
        at += 8;
    }
    loop {
        at += plain(bytes.get(at..).unwrap_or_default());
        let Some(length) = bytes.get(at..).and_then(escaped) else {
            return at;
        };
        at += length;
    }
}

/// How long the escape at the start is; `None` where none is, or not all of it.
#[inline]
fn escaped(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [
            b'\\',
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
            ..,
        ] => Some(2),
        [b'\\', b'u', digits @ ..] if is_unit(digits) => Some(6),
        _ => None,
    }
}

/// Whether what follows a `\u` is the number of a UTF-16 code unit.
#[inline]
fn is_unit(bytes: &[u8]) -> bool {
    let digits = bytes.first_chunk::<4>();
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// How many digits come next.
#[inline]
pub(super) fn digits(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit());
    end.unwrap_or(bytes.len())
}

/// How many bytes of a string come before the next that is a quote, a `\` or a control character.
#[inline]
pub(super) fn plain(bytes: &[u8]) -> usize {
    run(bytes, special, |byte| matches!(byte, b'"' | b'\\' | 0..32))
}

/// How many bytes come before the next line feed or carriage return.
#[inline]
pub(crate) fn line(bytes: &[u8]) -> usize {
    let ends = |word| {
        flags(word, |low| {
            at_least(low ^ (ONES * 0x0a), 1) & at_least(low ^ (ONES * 0x0d), 1)
        })
    };
    run(bytes, ends, |byte| matches!(byte, b'\n' | b'\r'))
}

/// How many bytes come before the first that ends a run; `ends` tells for eight at a time, by their highest bits.
#[inline]
fn run(bytes: &[u8], ends: impl Fn(u64) -> u64, is_end: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(word) = word(bytes, at) {
        let found = ends(word);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| !is_end(**byte)).count()
}

/// The eight bytes from an offset on, the first the lowest.
#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*bytes))
}

/// The highest bit of each byte that is a quote, a `\` or a control character.
#[inline]
fn special(word: u64) -> u64 {
    // With one bit turned, a quote is below all but the control characters.
    flags(word, |low| {
        at_least(low ^ (ONES * 0x02), 0x21) & at_least(low ^ (ONES * 0x5c), 1)
    })
}

/// The highest bit of each byte that is below 128 and for whose other bits `is_usual` has none there.
#[inline]
fn flags(word: u64, is_usual: impl Fn(u64) -> u64) -> u64 {
    (is_usual(word & !HIGHEST) | word) & HIGHEST ^ HIGHEST
}

/// The highest bit of each byte, all of which are below 128, that is not below `limit`.
#[inline]
fn at_least(low: u64, limit: u64) -> u64 {
    low + ONES * (0x80 - limit)
}
