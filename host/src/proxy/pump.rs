//! Bodies and trailers on their way through the filters that want to see them.
//!
//! A filter that pauses keeps what it has seen; with the next part it sees all of it again, as in Envoy, until
//! it lets go or the buffer's limit is passed. Trailers reach a filter that has paused too: where it lets them go on,
//! what it held goes before them.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};

use super::body::BodyError;
use super::filters::{Active, Direction, Step};
use super::reply::{GatewayError, gateway};
use crate::stream::LocalReply;

/// The filters of one direction and what they hold.
pub struct Pump {
    active: Rc<Active>,
    direction: Direction,
    /// The interested filters in the order they see the body.
    stages: Vec<Stage>,
    /// The stage that has paused, and what has come behind the data it holds.
    paused: Option<(usize, Ending)>,
    /// What the filters before a stage have let go of while a head was held, and that stage.
    ready: Option<(usize, Output)>,
    /// What a paused filter may hold, in bytes.
    limit: usize,
}

struct Stage {
    /// The filter's place in its chain.
    at: usize,
    /// Whether it holds a body, which is in the stream then: its guest reaches it there from any callback.
    holds: bool,
}

/// What follows a part of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// More of it.
    More,
    /// Nothing: the message is complete.
    End,
    /// Trailers, which the stream holds; then the message is complete.
    Trailers,
}

/// Why a body cannot go on.
#[derive(Debug)]
pub enum Stop {
    /// A filter answers, or its buffer is full.
    Reply(LocalReply),
    /// A filter broke the exchange off.
    Reset,
    /// The body itself broke off.
    Body(BodyError),
}

/// What comes out of the stages.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    /// Data, perhaps empty.
    pub data: Bytes,
    /// What follows it.
    pub ending: Ending,
}

/// The next part of a body behind the filters of `pump`, if there are any, from `next`, which reads it.
pub fn poll_through(
    pump: &mut Option<Pump>,
    cx: &mut Context<'_>,
    mut next: impl FnMut(&mut Context<'_>) -> Poll<Result<Output, Stop>>,
) -> Poll<Result<Output, Stop>> {
    let Some(pump) = pump else { return next(cx) };
    loop {
        if let Some(output) = pump.poll_resumed(pump.stages.len(), cx.waker())? {
            return Poll::Ready(Ok(output));
        }
        if pump.waits_for_resume() {
            return Poll::Pending;
        }
        let (from, Output { data, ending }) = ready!(pump.poll_next(cx, &mut next))?;
        if let Some(output) = pump.push(from, pump.stages.len(), data, ending)? {
            return Poll::Ready(Ok(output));
        }
    }
}

// === impl Ending ===

impl Ending {
    /// Whether no more data follows.
    #[must_use]
    pub fn is_last(self) -> bool {
        self != Self::More
    }
}

// === impl Stage ===

impl Stage {
    /// What it holds, as its guest has left it.
    fn take(&mut self, active: &Active, direction: Direction) -> BytesMut {
        match std::mem::take(&mut self.holds) {
            true => active.release(self.at, direction),
            false => BytesMut::new(),
        }
    }
}

// === impl Pump ===

impl Pump {
    /// A pump through the interested filters, each of which may hold `limit` bytes; `None` where there is none.
    #[must_use]
    pub fn new(active: &Rc<Active>, direction: Direction, limit: usize) -> Option<Self> {
        let stage = |at| Stage { at, holds: false };
        let stages: Vec<Stage> = active
            .interested(direction)
            .into_iter()
            .map(stage)
            .collect();
        if stages.is_empty() {
            return None;
        }
        Some(Self {
            active: active.clone(),
            direction,
            stages,
            paused: None,
            ready: None,
            limit,
        })
    }

    /// Lets the body from `next` flow to the filter at `at`, which holds its head, until it lets go. What it has let go of
    /// the body waits behind it then.
    ///
    /// # Errors
    /// As `push`, and those of `next`.
    pub fn poll_until(
        &mut self,
        at: usize,
        cx: &mut Context<'_>,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Result<Output, Stop>>,
    ) -> Poll<Result<(), Stop>> {
        let until = self.behind(at);
        loop {
            match self.active.poll_resumed(at, self.direction, cx.waker()) {
                None | Some(Step::Pause) => {}
                Some(Step::Reply(reply)) => return Poll::Ready(Err(Stop::Reply(reply))),
                Some(Step::Reset) => return Poll::Ready(Err(Stop::Reset)),
                Some(Step::Continue) => {
                    if self.paused.is_some_and(|(stage, _)| stage + 1 == until) {
                        self.ready = Some((until, self.release(until.saturating_sub(1))));
                    }
                    return Poll::Ready(Ok(()));
                }
            }
            // One before it may hold the body.
            if self.paused.is_some_and(|(stage, _)| stage + 1 < until)
                && let Some(output) = self.poll_resumed(until, cx.waker())?
            {
                self.ready = Some((until, output));
                return Poll::Ready(Ok(()));
            }
            if self.waits_for_resume() {
                return Poll::Pending;
            }
            let (from, Output { data, ending }) = ready!(self.poll_next(cx, &mut next))?;
            if let Some(output) = self.push(from, until, data, ending)? {
                self.ready = Some((until, output));
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The next part, and the stage that it is for: what is ready within, or what `next` reads.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        next: &mut impl FnMut(&mut Context<'_>) -> Poll<Result<Output, Stop>>,
    ) -> Poll<Result<(usize, Output), Stop>> {
        match self.ready.take() {
            Some(ready) => Poll::Ready(Ok(ready)),
            None => next(cx).map_ok(|output| (0, output)),
        }
    }

    /// The stage behind that of the filter at `at`.
    fn behind(&self, at: usize) -> usize {
        self.stages
            .iter()
            .position(|stage| stage.at == at)
            .map_or(0, |stage| stage + 1)
    }

    /// Sends data into stage `from` and on to the one before `until`, and the trailers behind it where they have come;
    /// `None` where a filter holds everything.
    ///
    /// # Errors
    /// Where a filter answers or breaks off, or holds more than the limit.
    fn push(
        &mut self,
        from: usize,
        until: usize,
        data: Bytes,
        mut ending: Ending,
    ) -> Result<Option<Output>, Stop> {
        let mut data = BytesMut::from(data);
        // A filter may add trailers to the end of a body: those behind it see them.
        let mut trailers_from = from;
        let last_part = ending == Ending::End;
        let mut held_at = None;
        for at in from..until {
            let Some(stage) = self.stages.get_mut(at) else {
                break;
            };
            if data.is_empty() && !last_part {
                break;
            }
            if stage.holds {
                let mut held = stage.take(&self.active, self.direction);
                held.unsplit(data);
                data = held;
            }
            self.paused = None;
            let last = ending == Ending::End;
            let step = self.active.body(stage.at, self.direction, &mut data, last);
            if last && self.active.has_trailers(self.direction) {
                ending = Ending::Trailers;
                trailers_from = at + 1;
            }
            match step {
                Step::Continue => {}
                Step::Pause => {
                    self.hold(at, std::mem::take(&mut data), ending)?;
                    held_at = Some(at);
                    break;
                }
                Step::Reply(reply) => return Err(Stop::Reply(reply)),
                Step::Reset => return Err(Stop::Reset),
            }
        }
        match (ending, held_at) {
            // The filter that added them still holds what goes before them.
            (Ending::Trailers, Some(at)) if at < trailers_from => Ok(None),
            (Ending::Trailers, _) => self.trailers(trailers_from, until, data.freeze()),
            (_, Some(_)) => Ok(None),
            (ending, None) => Ok(Some(Output {
                data: data.freeze(),
                ending,
            })),
        }
    }

    fn hold(&mut self, at: usize, data: BytesMut, ending: Ending) -> Result<(), Stop> {
        if data.len() > self.limit {
            return Err(Stop::Reply(gateway(match self.direction {
                Direction::Request => GatewayError::RequestTooLarge,
                Direction::Response => GatewayError::ResponseTooLarge,
            })));
        }
        if let Some(stage) = self.stages.get_mut(at) {
            stage.holds = true;
            self.active.hold(stage.at, self.direction, data);
        }
        self.paused = Some((at, ending));
        Ok(())
    }

    /// Sends the trailers, which the stream holds, through the stages from `from` on; `before` is behind all of them
    /// already.
    fn trailers(
        &mut self,
        from: usize,
        until: usize,
        before: Bytes,
    ) -> Result<Option<Output>, Stop> {
        for at in from..until {
            let Some(stage) = self.stages.get_mut(at) else {
                break;
            };
            match self.active.trailers(stage.at, self.direction) {
                Step::Continue => {
                    let held = stage.take(&self.active, self.direction);
                    if self.paused.is_some_and(|(paused, _)| paused == at) {
                        self.paused = None;
                    }
                    if !held.is_empty() {
                        // Only one of `before` and `held` is not empty: a stage that holds lets nothing by.
                        return self.push(at + 1, until, held.freeze(), Ending::Trailers);
                    }
                }
                Step::Pause => {
                    self.paused = Some((at, Ending::Trailers));
                    let more = Output {
                        data: before,
                        ending: Ending::More,
                    };
                    return Ok(Some(more).filter(|output| !output.data.is_empty()));
                }
                Step::Reply(reply) => return Err(Stop::Reply(reply)),
                Step::Reset => return Err(Stop::Reset),
            }
        }
        Ok(Some(Output {
            data: before,
            ending: Ending::Trailers,
        }))
    }

    /// Whether a filter has paused, after the end of the body: only a resume helps then.
    fn waits_for_resume(&self) -> bool {
        self.paused.is_some_and(|(_, ending)| ending.is_last())
    }

    /// Looks for a resume of the paused filter; what it held goes on from the stage behind it to the one before `until`.
    ///
    /// # Errors
    /// As [`Self::push`].
    fn poll_resumed(
        &mut self,
        until: usize,
        waker: &std::task::Waker,
    ) -> Result<Option<Output>, Stop> {
        let Some((at, _)) = self.paused else {
            return Ok(None);
        };
        let Some(place) = self.stages.get(at).map(|stage| stage.at) else {
            return Ok(None);
        };
        match self.active.poll_resumed(place, self.direction, waker) {
            None | Some(Step::Pause) => Ok(None),
            Some(Step::Reply(reply)) => Err(Stop::Reply(reply)),
            Some(Step::Reset) => Err(Stop::Reset),
            Some(Step::Continue) => {
                let Output { data, ending } = self.release(at);
                self.push(at + 1, until, data, ending)
            }
        }
    }

    /// What a stage holds, to be sent on from the one behind it.
    fn release(&mut self, at: usize) -> Output {
        let ending = self
            .paused
            .take()
            .map_or(Ending::More, |(_, ending)| ending);
        let held = match self.stages.get_mut(at) {
            Some(stage) => stage.take(&self.active, self.direction),
            None => BytesMut::new(),
        };
        Output {
            data: held.freeze(),
            ending,
        }
    }
}
