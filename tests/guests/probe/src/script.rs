//! Scripts: commands with `;` between them, each a host function with its arguments, or a word of the guest's own.
//!
//! | word | arguments of the call |
//! |---|---|
//! | `12`, `-1` | a number |
//! | `'text` | address and length of the text; `%XX` is a byte |
//! | `~1000:a` | the same, of the text so many times |
//! | `{a=1,b=2}` | address and length of a header map |
//! | `>` | where address and length of an answer go; `>p` shows it as a header map |
//! | `>4`, `>8` | where a number of so many bytes goes; `=name` after it keeps it |
//! | `$name` | a number that was kept |
//! | `bad` | an address outside the memory |
//! | `#` | which time it is, in what `times N` repeats |
//! | `self`, `root` | the number of the context whose script it is, and of its root |

use std::collections::HashMap;

use crate::abi;

/// Numbers that a script kept, and what its words mean.
#[derive(Default)]
pub struct Scope {
    /// Kept numbers.
    pub kept: HashMap<String, u64>,
    /// The context whose script it is.
    pub context: u32,
    /// Its root.
    pub root: u32,
}

/// An answer that a call is to write.
enum Out {
    Bytes,
    Pairs,
    U32,
    U64,
}

/// Where hosts write; this much tells that one has not.
const UNTOUCHED: u64 = 0xeeee_eeee_eeee_eeee;
const OUTSIDE: u64 = 0xffff_ff00;

/// Calls the host function that the words name, and shows its status and what it wrote.
pub fn call(words: &str, scope: &mut Scope) -> String {
    let mut words = words.split_whitespace();
    let name = words.next().unwrap_or_default();
    // They stay where they are until the call has returned.
    let mut texts: Vec<Vec<u8>> = Vec::new();
    let mut slots = Box::new([UNTOUCHED; 8]);
    let mut outs: Vec<(Out, usize)> = Vec::new();
    let mut arguments: Vec<u64> = Vec::new();
    let mut keep = None;
    let mut used = 0;
    let base = slots.as_mut_ptr() as u64;
    for word in words {
        if let Some(kind) = word.strip_prefix('>') {
            let (out, width) = match kind {
                "" => (Out::Bytes, 2),
                "p" => (Out::Pairs, 2),
                "4" => (Out::U32, 1),
                _ => (Out::U64, 1),
            };
            outs.push((out, used));
            arguments.extend((used..used + width).map(|at| base + at as u64 * 8));
            used += width;
        } else if let Some(name) = word.strip_prefix('=') {
            keep = Some(name);
        } else if let Some(number) = number(word, scope) {
            arguments.push(number);
        } else {
            let text = bytes(word);
            arguments.extend([text.as_ptr() as u64, text.len() as u64]);
            texts.push(text);
        }
    }
    let status = match abi::call(name, &arguments) {
        Ok(status) => status,
        Err(why) => return format!("? {why}"),
    };
    // SAFETY: the host may have written there meanwhile, which the compiler cannot know.
    let slots: [u64; 8] = unsafe { std::ptr::read_volatile(base as *const [u64; 8]) };
    let mut shown = status_name(status).to_owned();
    for (out, at) in outs {
        let low = |at: usize| (slots[at] & 0xffff_ffff) as u32;
        let untouched = slots[at] == UNTOUCHED;
        match out {
            _ if untouched => shown += " -",
            Out::U32 => shown += &format!(" {}", low(at)),
            Out::U64 => shown += &format!(" {}", slots[at]),
            Out::Bytes => shown += &format!(" '{}", escaped(&abi::taken(low(at), low(at + 1)))),
            Out::Pairs => shown += &format!(" {}", shown_pairs(&abi::taken(low(at), low(at + 1)))),
        }
        if let Some(name) = keep.filter(|_| !untouched) {
            let wide = matches!(out, Out::U64);
            scope.kept.insert(
                name.to_owned(),
                if wide { slots[at] } else { low(at).into() },
            );
        }
    }
    shown
}

fn number(word: &str, scope: &Scope) -> Option<u64> {
    match word {
        "bad" => Some(OUTSIDE),
        "self" => Some(scope.context.into()),
        "root" => Some(scope.root.into()),
        _ => match word.strip_prefix('$') {
            Some(name) => Some(scope.kept.get(name).copied().unwrap_or(UNTOUCHED & 0xffff)),
            None => word.parse::<i64>().ok().map(|number| number as u64),
        },
    }
}

fn bytes(word: &str) -> Vec<u8> {
    if let Some(text) = word.strip_prefix('\'') {
        unescaped(text)
    } else if let Some((times, text)) = word.strip_prefix('~').and_then(|rest| rest.split_once(':'))
    {
        unescaped(text).repeat(times.parse().unwrap_or(0))
    } else {
        let inner = word
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or_default();
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescaped(name), unescaped(value))
        };
        pairs(
            &inner
                .split(',')
                .filter(|p| !p.is_empty())
                .map(pair)
                .collect::<Vec<_>>(),
        )
    }
}

/// A header map as the ABI writes it.
fn pairs(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        for text in [name, value] {
            bytes.extend(text);
            bytes.push(0);
        }
    }
    bytes
}

fn shown_pairs(bytes: &[u8]) -> String {
    let length = |at: usize| {
        bytes
            .get(at..at + 4)
            .map_or(0, |b| u32::from_le_bytes(b.try_into().unwrap()) as usize)
    };
    let count = length(0);
    let mut at = 4 + count * 8;
    let mut shown = Vec::new();
    for pair in 0..count {
        let mut next = |len: usize| {
            let text = escaped(bytes.get(at..at + len).unwrap_or(b"?"));
            at += len + 1;
            text
        };
        let name = next(length(4 + pair * 8));
        shown.push(format!("{name}={}", next(length(8 + pair * 8))));
    }
    format!("{{{}}}", shown.join(","))
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// Bytes that are no plain letters as `%XX`; of long texts the length and the beginning.
fn escaped(bytes: &[u8]) -> String {
    const SHOWN: usize = 400;
    let mut shown = String::new();
    for byte in bytes.iter().take(SHOWN) {
        match byte {
            b'!'..=b'$' | b'&'..=b'~' => shown.push(char::from(*byte)),
            _ => shown += &format!("%{byte:02x}"),
        }
    }
    if bytes.len() > SHOWN {
        shown += &format!("...({}%20bytes)", bytes.len());
    }
    shown
}

fn status_name(status: u32) -> &'static str {
    match status {
        0 => "OK",
        1 => "NOT_FOUND",
        2 => "BAD_ARGUMENT",
        3 => "SERIALIZATION_FAILURE",
        4 => "PARSE_FAILURE",
        5 => "BAD_EXPRESSION",
        6 => "INVALID_MEMORY_ACCESS",
        7 => "EMPTY",
        8 => "CAS_MISMATCH",
        9 => "RESULT_MISMATCH",
        10 => "INTERNAL_FAILURE",
        11 => "BROKEN_CONNECTION",
        12 => "UNIMPLEMENTED",
        _ => "UNKNOWN",
    }
}
