//! Masking: what is shown, without the secrets.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use memchr::memmem;

use super::readings::{Reading, readings};
use super::{Needle, SHORT, Secrets};
use crate::trace::changes::{Change, RawChange};
use crate::trace::decode::MOST_BYTES;
use crate::trace::{Argument, CallTrace, CallbackTrace, Value};

/// Masks what is known.
pub(in crate::trace) struct Mask<'a> {
    secrets: &'a Secrets,
    needles: Vec<(&'a Needle, usize)>,
    /// Finds them; `None` where there are too many of them to find: nothing is shown then.
    finder: Option<AhoCorasick>,
}

/// What a text may have been cut off from: then it may begin or end with a part of a secret.
#[derive(Clone, Copy, Default)]
struct Cut {
    before: bool,
    behind: bool,
}

/// What is masked in a text, and its number.
type Hidden = (Range<usize>, usize);

// === impl Mask ===

impl<'a> Mask<'a> {
    pub(super) fn new(secrets: &'a Secrets) -> Self {
        let needles = secrets.needles.iter();
        let needles: Vec<_> = needles.map(|(needle, number)| (needle, *number)).collect();
        // The one kind that is made in time whatever the needles are: a guest may make some of one letter.
        let finder = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::NoncontiguousNFA))
            .build(needles.iter().map(|(needle, _)| &needle.bytes))
            .ok();
        Self {
            secrets,
            needles,
            finder,
        }
    }

    /// Masks a whole callback.
    pub(in crate::trace) fn callback(&self, callback: &mut CallbackTrace) {
        callback.plugin = self.text(callback.plugin.as_bytes());
        if let Some(trap) = &mut callback.trap {
            *trap = self.text(trap.as_bytes());
        }
        for call in &mut callback.calls {
            let part = part_of_buffer(call);
            let all = call.arguments.iter_mut().chain(&mut call.returned);
            all.for_each(|argument| self.argument(argument, part));
        }
    }

    fn argument(&self, argument: &mut Argument, part: Cut) {
        match &mut argument.value {
            Value::Bytes(bytes) => {
                let cut = Cut {
                    before: part.before,
                    // Longer ones are not kept whole.
                    behind: part.behind || bytes.len() >= MOST_BYTES,
                };
                *bytes = self.bytes(bytes, cut);
            }
            Value::Fields(fields) => {
                for (name, value) in fields {
                    *value = self.field(name, value).into_bytes();
                    *name = self.bytes(name, Cut::default());
                }
            }
            _ => {}
        }
    }

    /// Masks a header's change.
    pub(in crate::trace) fn change(&self, change: &RawChange) -> Change {
        let value = |value: &Option<Vec<u8>>| {
            let value = value.as_ref();
            value.map(|value| self.field(&change.name, value))
        };
        Change {
            map: change.map,
            name: self.text(&change.name),
            before: value(&change.before),
            after: value(&change.after),
        }
    }

    /// A field's value with all secrets masked; where its name tells of one, none of it is left by accident.
    pub(in crate::trace) fn field(&self, name: &[u8], value: &[u8]) -> String {
        let masked = self.text(value);
        let is_secret = self.secrets.names.is_secret(name);
        if is_secret && !value.is_empty() && masked.as_bytes() == value {
            return "<secret>".to_owned();
        }
        masked
    }

    /// Masks bytes, and gives them as text.
    pub(in crate::trace) fn text(&self, bytes: &[u8]) -> String {
        String::from_utf8_lossy(&self.bytes(bytes, Cut::default())).into_owned()
    }

    fn bytes(&self, bytes: &[u8], cut: Cut) -> Vec<u8> {
        let Some(hidden) = self.hidden(bytes, cut) else {
            return b"<secret>".to_vec();
        };
        let mut masked = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for (range, number) in hidden {
            masked.extend_from_slice(bytes.get(from..range.start).unwrap_or_default());
            masked.extend_from_slice(format!("<secret {number}>").as_bytes());
            from = range.end;
        }
        masked.extend_from_slice(bytes.get(from..).unwrap_or_default());
        masked
    }

    /// What is to be masked, in order; `None` where that is not to be told.
    fn hidden(&self, bytes: &[u8], cut: Cut) -> Option<Vec<Hidden>> {
        let finder = self.finder.as_ref()?;
        let mut found = Vec::new();
        for reading in readings(bytes) {
            let text = &reading.bytes;
            for one in finder.find_overlapping_iter(&text[..]) {
                let (needle, number) = self.needles.get(one.pattern().as_usize())?;
                let range = one.start() + needle.shown..one.end();
                if needle.shown > 0 || range.len() >= SHORT || stands_alone(text, &range) {
                    found.push((reading.place(range), *number));
                }
            }
            found.extend(self.cut_off(&reading, cut));
        }
        Some(joined(found))
    }

    /// Parts of secrets at a text's ends.
    fn cut_off(&self, reading: &Reading<'_>, cut: Cut) -> Vec<Hidden> {
        let text = &reading.bytes[..];
        let mut found = Vec::new();
        if !(cut.before || cut.behind) || text.is_empty() {
            return found;
        }
        for (needle, number) in self.needles.iter().filter(|(needle, _)| needle.shown == 0) {
            let secret = &needle.bytes[..];
            let mut add = |part| found.push((reading.place(part), *number));
            if cut.before && cut.behind && memmem::find(secret, text).is_some() {
                add(0..text.len());
                continue;
            }
            let begins = overlap(secret, text);
            if cut.before && begins > 0 {
                add(0..begins);
            }
            let ends = overlap(text, secret);
            if cut.behind && ends > 0 {
                add(text.len() - ends..text.len());
            }
        }
        found
    }
}

/// How many bytes at the end of one text are the beginning of another: by Knuth, Morris and Pratt, since a guest may
/// make both of one letter.
fn overlap(one: &[u8], other: &[u8]) -> usize {
    // How many bytes the beginning of each length has in common with its own end.
    let mut borders = vec![0_usize];
    let longer = |borders: &[usize], mut length: usize, byte: u8| {
        loop {
            match other.get(length) {
                Some(next) if *next == byte => return length + 1,
                _ if length == 0 => return 0,
                _ => length = borders.get(length - 1).copied().unwrap_or(0),
            }
        }
    };
    for byte in other.iter().skip(1) {
        let length = borders.last().copied().unwrap_or(0);
        borders.push(longer(&borders, length, *byte));
    }
    let end = one.len().saturating_sub(other.len());
    let end = one.get(end..).unwrap_or(one).iter();
    end.fold(0, |length, byte| longer(&borders, length, *byte))
}

/// Whether what a call gives or gets is a part of a buffer.
fn part_of_buffer(call: &CallTrace) -> Cut {
    let number = |name: &str| {
        let arguments = call.arguments.iter();
        let mut own = arguments.filter(|argument| argument.name == name);
        own.find_map(|argument| match argument.value {
            Value::Number(number) => Some(number),
            _ => None,
        })
    };
    match call.name {
        "proxy_get_buffer_bytes" => Cut {
            before: number("start") != Some(0),
            behind: true,
        },
        "proxy_set_buffer_bytes" => Cut {
            before: true,
            behind: true,
        },
        _ => Cut::default(),
    }
}

/// In order, with what overlaps as one: by the number of the longest.
fn joined(mut found: Vec<Hidden>) -> Vec<Hidden> {
    found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
    let mut joined: Vec<Hidden> = Vec::new();
    let mut longest = 0;
    for (range, number) in found.into_iter().filter(|(range, _)| !range.is_empty()) {
        match joined.last_mut() {
            Some((last, known)) if range.start < last.end => {
                if range.len() > longest {
                    (longest, *known) = (range.len(), number);
                }
                last.end = last.end.max(range.end);
            }
            _ => {
                longest = range.len();
                joined.push((range, number));
            }
        }
    }
    joined
}

/// Whether neither side of a range goes on with a letter or a digit.
fn stands_alone(bytes: &[u8], range: &Range<usize>) -> bool {
    let before = range.start.checked_sub(1).and_then(|at| bytes.get(at));
    let after = bytes.get(range.end);
    let is_word = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    !is_word(before) && !is_word(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_overlap_by_the_longest() {
        for (one, other, by) in [
            ("", "", 0),
            ("abc", "", 0),
            ("", "abc", 0),
            ("xab", "abc", 2),
            ("abc", "abc", 3),
            ("xabab", "ababc", 4),
            ("ababa", "aba", 3),
            ("aab", "aaab", 0),
            ("bc", "abc", 0),
            ("aaaa", "aaaaab", 4),
        ] {
            assert_eq!(
                overlap(one.as_bytes(), other.as_bytes()),
                by,
                "{one} {other}"
            );
        }
    }
}
