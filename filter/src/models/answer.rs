//! What answers take, read as they pass.

use switchover_core::models::events::Events;
use switchover_core::scan::{Scan, Usage};

use crate::callouts::status;
use crate::ffi::{self, Body, Map};
use crate::models::PIECE;

/// An answer on its way.
#[derive(Default)]
pub(super) struct Answer {
    form: Form,
    /// When the first event came, in nanoseconds since 1970; zero before.
    first: u64,
    /// What has been counted of it.
    counted: Option<Usage>,
}

/// What an answer is read as.
#[derive(Default)]
enum Form {
    /// It is not counted.
    #[default]
    None,
    Whole(Box<Scan>),
    Stream(Box<Events>),
}

/// What an answer has told that has not been counted.
pub(super) struct Told {
    /// `None` where it says nothing, or nothing more.
    pub(super) usage: Option<Usage>,
    /// What has been counted of it before.
    pub(super) before: Option<Usage>,
    /// Both together.
    pub(super) whole: Option<Usage>,
    /// When its first event came, in nanoseconds since 1970; zero where it has none.
    pub(super) first: u64,
}

// === impl Answer ===

impl Answer {
    /// Its headers are there. One that does not stream is JSON or tells nothing, which saves asking for its type.
    pub(super) fn begin(&mut self, streams: bool, hides_usage: bool) {
        if !streams {
            self.form = Form::Whole(Box::default());
            return;
        }
        let Some(kind) = ffi::header(Map::Response, "content-type") else {
            return;
        };
        let is = |prefix: &[u8]| {
            let start = kind.get(..prefix.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if is(b"application/json") {
            self.form = Form::Whole(Box::default());
        } else if is(b"text/event-stream") && matches!(status(Map::Response), Some(200..=299)) {
            let encoding = ffi::header(Map::Response, "content-encoding");
            let is_plain =
                encoding.is_none_or(|encoding| encoding.eq_ignore_ascii_case(b"identity"));
            // What is encoded although nobody asked for it passes as it is, and counts as an answer that does not tell.
            let hides_usage = hides_usage && is_plain;
            self.form = Form::Stream(Box::new(Events::new(hides_usage)));
            if hides_usage {
                ffi::remove_header(Map::Response, "content-length");
            }
        }
    }

    /// A part of its body is there, of which the host has `size` bytes.
    pub(super) fn read(&mut self, size: usize, end_of_stream: bool) {
        match &mut self.form {
            Form::None => {}
            Form::Whole(scan) if scan.has_failed() => {}
            Form::Whole(scan) => pieces(size, |part, _| scan.feed(part)),
            Form::Stream(events) => {
                pass_on(events, size, end_of_stream);
                if self.first == 0 && events.count() > 0 {
                    self.first = ffi::now();
                }
            }
        }
    }

    /// Whether a stream has told what it took as a whole, and that has not been counted. What it tells before, and more
    /// often, counts at its end.
    pub(super) fn has_news(&self) -> bool {
        matches!(&self.form, Form::Stream(events) if events.has_told()) && self.counted.is_none()
    }

    /// What is told here and has not been counted.
    fn more(&self, usage: Option<Usage>) -> Option<Usage> {
        let more = usage?.since(&self.counted.unwrap_or_default());
        (self.counted.is_none() || more != Usage::default()).then_some(more)
    }

    /// What it has told that has not been counted; `None` where it is not one that tells.
    pub(super) fn take(&mut self, is_over: bool) -> Option<Told> {
        let usage = match &mut self.form {
            Form::None => return None,
            Form::Stream(events) => events.usage(),
            Form::Whole(scan) => scan.finish().ok().and_then(|found| found.usage),
        };
        if is_over {
            let form = std::mem::take(&mut self.form);
            if usage.is_none() && matches!(form, Form::Whole(_)) && !is_good() {
                return None;
            }
        }
        let (before, more) = (self.counted, self.more(usage));
        if let Some(more) = &more {
            self.counted = Some(before.unwrap_or_default().with(more));
        }
        Some(Told {
            usage: more,
            before,
            whole: self.counted,
            first: self.first,
        })
    }
}

/// Reads a stream's part; where the usage is to be hidden, puts what may be seen in its place.
fn pass_on(events: &mut Events, size: usize, end_of_stream: bool) {
    let hides = events.hides_usage();
    // All at once: a vector that grows leaves holes in the heap.
    let mut passed = Vec::with_capacity(events.room(PIECE.min(size)));
    let mut is_behind = false;
    pieces(size, |part, is_last| {
        events.feed(part, &mut passed);
        if hides && !is_last {
            // However much came at once, no more than a part of it is here.
            ffi::append_body(Body::Response, &passed);
            passed.clear();
            is_behind = true;
        }
    });
    if !hides {
        return;
    }
    if end_of_stream {
        events.finish(&mut passed);
    }
    if is_behind {
        ffi::append_body(Body::Response, &passed);
        passed.clear();
    }
    ffi::set_body(Body::Response, size, &passed);
}

/// Takes in one piece after the other of the body that the host has; `take` gets each, and whether it is the last.
fn pieces(size: usize, mut take: impl FnMut(&[u8], bool)) {
    let mut at = 0;
    while at < size {
        let part = ffi::body_part(Body::Response, at, PIECE.min(size - at));
        let Some(part) = part else { break };
        at += part.len();
        take(&part, at >= size);
    }
}

/// Whether the response is one that tells what it took; its headers may have passed.
fn is_good() -> bool {
    let code = ffi::property("response\0code");
    let code = code.and_then(|code| Some(u64::from_le_bytes(code.get(..8)?.try_into().ok()?)));
    matches!(code, Some(200..=299))
}
