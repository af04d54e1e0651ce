//! The log: lines on standard error, whoever reads them and however slowly.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::str::FromStr;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{self, Writer};

use crate::background::{Background, Destination};
use crate::stats::Counter;
use crate::terminal::escaped;

/// The process's log, once it has one.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    background: Background,
    lost: Counter,
}

/// What writes one line.
struct Line(&'static Log);

struct Stderr;

// === impl Log ===

/// Log lines go to standard error, coloured on a terminal only; guests' lines carry the plugin's name.
///
/// # Errors
/// Where the level is none, or the system gives no thread.
pub(super) fn start(level: &LogLevel) -> Result<()> {
    let lost = Counter::default();
    let background =
        Background::start("log", Stderr, lost.clone()).context("cannot start the log")?;
    let log = LOG.get_or_init(|| Log { background, lost });
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&level.0)?)
        .fmt_fields(format::debug_fn(write_field).delimited(" "))
        .with_writer(move || Line(log))
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// How many lines nobody took.
pub(super) fn lost() -> Counter {
    LOG.get().map(|log| log.lost.clone()).unwrap_or_default()
}

/// Writes what the program says at its end, behind all lines of the log.
pub(super) fn end(last_words: &str) {
    match LOG.get() {
        Some(log) => {
            if !last_words.is_empty() {
                log.background.write(last_words.into());
            }
            log.background.flush();
        }
        None => {
            let _ = io::stderr().write_all(last_words.as_bytes());
        }
    }
}

impl Write for Line {
    /// The library hands a whole line over at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.background.write(line.into());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Destination for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        io::stderr().lock().write_all(line)
    }

    fn lost(&mut self, count: u64) {
        tracing::warn!("{count} lines of the log were lost: standard error takes them too slowly");
    }
}

/// What happens is one line, whatever guests and requests have part in it: none of them can make up another.
fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = escaped(&value);
    match field.name() {
        "message" => out.write_str(&value),
        name => write!(out, "{name}={value}"),
    }
}

/// A level, or directives of `tracing`.
#[derive(Debug, Clone)]
pub(super) struct LogLevel(String);

impl FromStr for LogLevel {
    type Err = anyhow::Error;

    /// A word alone must be a level: the library would take it for a target, and all else would be silent.
    fn from_str(text: &str) -> Result<Self> {
        const ALLOWED: &str = "allowed are error, warn, info, debug, trace, off, and directives as in info,switchover_host::proxy=debug";
        let directives = text.split(',').map(str::trim);
        for word in directives.filter(|word| !word.contains(['=', '['])) {
            ensure!(
                !word.is_empty() && word.parse::<LevelFilter>().is_ok(),
                "{word:?} is no level; {ALLOWED}"
            );
        }
        EnvFilter::try_new(text).map_err(|e| anyhow!("{e}; {ALLOWED}"))?;
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_alone_is_a_level() {
        for good in [
            "error",
            "WARN",
            "off",
            "info,switchover_host::proxy=debug",
            "guest[{plugin=a}]=trace",
        ] {
            assert!(good.parse::<LogLevel>().is_ok(), "{good}");
        }
        for bad in ["loud", "", "info,switchover_host", "info,a=loud"] {
            let error = bad.parse::<LogLevel>().expect_err(bad).to_string();
            assert!(error.contains("allowed are error, warn"), "{error}");
        }
    }
}
