//! Where the members of JSON objects stand in a text: of a document, one on each line, or somewhere within.

use std::ops::Range;

use super::names::{self, LONGEST};
use super::text::run;

/// A member.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name, without quotes.
    pub(super) name: Range<usize>,
    /// What it holds.
    pub(super) holds: Holds,
}

/// What a member holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A string, a number, yes or no.
    Scalar(Scalar),
    /// An array or an object that begins there.
    Several(usize),
}

/// A scalar of JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scalar {
    /// The name it goes by, within what holds several.
    pub(super) name: Option<Range<usize>>,
    /// Where it stands, without quotes.
    pub(super) value: Range<usize>,
    /// A string; others are literals.
    pub(super) is_string: bool,
}

/// All members, at whatever depth. They are known by the colon behind their names, so that nothing before them counts.
pub(super) fn members(text: &[u8]) -> impl Iterator<Item = Member> {
    memchr::memchr_iter(b':', text).filter_map(|colon| {
        let before = text.get(..colon)?.trim_ascii_end();
        let (quote, before) = before.split_last()?;
        if !matches!(quote, b'"' | b'\'') {
            return None;
        }
        let letters = before.iter().rev().take(LONGEST + 1);
        let length = letters
            .take_while(|byte| *byte != quote && **byte != b'\n')
            .count();
        let start = before.len().checked_sub(length)?;
        if before.get(start.checked_sub(1)?) != Some(quote) {
            return None;
        }
        Some(Member {
            name: start..before.len(),
            holds: held(text, colon + 1)?,
        })
    })
}

/// What stands behind a colon.
fn held(text: &[u8], at: usize) -> Option<Holds> {
    let at = at + run(text.get(at..)?, |byte| byte.is_ascii_whitespace());
    Some(match text.get(at)? {
        b'{' | b'[' => Holds::Several(at),
        _ => Holds::Scalar(scalar(text, at)?),
    })
}

fn scalar(text: &[u8], at: usize) -> Option<Scalar> {
    let rest = text.get(at..)?;
    let is_string = matches!(rest.first()?, b'"' | b'\'');
    let value = match is_string {
        true => string(text, at),
        false => at..at + run(rest, is_literal),
    };
    (!value.is_empty()).then_some(Scalar {
        name: None,
        value,
        is_string,
    })
}

/// The inside of the string whose quote stands there: to the next such quote that is not escaped, or the end.
fn string(text: &[u8], at: usize) -> Range<usize> {
    let quote = text.get(at).copied();
    let mut end = at + 1;
    while let Some(byte) = text.get(end) {
        match byte {
            b'\\' => end += 2,
            _ if Some(*byte) == quote => break,
            _ => end += 1,
        }
    }
    at + 1..end.min(text.len())
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

/// The scalars in the array or object that begins there, and its end. Those are left out which say about the others
/// where or what they are, and what is in such arrays and objects that do not go by a secret's name again.
pub(super) fn within(
    text: &[u8],
    mut at: usize,
    is_secret: impl Fn(&[u8]) -> bool,
) -> (Vec<Scalar>, usize) {
    let mut found = Vec::new();
    // The name that goes for what comes next, whether that is asked for, and both for what is around it.
    let (mut name, mut counts) = (None::<Range<usize>>, true);
    let mut around = Vec::new();
    let bytes = |name: &Option<Range<usize>>| {
        let name = name.clone().and_then(|name| text.get(name));
        name.unwrap_or_default()
    };
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                around.push((name.clone(), counts));
                counts = counts && !names::is_about(bytes(&name)) || is_secret(bytes(&name));
            }
            b'}' | b']' => {
                (name, counts) = around.pop().unwrap_or((None, false));
                if around.is_empty() {
                    break;
                }
            }
            byte if matches!(byte, b'"' | b'\'') || is_literal(*byte) => {
                let next = scalar(text, at).unwrap_or(Scalar {
                    name: None,
                    value: at + 1..at + 1,
                    is_string: true,
                });
                // The loop steps over a quote, or over a literal's last letter.
                at = next.value.end - usize::from(!next.is_string);
                let rest = text.get(at + 1..).unwrap_or_default();
                if rest.trim_ascii_start().first() == Some(&b':') {
                    name = Some(next.value);
                } else if counts && !names::is_about(bytes(&name)) && !next.value.is_empty() {
                    let name = name.clone();
                    found.push(Scalar { name, ..next });
                }
            }
            _ => {}
        }
        at += 1;
    }
    (found, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars(text: &str) -> Vec<(&str, &str)> {
        members(text.as_bytes())
            .filter_map(|member| match member.holds {
                Holds::Scalar(scalar) => Some((&text[member.name], &text[scalar.value])),
                Holds::Several(_) => None,
            })
            .collect()
    }

    #[test]
    fn members_stand_in_documents_lines_and_events() {
        let document =
            r#"{"a": "1", "b" : -2.5e1, "c": {"d": true, "e": "x\"y", "": "z"}, "f": ["g"]}"#;
        assert_eq!(
            scalars(document),
            [
                ("a", "1"),
                ("b", "-2.5e1"),
                ("d", "true"),
                ("e", r#"x\"y"#),
                ("", "z")
            ]
        );
        assert_eq!(
            scalars("{\"a\":1}\n{\"a\":2}\ndata: {\"b\":\"3\"}\n\n"),
            [("a", "1"), ("a", "2"), ("b", "3")]
        );
        // Cut off at both ends, and not quite JSON.
        assert_eq!(
            scalars(r#"x", "a": "1"}, {'b': 'c', "d": "e"#),
            [("a", "1"), ("b", "c"), ("d", "e")]
        );
        assert_eq!(
            scalars(r#": "a" "": x":1 "b":"" "c": "\"#),
            [("", "x"), (": x", "1"), ("c", "\\")]
        );
    }

    #[test]
    fn several_are_found_with_their_names_but_what_is_about_them() {
        let text = r#"{"mode": "m", "keys": ["a", {"name": ["n"], "b": 1, "env": {"x": "y", "key": ["z"]}}, "c"], "": ""} "d""#;
        let (found, end) = within(text.as_bytes(), 0, |name| name == b"key");
        assert_eq!(&text[end..], "} \"d\"");
        let found: Vec<_> = found
            .into_iter()
            .map(|scalar| (scalar.name.map(|name| &text[name]), &text[scalar.value]))
            .collect();
        assert_eq!(
            found,
            [
                (Some("keys"), "a"),
                (Some("b"), "1"),
                (Some("key"), "z"),
                (Some("keys"), "c")
            ]
        );
    }
}
