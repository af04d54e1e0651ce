//! How long an exchange may take, and how long nothing may happen in it, as in Envoy.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long things may take; zero is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// `max_stream_duration`: from the request's head to the end of its response.
    pub(super) stream: Duration,
    /// `request_timeout`: from the request's head to the time when all of it has passed the filters.
    pub(super) request: Duration,
    /// `stream_idle_timeout`: from one part of either message to the next.
    pub(super) idle: Duration,
    /// The route's `timeout`: from the end of the request to the end of its response.
    pub(super) response: Duration,
}

/// The time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elapsed {
    /// That of the exchange.
    Stream,
    /// That of the request.
    Request,
    /// Nothing happened.
    Idle,
    /// That of the response.
    Response,
}

/// How far an exchange has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Bytes either way.
    pub(super) bytes: u64,
    /// All of the request is on its way to the upstream.
    pub(super) sent: bool,
}

/// The watch over one exchange: one timer, which is set anew only when it has run out too early.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    began: Instant,
    /// When something happened last, and the bytes by then.
    active: (Instant, u64),
    /// When the request was complete.
    sent: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Default for Watch {
    /// A watch without limits.
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

// === impl Watch ===

impl Watch {
    /// A watch from now on.
    pub(super) fn new(limits: Limits) -> Self {
        let began = Instant::now();
        Self {
            limits,
            began,
            active: (began, 0),
            sent: None,
            timer: None,
        }
    }

    /// The limits from now on.
    pub(super) fn limits(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// When it began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// Whether a limit has been passed; else the task is told when.
    pub(super) fn poll(&mut self, progress: Progress, cx: &mut Context<'_>) -> Poll<Elapsed> {
        if progress.bytes != self.active.1 {
            self.active = (Instant::now(), progress.bytes);
        }
        if progress.sent && self.sent.is_none() {
            self.sent = Some(Instant::now());
        }
        while let Some((until, elapsed)) = self.next() {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
            if until <= Instant::now() {
                return Poll::Ready(elapsed);
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }

    /// The limit that is passed first.
    fn next(&self) -> Option<(Instant, Elapsed)> {
        let Limits {
            stream,
            request,
            idle,
            response,
        } = self.limits;
        let at = |from: Instant, limit: Duration, elapsed| {
            (!limit.is_zero()).then(|| (from + limit, elapsed))
        };
        let by_phase = match self.sent {
            None => at(self.began, request, Elapsed::Request),
            Some(sent) => at(sent, response, Elapsed::Response),
        };
        [
            at(self.began, stream, Elapsed::Stream),
            at(self.active.0, idle, Elapsed::Idle),
            by_phase,
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(until, _)| *until)
    }
}

/// Runs one attempt, which has so long from the time when `sent` says that all of its request has gone.
///
/// # Errors
/// [`Elapsed`], where the time is up.
pub(super) async fn per_try<T>(
    limit: Option<Duration>,
    sent: impl Fn() -> bool,
    attempt: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let Some(limit) = limit else {
        return Ok(attempt.await);
    };
    let mut attempt = pin!(attempt);
    let mut watch = Watch::new(Limits {
        response: limit,
        ..Limits::default()
    });
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = attempt.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let progress = Progress {
            bytes: 0,
            sent: sent(),
        };
        watch.poll(progress, cx).map(Err)
    })
    .await
}
