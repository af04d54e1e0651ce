//! Spans for OpenTelemetry: one for each request, as Envoy's `envoy.tracers.opentelemetry` makes them.
//!
//! `traceparent` and `tracestate` are read when a request comes and written when it goes upstream. Where a request is
//! sampled, its span goes into the worker's queue when it ends; a task of the worker's sends the queue in batches.

mod context;
mod export;
mod span;

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

use crate::config::listener::{TraceExporter, Tracing};
use crate::stats::{Counter, Registry};
use crate::stream::Stream;
use context::{Context, Incoming, Reason};
use export::Queue;
pub(in crate::proxy) use export::{finish, run};

/// What a listener's requests are traced by, on one worker.
pub struct Tracer {
    config: Arc<Tracing>,
    queue: Queue,
    /// Of the node that says so in each span.
    node: String,
    reasons: [Counter; Reason::ALL.len()],
}

/// The span of a request in progress.
pub struct Started {
    context: Context,
    /// The span that the client names.
    parent: Option<u64>,
    state: String,
}

// === impl Tracer ===

impl Tracer {
    /// For the listener with this prefix of its metrics.
    pub fn new(config: Arc<Tracing>, node: &str, prefix: &str, stats: &Registry) -> Self {
        let counter =
            |reason: Reason| stats.counter(&format!("http.{prefix}.tracing.{}", reason.counter()));
        Self {
            queue: Queue::new(&config, stats),
            config,
            node: node.to_owned(),
            reasons: Reason::ALL.map(counter),
        }
    }

    /// Where they go.
    pub fn exporter(&self) -> &TraceExporter {
        &self.config.exporter
    }

    /// Begins the span of a request whose head is complete; `None` where the client's context is unreadable, which then goes
    /// on as it is.
    pub fn start(&self, headers: &mut HeaderMap) -> Option<Started> {
        let reason = context::decide(headers, &self.config);
        if let Some(counter) = self.reasons.get(reason.index()) {
            counter.increment();
        }
        let sampled = reason != Reason::NotTraceable;
        let span = fastrand::u64(1..);
        Some(match context::incoming(headers) {
            Incoming::Unreadable => return None,
            Incoming::Nothing => Started {
                context: Context {
                    trace: fastrand::u128(1..),
                    span,
                    sampled,
                },
                parent: None,
                state: String::new(),
            },
            Incoming::Span(parent, state) => Started {
                context: Context {
                    trace: parent.trace,
                    span,
                    sampled: sampled && parent.sampled,
                },
                parent: Some(parent.span),
                state,
            },
        })
    }

    /// Ends a request's span.
    pub fn end(&self, started: &Started, stream: &Stream) {
        if started.context.sampled {
            let span = span::of(started, stream, &self.node, self.config.max_path);
            self.queue.push(span);
        }
    }
}

// === impl Started ===

impl Started {
    /// Tells the upstream whose child its own span is.
    pub fn inject(&self, headers: &mut HeaderMap) {
        context::inject(&self.context, &self.state, headers);
    }
}

/// Nanoseconds since 1970.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}
