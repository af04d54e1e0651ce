//! The time that an upstream has, which begins when the whole request has come, and the time that a client may be silent
//! before that: both as in Envoy.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long things may take; zero is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// From the end of the request to its response's head.
    pub(super) response: Duration,
    /// From one part of the request to the next.
    pub(super) idle: Duration,
}

/// The time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elapsed {
    /// No response came.
    Response,
    /// The client was silent.
    Idle,
}

/// How far a request's body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes.
    Part(u64),
    /// All of it.
    All,
}

/// A timer that may not have begun.
pub(super) type Timer = Option<Pin<Box<Sleep>>>;

/// The client's silence.
#[derive(Default)]
struct Silence {
    seen: u64,
    timer: Timer,
}

/// Runs `future`, which reads the request's body, within the limits; `timer` is that of the response, and runs on where the
/// future ends in time.
///
/// # Errors
/// Where the time is up.
pub(super) async fn run<T>(
    limits: Limits,
    timer: &mut Timer,
    received: impl Fn(&Context<'_>) -> Received,
    future: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let mut silence = Silence::default();
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        match received(cx) {
            Received::All => poll(timer, limits.response, cx).map(|()| Err(Elapsed::Response)),
            Received::Part(bytes) => silence
                .poll(bytes, limits.idle, cx)
                .map(|()| Err(Elapsed::Idle)),
        }
    })
    .await
}

/// Begins a timer if need be, and looks whether it has run out.
fn poll(timer: &mut Timer, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
    if limit.is_zero() {
        return Poll::Pending;
    }
    timer
        .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)))
        .as_mut()
        .poll(cx)
}

impl Silence {
    fn poll(&mut self, bytes: u64, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if bytes != self.seen
            && let Some(timer) = &mut self.timer
        {
            timer.as_mut().reset(Instant::now() + limit);
        }
        self.seen = bytes;
        poll(&mut self.timer, limit, cx)
    }
}
