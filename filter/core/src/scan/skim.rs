//! What does not matter, taken in at a stretch: most of every text.
//!
//! What takes a closer look is left to the machine: members that matter and where they may be, the end of what was begun
//! before, tokens that are cut off or of an unusual kind, and errors.

use crate::scan::field::Field;
use crate::scan::machine::{DEEPEST, State, is_space, with_space};
use crate::scan::whole::{key, scalar, string};
use crate::scan::{LEVELS, Scan};

/// How far it has come.
struct Skim {
    state: State,
    depth: u32,
    objects: u128,
    /// How deep what was begun before is.
    base: u32,
    /// Whether members of that matter.
    matters: bool,
    /// Whether its value that is due does.
    is_awaited: bool,
}

// === impl Scan ===

impl Scan {
    /// Whether what is due may be taken in so.
    #[inline]
    pub(super) fn may_skim(&self) -> bool {
        match self.state {
            State::Key | State::FirstKey | State::After => !self.matters,
            State::Value | State::FirstItem => self.field == Field::Other,
            _ => false,
        }
    }

    /// Takes in as many whole tokens as it can; gives how many bytes that is, which may be none.
    #[inline]
    pub(super) fn skim(&mut self, piece: &[u8]) -> usize {
        let mut skim = Skim {
            state: self.state,
            depth: self.depth,
            objects: self.objects,
            base: self.depth,
            matters: self.matters,
            is_awaited: self.field != Field::Other,
        };
        let mut at = 0;
        while let Some(rest @ [first, ..]) = piece.get(at..)
            && let Some(taken) = skim.take(*first, rest)
        {
            at += taken;
        }
        self.go_on(&skim);
        at
    }

    /// The machine goes on from there.
    #[inline]
    fn go_on(&mut self, skim: &Skim) {
        if skim.depth > self.depth {
            // Of what was begun there and is still open, nothing matters.
            let begun = self.level()..usize::try_from(skim.depth).unwrap_or(LEVELS);
            let path = self.path.iter_mut().enumerate();
            for (level, holder) in path.take(begun.end).skip(begun.start) {
                *holder = if level == begun.start {
                    self.parent
                } else {
                    Field::Other
                };
            }
            (self.parent, self.field, self.matters) = (Field::Other, Field::Other, false);
        }
        (self.state, self.depth, self.objects) = (skim.state, skim.depth, skim.objects);
    }
}

// === impl Skim ===

impl Skim {
    /// Takes in the token that `rest` begins with; `None` where it is left to the machine.
    #[inline(always)]
    fn take(&mut self, first: u8, rest: &[u8]) -> Option<usize> {
        match self.state {
            State::Value | State::FirstItem => self.value(first, rest),
            State::Key | State::FirstKey => match first {
                b'"' if self.depth > self.base || !self.matters => {
                    Some(self.members(rest, 0)).filter(|taken| *taken > 0)
                }
                b'}' if self.state == State::FirstKey => self.close(),
                _ => is_space(first).then_some(1),
            },
            State::After => match first {
                b',' => Some(self.comma(rest, 0)),
                b'}' if self.objects & 1 == 1 => self.close(),
                b']' if self.objects & 1 == 0 => self.close(),
                _ => is_space(first).then_some(1),
            },
            _ => None,
        }
    }

    /// Takes in the members that begin there, as long as their values are strings, most of them are, and the end of their
    /// object; gives where it stops.
    #[inline(always)]
    fn members(&mut self, rest: &[u8], mut at: usize) -> usize {
        let quoted = |at: usize| rest.get(at..).filter(|text| text.first() == Some(&b'"'));
        while let Some(length) = quoted(at).and_then(key) {
            at += length;
            self.state = State::Value;
            let Some(length) = quoted(at).and_then(string) else {
                break;
            };
            at += length;
            self.state = State::After;
            match rest.get(at) {
                Some(b',') => at = self.comma(rest, at),
                Some(b'}') if self.close().is_some() => {
                    return match rest.get(at + 1) {
                        Some(b',') => self.comma(rest, at + 1),
                        _ => at + 1,
                    };
                }
                _ => break,
            }
        }
        at
    }

    /// Takes in the comma that is there.
    #[inline(always)]
    fn comma(&mut self, rest: &[u8], at: usize) -> usize {
        self.state = State::next(self.objects);
        with_space(rest, at + 1)
    }

    #[inline(always)]
    fn value(&mut self, first: u8, rest: &[u8]) -> Option<usize> {
        if self.is_awaited && self.depth == self.base {
            return None;
        }
        match first {
            b'{' => self.open(true).map(|length| self.members(rest, length)),
            b'[' => self.open(false),
            b']' if self.state == State::FirstItem => self.close(),
            _ if is_space(first) => Some(1),
            _ => {
                let length = scalar(first, rest)?;
                self.state = State::After;
                Some(length)
            }
        }
    }

    #[inline(always)]
    fn open(&mut self, is_object: bool) -> Option<usize> {
        if self.depth == DEEPEST {
            return None;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        self.state = State::first(is_object);
        Some(1)
    }

    #[inline(always)]
    fn close(&mut self) -> Option<usize> {
        if self.depth == self.base {
            return None;
        }
        self.depth -= 1;
        self.objects >>= 1;
        self.state = State::After;
        Some(1)
    }
}
