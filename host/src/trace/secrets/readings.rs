//! What a text says once its escapes are undone: those of JSON's strings, and those of URLs and forms.
//!
//! Nobody says which of them a text uses, or how often: all are tried, up to twice in a row.

use std::borrow::Cow;
use std::ops::Range;

/// A text as it may be read.
pub(super) struct Reading<'a> {
    /// What it says.
    pub(super) bytes: Cow<'a, [u8]>,
    /// Where each byte stands in the text as it is; `None` where that is what is read.
    places: Option<Vec<Range<usize>>>,
}

/// What an escape at the beginning of a text stands for, and its length; `None` where there is none.
type Undo = fn(&[u8]) -> Option<(Escaped, usize)>;

/// What escapes stand for: a byte, or a character.
enum Escaped {
    Byte(u8),
    Char(char),
}

/// All readings of a text; the first is the text as it is.
pub(super) fn readings(text: &[u8]) -> impl Iterator<Item = Reading<'_>> {
    const ORDERS: [&[Undo]; 7] = [
        &[],
        &[json],
        &[url],
        &[json, json],
        &[json, url],
        &[url, url],
        &[url, json],
    ];
    ORDERS.into_iter().filter_map(|order| {
        let whole = Reading {
            bytes: Cow::Borrowed(text),
            places: None,
        };
        order.iter().try_fold(whole, |text, undo| text.undo(*undo))
    })
}

// === impl Reading ===

impl<'a> Reading<'a> {
    /// Where that part of it stands in the text as it is.
    pub(super) fn place(&self, part: Range<usize>) -> Range<usize> {
        let Some(places) = &self.places else {
            return part;
        };
        let part = places.get(part).unwrap_or_default();
        match (part.first(), part.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        }
    }

    /// With these escapes undone; `None` where there are none.
    fn undo(self, undo: Undo) -> Option<Reading<'a>> {
        if !self.bytes.iter().any(|byte| b"\\%+".contains(byte)) {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut places = Vec::with_capacity(self.bytes.len());
        let (mut at, mut found) = (0, false);
        while let Some((first, rest)) = self.bytes.get(at..).and_then(<[u8]>::split_first) {
            let escape = match first {
                b'\\' | b'%' | b'+' => undo(self.bytes.get(at..).unwrap_or(rest)),
                _ => None,
            };
            found |= escape.is_some();
            let (is, length) = escape.unwrap_or((Escaped::Byte(*first), 1));
            match is {
                Escaped::Byte(byte) => bytes.push(byte),
                Escaped::Char(c) => {
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            places.resize(bytes.len(), self.place(at..at + length));
            at += length;
        }
        found.then_some(Reading {
            bytes: Cow::Owned(bytes),
            places: Some(places),
        })
    }
}

/// As in JSON: `\n`, `\"`, `\u0041`, and pairs of surrogates.
fn json(text: &[u8]) -> Option<(Escaped, usize)> {
    let [b'\\', escape, rest @ ..] = text else {
        return None;
    };
    let byte = match escape {
        b'"' | b'\\' | b'/' | b'\'' => *escape,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unicode(rest),
        _ => return None,
    };
    Some((Escaped::Byte(byte), 2))
}

/// What stands behind `\u`.
fn unicode(digits: &[u8]) -> Option<(Escaped, usize)> {
    let first = hex(digits.get(..4)?)?;
    if let Some(c) = char::from_u32(first) {
        return Some((Escaped::Char(c), 6));
    }
    let second = digits.get(4..10)?.strip_prefix(b"\\u").and_then(hex)?;
    let pair = u16::try_from(first).ok().zip(u16::try_from(second).ok());
    let c = pair.and_then(|(high, low)| char::decode_utf16([high, low]).next()?.ok())?;
    Some((Escaped::Char(c), 12))
}

/// As in URLs and forms: `%41`, and `+` for a space.
fn url(text: &[u8]) -> Option<(Escaped, usize)> {
    match text {
        [b'+', ..] => Some((Escaped::Byte(b' '), 1)),
        [b'%', digits @ ..] => {
            let byte = u8::try_from(hex(digits.get(..2)?)?).ok()?;
            Some((Escaped::Byte(byte), 3))
        }
        _ => None,
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    // A sign is none, though it is taken for one.
    match digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        true => u32::from_str_radix(digits, 16).ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        let text = readings(text.as_bytes());
        text.map(|reading| String::from_utf8(reading.bytes.into_owned()).unwrap())
            .collect()
    }

    #[test]
    fn escapes_are_undone_up_to_twice() {
        assert_eq!(all("plain"), ["plain"]);
        assert_eq!(
            all(r#"a\u0032\/\"\n\ud83d\ude00"#),
            ["a\\u0032\\/\\\"\\n\\ud83d\\ude00", "a2/\"\n😀"]
        );
        assert_eq!(all("a+%3a%3A"), ["a+%3a%3A", "a ::"]);
        assert_eq!(all("%2541"), ["%2541", "%41", "A"]);
        assert_eq!(
            all(r"%5c\u0041")[1..],
            [r"%5cA", r"\\u0041", r"\A", r"\u0041"][..]
        );
        // What is no escape stays.
        assert_eq!(
            all(r"\x \u12 \ud83d 50% %+1"),
            [r"\x \u12 \ud83d 50% %+1", r"\x \u12 \ud83d 50% % 1"]
        );
    }

    #[test]
    fn a_part_is_found_where_it_stands() {
        let text = br"-\u0041%42-";
        let readings: Vec<Reading<'_>> = readings(text).collect();
        let place = |reading: &Reading<'_>| {
            let at = memchr::memmem::find(&reading.bytes, b"AB").unwrap();
            text.get(reading.place(at..at + 2)).unwrap()
        };
        let [.., both, _] = &readings[..] else {
            panic!()
        };
        assert_eq!(place(both), br"\u0041%42");
        assert_eq!(readings[0].place(1..3), 1..3);
        assert_eq!(both.place(9..12), 0..0, "there is no such part");
    }
}
