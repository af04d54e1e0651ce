//! From workers' buffers to files, by a thread of its own: a slow disk holds no worker up.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::config::access_log::Sink;
use crate::stats::{Counter, Registry};

/// A worker's buffer is handed over when it has grown to so many bytes; else with the worker's next look around.
const FULL: usize = 64 * 1024;

/// So many buffers wait for the disk at most; beyond them lines are dropped and counted.
const WAITING: usize = 256;

/// What the writing thread is told.
enum Message {
    /// Write this to that sink.
    Lines(usize, Vec<u8>),
    /// Open every file anew: somebody has moved them.
    Reopen,
}

/// The thread that writes, and what it writes to. Dropped, it writes what waits first.
pub struct LogWriter {
    sinks: Vec<Sink>,
    sender: Option<SyncSender<Message>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// `access_log_file.write_total_buffered`.
    buffered: Counter,
    /// `access_log_file.write_failed`: buffers that were dropped.
    failed: Counter,
}

/// One worker's buffers, one for each sink.
pub struct WorkerLogs {
    writer: Arc<LogWriter>,
    buffers: Vec<RefCell<Vec<u8>>>,
}

enum Open {
    File(File),
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
        let open: Vec<Open> = sinks.iter().map(open).collect::<io::Result<_>>()?;
        let (sender, receiver) = sync_channel(WAITING);
        let failed = stats.counter("access_log_file.write_failed");
        let mut writer = Self {
            sender: None,
            thread: Mutex::new(None),
            buffered: stats.counter("access_log_file.write_total_buffered"),
            failed: failed.clone(),
            sinks,
        };
        if !writer.sinks.is_empty() {
            let sinks = writer.sinks.clone();
            let thread = std::thread::Builder::new()
                .name("access log".to_owned())
                .spawn(move || write(&receiver, &sinks, open, &failed))?;
            writer.thread = Mutex::new(Some(thread));
            writer.sender = Some(sender);
        }
        Ok(writer)
    }

    /// The place of a sink.
    pub fn place(&self, sink: &Sink) -> Option<usize> {
        self.sinks.iter().position(|own| own == sink)
    }

    /// Opens every file anew.
    pub fn reopen(&self) {
        if let Some(sender) = &self.sender {
            // It waits its turn; the control thread may.
            let _ = sender.send(Message::Reopen);
        }
    }

    fn lines(&self, sink: usize, lines: Vec<u8>) {
        self.buffered.increment();
        let sent = match &self.sender {
            Some(sender) => sender.try_send(Message::Lines(sink, lines)).is_ok(),
            None => false,
        };
        if !sent {
            self.failed.increment();
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        drop(self.sender.take());
        let thread = self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn open(sink: &Sink) -> io::Result<Open> {
    Ok(match sink {
        Sink::Stdout => Open::Stdout,
        Sink::Stderr => Open::Stderr,
        Sink::File(path) => Open::File(append(path)?),
    })
}

fn append(path: &Path) -> io::Result<File> {
    let file = File::options().append(true).create(true).open(path);
    file.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn write(messages: &Receiver<Message>, sinks: &[Sink], mut open: Vec<Open>, failed: &Counter) {
    for message in messages {
        match message {
            Message::Lines(sink, lines) => {
                let written = match open.get_mut(sink) {
                    Some(Open::File(file)) => file.write_all(&lines),
                    Some(Open::Stdout) => io::stdout().lock().write_all(&lines),
                    Some(Open::Stderr) => io::stderr().lock().write_all(&lines),
                    None => Ok(()),
                };
                if written.is_err() {
                    failed.increment();
                }
            }
            Message::Reopen => {
                for (open, sink) in open.iter_mut().zip(sinks) {
                    let Sink::File(path) = sink else { continue };
                    match append(path) {
                        Ok(file) => *open = Open::File(file),
                        Err(error) => tracing::error!("the access log stays where it is: {error}"),
                    }
                }
            }
        }
    }
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
