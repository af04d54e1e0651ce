//! How far text goes on in one kind, sixteen bytes at a time.

use crate::scan::block::{Block, WIDTH};

/// How many bytes of a string that does not matter come before its end, or before what takes a closer look.
#[inline]
pub(super) fn harmless(bytes: &[u8]) -> usize {
    let mut at = 0;
    'blocks: while let Some(block) = Block::at(bytes, at) {
        let mut ends = block.special();
        while ends != 0 {
            let offset = ends.trailing_zeros() as usize;
            let Some(length) = bytes.get(at + offset..).and_then(escaped) else {
                return at + offset;
            };
            let behind = offset + length;
            if behind >= WIDTH {
                at += behind;
                continue 'blocks;
            }
            ends &= u32::MAX << behind;
        }
        at += WIDTH;
    }
    loop {
        at += plain(bytes.get(at..).unwrap_or_default());
        let Some(length) = bytes.get(at..).and_then(escaped) else {
            return at;
        };
        at += length;
    }
}

/// The same, where the end is within a block, and a quote.
#[inline]
pub(super) fn short(bytes: &[u8]) -> Option<usize> {
    let end = Block::at(bytes, 0)?.special().trailing_zeros() as usize;
    (bytes.get(end) == Some(&b'"') && end < WIDTH).then_some(end)
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
    run(bytes, Block::special, |byte| {
        matches!(byte, b'"' | b'\\' | 0..32)
    })
}

/// How many bytes come before the next line feed or carriage return.
#[inline]
pub(crate) fn line(bytes: &[u8]) -> usize {
    run(bytes, Block::line_ends, |byte| {
        matches!(byte, b'\n' | b'\r')
    })
}

/// How many bytes come before the first that ends a run; `ends` tells for a block at a time.
#[inline]
fn run(bytes: &[u8], ends: impl Fn(Block) -> u32, is_end: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(block) = Block::at(bytes, at) {
        let found = ends(block);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += WIDTH;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| !is_end(**byte)).count()
}
