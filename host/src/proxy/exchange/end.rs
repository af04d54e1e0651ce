//! How an exchange ends before its response.

use super::super::deadline::{Elapsed, Progress};
use super::super::filters::Active;
use super::super::pump::Stop;
use super::super::reply::{GatewayError, gateway};
use super::super::worker::Worker;
use crate::stream::{LocalReply, Stream};

/// Ends the listener's filters when it is dropped before it is [`Self::over`].
pub(super) struct Wanted<'a>(pub(super) Option<&'a Active>);

/// What ends an exchange before its response.
pub enum End {
    /// This answer.
    Reply(LocalReply),
    /// Nothing: the connection is closed.
    Reset,
}

impl From<LocalReply> for End {
    fn from(reply: LocalReply) -> Self {
        Self::Reply(reply)
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Reply(reply) => Self::Reply(reply),
            Stop::Reset | Stop::Body(_) => Self::Reset,
        }
    }
}

impl From<GatewayError> for End {
    fn from(error: GatewayError) -> Self {
        Self::Reply(gateway(error))
    }
}

// === impl Wanted ===

impl Wanted<'_> {
    pub(super) fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        if let Some(active) = self.0 {
            active.end(true);
        }
    }
}

/// How far an exchange has come.
pub(super) fn progress(stream: &Stream) -> Progress {
    Progress {
        bytes: stream.info.request_bytes + stream.info.response_bytes,
        sent: stream.request_sent,
    }
}

/// The answer where the time is up.
pub(super) fn expired(elapsed: Elapsed, stream: &Stream, worker: &Worker) -> GatewayError {
    // Envoy blames the client, whose request is not complete, or else the upstream.
    let complete = stream.request_complete;
    match elapsed {
        Elapsed::Response => {
            let cluster = stream.info.cluster.as_deref();
            if let Some(cluster) = cluster.and_then(|name| worker.cluster(name)) {
                cluster.upstream.shared.stats.rq_timeout.increment();
            }
            GatewayError::Timeout
        }
        Elapsed::Request => GatewayError::RequestTimeout,
        Elapsed::Idle if complete => GatewayError::ResponseIdle,
        Elapsed::Idle => GatewayError::RequestIdle,
        Elapsed::Stream if complete => GatewayError::ResponseDuration,
        Elapsed::Stream => GatewayError::RequestDuration,
    }
}
