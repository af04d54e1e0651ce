//! Requests that name a model: their bodies are held and looked through, and what answers take is counted as they pass.

mod answer;
mod ledger;

use std::rc::Rc;

use switchover_core::models::body::{BodyOutcome, Passed, Refused};
use switchover_core::models::limits::LimitHeaders;
use switchover_core::models::{Announced, Models};
use switchover_core::scan::{Scan, Usage};
use switchover_core::{Headers, Spans};

use crate::ffi::{self, Body, Map};
use crate::library::Live;
use crate::memory::Buffer;
use crate::meters::Meters;
use crate::models::answer::{Answer, Told};
use crate::models::ledger::{admit, charge};
use crate::spending::Spent;
use crate::vm::Shared;

/// As much of a body is taken into the guest at a time.
const PIECE: usize = 64 * 1024;

/// A body that is being looked through while the host holds it.
struct Reading {
    /// A scan on its way, where the body comes in parts.
    scan: Option<Box<Scan>>,
    /// So many bytes have been looked at.
    seen: usize,
    /// It is for a completion.
    completes: bool,
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
    /// The model's name, where it is not there.
    unknown: Option<String>,
    streams: bool,
    hides_usage: bool,
    left: LimitHeaders,
    answer: Answer,
}

/// What is known of a request that names a model, when its headers are there.
pub(crate) struct Arrival {
    /// When it came, in nanoseconds since 1970.
    pub(crate) started: u64,
    /// It has no body.
    pub(crate) end_of_stream: bool,
    /// It is for a completion: see [`Rollout::judge_body`].
    ///
    /// [`Rollout::judge_body`]: switchover_core::document::Rollout::judge_body
    pub(crate) completes: bool,
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
    /// The request goes on.
    Goes {
        /// So many bytes of the body are there; all, where it is whole.
        size: usize,
        is_whole: bool,
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
        arrival: Arrival,
        shared: &mut Shared,
    ) -> Self {
        let Arrival {
            started,
            end_of_stream,
            completes,
        } = arrival;
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
            unknown: None,
            streams: true,
            hides_usage: false,
            left,
            answer: Answer::default(),
        });
        if models.counts_usage() {
            ffi::set_header(Map::Request, "accept-encoding", b"identity");
        }
        let announced = models.announced(headers);
        let passed = if announced.is_encoded {
            rollout.judge_encoded_body(consumer)
        } else if announced
            .length
            .is_some_and(|length| length > models.max_body())
        {
            rollout.judge_long_body(consumer)
        } else if end_of_stream {
            rollout.judge_body(Scan::new().finish(), completes, consumer)
        } else {
            talk.reading = Some(Reading {
                scan: None,
                seen: 0,
                completes,
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
    pub(crate) fn read(&mut self, size: usize, end_of_stream: bool, shared: &mut Shared) -> Read {
        let read = self
            .talk
            .read(&self.live, self.rollout, size, end_of_stream, shared);
        if let Read::Goes { size, is_whole } = &read
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
    /// Whose it is, by the document that decided.
    pub(crate) fn belongs_to(&mut self, consumer: Option<usize>) {
        self.consumer = consumer;
    }

    /// Which model of the catalogue it is for, by the document that decided.
    pub(crate) fn is_for(&mut self, model: Option<usize>) {
        self.model = model;
    }

    /// Index of its consumer.
    pub(crate) fn consumer(&self) -> Option<usize> {
        self.consumer
    }

    /// Whether the body is still being looked through.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The name of the model that it is for, by the document that looked at its body.
    pub(crate) fn model<'a>(&'a self, live: &'a Live, index: usize) -> Option<&'a str> {
        let models = live.document.rollouts().get(index)?.models()?;
        models.name(self.model, self.unknown.as_deref())
    }

    /// Takes in what has come of the body, of which the host holds `size` bytes.
    pub(crate) fn read(
        &mut self,
        live: &Live,
        index: usize,
        size: usize,
        end_of_stream: bool,
        shared: &mut Shared,
    ) -> Read {
        let rollout = live.document.rollouts().get(index);
        let (Some(rollout), Some(reading)) = (rollout, self.reading.as_mut()) else {
            return Read::Goes {
                size,
                is_whole: end_of_stream,
            };
        };
        let Some(models) = rollout.models() else {
            return Read::Answered;
        };
        // Trailers come without the body's size.
        let size = size.max(reading.seen);
        // Nothing is to be waited for where all that was announced is there: so the host need not hold it.
        let is_whole = end_of_stream || reading.announced == Some(size);
        let mut body = None;
        let passed = if size > models.max_body() {
            rollout.judge_long_body(self.consumer)
        } else if is_whole && reading.seen == 0 && size <= PIECE {
            // The usual case.
            body = ffi::body_part(Body::Request, 0, size);
            let mut scan = Scan::new();
            scan.feed(body.as_deref().unwrap_or_default());
            rollout.judge_body(scan.finish(), reading.completes, self.consumer)
        } else {
            let completes = reading.completes;
            let scan = reading.look(size);
            if !is_whole {
                return Read::More;
            }
            rollout.judge_body(scan.finish(), completes, self.consumer)
        };
        self.reading = None;
        let Some(passed) = self.judged(live, index, passed, &mut shared.meters) else {
            return Read::Answered;
        };
        let size = match passed.is_changed() {
            true => rewrite(models, &passed, body, size, &mut shared.scratch),
            false => Some(size),
        };
        let Some(size) = size else {
            ffi::reply(&rollout.too_large());
            return Read::Answered;
        };
        self.unknown = passed.unknown;
        Read::Goes { size, is_whole }
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
        if self.counts_usage {
            self.answer.begin(self.streams, self.hides_usage);
        }
    }

    /// A part of the answer is there. Gives whether it is to be settled: it is over, or a stream has told what it took.
    pub(crate) fn answer(&mut self, size: usize, end_of_stream: bool) -> bool {
        self.answer.read(size, end_of_stream);
        end_of_stream || self.answer.has_news()
    }

    /// Counts what the answer took, as far as it has told; that it has not, once it is over or the client has left.
    pub(crate) fn settle(
        &mut self,
        live: &Live,
        (index, environment): (usize, usize),
        started: u64,
        is_over: bool,
        meters: &mut Meters,
    ) {
        let Some(told) = self.answer.take(is_over) else {
            return;
        };
        let Told {
            usage,
            before,
            whole,
            first,
        } = told;
        let rollout = live.document.rollouts().get(index);
        let Some((rollout, models)) = rollout.and_then(|own| Some((own, own.models()?))) else {
            return;
        };
        let limits = self.consumer.and_then(|consumer| rollout.limits(consumer));
        // Only where it matters: the clock is a call to the host.
        let now = if first > 0 || limits.is_some() {
            ffi::now()
        } else {
            0
        };
        let cost = |usage: Option<Usage>| {
            let cost = usage.map(|usage| models.cost(self.model, &usage));
            cost.unwrap_or_default()
        };
        let spent = Spent {
            environment,
            model: self.model,
            consumer: self.consumer,
            usage,
            is_more: before.is_some(),
            // Of the whole, for a part of it may be cached although it was not told so before.
            cost: cost(whole).since(cost(before)),
            to_first: first.checked_sub(started).filter(|_| is_over && first > 0),
            whole,
            streamed: now.saturating_sub(first),
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
    fn look(&mut self, size: usize) -> &mut Scan {
        let scan = self.scan.get_or_insert_default();
        while self.seen < size {
            let part = ffi::body_part(Body::Request, self.seen, PIECE.min(size - self.seen));
            let Some(part) = part else { break };
            scan.feed(&part);
            self.seen += part.len();
        }
        scan
    }
}

/// Changes the body that the host holds, of so many bytes, all of which may be at hand; gives how many it has then. `None`
/// where there is no memory for that.
fn rewrite(
    models: &Models,
    passed: &Passed,
    body: Option<Buffer>,
    size: usize,
    scratch: &mut Vec<u8>,
) -> Option<usize> {
    let reach = passed.reach();
    let body = body.or_else(|| ffi::body_part(Body::Request, 0, reach))?;
    let start = body.get(..reach)?;
    scratch.clear();
    models.rewrite(passed, start, scratch)?;
    ffi::set_body(Body::Request, reach, scratch);
    let size = size.saturating_sub(reach).saturating_add(scratch.len());
    if scratch.capacity() > PIECE {
        // One long body does not stay for good.
        *scratch = Vec::new();
    }
    Some(size)
}
