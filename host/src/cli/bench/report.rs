//! What `switchover bench` prints.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use crate::bench::{Confidence, Growth, Measured, Verdict};
use crate::cli::table;

/// Hostcalls that are shown for each filter.
const SHOWN: usize = 5;

/// Prints an object for one filter, a list for several.
pub(super) fn json(measured: &[Measured], is_list: bool) -> io::Result<()> {
    let list: Vec<Value> = measured.iter().map(object).collect();
    let mut out = io::stdout().lock();
    match list.as_slice() {
        [one] if !is_list => writeln!(out, "{one:#}"),
        _ => writeln!(out, "{:#}", Value::from(list)),
    }
}

fn object(measured: &Measured) -> Value {
    let Measured { ns, growth, .. } = measured;
    json!({
        "filter": measured.name,
        "filters_in_chain": measured.filters,
        "requests": measured.requests,
        "ns_per_request_median": tenths(ns.median.value),
        "ns_per_request_confidence": [tenths(ns.median.low), tenths(ns.median.high)],
        "ns_per_request_p10": tenths(ns.p10),
        "ns_per_request_p90": tenths(ns.p90),
        "relative": measured.relative.value,
        "relative_confidence": [measured.relative.low, measured.relative.high],
        "hostcalls_per_request": measured.hostcalls,
        "hostcalls_by_name": by_name(measured),
        "callbacks_per_request": measured.callbacks,
        "allocations_per_request": measured.allocations,
        "guest_memory_bytes": growth.before,
        "guest_memory_growth_bytes": growth.after.saturating_sub(growth.before),
        "guest_memory_growth_steps": growth.steps,
        "guest_memory_watched_requests": growth.watched,
        "guest_memory_growth_per_request": growth.per_request,
        "leak_verdict": growth.verdict.name(),
        "answered_by_filter": measured.answered,
        "held_by_filter": measured.held,
        "trapped": measured.trapped,
    })
}

fn by_name(measured: &Measured) -> serde_json::Map<String, Value> {
    let each = measured.by_name.iter();
    each.map(|(name, count)| ((*name).to_owned(), json!(count)))
        .collect()
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Prints a table, and a line for what needs more words.
pub(super) fn text(measured: &[Measured], is_chain: bool) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    let compared = if is_chain { "adds" } else { "relative" };
    let mut table = table::new([
        "filter",
        "ns a request",
        "p10–p90",
        compared,
        "callbacks",
        "hostcalls",
        "allocations",
        "memory",
    ]);
    let mut before = 0.0;
    for one in measured {
        let ns = &one.ns;
        let compared = match is_chain {
            true => format!("{:.0}", ns.median.value - before),
            false => proportion(one.relative),
        };
        before = ns.median.value;
        table.add_row([
            one.name.clone(),
            format!("{:.0} ± {:.0}", ns.median.value, half(ns.median)),
            format!("{:.0}–{:.0}", ns.p10, ns.p90),
            compared,
            format!("{:.0}", one.callbacks),
            count(one.hostcalls),
            count(one.allocations),
            mebibytes(one.growth.after),
        ]);
    }
    table::align_right(&mut table, 1);
    writeln!(out, "{table}\n")?;
    if is_chain {
        linear(&mut out, measured)?;
    }
    for one in measured.iter().filter(|one| !one.by_name.is_empty()) {
        writeln!(out, "{}: {}", one.name, most_frequent(&one.by_name))?;
    }
    memory(&mut out, measured)?;
    measured.iter().try_for_each(|one| notes(&mut out, one))
}

/// How evenly the cost rises with the length of the chain.
fn linear(out: &mut impl io::Write, measured: &[Measured]) -> io::Result<()> {
    let pairs = measured.windows(2).filter_map(|pair| match pair {
        [before, after] => Some(after.ns.median.value - before.ns.median.value),
        _ => None,
    });
    let added: Vec<f64> = pairs.collect();
    let (Some(least), Some(most)) = (
        added.iter().copied().reduce(f64::min),
        added.iter().copied().reduce(f64::max),
    ) else {
        return Ok(());
    };
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let mean = added.iter().sum::<f64>() / added.len() as f64;
    writeln!(
        out,
        "each further filter adds {mean:.0} ns: {least:.0} at least, {most:.0} at most"
    )
}

/// The memory's verdicts; one line where nothing grew.
fn memory(out: &mut impl io::Write, measured: &[Measured]) -> io::Result<()> {
    let is_steady = |one: &&Measured| one.growth.verdict == Verdict::Steady;
    let requests = measured.iter().map(|one| one.requests).min().unwrap_or(0);
    let green = colour(AnsiColor::Green);
    if measured.iter().all(|one| is_steady(&one)) {
        let what = match measured {
            [_] => "the guest's memory did not grow",
            _ => "no guest's memory grew",
        };
        return writeln!(
            out,
            "{green}steady{green:#}: {what} over {requests} requests"
        );
    }
    for one in measured {
        let Growth {
            before,
            after,
            steps,
            per_request,
            watched,
            verdict,
        } = one.growth;
        let (style, word) = match verdict {
            Verdict::Steady => (green, "steady"),
            Verdict::WarmUp => (green, "warm-up"),
            Verdict::Leak => (colour(AnsiColor::Red), "LEAK"),
            Verdict::Unclear => (colour(AnsiColor::Yellow), "unclear"),
        };
        let grew = format!("grew from {} to {}", mebibytes(before), mebibytes(after));
        let words = match verdict {
            Verdict::Steady => "the memory did not grow".to_owned(),
            Verdict::WarmUp => {
                format!("the memory {grew} in the first half of {watched} requests, then no more")
            }
            Verdict::Leak => {
                format!(
                    "the memory {grew} in {steps} steps over {watched} requests, {per_request:.1} bytes a request"
                )
            }
            Verdict::Unclear => {
                format!("the memory {grew} late in the run: more --requests will tell")
            }
        };
        writeln!(out, "{}: {style}{word}{style:#}: {words}", one.name)?;
    }
    Ok(())
}

/// The most frequent hostcalls, with how often a request makes them.
fn most_frequent(by_name: &[(&'static str, f64)]) -> String {
    let shown = by_name
        .iter()
        .take(SHOWN)
        .map(|(name, each)| format!("{} {}", count(*each), name.trim_start_matches("proxy_")));
    let mut words = shown.collect::<Vec<_>>().join(", ");
    if by_name.len() > SHOWN {
        words += ", …";
    }
    words
}

fn notes(out: &mut impl io::Write, one: &Measured) -> io::Result<()> {
    let (name, requests) = (&one.name, one.requests);
    if one.trapped {
        let red = colour(AnsiColor::Red);
        writeln!(
            out,
            "{name}: {red}trapped{red:#} after {requests} requests: the log says where"
        )?;
    }
    if one.answered > 0 {
        writeln!(
            out,
            "{name}: answered {} of {requests} requests itself",
            one.answered
        )?;
    }
    if one.held > 0 {
        writeln!(
            out,
            "{name}: held {} of {requests} requests for good: if it waits for a callout, say --callout STATUS:BODY",
            one.held
        )?;
    }
    Ok(())
}

fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(colour.into()))
}

fn proportion(relative: Confidence) -> String {
    format!("{:.2} ± {:.2}", relative.value, half(relative))
}

/// Half of a 95 % interval.
fn half(of: Confidence) -> f64 {
    (of.high - of.low) / 2.0
}

/// A count a request: whole where it is.
fn count(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
