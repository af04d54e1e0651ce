//! Bodies on their way through the filters that want to see them.
//!
//! A filter that pauses keeps what it has seen; with the next part it sees all of it again, as in Envoy, until
//! it lets go or the buffer's limit is passed.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::filters::{Active, Direction, Step};
use crate::stream::LocalReply;

/// The filters of one direction and what they hold.
pub struct Pump {
    active: Rc<Active>,
    direction: Direction,
    /// Places of the interested filters in the order they see the body.
    stages: Vec<usize>,
    /// What each stage holds.
    held: Vec<BytesMut>,
    /// The stage that has paused, and whether it has seen the end.
    paused: Option<(usize, bool)>,
    /// What a paused filter may hold, in bytes.
    limit: usize,
}

/// Why a body cannot go on.
#[derive(Debug)]
pub enum Stop {
    /// A filter answers, or its buffer is full.
    Reply(LocalReply),
    /// A filter broke the exchange off.
    Reset,
}

/// What comes out of the stages.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    /// Data, perhaps empty.
    pub data: Bytes,
    /// Whether it is the last.
    pub end: bool,
}

// === impl Pump ===

impl Pump {
    /// A pump through the interested filters, each of which may hold `limit` bytes; `None` where there is none.
    #[must_use]
    pub fn new(active: &Rc<Active>, direction: Direction, limit: usize) -> Option<Self> {
        let stages = active.interested(direction);
        if stages.is_empty() {
            return None;
        }
        let held = stages.iter().map(|_| BytesMut::new()).collect();
        Some(Self {
            active: active.clone(),
            direction,
            stages,
            held,
            paused: None,
            limit,
        })
    }

    /// The stage behind that of the filter at `at`.
    #[must_use]
    pub fn behind(&self, at: usize) -> usize {
        self.stages
            .iter()
            .position(|stage| *stage == at)
            .map_or(0, |stage| stage + 1)
    }

    /// How many stages there are.
    #[must_use]
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// Sends data into stage `from` and on to the one before `until`; `None` where a filter holds it.
    ///
    /// # Errors
    /// Where a filter answers or breaks off, or holds more than the limit.
    pub fn push(
        &mut self,
        from: usize,
        until: usize,
        data: Bytes,
        end: bool,
    ) -> Result<Option<Output>, Stop> {
        let mut data = BytesMut::from(data);
        for stage in from..until {
            let (Some(at), Some(held)) = (self.stages.get(stage), self.held.get_mut(stage)) else {
                break;
            };
            if !held.is_empty() {
                held.unsplit(data);
                data = std::mem::take(held);
            }
            self.paused = None;
            match self.active.body(*at, self.direction, &mut data, end) {
                Step::Continue => {}
                Step::Pause => return self.hold(stage, data, end).map(|()| None),
                Step::Reply(reply) => return Err(Stop::Reply(reply)),
                Step::Reset => return Err(Stop::Reset),
            }
        }
        Ok(Some(Output {
            data: data.freeze(),
            end,
        }))
    }

    fn hold(&mut self, stage: usize, data: BytesMut, end: bool) -> Result<(), Stop> {
        if data.len() > self.limit {
            let (status, text) = match self.direction {
                Direction::Request => (StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large"),
                Direction::Response => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
            };
            return Err(Stop::Reply(LocalReply::text(status, text, "buffer_limit")));
        }
        if let Some(held) = self.held.get_mut(stage) {
            *held = data;
        }
        self.paused = Some((stage, end));
        Ok(())
    }

    /// Whether a filter has paused, after the end of the body: only a resume helps then.
    #[must_use]
    pub fn waits_for_resume(&self) -> bool {
        matches!(self.paused, Some((_, true)))
    }

    /// Looks for a resume of the paused filter; what it held goes on from the stage behind it.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn poll_resumed(&mut self, waker: &std::task::Waker) -> Result<Option<Output>, Stop> {
        let Some((stage, _)) = self.paused else {
            return Ok(None);
        };
        match self.active.poll_resumed(self.direction, waker) {
            None | Some(Step::Pause) => Ok(None),
            Some(Step::Reply(reply)) => Err(Stop::Reply(reply)),
            Some(Step::Reset) => Err(Stop::Reset),
            Some(Step::Continue) => {
                let Output { data, end } = self.release(stage);
                self.push(stage + 1, self.stages.len(), data, end)
            }
        }
    }

    /// What a stage holds, to be sent on from the one behind it.
    pub fn release(&mut self, stage: usize) -> Output {
        let end = matches!(self.paused.take(), Some((_, true)));
        let data = self
            .held
            .get_mut(stage)
            .map(std::mem::take)
            .unwrap_or_default();
        Output {
            data: data.freeze(),
            end,
        }
    }

    /// Sends the trailers, which the stream holds, through all stages; what filters held comes out.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn trailers(&mut self) -> Result<Bytes, Stop> {
        let mut out = BytesMut::new();
        for (at, held) in self.stages.iter().zip(&mut self.held) {
            match self.active.trailers(*at, self.direction) {
                // A filter that wants to wait behind trailers is not waited for: nothing follows them.
                Step::Continue | Step::Pause => out.unsplit(std::mem::take(held)),
                Step::Reply(reply) => return Err(Stop::Reply(reply)),
                Step::Reset => return Err(Stop::Reset),
            }
        }
        self.paused = None;
        Ok(out.freeze())
    }
}
