//! Keys and strings: as a whole, or in parts.

use crate::scan::field::Field;
use crate::scan::machine::{State, with_space};
use crate::scan::runs::{harmless, plain};
use crate::scan::scalar::Scalar;
use crate::scan::{Options, Scan};

// === impl Scan ===

impl Scan {
    /// A key with what divides it from its value, or its beginning.
    #[inline]
    pub(super) fn key(&mut self, rest: &[u8]) -> usize {
        let text = rest.get(1..).unwrap_or_default();
        let length = plain(text);
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

    /// The beginning of a string.
    #[inline]
    pub(super) fn begin_string(&mut self) {
        self.keep(self.field == Field::Model);
        self.state = State::Text;
    }

    /// More of a key or a string.
    #[inline]
    pub(super) fn text(&mut self, first: u8, rest: &[u8]) -> usize {
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
            b'"' => {
                let span = (self.began, self.position + 1);
                let text = Scalar::Text(self.token.bytes());
                self.found.put(self.field, text, span);
                self.end_value();
            }
            b'\\' => self.state = State::Escape,
            _ => self.state = State::NotJson,
        }
        1
    }

    #[inline]
    pub(super) fn escape(&mut self, byte: u8) {
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
            Field::Choices => {
                (self.found.has_no_choices, self.found.has_choices) = (false, false);
            }
            Field::Usage | Field::Response => self.found.usage = None,
            _ => {}
        }
        if let (Field::StreamOptions, Some(Options::Object { is_empty, .. })) =
            (self.parent, &mut self.found.options)
        {
            *is_empty = false;
        }
    }
}
