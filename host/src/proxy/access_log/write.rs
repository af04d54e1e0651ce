//! From workers' buffers to files: a slow disk, or a pipe that nobody reads, holds no worker up.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::background::{Background, Destination};
use crate::config::access_log::Sink;
use crate::stats::{Counter, Registry};

/// A worker's buffer is handed over when it has grown to so many bytes; else with the worker's next look around.
const FULL: usize = 64 * 1024;

/// What writes, by a thread for each sink. Dropped, it writes what waits first.
pub struct LogWriter {
    sinks: Vec<(Sink, Background)>,
    /// `access_log_file.write_total_buffered`.
    buffered: Counter,
}

/// One worker's buffers, one for each sink.
pub struct WorkerLogs {
    writer: Arc<LogWriter>,
    buffers: Vec<RefCell<Vec<u8>>>,
}

enum Open {
    File(File, PathBuf),
    Stdout,
    Stderr,
}

// === impl LogWriter ===

impl LogWriter {
    /// Opens the sinks.
    ///
    /// # Errors
    /// Where a file cannot be opened.
    pub fn start(sinks: Vec<Sink>, stats: &Registry) -> io::Result<Self> {
        let failed = stats.counter("access_log_file.write_failed");
        let started = sinks.into_iter().map(|sink| {
            let open = Open::new(&sink)?;
            let background = Background::start("access log", open, failed.clone())?;
            Ok((sink, background))
        });
        Ok(Self {
            sinks: started.collect::<io::Result<_>>()?,
            buffered: stats.counter("access_log_file.write_total_buffered"),
        })
    }

    /// The place of a sink.
    pub fn place(&self, sink: &Sink) -> Option<usize> {
        self.sinks.iter().position(|(own, _)| own == sink)
    }

    /// Opens every file anew.
    pub fn reopen(&self) {
        for (_, background) in &self.sinks {
            background.reopen();
        }
    }

    fn lines(&self, sink: usize, lines: Vec<u8>) {
        self.buffered.increment();
        if let Some((_, background)) = self.sinks.get(sink) {
            background.write(lines);
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        for (_, background) in &self.sinks {
            background.flush();
        }
    }
}

// === impl Open ===

impl Open {
    fn new(sink: &Sink) -> io::Result<Self> {
        Ok(match sink {
            Sink::Stdout => Self::Stdout,
            Sink::Stderr => Self::Stderr,
            Sink::File(path) => Self::File(append(path)?, path.clone()),
        })
    }
}

impl Destination for Open {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file, _) => file.write_all(lines),
            Self::Stdout => io::stdout().lock().write_all(lines),
            Self::Stderr => io::stderr().lock().write_all(lines),
        }
    }

    fn reopen(&mut self) {
        let Self::File(file, path) = self else { return };
        match append(path) {
            Ok(new) => *file = new,
            Err(error) => tracing::error!("the access log stays where it is: {error}"),
        }
    }

    fn lost(&mut self, count: u64) {
        tracing::warn!("{count} buffers of access logs were lost: {self} takes them too slowly");
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(_, path) => path.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
            Self::Stderr => f.write_str("standard error"),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    let file = File::options().append(true).create(true).open(path);
    file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

// === impl WorkerLogs ===

impl WorkerLogs {
    /// Empty buffers.
    pub fn new(writer: Arc<LogWriter>) -> Self {
        let buffers = writer.sinks.iter().map(|_| RefCell::default()).collect();
        Self { writer, buffers }
    }

    /// Adds a line to a sink's buffer.
    pub(super) fn line(&self, sink: usize, render: impl FnOnce(&mut Vec<u8>)) {
        let Some(buffer) = self.buffers.get(sink) else {
            return;
        };
        let mut buffer = buffer.borrow_mut();
        render(&mut buffer);
        if buffer.len() >= FULL {
            self.writer.lines(sink, std::mem::take(&mut buffer));
        }
    }

    /// Hands over what there is.
    pub fn flush(&self) {
        for (sink, buffer) in self.buffers.iter().enumerate() {
            let lines = buffer.take();
            if !lines.is_empty() {
                self.writer.lines(sink, lines);
            }
        }
    }
}
