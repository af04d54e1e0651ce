//! Requests that name a model: their bodies are held and looked through, and what answers take is counted as they pass.

mod ledger;

use std::rc::Rc;

use switchover_core::document::Rollout;
use switchover_core::models::Announced;
use switchover_core::models::body::{BodyOutcome, Passed, Refused};
use switchover_core::models::events::Events;
use switchover_core::models::limits::LimitHeaders;
use switchover_core::scan::Scan;
use switchover_core::{Headers, Spans};

use crate::callouts::status;
use crate::ffi::{self, Body, Map};
use crate::library::Live;
use crate::memory::Buffer;
use crate::meters::Meters;
use crate::models::ledger::{admit, charge};
use crate::spending::Spent;
use crate::vm::Shared;

/// As much of a body is taken into the guest at a time.
const PIECE: usize = 64 * 1024;

/// A body that is being looked through while the host holds it.
pub(crate) struct Reading {
    scan: Scan,
    /// So many bytes have been looked at.
    seen: usize,
    /// The body, where all of it came in one piece.
    whole: Option<Buffer>,
    /// The path, without its query.
    path: Vec<u8>,
    /// So many bytes come, if the headers say so.
    announced: Option<usize>,
}

/// A request whose headers wait for its body.
pub(crate) struct Held {
    pub(crate) live: Rc<Live>,
    /// Index of the rollout.
    pub(crate) rollout: usize,
    /// When the request came, in nanoseconds since 1970.
    pub(crate) started: u64,
    pub(crate) talk: Box<Talk>,
    /// The headers, and where in them its document finds what it asks for.
    pub(crate) pairs: Option<Buffer>,
    pub(crate) spans: Spans,
    announced: Announced,
}

/// A request that names a model, and its answer.
pub(crate) struct Talk {
    /// Index of the consumer.
    consumer: Option<usize>,
    /// Whether what the answer takes is counted.
    counts_usage: bool,
    /// The body, until it is there.
    reading: Option<Reading>,
    /// Index of the model in the catalogue.
    model: Option<usize>,
    streams: bool,
    hides_usage: bool,
    left: LimitHeaders,
    answer: Answer,
    /// When the first event came, in nanoseconds since 1970; zero before.
    first: u64,
}

/// An answer on its way.
enum Answer {
    /// None that is counted.
    None,
    Whole(Scan),
    Stream(Events),
}

/// What becomes of a request before its body.
pub(crate) enum Start {
    /// It is answered.
    Answered,
    /// It goes on; its body is looked through as it comes.
    Reads(Box<Talk>),
    /// Its headers wait for its body.
    Waits(Box<Held>),
    /// It goes on as it is.
    Passes(Box<Talk>),
}

/// What becomes of a body.
pub(crate) enum Read {
    /// There is more to come.
    More,
    /// The request goes on, for this model.
    Goes {
        /// So many bytes of the body are there; all, where it is whole.
        size: usize,
        is_whole: bool,
        model: String,
    },
    /// It is answered.
    Answered,
}

// === impl Start ===

impl Start {
    /// Looks at the headers of a request that names a model in its body.
    pub(crate) fn of(
        live: &Rc<Live>,
        index: usize,
        headers: &Headers<'_>,
        consumer: Option<usize>,
        started: u64,
        end_of_stream: bool,
        shared: &mut Shared,
    ) -> Self {
        let rollout = live.document.rollouts().get(index);
        let Some((rollout, models)) = rollout.and_then(|own| Some((own, own.models()?))) else {
            return Self::Answered;
        };
        let left = match admit(live, rollout, consumer, started) {
            Ok(left) => left,
            Err(reply) => {
                live.count_body(index, None, BodyOutcome::Limited, &mut shared.meters);
                ffi::reply(&reply);
                return Self::Answered;
            }
        };
        let mut talk = Box::new(Talk {
            consumer,
            counts_usage: models.counts_usage(),
            reading: None,
            model: None,
            streams: true,
            hides_usage: false,
            left,
            answer: Answer::None,
            first: 0,
        });
        if models.counts_usage() {
            ffi::set_header(Map::Request, "accept-encoding", b"identity");
        }
        let path = live.document.path(headers);
        let announced = models.announced(headers);
        let passed = if announced.is_encoded {
            rollout.judge_encoded_body()
        } else if announced
            .length
            .is_some_and(|length| length > models.max_body())
        {
            rollout.judge_long_body()
        } else if end_of_stream {
            rollout.judge_body(Scan::new().finish(), path, consumer)
        } else {
            talk.reading = Some(Reading {
                scan: Scan::new(),
                seen: 0,
                whole: None,
                path: path.to_vec(),
                announced: announced.length,
            });
            if models.hold_headers() {
                return Self::Waits(Box::new(Held {
                    live: Rc::clone(live),
                    rollout: index,
                    started,
                    talk,
                    pairs: None,
                    spans: Spans::new(),
                    announced,
                }));
            }
            if announced.has_length {
                ffi::remove_header(Map::Request, "content-length");
            }
            return Self::Reads(talk);
        };
        match talk.judged(live, index, passed, &mut shared.meters) {
            Some(_) => Self::Passes(talk),
            None => Self::Answered,
        }
    }
}

// === impl Held ===

impl Held {
    /// Takes in what has come of the body; once it is whole, makes the headers fit it.
    pub(crate) fn read(&mut self, size: usize, end_of_stream: bool, meters: &mut Meters) -> Read {
        let read = self
            .talk
            .read(&self.live, self.rollout, size, end_of_stream, meters);
        if let Read::Goes { size, is_whole, .. } = &read
            && self.announced.has_length
            && self.announced.length != Some(*size)
            && *is_whole
        {
            ffi::set_header(Map::Request, "content-length", size.to_string().as_bytes());
        }
        read
    }
}

// === impl Talk ===

impl Talk {
    /// Whose it is, and which model it is for, by the document that decided.
    pub(crate) fn belongs_to(
        &mut self,
        rollout: &Rollout,
        consumer: Option<usize>,
        model: Option<&str>,
    ) {
        self.consumer = consumer;
        if let Some(name) = model {
            self.model = rollout.models().and_then(|models| models.find(name));
        }
    }

    /// Index of its consumer.
    pub(crate) fn consumer(&self) -> Option<usize> {
        self.consumer
    }

    /// Whether the body is still being looked through.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Takes in what has come of the body, of which the host holds `size` bytes.
    pub(crate) fn read(
        &mut self,
        live: &Live,
        index: usize,
        size: usize,
        end_of_stream: bool,
        meters: &mut Meters,
    ) -> Read {
        let rollout = live.document.rollouts().get(index);
        let (Some(rollout), Some(reading)) = (rollout, self.reading.as_mut()) else {
            return Read::Goes {
                size,
                is_whole: end_of_stream,
                model: String::new(),
            };
        };
        let most = rollout.models().map_or(0, |models| models.max_body());
        // Trailers come without the body's size.
        let size = size.max(reading.seen);
        // Nothing is to be waited for where all that was announced is there: so the host need not hold it.
        let is_whole = end_of_stream || reading.announced == Some(size);
        let passed = if size > most {
            rollout.judge_long_body()
        } else {
            reading.look(size);
            if !is_whole {
                return Read::More;
            }
            let found = reading.scan.finish();
            rollout.judge_body(found, &reading.path, self.consumer)
        };
        let whole = self.reading.take().and_then(|reading| reading.whole);
        let Some(passed) = self.judged(live, index, passed, meters) else {
            return Read::Answered;
        };
        let size = rewrite(&passed, whole, size);
        Read::Goes {
            size,
            is_whole,
            model: passed.name,
        }
    }

    /// Notes what was decided, or answers the request.
    fn judged(
        &mut self,
        live: &Live,
        index: usize,
        passed: Result<Passed, Box<Refused>>,
        meters: &mut Meters,
    ) -> Option<Passed> {
        match passed {
            Ok(passed) => {
                live.count_body(index, passed.model, passed.outcome, meters);
                self.model = passed.model;
                self.streams = passed.streams;
                self.hides_usage = passed.hides_usage;
                Some(passed)
            }
            Err(refused) => {
                live.count_body(index, None, refused.outcome, meters);
                ffi::reply(&refused.reply);
                None
            }
        }
    }

    /// The answer's headers are there.
    pub(crate) fn begin_answer(&mut self) {
        for (name, value) in self.left.drain(..) {
            ffi::set_header(Map::Response, name, value.as_bytes());
        }
        if !self.counts_usage {
            return;
        }
        if !self.streams {
            // One call less: it is JSON, or tells nothing.
            self.answer = Answer::Whole(Scan::new());
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
            self.answer = Answer::Whole(Scan::new());
        } else if is(b"text/event-stream")
            && matches!(status(Map::Response), Some(200..=299))
            && ffi::header(Map::Response, "content-encoding").is_none()
        {
            self.answer = Answer::Stream(Events::new(self.hides_usage));
            if self.hides_usage {
                ffi::remove_header(Map::Response, "content-length");
            }
        }
    }

    /// A part of the answer is there.
    pub(crate) fn answer(&mut self, size: usize, end_of_stream: bool) {
        let is_read = match &self.answer {
            Answer::None => false,
            Answer::Whole(scan) => !scan.has_failed(),
            Answer::Stream(_) => true,
        };
        if !is_read {
            return;
        }
        let mut passed = Vec::new();
        let mut at = 0;
        while at < size {
            let part = ffi::body_part(Body::Response, at, PIECE.min(size - at));
            let Some(part) = part else { break };
            at += part.len();
            match &mut self.answer {
                Answer::None => {}
                Answer::Whole(scan) => scan.feed(&part),
                Answer::Stream(events) => events.feed(&part, &mut passed),
            }
        }
        if let Answer::Stream(events) = &mut self.answer {
            if self.first == 0 && events.count() > 0 {
                self.first = ffi::now();
            }
            if events.hides_usage() {
                if end_of_stream {
                    events.finish(&mut passed);
                }
                ffi::set_body(Body::Response, size, &passed);
            }
        }
    }

    /// The answer is over, or the client has left: counts what it took. Done once.
    pub(crate) fn settle(
        &mut self,
        live: &Live,
        index: usize,
        environment: usize,
        started: u64,
        meters: &mut Meters,
    ) {
        let answer = std::mem::replace(&mut self.answer, Answer::None);
        let usage = match answer {
            Answer::None => return,
            Answer::Whole(mut scan) => match scan.finish().ok().and_then(|found| found.usage) {
                None if !is_good() => return,
                usage => usage,
            },
            Answer::Stream(events) => events.usage(),
        };
        let rollout = live.document.rollouts().get(index);
        let Some((rollout, models)) = rollout.and_then(|own| Some((own, own.models()?))) else {
            return;
        };
        let limits = self.consumer.and_then(|consumer| rollout.limits(consumer));
        // Only where it matters: the clock is a call to the host.
        let now = if self.first > 0 || limits.is_some() {
            ffi::now()
        } else {
            0
        };
        let spent = Spent {
            environment,
            model: self.model,
            consumer: self.consumer,
            usage,
            cost: usage
                .map(|usage| models.cost(self.model, &usage))
                .unwrap_or_default(),
            to_first: self.first.checked_sub(started).filter(|_| self.first > 0),
            streamed: now.saturating_sub(self.first),
        };
        live.spend(index, &spent, meters);
        if let (Some(usage), Some(consumer)) = (usage, self.consumer) {
            charge(live, rollout, consumer, &usage, &spent, now);
        }
    }
}

// === impl Reading ===

impl Reading {
    /// Looks through what has come since last time.
    fn look(&mut self, size: usize) {
        while self.seen < size {
            let part = ffi::body_part(Body::Request, self.seen, PIECE.min(size - self.seen));
            let Some(part) = part else { break };
            self.scan.feed(&part);
            let is_whole = self.seen == 0 && part.len() == size;
            self.seen += part.len();
            self.whole = Some(part).filter(|_| is_whole);
        }
    }
}

/// Whether the response is one that tells what it took; its headers may have passed.
fn is_good() -> bool {
    let code = ffi::property("response\0code");
    let code = code.and_then(|code| Some(u64::from_le_bytes(code.get(..8)?.try_into().ok()?)));
    matches!(code, Some(200..=299))
}

/// Changes the body that the host holds, of so many bytes, all of which may be at hand; gives how many it has then.
fn rewrite(passed: &Passed, whole: Option<Buffer>, size: usize) -> usize {
    let reach = passed.reach();
    if passed.edits.is_empty() {
        return size;
    }
    let start = whole.or_else(|| ffi::body_part(Body::Request, 0, reach));
    let Some(start) = start.as_deref().and_then(|start| start.get(..reach)) else {
        return size;
    };
    let rewritten = passed.rewrite(start);
    ffi::set_body(Body::Request, reach, &rewritten);
    size.saturating_sub(reach).saturating_add(rewritten.len())
}
