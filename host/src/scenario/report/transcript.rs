//! What happened, as text: exchanges and log lines.

use http::HeaderMap;

use crate::process::{LogLevel, LogLine};
use crate::simulation::{Record, Response, Sent};

/// No more of a body is told, in bytes.
const MAX_BODY: usize = 500;

/// A request with its attempts and its response.
pub(in super::super) fn exchange(record: &Record) -> Vec<String> {
    let mut lines = Vec::new();
    for sent in &record.attempts {
        attempt(sent, &mut lines);
    }
    match &record.response {
        Some(response) => answered(response, &record.details, &mut lines),
        None if record.reset => lines.push("  < broken off".to_owned()),
        None => lines.push("  < nothing".to_owned()),
    }
    if let Some(held) = &record.held {
        lines.push(format!("  held by {:?} at {}", held.plugin, held.what));
    }
    lines
}

fn attempt(sent: &Sent, lines: &mut Vec<String>) {
    let path = String::from_utf8_lossy(&sent.path);
    lines.push(format!(
        "  > attempt {} at {}: {} {path}",
        sent.attempt, sent.cluster, sent.method
    ));
    fields(&sent.headers, '>', lines);
    body(&sent.body, '>', lines);
    sent.trailers.iter().for_each(|map| fields(map, '>', lines));
}

fn answered(response: &Response, details: &str, lines: &mut Vec<String>) {
    lines.push(format!("  < {} ({details})", response.status.as_u16()));
    fields(&response.headers, '<', lines);
    body(&response.whole_body(), '<', lines);
    response
        .trailers
        .iter()
        .for_each(|map| fields(map, '<', lines));
}

fn fields(map: &HeaderMap, sign: char, lines: &mut Vec<String>) {
    for (name, value) in map {
        let value = String::from_utf8_lossy(value.as_bytes());
        lines.push(format!("  {sign} {name}: {value}"));
    }
}

fn body(bytes: &[u8], sign: char, lines: &mut Vec<String>) {
    if bytes.is_empty() {
        return;
    }
    let shown = bytes.get(..MAX_BODY).unwrap_or(bytes);
    lines.push(format!("  {sign}"));
    for line in String::from_utf8_lossy(shown).lines() {
        lines.push(format!("  {sign} {line}"));
    }
    if let Some(more) = bytes.len().checked_sub(MAX_BODY).filter(|more| *more > 0) {
        lines.push(format!("  {sign} … and {more} bytes more"));
    }
}

/// A line of a guest's log.
pub(in super::super) fn log_line(line: &LogLine) -> String {
    let level = match line.level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
        LogLevel::Critical => "critical",
    };
    format!("  log {} {level}: {}", line.plugin, line.text)
}
