//! The grammar: a machine that takes in as much at a time as it can.
//!
//! Where a text is cut must not matter. So each arm that takes a token as a whole has others beside it that take it in
//! parts, and both end up in the same state.

use crate::scan::field::Field;
use crate::scan::runs::{digits, harmless, plain};
use crate::scan::{LEVELS, Model, Options, Scan, Usage};

/// Levels of nesting that are followed; deeper texts fail, as in `serde_json`.
const DEEPEST: u32 = 127;

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

/// A value that is a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    True,
    False,
    Null,
}

/// A value that is no object and no array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Text,
    Number,
    Word(Word),
}

// === impl Word ===

impl Word {
    #[inline]
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::True => b"true",
            Self::False => b"false",
            Self::Null => b"null",
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
                b',' => self.comma(),
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
        if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            self.state = State::NotJson;
        }
    }

    #[inline]
    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// How deep it is.
    #[inline]
    fn level(&self) -> usize {
        usize::try_from(self.depth).unwrap_or(usize::MAX)
    }

    #[inline]
    fn comma(&mut self) {
        self.state = if self.is_in_object() {
            State::Key
        } else {
            State::Value
        };
    }

    /// The beginning of a value.
    #[inline]
    fn value(&mut self, first: u8, rest: &[u8]) -> usize {
        self.began = self.position;
        match first {
            b'"' => return self.string(rest),
            b'{' => self.open(true),
            b'[' => self.open(false),
            b't' => return self.begin_word(Word::True, rest),
            b'f' => return self.begin_word(Word::False, rest),
            b'n' => return self.begin_word(Word::Null, rest),
            b'-' => self.begin_number(first, State::Minus),
            b'0' => self.begin_number(first, State::Zero),
            b'1'..=b'9' => self.begin_number(first, State::Integer),
            b']' if self.state == State::FirstItem => self.close(true),
            _ => self.space(first),
        }
        1
    }

    #[inline]
    fn keep(&mut self, is_kept: bool) {
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
        self.state = if is_object {
            State::FirstKey
        } else {
            State::FirstItem
        };
    }

    #[inline]
    fn close(&mut self, is_empty: bool) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
        let level = self.level();
        self.field = self.parent;
        self.parent = self.path.get(level).copied().unwrap_or(Field::Other);
        self.matters = self.parent != Field::Other && level <= LEVELS;
        if is_empty && self.field == Field::Choices {
            self.found.has_no_choices = true;
        }
        self.end_value();
    }

    #[inline]
    fn end_value(&mut self) {
        self.state = if self.depth == 0 {
            State::Done
        } else {
            State::After
        };
    }

    // --- keys and strings

    /// A key with what divides it from its value, or its beginning.
    #[inline]
    fn key(&mut self, rest: &[u8]) -> usize {
        let text = rest.get(1..).unwrap_or_default();
        let length = if self.matters {
            plain(text)
        } else {
            harmless(text)
        };
        if text.get(length) != Some(&b'"') {
            self.keep(self.matters);
            self.token.is_key = true;
            self.state = State::Text;
            return 1;
        }
        if self.matters {
            let key = text.get(..length).unwrap_or_default();
            self.name(Field::of(self.parent, key));
        }
        let behind = length + 2;
        if rest.get(behind) == Some(&b':') {
            self.state = State::Value;
            with_space(rest, behind + 1)
        } else {
            self.state = State::Colon;
            behind
        }
    }

    /// A string with what divides it from what follows, or its beginning.
    #[inline]
    fn string(&mut self, rest: &[u8]) -> usize {
        let is_model = self.field == Field::Model;
        let text = rest.get(1..).unwrap_or_default();
        let length = if is_model { 0 } else { harmless(text) };
        if is_model || text.get(length) != Some(&b'"') {
            self.keep(is_model);
            self.state = State::Text;
            return length + 1;
        }
        self.end_in(Scalar::Text, rest, length + 2)
    }

    /// More of a key or a string.
    #[inline]
    fn text(&mut self, first: u8, rest: &[u8]) -> usize {
        let length = if self.is_kept {
            plain(rest)
        } else {
            harmless(rest)
        };
        if length > 0 {
            if self.is_kept {
                self.token.extend(rest.get(..length).unwrap_or_default());
            }
            return length;
        }
        match first {
            b'"' if self.token.is_key => self.end_key(),
            b'"' => self.end_scalar(Scalar::Text, self.position + 1),
            b'\\' => self.state = State::Escape,
            _ => self.state = State::NotJson,
        }
        1
    }

    #[inline]
    fn escape(&mut self, byte: u8) {
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.token.begin_hex();
                self.state = State::Hex;
                return;
            }
            _ => {
                self.state = State::NotJson;
                return;
            }
        };
        if self.is_kept {
            self.token.extend(&[plain]);
        }
        self.state = State::Text;
    }

    #[inline]
    fn end_key(&mut self) {
        self.token.is_key = false;
        self.state = State::Colon;
        if self.is_kept {
            let parent = self.parent;
            let field = self.token.bytes().map(|key| Field::of(parent, key));
            self.name(field.unwrap_or(Field::Other));
        }
    }

    /// A member of an object in which some matter: this one.
    #[inline]
    fn name(&mut self, field: Field) {
        self.field = field;
        // Of several the last counts, whatever it is.
        match field {
            Field::Model => self.found.model = None,
            Field::Stream => self.found.stream = false,
            Field::StreamOptions => self.found.options = None,
            Field::Choices => self.found.has_no_choices = false,
            Field::Usage | Field::Response => self.found.usage = None,
            _ => {}
        }
        if let (Field::StreamOptions, Some(Options::Object { is_empty, .. })) =
            (self.parent, &mut self.found.options)
        {
            *is_empty = false;
        }
    }

    // --- words and numbers

    #[inline]
    fn begin_word(&mut self, word: Word, rest: &[u8]) -> usize {
        if rest.starts_with(word.bytes()) {
            return self.end_in(Scalar::Word(word), rest, word.bytes().len());
        }
        (self.word, self.seen) = (word, 1);
        self.state = State::Word;
        1
    }

    #[inline]
    fn word(&mut self, byte: u8) {
        let bytes = self.word.bytes();
        if bytes.get(self.seen) != Some(&byte) {
            self.state = State::NotJson;
            return;
        }
        self.seen += 1;
        if self.seen == bytes.len() {
            self.end_scalar(Scalar::Word(self.word), self.position + 1);
        }
    }

    #[inline]
    fn begin_number(&mut self, first: u8, state: State) {
        self.keep(matches!(
            self.field,
            Field::Input | Field::Output | Field::Cached
        ));
        if self.is_kept {
            self.token.extend(&[first]);
        }
        self.state = state;
    }

    #[inline]
    fn number(&mut self, first: u8, rest: &[u8]) -> usize {
        let next = match (self.state, first) {
            (State::Minus, b'0') => State::Zero,
            (State::Minus | State::Integer, b'0'..=b'9') => State::Integer,
            (State::Zero | State::Integer, b'.') => State::Point,
            (State::Point | State::Fraction, b'0'..=b'9') => State::Fraction,
            (State::Zero | State::Integer | State::Fraction, b'e' | b'E') => State::E,
            (State::E, b'+' | b'-') => State::Sign,
            (State::E | State::Sign | State::Exponent, b'0'..=b'9') => State::Exponent,
            _ => {
                self.end_number();
                return self.take(first, rest);
            }
        };
        self.state = next;
        let length = match next {
            State::Integer | State::Fraction | State::Exponent => digits(rest),
            _ => 1,
        };
        if self.is_kept {
            self.token.extend(rest.get(..length).unwrap_or_default());
        }
        length
    }

    /// Where a number is being read, it has ended before the byte at the position.
    #[inline]
    pub(super) fn end_number(&mut self) {
        match self.state {
            State::Zero | State::Integer | State::Fraction | State::Exponent => {
                self.end_scalar(Scalar::Number, self.position);
            }
            State::Minus | State::Point | State::E | State::Sign => self.state = State::NotJson,
            _ => {}
        }
    }

    // --- ends

    /// A value that is at hand as a whole ends at this offset of `rest`; takes in the comma behind it too.
    #[inline]
    fn end_in(&mut self, scalar: Scalar, rest: &[u8], behind: usize) -> usize {
        self.end_scalar(scalar, self.position + behind as u64);
        if self.state != State::After || rest.get(behind) != Some(&b',') {
            return behind;
        }
        self.comma();
        with_space(rest, behind + 1)
    }

    /// A scalar has ended; `end` is the offset behind it.
    #[inline]
    fn end_scalar(&mut self, scalar: Scalar, end: u64) {
        let span = (self.began, end);
        let is_true = scalar == Scalar::Word(Word::True);
        match self.field {
            Field::Model => self.found.model = Some(self.model(scalar, span)),
            Field::Stream => self.found.stream = is_true,
            Field::StreamOptions => {
                self.found.options = Some(match scalar {
                    Scalar::Word(Word::Null) => Options::Null(span),
                    _ => Options::Other,
                });
            }
            Field::IncludeUsage => {
                if let Some(Options::Object { include_usage, .. }) = &mut self.found.options {
                    *include_usage = Some((span, is_true));
                }
            }
            Field::Input | Field::Output | Field::Cached => self.count(scalar),
            _ => {}
        }
        self.end_value();
    }

    /// A member of `usage` is there.
    #[inline]
    fn count(&mut self, scalar: Scalar) {
        let count = self.token.number().filter(|_| scalar == Scalar::Number);
        if let Some(usage) = &mut self.found.usage {
            match self.field {
                Field::Input => usage.input = count.unwrap_or(0),
                Field::Output => usage.output = count.unwrap_or(0),
                _ => usage.cached = count.unwrap_or(0),
            }
        }
    }

    fn model(&self, scalar: Scalar, span: (u64, u64)) -> Model {
        match (scalar, self.token.bytes().map(str::from_utf8)) {
            (Scalar::Text, Some(Ok(text))) => Model::Text(text.to_owned(), span),
            (Scalar::Text, None) if self.token.is_too_long() => Model::TooLong,
            _ => Model::NotText,
        }
    }
}

/// An offset, or the one behind it where a space is there.
#[inline]
fn with_space(rest: &[u8], at: usize) -> usize {
    at + usize::from(rest.get(at) == Some(&b' '))
}
