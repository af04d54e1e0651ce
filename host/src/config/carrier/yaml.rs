//! The place of a scalar in a YAML text.

use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::Style;

/// A sequence or mapping that has not ended.
enum Open {
    /// The position of the next item.
    List(usize),
    /// The key whose value comes next.
    Map(Option<String>),
}

/// The scalar at a path such as `resources[0].name`; `line` is where its value stands, as the reader says.
///
/// # Errors
/// Why it cannot be changed there.
pub(super) fn find(text: &str, path: &str, line: usize) -> Result<(Range<usize>, Style), String> {
    let (style, span) = scalar(text, path)?;
    match style {
        ScalarStyle::Literal => block(text, line),
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => quoted(text, span, style),
        ScalarStyle::Folded => {
            Err("is a folded block (`>`); write it as a literal one (`value: |`)".to_owned())
        }
        ScalarStyle::Plain => {
            Err("is not quoted; write it as a literal block (`value: |`)".to_owned())
        }
    }
}

fn scalar(text: &str, path: &str) -> Result<(ScalarStyle, Span), String> {
    let mut open: Vec<Open> = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| e.info().to_owned())?;
        if let (Event::Scalar(key, ..), Some(Open::Map(next @ None))) = (&event, open.last_mut()) {
            *next = Some(key.to_string());
            continue;
        }
        let here = || path_of(&open) == path;
        match event {
            Event::MappingStart(..) => open.push(Open::Map(None)),
            Event::SequenceStart(..) => open.push(Open::List(0)),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                passed(&mut open);
            }
            Event::Scalar(_, style, 0, _) if here() => return Ok((style, span)),
            Event::Scalar(..) if here() => {
                return Err(
                    "has an anchor (`&`), so that it may stand elsewhere too; leave it out"
                        .to_owned(),
                );
            }
            Event::Scalar(..) | Event::Alias(_) => passed(&mut open),
            _ => {}
        }
    }
    Err("has no text of its own here, only an alias (`*`) or nothing; write it out as a literal block (`value: |`)".to_owned())
}

/// A value has ended.
fn passed(open: &mut [Open]) {
    match open.last_mut() {
        Some(Open::List(position)) => *position += 1,
        Some(Open::Map(key)) => *key = None,
        None => {}
    }
}

fn path_of(open: &[Open]) -> String {
    let mut path = String::new();
    for level in open {
        match level {
            Open::List(position) => path.push_str(&format!("[{position}]")),
            Open::Map(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key.as_deref().unwrap_or_default());
            }
        }
    }
    path
}

/// A scalar in quotes, on one line.
fn quoted(text: &str, span: Span, style: ScalarStyle) -> Result<(Range<usize>, Style), String> {
    let byte = |index| {
        text.char_indices()
            .nth(index)
            .map_or(text.len(), |(at, _)| at)
    };
    let range = byte(span.start.index())..byte(span.end.index());
    let (quote, style) = match style {
        ScalarStyle::SingleQuoted => ('\'', Style::SingleQuoted),
        _ => ('"', Style::DoubleQuoted),
    };
    let raw = text.get(range.clone()).unwrap_or_default();
    if raw.len() < 2 || !raw.starts_with(quote) || !raw.ends_with(quote) || raw.contains('\n') {
        return Err(
            "is a quoted text over several lines; write it as a literal block (`value: |`)"
                .to_owned(),
        );
    }
    Ok((range, style))
}

/// The lines of a literal block, from the one after its indicator to the last that holds something.
fn block(text: &str, line: usize) -> Result<(Range<usize>, Style), String> {
    let lost = || "is a block whose lines were not found".to_owned();
    let mut start = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        lines.push((start, line));
        start += line.len();
    }
    let (header, content) = lines
        .get(line.saturating_sub(1)..)
        .and_then(<[_]>::split_first)
        .ok_or_else(lost)?;
    let end = if header.1.ends_with("\r\n") {
        "\r\n"
    } else {
        "\n"
    };
    let (first, _) = content.first().ok_or_else(lost)?;
    let is_blank = |line: &str| line.trim().is_empty();
    let indent = content
        .iter()
        .map(|(_, line)| *line)
        .find(|line| !is_blank(line))
        .map(|line| line.get(..line.len() - line.trim_start_matches(' ').len()))
        .ok_or_else(lost)?
        .unwrap_or_default();
    let last = content
        .iter()
        .take_while(|(_, line)| is_blank(line) || line.starts_with(indent))
        .filter(|(_, line)| !is_blank(line))
        .last();
    let (at, last) = last.filter(|_| !indent.is_empty()).ok_or_else(lost)?;
    let range = *first..at + last.trim_end_matches(['\r', '\n']).len();
    let indent = indent.to_owned();
    Ok((range, Style::Literal { indent, end }))
}
