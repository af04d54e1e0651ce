//! Spans on their way to the collector: a bounded queue on each worker, and the task that sends it.
//!
//! A collector that is down or slow costs spans, which are counted, and nothing else.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use tokio::sync::Notify;

use super::Tracer;
use super::span::tag;
use crate::config::listener::{TraceExporter, Tracing};
use crate::proxy::callout;
use crate::proxy::worker::Worker;
use crate::stats::{Counter, Registry};
use crate::stream::head::{RequestHead, Target};

/// So many spans may wait on one worker.
const MOST_WAITING: usize = 2048;
/// So many are sent without waiting for more.
const BATCH: usize = 512;
/// No span waits longer, unless the collector is slow.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last spans.
const LAST: Duration = Duration::from_secs(1);

const VERSION: &str = env!("CARGO_PKG_VERSION");
const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Switchover/", env!("CARGO_PKG_VERSION"));

/// Spans that wait.
pub(super) struct Queue {
    spans: RefCell<Vec<Span>>,
    full: Notify,
    service: String,
    sent: Counter,
    dropped: Counter,
    by_timer: Counter,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(config: &Tracing, stats: &Registry) -> Self {
        // Envoy's names.
        let counter = |name: &str| stats.counter(&format!("tracing.opentelemetry.{name}"));
        Self {
            spans: RefCell::default(),
            full: Notify::new(),
            service: config.service_name.clone(),
            sent: counter("spans_sent"),
            dropped: counter("spans_dropped"),
            by_timer: counter("timer_flushed"),
        }
    }

    /// Takes a span in; where there is no room it is dropped.
    pub(super) fn push(&self, span: Span) {
        let mut spans = self.spans.borrow_mut();
        if spans.len() >= MOST_WAITING {
            return self.dropped.increment();
        }
        spans.push(span);
        if spans.len() >= BATCH {
            self.full.notify_one();
        }
    }

    fn message(&self, spans: Vec<Span>) -> Bytes {
        let attributes = vec![
            tag("service.name", &*self.service),
            tag("telemetry.sdk.language", "rust"),
            tag("telemetry.sdk.name", "switchover"),
            tag("telemetry.sdk.version", VERSION),
        ];
        let scope = InstrumentationScope {
            name: "switchover".to_owned(),
            version: VERSION.to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = ScopeSpans {
            scope: Some(scope),
            spans,
            ..ScopeSpans::default()
        };
        let resource_spans = ResourceSpans {
            resource: Some(Resource {
                attributes,
                ..Resource::default()
            }),
            scope_spans: vec![scope_spans],
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![resource_spans],
        };
        request.encode_to_vec().into()
    }

    /// Sends what waits, in one request.
    async fn send(&self, to: &TraceExporter, worker: &Worker) {
        let spans = std::mem::take(&mut *self.spans.borrow_mut());
        if spans.is_empty() {
            return;
        }
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let taken = tokio::time::timeout(to.timeout, post(to, worker, self.message(spans))).await;
        match taken {
            Ok(true) => self.sent.add(count),
            Ok(false) | Err(_) => self.dropped.add(count),
        }
    }
}

/// Sends the tracer's spans as long as the worker lives.
pub(in crate::proxy) async fn run(worker: Rc<Worker>, tracer: Rc<Tracer>) {
    let queue = &tracer.queue;
    loop {
        tokio::select! {
            () = queue.full.notified() => {}
            () = tokio::time::sleep(PERIOD) => {
                if !queue.spans.borrow().is_empty() {
                    queue.by_timer.increment();
                }
            }
        }
        queue.send(tracer.exporter(), &worker).await;
    }
}

/// Sends what is left when the process ends.
pub(in crate::proxy) async fn finish(worker: &Worker, tracer: &Tracer) {
    let last = tracer.queue.send(tracer.exporter(), worker);
    // Whoever ends the process does not wait for a collector.
    let _ = tokio::time::timeout(LAST, last).await;
}

/// Whether the collector has taken the message.
async fn post(to: &TraceExporter, worker: &Worker, message: Bytes) -> bool {
    let Some(cluster) = worker.cluster(&to.cluster) else {
        return false;
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, to.authority.clone());
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-protobuf"),
    );
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.extend(to.headers.iter().cloned());
    let path = Target::Valid(to.path.clone());
    let scheme = HeaderValue::from_static("http");
    let head = RequestHead::new(Method::POST, path, scheme, headers);
    let cell = callout::detached(worker, head);
    let Some(attempt) = callout::send(&cluster, &cell, message).await else {
        return false;
    };
    let status = cell.borrow().response.as_ref().map(|head| head.status);
    let _ = attempt.collect(callout::MAX_RESPONSE).await;
    status.is_some_and(|status| status.is_success())
}
