//! Finds the few members that matter in a JSON text that comes in pieces: no tree, bounded memory, each byte seen once.
//!
//! The grammar is checked in full, so that whoever parses the text afterwards reads the same. Of a member that is there
//! more than once the last counts, as in JSON parsers. A UTF-8 byte order mark at the start is passed over. Whether the
//! strings in between are UTF-8 is left to whoever parses them.

mod block;
mod field;
mod machine;
mod runs;
mod scalar;
mod skim;
mod text;
mod token;
mod whole;

use crate::scan::field::Field;
use crate::scan::machine::State;
pub(crate) use crate::scan::runs::line;
use crate::scan::scalar::Word;
use crate::scan::token::Token;

/// Levels on which some member matters.
const LEVELS: usize = 4;

/// A scan on its way.
#[derive(Debug)]
pub struct Scan {
    state: State,
    /// In a word: which, and how many bytes of it have come.
    word: Word,
    seen: usize,
    /// How many objects and arrays are open.
    depth: u32,
    /// Which of them are objects; the lowest bit is the innermost.
    objects: u128,
    /// The member that is being read in the innermost of them.
    field: Field,
    /// The member that holds the innermost, or the root.
    parent: Field,
    /// Whether some member of the innermost matters.
    matters: bool,
    /// What holds those further out, the outermost first; what is further in does not matter.
    path: [Field; LEVELS + 1],
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
    /// `stream` is there, and neither false nor null: lenient servers take 1 and "true" for it too.
    pub stream: bool,
    /// `stream_options`.
    pub options: Option<Options>,
    /// The offset behind the root's `{`; `None` where the text is no object.
    pub root: Option<u64>,
    /// `usage`, or that of `response`.
    pub usage: Option<Usage>,
    /// `choices` is an empty array.
    pub has_no_choices: bool,
    /// `choices` is an array that is not empty.
    pub has_choices: bool,
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
            state: State::Start,
            word: Word::Null,
            seen: 0,
            depth: 0,
            objects: 0,
            field: Field::Root,
            parent: Field::Other,
            matters: false,
            path: [Field::Other; LEVELS + 1],
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
        while !piece.is_empty() {
            if self.may_skim() {
                let skimmed = self.skim(piece);
                piece = self.behind(piece, skimmed);
            }
            if let Some(&first) = piece.first() {
                let taken = self.take(first, piece);
                piece = self.behind(piece, taken);
            }
        }
    }

    /// What is left of a piece, of which so much has been taken in.
    #[inline]
    fn behind<'a>(&mut self, piece: &'a [u8], taken: usize) -> &'a [u8] {
        self.position += taken as u64;
        piece.get(taken..).unwrap_or_default()
    }

    /// Whether what has come is no JSON, whatever follows.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::NotJson | State::TooDeep)
    }

    /// What was found, once all of the text has come.
    ///
    /// # Errors
    /// The text is no JSON, not all of it, or nested too deeply.
    #[inline]
    pub fn finish(&mut self) -> Result<&Found, Fault> {
        self.end_number();
        match self.state {
            State::Done => Ok(&self.found),
            State::TooDeep => Err(Fault::TooDeep),
            _ => Err(Fault::NotJson),
        }
    }
}

// === impl Usage ===

impl Usage {
    /// What is more in this than in one that was told before.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            input: self.input.saturating_sub(before.input),
            cached: self.cached.saturating_sub(before.cached),
            output: self.output.saturating_sub(before.output),
        }
    }

    /// Both together.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        Self {
            input: self.input.saturating_add(more.input),
            cached: self.cached.saturating_add(more.cached),
            output: self.output.saturating_add(more.output),
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
            has_choices: false,
        }
    }
}

#[cfg(test)]
mod tests;
