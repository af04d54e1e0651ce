//! The grammar: a machine that takes in as much at a time as it can.
//!
//! Where a text is cut must not matter. So each arm that takes a token as a whole has others beside it that take it in
//! parts, and both end up in the same state.

use crate::scan::field::Field;
use crate::scan::scalar::Word;
use crate::scan::{LEVELS, Model, Options, Scan, Usage};

/// Levels of nesting that are followed; deeper texts fail, as in `serde_json`.
pub(super) const DEEPEST: u32 = 127;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The root, or the mark before it.
    Start,
    /// The second byte of the mark
    Mark,
    /// Its third
    MarkEnd,
    Value,
    /// A value or `]`.
    FirstItem,
    Key,
    /// A key or `}`.
    FirstKey,
    Colon,
    /// Behind a value: a comma or the end of what it is in.
    After,
    /// The rest of a key or a string
    Text,
    /// What follows a `\`
    Escape,
    /// A digit behind `\u`
    Hex,
    /// The rest of a word
    Word,
    /// What follows the `-` of a number
    Minus,
    /// What follows a number's first digit, where that is a zero
    Zero,
    Integer,
    /// What follows the point
    Point,
    Fraction,
    /// What follows the `e`
    E,
    /// What follows its sign
    Sign,
    Exponent,
    /// Nothing
    Done,
    /// Nothing: see `Fault`.
    NotJson,
    TooDeep,
}

// === impl State ===

impl State {
    /// Behind the beginning of an object or array.
    #[inline]
    pub(super) fn first(is_object: bool) -> Self {
        if is_object {
            Self::FirstKey
        } else {
            Self::FirstItem
        }
    }

    /// Behind a comma in the innermost of these.
    #[inline]
    pub(super) fn next(objects: u128) -> Self {
        if objects & 1 == 1 {
            Self::Key
        } else {
            Self::Value
        }
    }
}

// === impl Scan ===

impl Scan {
    /// Takes in what `rest` begins with, the first byte at least; gives how many bytes that is.
    #[inline]
    pub(super) fn take(&mut self, first: u8, rest: &[u8]) -> usize {
        match self.state {
            State::Text => return self.text(first, rest),
            State::Key | State::FirstKey => match first {
                b'"' => return self.key(rest),
                b'}' if self.state == State::FirstKey => self.close(true),
                _ => self.space(first),
            },
            State::Colon => match first {
                b':' => self.state = State::Value,
                _ => self.space(first),
            },
            State::Value | State::FirstItem => return self.value(first, rest),
            State::After => match first {
                b',' => {
                    self.state = State::next(self.objects);
                    return with_space(rest, 1);
                }
                b'}' if self.is_in_object() => self.close(false),
                b']' if !self.is_in_object() => self.close(false),
                _ => self.space(first),
            },
            State::Escape => self.escape(first),
            State::Hex => match self.token.hex(first, self.is_kept) {
                Some(true) => self.state = State::Text,
                Some(false) => {}
                None => self.state = State::NotJson,
            },
            State::Word => self.word(first),
            State::Minus
            | State::Zero
            | State::Integer
            | State::Point
            | State::Fraction
            | State::E
            | State::Sign
            | State::Exponent => return self.number(first, rest),
            State::Start if first == 0xef && self.position == 0 => self.state = State::Mark,
            State::Start => return self.value(first, rest),
            State::Mark if first == 0xbb => self.state = State::MarkEnd,
            State::MarkEnd if first == 0xbf => self.state = State::Value,
            State::Mark | State::MarkEnd => self.state = State::NotJson,
            State::Done => self.space(first),
            State::NotJson | State::TooDeep => return rest.len(),
        }
        1
    }

    /// What stands where nothing but space may.
    #[inline]
    fn space(&mut self, byte: u8) {
        if !is_space(byte) {
            self.state = State::NotJson;
        }
    }

    #[inline]
    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// How deep it is.
    #[inline]
    pub(super) fn level(&self) -> usize {
        usize::try_from(self.depth).unwrap_or(usize::MAX)
    }

    /// The beginning of a value.
    #[inline]
    fn value(&mut self, first: u8, rest: &[u8]) -> usize {
        if let Some(length) = self.whole(first, rest) {
            return length;
        }
        self.began = self.position;
        match first {
            b'"' => self.begin_string(),
            b'{' => self.open(true),
            b'[' => self.open(false),
            b't' => self.begin_word(Word::True),
            b'f' => self.begin_word(Word::False),
            b'n' => self.begin_word(Word::Null),
            b'-' => self.begin_number(first, State::Minus),
            b'0' => self.begin_number(first, State::Zero),
            b'1'..=b'9' => self.begin_number(first, State::Integer),
            b']' if self.state == State::FirstItem => self.close(true),
            _ => self.space(first),
        }
        1
    }

    #[inline]
    pub(super) fn keep(&mut self, is_kept: bool) {
        self.is_kept = is_kept;
        if is_kept {
            self.token.clear();
        }
    }

    #[inline]
    fn open(&mut self, is_object: bool) {
        if self.depth == DEEPEST {
            self.state = State::TooDeep;
            return;
        }
        let behind = self.position + 1;
        match self.field {
            Field::Root if is_object => self.found.root = Some(behind),
            Field::Model => self.found.model = Some(Model::NotText),
            Field::StreamOptions => {
                self.found.options = Some(if is_object {
                    Options::Object {
                        start: behind,
                        is_empty: true,
                        include_usage: None,
                    }
                } else {
                    Options::Other
                });
            }
            Field::Usage if is_object => self.found.usage = Some(Usage::default()),
            _ => {}
        }
        let level = self.level();
        if let Some(own) = self.path.get_mut(level) {
            *own = self.parent;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        self.parent = self.field;
        self.field = Field::Other;
        // Below what does not matter, nothing does.
        self.matters = self.parent != Field::Other && level < LEVELS;
        self.state = State::first(is_object);
    }

    #[inline]
    fn close(&mut self, is_empty: bool) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
        let level = self.level();
        self.field = self.parent;
        self.parent = self.path.get(level).copied().unwrap_or(Field::Other);
        self.matters = self.parent != Field::Other && level <= LEVELS;
        if self.field == Field::Choices {
            (self.found.has_no_choices, self.found.has_choices) = (is_empty, !is_empty);
        }
        self.end_value();
    }

    #[inline]
    pub(super) fn end_value(&mut self) {
        self.state = if self.depth == 0 {
            State::Done
        } else {
            State::After
        };
    }
}

#[inline]
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// An offset, or the one behind it where a space is there.
#[inline]
pub(super) fn with_space(rest: &[u8], at: usize) -> usize {
    at + usize::from(rest.get(at) == Some(&b' '))
}
