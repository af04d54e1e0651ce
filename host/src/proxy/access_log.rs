//! Access logs: a line for each exchange, when it has ended.

mod render;
mod write;

use std::rc::Rc;
use std::sync::Arc;

use crate::config::access_log::{AccessLog, Filter, code};
use crate::proxy::router;
use crate::stream::Stream;
use render::Line;
pub(super) use render::flags;
pub use write::{LogWriter, WorkerLogs};

/// A listener's access logs on this worker.
pub struct Logs {
    logs: Vec<(Arc<AccessLog>, usize)>,
    buffers: Rc<WorkerLogs>,
}

// === impl Logs ===

impl Logs {
    /// Those of the file, with the places of their sinks.
    pub(super) fn new(logs: Vec<(Arc<AccessLog>, usize)>, buffers: Rc<WorkerLogs>) -> Self {
        Self { logs, buffers }
    }

    /// Whether nobody asks for lines.
    pub(super) fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Writes the lines of an exchange that has ended.
    pub(super) fn write(&self, stream: &Stream, ended: std::time::Instant) {
        let line = Line { stream, ended };
        for (log, sink) in &self.logs {
            if log
                .filter
                .as_ref()
                .is_none_or(|filter| passes(filter, &line))
            {
                self.buffers
                    .line(*sink, |out| line.render(&log.format, out));
            }
        }
    }
}

fn passes(filter: &Filter, line: &Line<'_>) -> bool {
    match filter {
        Filter::Status(comparison) => {
            let status = line.stream.response.as_ref().map(|head| head.status);
            comparison.passes(code(status))
        }
        Filter::Duration(comparison) => comparison.passes(line.duration()),
        Filter::NotHealthCheck => true,
        Filter::Header(test) => router::header_fits(test, &line.stream.request),
        Filter::Flags(flags) => {
            let own = render::flags(line.stream);
            let wanted = |(short, _): &(&str, &str)| flags.iter().any(|flag| flag == short);
            match flags.is_empty() {
                true => !own.is_empty(),
                false => own.iter().any(wanted),
            }
        }
        Filter::All(filters) => filters.iter().all(|filter| passes(filter, line)),
        Filter::Any(filters) => filters.iter().any(|filter| passes(filter, line)),
    }
}
