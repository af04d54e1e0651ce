//! Finds the few members that matter in a JSON text that comes in pieces: no tree, bounded memory, each byte seen once.
//!
//! The grammar is checked in full, so that whoever parses the text afterwards reads the same. Of a member that is there
//! more than once the last counts, as in JSON parsers. A UTF-8 byte order mark at the start is passed over. Whether the
//! strings in between are UTF-8 is left to whoever parses them.

mod token;

use crate::scan::token::Token;

/// Levels of nesting that are followed; deeper texts fail, as in `serde_json`.
const DEEPEST: u32 = 127;
/// Levels on which some member matters.
const LEVELS: usize = 4;
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
/// Eight bytes that are one.
const ONES: u64 = u64::MAX / 255;

/// A scan on its way.
#[derive(Debug)]
pub struct Scan {
    state: State,
    /// How many objects and arrays are open.
    depth: u32,
    /// Which of them are objects; the lowest bit is the innermost.
    objects: u128,
    /// The member that is being read on each level, the outermost first.
    path: [Field; LEVELS],
    token: Token,
    /// Whether the token is of a string or number that matters.
    is_kept: bool,
    /// Where the token began.
    began: u64,
    position: u64,
    found: Found,
}

/// What a text holds of what matters.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    /// `model`; `None` where there is none.
    pub model: Option<Model>,
    /// `stream` is true.
    pub stream: bool,
    /// `stream_options`.
    pub options: Option<Options>,
    /// The offset behind the root's `{`; `None` where the text is no object.
    pub root: Option<u64>,
    /// `usage`, or that of `response`.
    pub usage: Option<Usage>,
    /// `choices` is an empty array.
    pub has_no_choices: bool,
}

/// The member `model`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// A string, with the offsets of its quotes: the first, and the one behind the last.
    Text(String, (u64, u64)),
    /// A string that is longer than any model's name.
    TooLong,
    /// Something else than a string.
    NotText,
}

/// The member `stream_options`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Options {
    /// An object.
    Object {
        /// The offset behind its `{`.
        start: u64,
        /// Whether it has no members.
        is_empty: bool,
        /// The offsets of the value of `include_usage`, if it is no object or array, and whether it is `true`.
        include_usage: Option<((u64, u64), bool)>,
    },
    /// `null`, with its offsets.
    Null((u64, u64)),
    /// Something else.
    Other,
}

/// How many tokens an answer took.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones among them.
    pub input: u64,
    /// Tokens of the prompt that were cached.
    pub cached: u64,
    /// Tokens of the answer.
    pub output: u64,
}

/// Why a text cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is no JSON, or not a whole one.
    NotJson,
    /// It is nested too deeply.
    TooDeep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the root; so many bytes of the mark have been seen.
    Start(u8),
    /// A value is due.
    Value,
    /// A value or `]`.
    FirstItem,
    /// A key.
    Key,
    /// A key or `}`.
    FirstKey,
    Colon,
    /// Behind a value: a comma or the end of what it is in.
    After,
    /// In a string
    Text,
    /// Behind a `\`
    Escape,
    /// Behind `\u`, with so many digits to come
    Hex(u8),
    Number(Number),
    /// In `true`, `false` or `null`, with what is to come.
    Literal(&'static [u8]),
    Done,
    Failed(Fault),
}

/// The part of a number that was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

/// A member that matters, where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Other,
    Model,
    Stream,
    StreamOptions,
    IncludeUsage,
    Choices,
    Response,
    Usage,
    Input,
    Output,
    Details,
    Cached,
}

/// A value that is no object and no array.
enum Scalar {
    Text,
    Number,
    True,
    False,
    Null,
}

// === impl Scan ===

impl Default for Scan {
    fn default() -> Self {
        Self::new()
    }
}

impl Scan {
    /// A scan of a text of which nothing has come yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Start(0),
            depth: 0,
            objects: 0,
            path: [Field::Other; LEVELS],
            token: Token::new(),
            is_kept: false,
            began: 0,
            position: 0,
            found: Found::new(),
        }
    }

    /// Begins anew; room is kept.
    #[inline]
    pub fn reset(&mut self) {
        let mut token = std::mem::take(&mut self.token);
        token.clear();
        *self = Self {
            token,
            ..Self::new()
        };
    }

    /// Takes the next piece of the text in.
    #[inline]
    pub fn feed(&mut self, mut piece: &[u8]) {
        while let Some((&byte, after)) = piece.split_first() {
            let taken = match self.state {
                State::Text if self.is_kept => {
                    let length = plain(piece);
                    self.token.extend(piece.get(..length).unwrap_or_default());
                    length
                }
                State::Text => harmless(piece),
                State::Number(Number::Integer | Number::Fraction) if !self.is_kept => digits(piece),
                _ => 0,
            };
            if taken > 0 {
                self.position += taken as u64;
                piece = piece.get(taken..).unwrap_or_default();
                continue;
            }
            self.step(byte);
            self.position += 1;
            piece = after;
        }
    }

    /// What was found, once all of the text has come.
    ///
    /// # Errors
    /// The text is no JSON, not all of it, or nested too deeply.
    #[inline]
    pub fn finish(&mut self) -> Result<Found, Fault> {
        if let State::Number(part) = self.state {
            self.end_number(part);
        }
        match self.state {
            State::Done => Ok(std::mem::take(&mut self.found)),
            State::Failed(fault) => Err(fault),
            _ => Err(Fault::NotJson),
        }
    }

    #[inline]
    fn step(&mut self, byte: u8) {
        let is_space = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        match self.state {
            State::Text => self.text(byte),
            State::Escape => self.escape(byte),
            State::Hex(left) => match self.token.hex(byte, self.is_kept) {
                true if left > 1 => self.state = State::Hex(left - 1),
                true => self.state = State::Text,
                false => self.fail(Fault::NotJson),
            },
            State::Number(part) => self.number(part, byte),
            State::Literal(rest) => self.literal(rest, byte),
            State::Start(seen @ 1..) => match MARK.get(usize::from(seen)) {
                Some(expected) if *expected == byte && seen == 2 => self.state = State::Value,
                Some(expected) if *expected == byte => self.state = State::Start(seen + 1),
                _ => self.fail(Fault::NotJson),
            },
            State::Start(_) if byte == 0xef && self.position == 0 => self.state = State::Start(1),
            State::Failed(_) => {}
            _ if is_space => {}
            State::FirstItem if byte == b']' => self.close(true),
            State::Start(_) | State::Value | State::FirstItem => self.value(byte),
            State::FirstKey if byte == b'}' => self.close(true),
            State::Key | State::FirstKey if byte == b'"' => self.begin_key(),
            State::Colon if byte == b':' => self.state = State::Value,
            State::After => match byte {
                b',' if self.is_in_object() => self.state = State::Key,
                b',' => self.state = State::Value,
                b'}' if self.is_in_object() => self.close(false),
                b']' if !self.is_in_object() => self.close(false),
                _ => self.fail(Fault::NotJson),
            },
            State::Key | State::FirstKey | State::Colon | State::Done => self.fail(Fault::NotJson),
        }
    }

    #[inline]
    fn fail(&mut self, fault: Fault) {
        self.state = State::Failed(fault);
    }

    #[inline]
    fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// The member on the level of the innermost open object or array, whose value comes or is there.
    #[inline]
    fn field(&self) -> Field {
        let level = usize::try_from(self.depth)
            .ok()
            .and_then(|depth| depth.checked_sub(1));
        let field = level.and_then(|level| self.path.get(level));
        field.copied().unwrap_or(Field::Other)
    }

    #[inline]
    fn set_field(&mut self, field: Field) {
        let level = usize::try_from(self.depth)
            .ok()
            .and_then(|depth| depth.checked_sub(1));
        if let Some(own) = level.and_then(|level| self.path.get_mut(level)) {
            *own = field;
        }
    }

    /// The member that holds the innermost open object; `None` is the root.
    #[inline]
    fn parent(&self) -> Option<Field> {
        let level = usize::try_from(self.depth).ok()?.checked_sub(2)?;
        Some(self.path.get(level).copied().unwrap_or(Field::Other))
    }

    #[inline]
    fn value(&mut self, byte: u8) {
        self.began = self.position;
        match byte {
            b'"' => {
                self.keep(self.field() == Field::Model);
                self.state = State::Text;
            }
            b'{' => self.open(true),
            b'[' => self.open(false),
            b't' => self.state = State::Literal(b"rue"),
            b'f' => self.state = State::Literal(b"alse"),
            b'n' => self.state = State::Literal(b"ull"),
            b'-' | b'0'..=b'9' => {
                self.keep(matches!(
                    self.field(),
                    Field::Input | Field::Output | Field::Cached
                ));
                self.token.extend(if self.is_kept {
                    std::slice::from_ref(&byte)
                } else {
                    &[]
                });
                self.state = State::Number(match byte {
                    b'-' => Number::Minus,
                    b'0' => Number::Zero,
                    _ => Number::Integer,
                });
            }
            _ => self.fail(Fault::NotJson),
        }
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
            self.fail(Fault::TooDeep);
            return;
        }
        let behind = self.position + 1;
        match self.field() {
            _ if self.depth == 0 && is_object => self.found.root = Some(behind),
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
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        self.set_field(Field::Other);
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
        if is_empty && self.field() == Field::Choices {
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

    #[inline]
    fn begin_key(&mut self) {
        // Below what does not matter, nothing does.
        let matters = usize::try_from(self.depth).is_ok_and(|depth| depth <= LEVELS)
            && self.parent() != Some(Field::Other);
        self.keep(matters);
        self.set_field(Field::Other);
        self.token.is_key = true;
        self.state = State::Text;
    }

    #[inline]
    fn text(&mut self, byte: u8) {
        match byte {
            b'"' if self.token.is_key => self.end_key(),
            b'"' => self.end_scalar(&Scalar::Text),
            b'\\' => self.state = State::Escape,
            // Everything above has been taken in by `feed`.
            _ => self.fail(Fault::NotJson),
        }
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
                self.state = State::Hex(4);
                return;
            }
            _ => return self.fail(Fault::NotJson),
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
        if !self.is_kept {
            return;
        }
        let field = match self.token.bytes() {
            Some(key) => Field::of(self.parent(), key),
            None => Field::Other,
        };
        self.set_field(field);
        // Of several the last counts, whatever it is.
        match field {
            Field::Model => self.found.model = None,
            Field::Stream => self.found.stream = false,
            Field::StreamOptions => self.found.options = None,
            Field::Choices => self.found.has_no_choices = false,
            Field::Usage | Field::Response => self.found.usage = None,
            _ => {}
        }
        if let (Some(Field::StreamOptions), Some(Options::Object { is_empty, .. })) =
            (self.parent(), &mut self.found.options)
        {
            *is_empty = false;
        }
    }

    #[inline]
    fn literal(&mut self, rest: &'static [u8], byte: u8) {
        match rest.split_first() {
            Some((expected, [])) if *expected == byte => {
                let scalar = match self.position - self.began {
                    4 => Scalar::False,
                    _ if byte == b'e' => Scalar::True,
                    _ => Scalar::Null,
                };
                self.end_scalar(&scalar);
            }
            Some((expected, rest)) if *expected == byte => self.state = State::Literal(rest),
            _ => self.fail(Fault::NotJson),
        }
    }

    #[inline]
    fn number(&mut self, part: Number, byte: u8) {
        let next = match (part, byte) {
            (Number::Minus, b'0') => Number::Zero,
            (Number::Minus | Number::Integer, b'0'..=b'9') => Number::Integer,
            (Number::Zero | Number::Integer, b'.') => Number::Point,
            (Number::Point | Number::Fraction, b'0'..=b'9') => Number::Fraction,
            (Number::Zero | Number::Integer | Number::Fraction, b'e' | b'E') => Number::E,
            (Number::E, b'+' | b'-') => Number::Sign,
            (Number::E | Number::Sign | Number::Exponent, b'0'..=b'9') => Number::Exponent,
            _ => {
                self.end_number(part);
                return self.step(byte);
            }
        };
        if self.is_kept {
            self.token.extend(&[byte]);
        }
        self.state = State::Number(next);
    }

    #[inline]
    fn end_number(&mut self, part: Number) {
        match part {
            Number::Zero | Number::Integer | Number::Fraction | Number::Exponent => {
                self.position -= 1;
                self.end_scalar(&Scalar::Number);
                self.position += 1;
            }
            Number::Minus | Number::Point | Number::E | Number::Sign => self.fail(Fault::NotJson),
        }
    }

    /// A scalar has ended with the byte at the position.
    #[inline]
    fn end_scalar(&mut self, scalar: &Scalar) {
        let span = (self.began, self.position + 1);
        let is_true = matches!(scalar, Scalar::True);
        match self.field() {
            Field::Model => self.found.model = Some(self.model(scalar, span)),
            Field::Stream => self.found.stream = is_true,
            Field::StreamOptions => {
                self.found.options = Some(match scalar {
                    Scalar::Null => Options::Null(span),
                    _ => Options::Other,
                });
            }
            Field::IncludeUsage => {
                if let Some(Options::Object { include_usage, .. }) = &mut self.found.options {
                    *include_usage = Some((span, is_true));
                }
            }
            field @ (Field::Input | Field::Output | Field::Cached) => {
                let count = self
                    .token
                    .number()
                    .filter(|_| matches!(scalar, Scalar::Number));
                if let Some(usage) = &mut self.found.usage {
                    match field {
                        Field::Input => usage.input = count.unwrap_or(0),
                        Field::Output => usage.output = count.unwrap_or(0),
                        _ => usage.cached = count.unwrap_or(0),
                    }
                }
            }
            _ => {}
        }
        self.end_value();
    }

    fn model(&self, scalar: &Scalar, span: (u64, u64)) -> Model {
        match (scalar, self.token.bytes().map(str::from_utf8)) {
            (Scalar::Text, Some(Ok(text))) => Model::Text(text.to_owned(), span),
            (Scalar::Text, None) if self.token.is_too_long() => Model::TooLong,
            _ => Model::NotText,
        }
    }
}

// === impl Found ===

impl Found {
    const fn new() -> Self {
        Self {
            model: None,
            stream: false,
            options: None,
            root: None,
            usage: None,
            has_no_choices: false,
        }
    }
}

// === impl Field ===

impl Field {
    /// The member `key` of what `parent` holds; `None` is the root.
    #[inline]
    fn of(parent: Option<Self>, key: &[u8]) -> Self {
        match (parent, key) {
            (None, b"model") => Self::Model,
            (None, b"stream") => Self::Stream,
            (None, b"stream_options") => Self::StreamOptions,
            (None, b"choices") => Self::Choices,
            (None, b"response") => Self::Response,
            (None | Some(Self::Response), b"usage") => Self::Usage,
            (Some(Self::StreamOptions), b"include_usage") => Self::IncludeUsage,
            (Some(Self::Usage), b"prompt_tokens" | b"input_tokens") => Self::Input,
            (Some(Self::Usage), b"completion_tokens" | b"output_tokens") => Self::Output,
            (Some(Self::Usage), b"prompt_tokens_details" | b"input_tokens_details") => {
                Self::Details
            }
            (Some(Self::Details), b"cached_tokens") => Self::Cached,
            _ => Self::Other,
        }
    }
}

/// How many bytes of a string that does not matter come before its end, or before what takes a closer look.
#[inline]
fn harmless(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        rest = rest.get(plain(rest)..).unwrap_or_default();
        match rest {
            [
                b'\\',
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                after @ ..,
            ] => rest = after,
            _ => return bytes.len() - rest.len(),
        }
    }
}

/// How many digits come next.
#[inline]
fn digits(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit());
    end.unwrap_or(bytes.len())
}

/// How many bytes of a string come before the next that is a quote, a `\` or a control character.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    run(
        bytes,
        |word| zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c)) | below(word, 0x20),
        |byte| matches!(byte, b'"' | b'\\' | 0..32),
    )
}

/// How many bytes come before the next line feed or carriage return.
#[inline]
pub(crate) fn line(bytes: &[u8]) -> usize {
    run(
        bytes,
        |word| zero(word ^ (ONES * 0x0a)) | zero(word ^ (ONES * 0x0d)),
        |byte| matches!(byte, b'\n' | b'\r'),
    )
}

/// How many bytes come before the first that ends a run; `ends` tells for eight at a time, by their highest bits.
#[inline]
fn run(bytes: &[u8], ends: impl Fn(u64) -> u64, is_end: impl Fn(u8) -> bool) -> usize {
    let mut length = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let found = ends(u64::from_le_bytes(*word)) & (ONES << 7);
        if found != 0 {
            // A borrow makes only bytes above a special one look special: the lowest is right.
            return length + (found.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    length + rest.iter().take_while(|byte| !is_end(**byte)).count()
}

/// The highest bit of each byte that is zero; bytes above 127 never have it.
#[inline]
fn zero(word: u64) -> u64 {
    below(word, 1)
}

/// The highest bit of each byte that is below `limit`; bytes above 127 never have it.
#[inline]
fn below(word: u64, limit: u64) -> u64 {
    word.wrapping_sub(ONES * limit) & !word
}

#[cfg(test)]
mod tests;
