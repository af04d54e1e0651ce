//! Where values stand in text that has names in it: whatever else it is, and even where it is cut off.

use std::ops::Range;

use memchr::{memchr_iter, memmem};

use super::names::LONGEST;

/// A value with its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) name: Range<usize>,
    pub(super) value: Range<usize>,
}

/// `name=value` of queries, forms and log lines.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = Pair> {
    // Where the value ends that was found last: it may hold others.
    let mut end = 0;
    memchr_iter(b'=', text).filter_map(move |at| {
        let before = text.get(..at)?;
        let letters = before.iter().rev().take(LONGEST);
        let length = letters.take_while(|byte| is_name(**byte)).count();
        let start = at + 1;
        if start > end {
            end = start + run(text.get(start..)?, |byte| !ends_value(byte));
        }
        let value = trim_end(text, start..end, |byte| matches!(byte, b';' | b','));
        (length > 0 && !value.is_empty()).then_some(Pair {
            name: at - length..at,
            value,
        })
    })
}

/// `name: value` and `name = value`, one a line, as configurations have them that are not JSON.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = Pair> {
    let is_quote = |byte: u8| matches!(byte, b'"' | b'\'' | b',');
    let line_feeds = memchr_iter(b'\n', text).map(|at| at + 1);
    let begins = std::iter::once(0).chain(line_feeds);
    begins.filter_map(move |begin| {
        let line = begin..begin + run(text.get(begin..)?, |byte| byte != b'\n');
        let bytes = text.get(line.clone())?;
        let at = memchr::memchr2(b'=', b':', bytes)?;
        let name = trim(text, begin..begin + at, |byte| !is_name(byte));
        // The last word: `export TOKEN=`, `other.token =`.
        let words = text.get(name.clone())?;
        let skipped = words.iter().rposition(|byte| matches!(byte, b' ' | b'.'));
        let value = trim(text, begin + at + 1..line.end, |byte| {
            byte.is_ascii_whitespace() || is_quote(byte)
        });
        Some(Pair {
            name: name.start + skipped.map_or(0, |at| at + 1)..name.end,
            value,
        })
    })
}

/// Parts of a `multipart/form-data`.
pub(super) fn parts(text: &[u8]) -> impl Iterator<Item = Pair> {
    const NAME: &[u8] = b"name=\"";
    // A part's head ends within so many bytes.
    const HEAD: usize = 1024;
    let mut end = 0;
    memmem::find_iter(text, NAME).filter_map(move |at| {
        let start = at + NAME.len();
        let rest = text.get(start..).filter(|_| start > end)?;
        let head = rest.get(..HEAD).unwrap_or(rest);
        let name = start..start + run(head, |byte| byte != b'"' && byte != b'\n');
        let begin = memmem::find(head, b"\r\n\r\n")? + 4;
        let value = rest.get(begin..)?;
        let length = memmem::find(value, b"\r\n--").unwrap_or(value.len());
        end = start + begin + length;
        let value = start + begin..end;
        Some(Pair { name, value })
    })
}

/// Passwords before the `@` of a URL's host, or all that stands there; what is before them counts as their name.
pub(super) fn passwords(text: &[u8]) -> impl Iterator<Item = Pair> {
    memmem::find_iter(text, b"//").filter_map(|at| {
        let value = password(text, at + 2)?;
        let name = at..value.start;
        Some(Pair { name, value })
    })
}

/// The password of an authority that begins there.
pub(super) fn password(text: &[u8], start: usize) -> Option<Range<usize>> {
    let rest = text.get(start..)?;
    let authority = rest.get(..run(rest, |byte| !ends_authority(byte)))?;
    let user = authority.get(..memchr::memrchr(b'@', authority)?)?;
    let password = match memchr::memchr(b':', user) {
        Some(colon) if colon + 1 < user.len() => colon + 1..user.len(),
        Some(colon) => 0..colon,
        None => 0..user.len(),
    };
    (!password.is_empty()).then_some(start + password.start..start + password.end)
}

/// What stands behind a scheme of HTTP's authentication in running text, with the scheme.
pub(super) fn credentials(text: &[u8]) -> impl Iterator<Item = Pair> {
    const SCHEMES: [&[u8]; 5] = [b"bearer", b"basic", b"digest", b"token", b"dpop"];
    let mut end = 0;
    let spaces = memchr_iter(b' ', text);
    spaces.filter_map(move |space| {
        let before = text.get(..space).filter(|_| space >= end)?;
        let ends = |scheme: &&[u8]| {
            let start = before.len().checked_sub(scheme.len())?;
            let (rest, word) = before.split_at_checked(start)?;
            let is_word = !rest.last().is_some_and(u8::is_ascii_alphanumeric);
            (is_word && word.eq_ignore_ascii_case(scheme)).then_some(start)
        };
        let start = SCHEMES.iter().find_map(ends)?;
        let scheme = start..space;
        let rest = text.get(space + 1..)?;
        let length = match text.get(scheme.clone())?.eq_ignore_ascii_case(b"digest") {
            // Its parameters take a line.
            true => run(rest, |byte| byte != b'\n'),
            false => run(rest, |byte| {
                byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
            }),
        };
        let value = space + 1..space + 1 + length;
        // A sentence goes on behind such a word too.
        let is_word = |value: &[u8]| value.len() < 16 && !value.iter().any(u8::is_ascii_digit);
        if is_word(text.get(value.clone())?) {
            return None;
        }
        end = value.end;
        Some(Pair {
            name: scheme,
            value,
        })
    })
}

/// How many of the first bytes are such.
pub(super) fn run(text: &[u8], is_such: impl Fn(u8) -> bool) -> usize {
    let end = text.iter().position(|byte| !is_such(*byte));
    end.unwrap_or(text.len())
}

fn trim(text: &[u8], range: Range<usize>, is_such: impl Fn(u8) -> bool) -> Range<usize> {
    let bytes = text.get(range.clone()).unwrap_or_default();
    let start = range.start + run(bytes, &is_such);
    trim_end(text, start..range.end, is_such)
}

fn trim_end(text: &[u8], range: Range<usize>, is_such: impl Fn(u8) -> bool) -> Range<usize> {
    let bytes = text.get(range.clone()).unwrap_or_default();
    let ending = bytes.iter().rev().take_while(|byte| is_such(**byte));
    range.start..range.end - ending.count()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.%[]".contains(&byte)
}

fn ends_value(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"&\"'<>\\".contains(&byte)
}

fn ends_authority(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"/?#\"'<>\\".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, found: impl Iterator<Item = Pair>) -> Vec<(String, String)> {
        let told = |pair: Pair| (text[pair.name].to_owned(), text[pair.value].to_owned());
        found.map(told).collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn pairs_stand_anywhere() {
        let text = r#"/a?x=1&to%6ben=a%20b, "q=r" =no s="u" end=a;b"#;
        assert_eq!(
            told(text, pairs(text.as_bytes())),
            owned(&[("x", "1"), ("to%6ben", "a%20b"), ("q", "r"), ("end", "a;b")])
        );
    }

    #[test]
    fn configurations_have_a_pair_a_line() {
        let text = "listen = 80\n- client_secret: \"l1ne\",\nexport other.token=tok3n\n\nnone";
        assert_eq!(
            told(text, lines(text.as_bytes())),
            owned(&[
                ("listen", "80"),
                ("client_secret", "l1ne"),
                ("token", "tok3n")
            ])
        );
    }

    #[test]
    fn forms_of_several_parts_name_them() {
        let text = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\ntwo\r\n--b\r\n\
            Content-Disposition: form-data; name=\"b\"; filename=\"f\"\r\nContent-Type: text/plain\r\n\r\ncut";
        let found = told(text, parts(text.as_bytes()));
        assert_eq!(found[..2], owned(&[("a", "one\r\ntwo"), ("b", "cut")]));
    }

    #[test]
    fn passwords_of_urls_stand_before_the_host() {
        let found = |text: &str| -> Vec<String> {
            passwords(text.as_bytes())
                .map(|pair| text[pair.value].to_owned())
                .collect()
        };
        assert_eq!(
            found("see https://u:p%40:x@h/a@b, //t0ken@h"),
            ["p%40:x", "t0ken"]
        );
        assert_eq!(found("https://key:@h?to=//u:q@h"), ["key", "q"]);
        assert!(found("https://h:80/a:b@c //@h // http://").is_empty());
    }

    #[test]
    fn credentials_stand_behind_their_schemes() {
        let text = "got Bearer abc.123, (basic dXNl0g==) Digest a=\"1\", b=2\nBearer token missing, xbearer abc1";
        assert_eq!(
            told(text, credentials(text.as_bytes())),
            owned(&[
                ("Bearer", "abc.123"),
                ("basic", "dXNl0g=="),
                ("Digest", "a=\"1\", b=2")
            ])
        );
    }
}
