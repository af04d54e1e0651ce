//! What `switchover trace` prints for people.

use std::io::{self, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::terminal::{escaped, escaped_lines};
use crate::trace::{Argument, CallTrace, CallbackTrace, Change, Outcome, Trace, Value};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();

/// Writes the whole trace; values are cut to so many bytes.
pub(super) fn write(
    out: &mut dyn Write,
    trace: &Trace,
    width: usize,
    is_chain: bool,
) -> io::Result<()> {
    for callback in &trace.callbacks {
        write_callback(out, callback, width, is_chain)?;
    }
    if let Some(outcome) = &trace.outcome {
        write_outcome(out, outcome, width)?;
    }
    // Of a filter that did not come as far as that there is nothing to sum up.
    if !trace.callbacks.is_empty() {
        summary(out, trace)?;
    }
    if let Some(problem) = &trace.problem {
        writeln!(out, "{RED}error{RED:#}: {}", escaped_lines(problem))?;
    }
    Ok(())
}

fn write_callback(
    out: &mut dyn Write,
    callback: &CallbackTrace,
    width: usize,
    is_chain: bool,
) -> io::Result<()> {
    let name = callback.name.trim_start_matches("proxy_");
    let arguments: Vec<String> = callback.arguments.iter().map(|a| shown(a, width)).collect();
    let plugin = match is_chain {
        true => format!("{}: ", escaped(&callback.plugin)),
        false => String::new(),
    };
    writeln!(
        out,
        "{plugin}{BOLD}{name}{BOLD:#}({})  {DIM}guest {}, host {}{DIM:#}",
        arguments.join(", "),
        time(callback.guest),
        time(callback.host)
    )?;
    for call in &callback.calls {
        write_call(out, call, width)?;
    }
    for change in &callback.changes {
        write_change(out, change, width)?;
    }
    if let Some(result) = &callback.result {
        writeln!(out, "  = {BOLD}{result}{BOLD:#}")?;
    }
    if let Some(trap) = &callback.trap {
        writeln!(
            out,
            "  {RED}trap{RED:#}: {}",
            escaped_lines(trap.trim()).replace('\n', "\n    ")
        )?;
    }
    Ok(())
}

/// As `get_header_map_value(REQUEST_HEADERS, "host") = OK, "example.com"`.
fn write_call(out: &mut dyn Write, call: &CallTrace, width: usize) -> io::Result<()> {
    let name = call.name.trim_start_matches("proxy_");
    let arguments: Vec<String> = call.arguments.iter().map(|a| shown(a, width)).collect();
    write!(out, "    {name}({})", arguments.join(", "))?;
    match call.status.as_deref() {
        Some("OK") => write!(out, " = {GREEN}OK{GREEN:#}")?,
        Some(status) => write!(out, " = {RED}{status}{RED:#}")?,
        None => {}
    }
    for argument in &call.returned {
        write!(out, ", {}", shown(argument, width))?;
    }
    writeln!(out, "  {DIM}{}{DIM:#}", time(call.took))
}

/// As a line of a diff.
fn write_change(out: &mut dyn Write, change: &Change, width: usize) -> io::Result<()> {
    let Change {
        map,
        name,
        before,
        after,
    } = change;
    let name = escaped(name);
    if let Some(before) = before {
        let before = shortened(before, width);
        writeln!(out, "  {RED}- {map} {name}: {before}{RED:#}")?;
    }
    if let Some(after) = after {
        let after = shortened(after, width);
        writeln!(out, "  {GREEN}+ {map} {name}: {after}{GREEN:#}")?;
    }
    Ok(())
}

fn write_outcome(out: &mut dyn Write, outcome: &Outcome, width: usize) -> io::Result<()> {
    let words = match outcome.passed {
        "forwarded" => "the request went to the upstream, and its response to the client",
        "answered" => "a filter answered",
        "held" => {
            "a filter holds the exchange for good: where it waits for a callout, say --callout STATUS:BODY"
        }
        _ => "a filter broke the exchange off",
    };
    writeln!(out, "\n{BOLD}{}{BOLD:#}: {words}", outcome.passed)?;
    // A request that was not let through reaches nobody.
    let request = match outcome.passed {
        "forwarded" => outcome.request.as_slice(),
        _ => &[],
    };
    for (title, fields) in [
        ("to the upstream", request),
        ("to the client", outcome.response.as_slice()),
    ] {
        if !fields.is_empty() {
            writeln!(out, "  {DIM}{title}{DIM:#}")?;
        }
        for (name, value) in fields {
            writeln!(out, "    {}: {}", escaped(name), shortened(value, width))?;
        }
    }
    Ok(())
}

fn summary(out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
    let calls: usize = trace
        .callbacks
        .iter()
        .map(|callback| callback.calls.len())
        .sum();
    let guest: Duration = trace.callbacks.iter().map(|callback| callback.guest).sum();
    let host: Duration = trace.callbacks.iter().map(|callback| callback.host).sum();
    writeln!(
        out,
        "{} callbacks, {calls} hostcalls; {} in the guest, {} in the host",
        trace.callbacks.len(),
        time(guest),
        time(host)
    )
}

/// Text and named numbers speak for themselves; plain numbers need their names.
fn shown(argument: &Argument, width: usize) -> String {
    let name = argument.name;
    match &argument.value {
        Value::Number(number) => format!("{name}={number}"),
        Value::Signed(number) => format!("{name}={number}"),
        Value::Flag(flag) => format!("{name}={flag}"),
        Value::Address(address) => format!("{name}={address:#x}"),
        Value::Unreadable => format!("{name}=?"),
        Value::Word(word) => (*word).to_owned(),
        Value::Bytes(bytes) => quoted(bytes, width),
        Value::Fields(fields) => {
            let fields = fields.iter();
            let each = fields.map(|(name, value)| {
                let name = String::from_utf8_lossy(name);
                let value = String::from_utf8_lossy(value);
                format!("{}: {}", escaped(&name), shortened(&value, width))
            });
            format!("{{{}}}", each.collect::<Vec<_>>().join("; "))
        }
    }
}

/// Text in quotes; what is no text as a number or as hexadecimal digits.
fn quoted(bytes: &[u8], width: usize) -> String {
    // Keys of several parts often have a NUL between them.
    let is_text = |text: &str| {
        let strange = text
            .chars()
            .filter(|c| c.is_control() && !c.is_whitespace());
        strange.count() * 5 <= text.chars().count()
    };
    match std::str::from_utf8(bytes) {
        Ok(text) if is_text(text) => format!("\"{}\"", shortened(text, width)),
        _ => {
            let digits: String = bytes
                .iter()
                .take(width / 2)
                .map(|b| format!("{b:02x}"))
                .collect();
            let more = if bytes.len() > width / 2 { "…" } else { "" };
            // Properties that are numbers come as eight bytes.
            match <[u8; 8]>::try_from(bytes) {
                Ok(eight) => format!("0x{digits} ({})", i64::from_le_bytes(eight)),
                Err(_) => format!("0x{digits}{more} ({} bytes)", bytes.len()),
            }
        }
    }
}

/// At most so many bytes of a text on one line, and how many there are.
fn shortened(text: &str, width: usize) -> String {
    if text.len() <= width {
        return escaped(text).into_owned();
    }
    let end = text.floor_char_boundary(width);
    let start = text.get(..end).unwrap_or_default();
    format!("{}… ({} bytes)", escaped(start), text.len())
}

fn time(took: Duration) -> String {
    let nanoseconds = took.as_nanos();
    #[expect(clippy::cast_precision_loss, reason = "one digit behind the point")]
    let micros = nanoseconds as f64 / 1_000.0;
    match nanoseconds {
        0..1_000 => format!("{nanoseconds} ns"),
        1_000..1_000_000 => format!("{micros:.1} µs"),
        _ => format!("{:.1} ms", micros / 1_000.0),
    }
}
