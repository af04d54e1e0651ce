//! How far text goes on in one kind, eight bytes at a time.

/// Eight bytes that are one.
const ONES: u64 = u64::MAX / 255;

/// How many bytes of a string that does not matter come before its end, or before what takes a closer look.
#[inline]
pub(super) fn harmless(bytes: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at = plain_from(bytes, at);
        let escaped = match bytes.get(at..) {
            Some([b'\\', escaped, ..]) => *escaped,
            _ => return at,
        };
        at += match escaped {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' if bytes.get(at + 2..).is_some_and(is_unit) => 6,
            _ => return at,
        };
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
    plain_from(bytes, 0)
}

#[inline]
fn plain_from(bytes: &[u8], at: usize) -> usize {
    run(
        bytes,
        at,
        // With one bit turned, a quote is below all but the control characters.
        |word| below(word ^ (ONES * 0x02), 0x21) | below(word ^ (ONES * 0x5c), 1),
        |byte| matches!(byte, b'"' | b'\\' | 0..32),
    )
}

/// How many bytes come before the next line feed or carriage return.
#[inline]
pub(crate) fn line(bytes: &[u8]) -> usize {
    run(
        bytes,
        0,
        |word| below(word ^ (ONES * 0x0a), 1) | below(word ^ (ONES * 0x0d), 1),
        |byte| matches!(byte, b'\n' | b'\r'),
    )
}

/// The offset of the first byte from `at` that ends a run; `ends` tells for eight at a time, by their highest bits,
/// whatever it says of those above 127, which end none.
#[inline]
fn run(
    bytes: &[u8],
    mut at: usize,
    ends: impl Fn(u64) -> u64,
    is_end: impl Fn(u8) -> bool,
) -> usize {
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let found = ends(word) & !word & (ONES << 7);
        if found != 0 {
            // A borrow makes only bytes above a special one look special: the lowest is right.
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| !is_end(**byte)).count()
}

/// The highest bit of each byte that is below `limit`, which is at most 128. Bytes above 127 may have it too.
#[inline]
fn below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(ONES * limit)
}
