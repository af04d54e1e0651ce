//! Text of others on a terminal: of guests, modules and requests.

use std::borrow::Cow;

/// A text on one line, with nothing in it that a terminal obeys: control characters, and those which turn the direction
/// of writing, are shown as `\n`, `\u{1b}`, `\u{202e}`. Quotes and backslashes stay, so that most text does.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut line = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_obeyed(c) {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    Cow::Owned(line)
}

/// The same of each line: where what has lines is told, a backtrace for example.
#[must_use]
pub fn escaped_lines(text: &str) -> String {
    let lines: Vec<Cow<'_, str>> = text.lines().map(escaped).collect();
    lines.join("\n")
}

fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        assert_eq!(
            escaped(r#"{"a": "\n", "b": 'ü→'}"#),
            r#"{"a": "\n", "b": 'ü→'}"#
        );
        assert_eq!(
            escaped("a\u{1b}[31m\r\n\t\u{7f}\u{9b}\u{202e}\u{2066}\u{2028}z"),
            r"a\u{1b}[31m\r\n\t\u{7f}\u{9b}\u{202e}\u{2066}\u{2028}z"
        );
        assert_eq!(escaped_lines("a\n  b\r\nc\u{7}\n"), "a\n  b\nc\\u{7}");
    }
}
