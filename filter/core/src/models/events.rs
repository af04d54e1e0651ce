//! Server-sent events as they pass: how many there are, and the usage that one of them tells.
//!
//! Source of the format: the HTML standard, section 9.2.6.

use crate::scan::{Scan, Usage, line};

/// An event that is longer is not the one that only tells the usage, and passes as it comes.
const LONGEST_HELD: usize = 4096;
const FIELD: &[u8] = b"data";

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    scan: Scan,
    line: Line,
    /// The event has data.
    has_data: bool,
    /// The last byte was a carriage return: a line feed behind it belongs to it.
    after_return: bool,
    count: u64,
    usage: Option<Usage>,
    /// An event that is no part of the answer has told it.
    has_told: bool,
    /// The event that only tells the usage is left out.
    hides_usage: bool,
    /// The event so far, where it may be left out.
    held: Vec<u8>,
    /// The event is too long to be left out.
    passes: bool,
}

/// Where in a line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// So many bytes of the field's name have come.
    Name(usize),
    /// Behind the colon, where a space is no part of the value.
    Space,
    Value,
    /// A line that does not matter.
    Other,
}

impl Events {
    /// A stream of which nothing has come. Where `hides_usage`, the event that only tells the usage is left out.
    #[must_use]
    pub fn new(hides_usage: bool) -> Self {
        Self {
            scan: Scan::new(),
            line: Line::Name(0),
            has_data: false,
            after_return: false,
            count: 0,
            usage: None,
            has_told: false,
            hides_usage,
            held: Vec::new(),
            passes: false,
        }
    }

    /// Whether some event is left out, so that [`Events::feed`] writes what passes.
    #[must_use]
    pub fn hides_usage(&self) -> bool {
        self.hides_usage
    }

    /// How many events with JSON have come.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The usage that was told last.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Whether the usage is that of the whole answer: an event without a choice has told it. Some servers tell in each event
    /// how much it is so far.
    #[must_use]
    pub fn has_told(&self) -> bool {
        self.has_told
    }

    /// Takes the next piece in. Where events are left out, what passes is written behind `passed`.
    #[inline]
    pub fn feed(&mut self, mut piece: &[u8], passed: &mut Vec<u8>) {
        while let Some(&byte) = piece.first() {
            let length = match self.line {
                Line::Value | Line::Other => line(piece),
                Line::Name(_) | Line::Space => 0,
            };
            if length == 0 {
                let (_, after) = piece.split_at(1);
                self.hold(&[byte], passed);
                self.step(byte, passed);
                piece = after;
                continue;
            }
            let (text, after) = piece.split_at(length);
            self.after_return = false;
            self.hold(text, passed);
            if self.line == Line::Value {
                self.scan.feed(text);
            }
            piece = after;
        }
    }

    /// So many bytes are written at most when so many more have come.
    #[must_use]
    pub fn room(&self, size: usize) -> usize {
        match self.hides_usage() {
            true => size.saturating_add(self.held.len()),
            false => 0,
        }
    }

    /// Nothing more comes; what was held back is written behind `passed`.
    pub fn finish(&mut self, passed: &mut Vec<u8>) {
        passed.append(&mut self.held);
    }

    #[inline]
    fn hold(&mut self, bytes: &[u8], passed: &mut Vec<u8>) {
        if !self.hides_usage {
            return;
        }
        if self.passes {
            passed.extend_from_slice(bytes);
            return;
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() > LONGEST_HELD {
            self.let_pass(passed);
        }
    }

    /// Writes what was held, and holds no more of the event.
    #[cold]
    fn let_pass(&mut self, passed: &mut Vec<u8>) {
        passed.append(&mut self.held);
        self.passes = true;
    }

    #[inline]
    fn step(&mut self, byte: u8, passed: &mut Vec<u8>) {
        let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
        match (self.line, byte) {
            (_, b'\n') if after_return => self.flush_line_end(passed),
            (Line::Name(0), b'\n' | b'\r') => self.end_event(passed),
            (_, b'\n' | b'\r') => self.end_line(passed),
            (Line::Name(seen), _) => self.name(seen, byte),
            (Line::Space, b' ') => self.begin_value(),
            (Line::Space | Line::Value, _) => {
                if self.line == Line::Space {
                    self.begin_value();
                }
                self.scan.feed(&[byte]);
            }
            (Line::Other, _) => {}
        }
    }

    #[inline]
    fn name(&mut self, seen: usize, byte: u8) {
        self.line = match FIELD.get(seen) {
            Some(expected) if *expected == byte => Line::Name(seen + 1),
            None if byte == b':' => Line::Space,
            _ => Line::Other,
        };
    }

    #[inline]
    fn begin_value(&mut self) {
        if self.has_data {
            self.scan.feed(b"\n");
        }
        self.has_data = true;
        self.line = Line::Value;
    }

    #[inline]
    fn end_line(&mut self, passed: &mut Vec<u8>) {
        self.line = Line::Name(0);
        // What is no JSON, such as `[DONE]`, is not held back: the event's end may never come.
        if self.hides_usage && self.scan.has_failed() {
            self.let_pass(passed);
        }
    }

    /// The line feed of an event's last line that ended with a carriage return.
    fn flush_line_end(&mut self, passed: &mut Vec<u8>) {
        if self.held == b"\n" {
            passed.append(&mut self.held);
        }
    }

    #[inline]
    fn end_event(&mut self, passed: &mut Vec<u8>) {
        let mut is_left_out = false;
        if std::mem::take(&mut self.has_data) {
            if let Ok(found) = self.scan.finish() {
                self.count += 1;
                self.usage = found.usage.or(self.usage);
                self.has_told |= found.usage.is_some() && !found.has_choices;
                is_left_out = found.usage.is_some() && found.has_no_choices;
            }
            self.scan.reset();
        }
        if !is_left_out {
            passed.append(&mut self.held);
        }
        self.held.clear();
        self.passes = false;
    }
}

#[cfg(test)]
mod tests;
