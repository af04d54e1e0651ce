//! Words and numbers, as a whole or in parts, and what a value that has ended says.

use crate::scan::field::Field;
use crate::scan::machine::State;
use crate::scan::runs::digits;
use crate::scan::token::{LONGEST, Read, Unread};
use crate::scan::whole::scalar;
use crate::scan::{Found, Model, Options, Scan, Usage};

/// A value that is a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    True,
    False,
    Null,
}

/// A value that is no object and no array; what it says is asked for only where it matters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Text(Read<'a>),
    Number(Read<'a>),
    Word(Word),
}

// === impl Word ===

impl Word {
    #[inline]
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Self::True => b"true",
            Self::False => b"false",
            Self::Null => b"null",
        }
    }
}

// === impl Scan ===

impl Scan {
    /// The value at the start of `rest`, if it is at hand as a whole and of a usual kind; gives its length.
    #[inline]
    pub(super) fn whole(&mut self, first: u8, rest: &[u8]) -> Option<usize> {
        let length = scalar(first, rest)?;
        let read = match first {
            b'"' => rest.get(1..length - 1)?,
            _ => rest.get(..length)?,
        };
        let scalar = match first {
            // Its escapes are to be undone.
            b'"' if self.field == Field::Model && read.contains(&b'\\') => return None,
            b'"' if read.len() > LONGEST => Scalar::Text(Err(Unread::TooLong)),
            b'"' => Scalar::Text(Ok(read)),
            b't' => Scalar::Word(Word::True),
            b'f' => Scalar::Word(Word::False),
            b'n' => Scalar::Word(Word::Null),
            _ => Scalar::Number(Ok(read)),
        };
        let span = (self.position, self.position + length as u64);
        self.found.put(self.field, scalar, span);
        self.end_value();
        Some(length)
    }

    #[inline]
    pub(super) fn begin_word(&mut self, word: Word) {
        (self.word, self.seen) = (word, 1);
        self.state = State::Word;
    }

    #[inline]
    pub(super) fn word(&mut self, byte: u8) {
        let bytes = self.word.bytes();
        if bytes.get(self.seen) != Some(&byte) {
            self.state = State::NotJson;
            return;
        }
        self.seen += 1;
        if self.seen == bytes.len() {
            let span = (self.began, self.position + 1);
            self.found.put(self.field, Scalar::Word(self.word), span);
            self.end_value();
        }
    }

    #[inline]
    pub(super) fn begin_number(&mut self, first: u8, state: State) {
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
    pub(super) fn number(&mut self, first: u8, rest: &[u8]) -> usize {
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
                let span = (self.began, self.position);
                let number = Scalar::Number(self.token.bytes());
                self.found.put(self.field, number, span);
                self.end_value();
            }
            State::Minus | State::Point | State::E | State::Sign => self.state = State::NotJson,
            _ => {}
        }
    }
}

// === impl Found ===

impl Found {
    /// Notes what a member says.
    #[inline]
    pub(super) fn put(&mut self, field: Field, scalar: Scalar<'_>, span: (u64, u64)) {
        let is_true = matches!(scalar, Scalar::Word(Word::True));
        match field {
            Field::Model => self.model = Some(Model::of(scalar, span)),
            Field::Stream => {
                self.stream = !matches!(scalar, Scalar::Word(Word::False | Word::Null));
            }
            Field::StreamOptions => {
                self.options = Some(match scalar {
                    Scalar::Word(Word::Null) => Options::Null(span),
                    _ => Options::Other,
                });
            }
            Field::IncludeUsage => {
                if let Some(Options::Object { include_usage, .. }) = &mut self.options {
                    *include_usage = Some((span, is_true));
                }
            }
            Field::Input | Field::Output | Field::Cached => {
                if let Some(usage) = &mut self.usage {
                    usage.put(field, scalar.count().unwrap_or(0));
                }
            }
            _ => {}
        }
    }
}

// === impl Usage ===

impl Usage {
    #[inline]
    fn put(&mut self, field: Field, count: u64) {
        match field {
            Field::Input => self.input = count,
            Field::Output => self.output = count,
            _ => self.cached = count,
        }
    }
}

// === impl Scalar ===

impl Scalar<'_> {
    /// As a count; a fraction or a negative number is none.
    #[inline]
    fn count(self) -> Option<u64> {
        let Self::Number(Ok(digits)) = self else {
            return None;
        };
        digits.iter().try_fold(0_u64, |count, byte| {
            let digit = char::from(*byte).to_digit(10)?;
            count.checked_mul(10)?.checked_add(u64::from(digit))
        })
    }
}

// === impl Model ===

impl Model {
    fn of(scalar: Scalar<'_>, span: (u64, u64)) -> Self {
        match scalar {
            Scalar::Text(Ok(text)) => match str::from_utf8(text) {
                Ok(text) => Self::Text(text.to_owned(), span),
                Err(_) => Self::NotText,
            },
            Scalar::Text(Err(Unread::TooLong)) => Self::TooLong,
            _ => Self::NotText,
        }
    }
}
