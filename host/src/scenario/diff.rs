//! What was expected beside what came.

use similar::{ChangeTag, TextDiff};

/// One line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Expected, and not there.
    Missing(String),
    /// There, and not expected.
    Extra(String),
    /// Both.
    Same(String),
}

/// Single lines one above the other; longer texts line by line, equal parts left out.
pub(super) fn lines(expected: &str, actual: &str) -> Vec<Line> {
    if !expected.contains('\n') && !actual.contains('\n') {
        return vec![
            Line::Missing(expected.to_owned()),
            Line::Extra(actual.to_owned()),
        ];
    }
    let diff = TextDiff::from_lines(expected, actual);
    let mut lines = Vec::new();
    for group in diff.grouped_ops(2) {
        if !lines.is_empty() {
            lines.push(Line::Same("…".to_owned()));
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = change.value().trim_end_matches('\n').to_owned();
            lines.push(match change.tag() {
                ChangeTag::Delete => Line::Missing(text),
                ChangeTag::Insert => Line::Extra(text),
                ChangeTag::Equal => Line::Same(text),
            });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_and_a_little_around_it() {
        let lines = lines("1\n2\n3\n4\n5\n6", "1\n2\n3\n4\nfive\n6");
        let same = |text: &str| Line::Same(text.to_owned());
        let expected = [
            same("3"),
            same("4"),
            Line::Missing("5".to_owned()),
            Line::Extra("five".to_owned()),
            same("6"),
        ];
        assert_eq!(lines, expected);
    }
}
