//! YAML as Envoy reads it, and as everybody else does.
//!
//! Built on the parser's events rather than on a ready tree: the tree must know a scalar's style, bound its depth
//! and the growth of aliases, and find keys that occur twice.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{Dialect, MAX_DEPTH, Node, SyntaxError, Value};

/// How many values the aliases of one file may add up to; a handful of nested ones could fill the memory.
const MAX_ALIASED: usize = 100_000;

/// The tag with which Envoy's users mark a key that only holds anchors: the key is left out.
const IGNORE: &str = "!ignore";

/// Reads one YAML document.
///
/// # Errors
/// Broken syntax, a second document, a tag other than `!ignore` on a key, a key that occurs twice or is no text,
/// nesting beyond [`MAX_DEPTH`].
pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Node, SyntaxError> {
    let mut builder = Builder {
        dialect,
        open: Vec::new(),
        anchors: HashMap::new(),
        aliased: 0,
        root: None,
    };
    let mut parser = Parser::new_from_str(text);
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = event?;
        let line = span.start.line().max(1);
        match event {
            Event::DocumentStart(_) if documents > 0 => {
                return Err(error(
                    line,
                    "a second document (`---`): only the first would be read; keep one in a file",
                ));
            }
            Event::DocumentStart(_) => documents += 1,
            event => builder.take(event, span)?,
        }
    }
    builder.root.ok_or_else(|| error(1, "the file is empty"))
}

/// The tree as far as it has been read.
struct Builder<'a> {
    dialect: Dialect,
    open: Vec<Open<'a>>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    root: Option<Node>,
}

/// A sequence or mapping that has not ended.
struct Open<'a> {
    node: Node,
    anchor: usize,
    /// The key whose value comes next; `None` for a key marked `!ignore`.
    key: Option<Option<Cow<'a, str>>>,
}

// === impl Builder ===

impl<'a> Builder<'a> {
    fn take(&mut self, event: Event<'a>, span: Span) -> Result<(), SyntaxError> {
        let line = span.start.line().max(1);
        match event {
            Event::MappingStart(anchor, tag) => {
                self.begin(Value::Map(Vec::new()), line, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(Value::List(Vec::new()), line, anchor, tag)
            }
            Event::MappingEnd | Event::SequenceEnd => match self.open.pop() {
                Some(open) => self.put(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Scalar(text, style, anchor, tag) => self.scalar(text, style, line, anchor, tag),
            Event::Alias(anchor) => self.alias(anchor, line),
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        value: Value,
        line: usize,
        anchor: usize,
        tag: Option<Cow<'a, Tag>>,
    ) -> Result<(), SyntaxError> {
        refuse_tag(tag, line)?;
        if self.wants_key() {
            return Err(error(line, "a key must be text"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(error(
                line,
                &format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.open.push(Open {
            node: Node { line, value },
            anchor,
            key: None,
        });
        Ok(())
    }

    fn scalar(
        &mut self,
        text: Cow<'a, str>,
        style: ScalarStyle,
        line: usize,
        anchor: usize,
        tag: Option<Cow<'a, Tag>>,
    ) -> Result<(), SyntaxError> {
        if !self.wants_key() {
            refuse_tag(tag, line)?;
            let value = match self.dialect {
                Dialect::Envoy => resolve(&text, style),
                Dialect::Core => core(&text, style),
            };
            return self.put(
                Node {
                    line: line_of(&text, style, line),
                    value,
                },
                anchor,
            );
        }
        let ignored = match tag {
            Some(tag) if tag.to_string() == IGNORE => true,
            tag => refuse_tag(tag, line).map(|()| false)?,
        };
        if text == "<<" {
            return Err(error(
                line,
                "merge keys (`<<`) are not supported; use an alias for a whole value",
            ));
        }
        if anchor != 0 {
            let value = Value::Text {
                text: text.to_string(),
                literal: false,
            };
            self.anchors.insert(anchor, Node { line, value });
        }
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        if !ignored && open.node.get(&text).is_some() {
            return Err(error(
                line,
                &format!("the key {text:?} occurs twice in this mapping"),
            ));
        }
        open.key = Some((!ignored).then_some(text));
        Ok(())
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), SyntaxError> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(error(line, "an alias (`*`) within its own anchor"));
        };
        if self.wants_key() {
            return Err(error(
                line,
                "an alias cannot be a key here; write the key out",
            ));
        }
        self.aliased += node.size();
        if self.aliased > MAX_ALIASED || self.open.len() + node.depth() > MAX_DEPTH {
            return Err(error(line, "the aliases of this file add up to too much"));
        }
        self.put(node, 0)
    }

    /// Whether the next scalar is a mapping's key.
    fn wants_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|o| matches!(o.node.value, Value::Map(_)) && o.key.is_none())
    }

    fn put(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some(Some(key))) => entries.push((key.into_owned(), node)),
            _ => {}
        }
        Ok(())
    }
}

/// The line of a scalar. The parser puts a block at its first line that is not empty, not at its indicator.
fn line_of(text: &str, style: ScalarStyle, line: usize) -> usize {
    match style {
        ScalarStyle::Literal | ScalarStyle::Folded => {
            let empty = text.bytes().take_while(|b| *b == b'\n').count();
            line.saturating_sub(empty + 1).max(1)
        }
        _ => line,
    }
}

/// A scalar's meaning to Envoy.
fn resolve(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text {
            text: text.to_owned(),
            literal: style == ScalarStyle::Literal,
        };
    }
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Value::Null;
    }
    if let Some(bool) = boolean(text) {
        return Value::Bool(bool);
    }
    match integer(text).map(i32::try_from) {
        Some(Ok(small)) => Value::Number(f64::from(small)),
        Some(Err(_)) => Value::Text {
            text: integer(text).unwrap_or_default().to_string(),
            literal: false,
        },
        None => Value::Text {
            text: text.to_owned(),
            literal: false,
        },
    }
}

/// A scalar's meaning by the core schema of YAML 1.2.2, section 10.3.2; infinities and what is no number stay text.
fn core(text: &str, style: ScalarStyle) -> Value {
    let as_text = || Value::Text {
        text: text.to_owned(),
        literal: style == ScalarStyle::Literal,
    };
    if style != ScalarStyle::Plain {
        return as_text();
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let number = match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ if text.starts_with("0x") => integer(text).map(|number| number.to_string()),
        _ if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => Some(text.to_owned()),
        _ => None,
    };
    match number.and_then(|number| number.parse().ok()) {
        Some(number) => Value::Number(number),
        None => as_text(),
    }
}

/// YAML 1.1's words, in lower case, capitalised or in upper case.
fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let rest = text.get(1..)?;
    let upper_first = text.starts_with(|c: char| c.is_ascii_uppercase());
    let uniform = text == lower
        || upper_first
            && (!rest.contains(|c: char| c.is_ascii_uppercase())
                || !rest.contains(|c: char| c.is_ascii_lowercase()));
    match lower.as_str() {
        _ if !uniform => None,
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// A C++ stream's integers: with a sign, in octal after `0`, in hexadecimal after `0x`.
fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(hex) => (16, hex),
        None if digits.len() > 1 && digits.starts_with('0') => (8, digits),
        None => (10, digits),
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn refuse_tag(tag: Option<Cow<'_, Tag>>, line: usize) -> Result<(), SyntaxError> {
    match tag {
        None => Ok(()),
        Some(tag) => Err(error(
            line,
            &format!("the tag {tag} means nothing here; leave it out, or quote the text"),
        )),
    }
}

fn error(line: usize, message: &str) -> SyntaxError {
    SyntaxError {
        line,
        message: message.to_owned(),
    }
}

// === impl SyntaxError ===

impl From<ScanError> for SyntaxError {
    fn from(e: ScanError) -> Self {
        error(
            e.marker().line().max(1),
            &format!("not YAML: {} (column {})", e.info(), e.marker().col() + 1),
        )
    }
}
