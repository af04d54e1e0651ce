//! Tokens that are at hand as a whole, and of a usual kind: how long they are.

use crate::scan::machine::with_space;
use crate::scan::runs::{digits, harmless, short};

/// How long a key is, with what divides it from its value.
#[inline]
pub(super) fn key(rest: &[u8]) -> Option<usize> {
    let behind = string(rest)?;
    (rest.get(behind) == Some(&b':')).then(|| with_space(rest, behind + 1))
}

/// How long a string, word or number is.
#[inline]
pub(super) fn scalar(first: u8, rest: &[u8]) -> Option<usize> {
    let word = |word: &[u8]| rest.starts_with(word).then_some(word.len());
    match first {
        b'"' => string(rest),
        b't' => word(b"true"),
        b'f' => word(b"false"),
        b'n' => word(b"null"),
        _ => number(rest),
    }
}

/// How long a string is.
#[inline]
pub(super) fn string(rest: &[u8]) -> Option<usize> {
    let text = rest.get(1..)?;
    let length = short(text).unwrap_or_else(|| harmless(text));
    (text.get(length) == Some(&b'"')).then_some(length + 2)
}

/// How long a number is; what is behind it must be there, for it may go on.
#[inline]
fn number(rest: &[u8]) -> Option<usize> {
    let some = |at: usize| Some(digits(rest.get(at..)?)).filter(|count| *count > 0);
    let start = usize::from(rest.first() == Some(&b'-'));
    let mut at = start + some(start)?;
    if at > start + 1 && rest.get(start) == Some(&b'0') {
        return None;
    }
    if rest.get(at) == Some(&b'.') {
        at += 1 + some(at + 1)?;
    }
    if let Some(b'e' | b'E') = rest.get(at) {
        let sign = usize::from(matches!(rest.get(at + 1), Some(b'+' | b'-')));
        at += 1 + sign + some(at + 1 + sign)?;
    }
    rest.get(at).map(|_| at)
}
