//! Metrics that guests define.

use wasmtime::Caller;

use super::import::family;
use super::lint::{Rule, lint};
use super::memory::{Span, split};
use super::{Failure, Outcome, Status};
use crate::stats::{GUEST_PREFIX, Kind, Metric};
use crate::vm::state::State;

/// Numbers of metrics that one VM may have.
const MAX_METRICS: usize = 100_000;
/// The longest name, in bytes.
const MAX_NAME: u32 = 4096;

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_define_metric(kind: Metric, name: Bytes, metric: OutU32) => define,
        proxy_increment_metric(metric: Token, by: Delta) => increment,
        proxy_record_metric(metric: Token, value: Wide) => record,
        proxy_get_metric(metric: Token, value: OutU64) => get,
    }
}

/// The kind of a metric, which its number holds in the two low bits, as in Envoy: 0 is no metric's number.
const KIND: u32 = 0b11;
const HISTOGRAM: u32 = 2;

fn define(caller: &mut Caller<'_, State>, code: u32, name: Span, out: u32) -> Outcome {
    let kind = match code {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        HISTOGRAM => Kind::Histogram,
        _ => return Err(Status::BadArgument.into()),
    };
    let (mut view, state) = split(caller)?;
    if name.1 > MAX_NAME {
        return Err(Status::BadArgument.into());
    }
    let name = String::from_utf8_lossy(view.span(name)?);
    if state.metrics.len() >= MAX_METRICS {
        return Err(Status::InternalFailure.into());
    }
    let metric = state
        .process
        .stats
        .define(&format!("{GUEST_PREFIX}{name}"), kind)
        .ok_or(Status::BadArgument)?;
    state.metrics.push(metric);
    let place = u32::try_from(state.metrics.len()).map_err(|_| Status::InternalFailure)?;
    view.write_u32(out, place << 2 | code)
}

fn metric<'a>(caller: &'a Caller<'_, State>, id: u32) -> Result<&'a Metric, Failure> {
    let place = (id >> 2).checked_sub(1).ok_or(Status::NotFound)?;
    let metric = caller.data().metrics.get(place as usize);
    let metric = metric.ok_or(Status::NotFound)?;
    let code = match metric {
        Metric::Counter(_) => 0,
        Metric::Gauge(_) => 1,
        Metric::Histogram(_) => HISTOGRAM,
    };
    match id & KIND == code {
        true => Ok(metric),
        false => Err(Status::NotFound.into()),
    }
}

/// A counter goes up, a gauge both ways, a histogram neither.
fn increment(caller: &mut Caller<'_, State>, id: u32, by: i64) -> Outcome {
    if id & KIND >= HISTOGRAM {
        return Err(Status::BadArgument.into());
    }
    match metric(caller, id)? {
        Metric::Counter(counter) if by > 0 => counter.add(by.cast_unsigned()),
        Metric::Gauge(gauge) => gauge.offset(by),
        _ => return Err(Status::BadArgument.into()),
    }
    Ok(())
}

/// On a counter it adds, as in Envoy; by the specification it sets.
fn record(caller: &mut Caller<'_, State>, id: u32, value: u64) -> Outcome {
    match metric(caller, id)? {
        Metric::Counter(counter) => {
            let state = caller.data();
            if state.strict() {
                counter.set(value);
            } else {
                counter.add(value);
                lint(state, Rule::RecordCounter);
            }
        }
        Metric::Gauge(gauge) => gauge.set(value),
        Metric::Histogram(histogram) => histogram.record(value),
    }
    Ok(())
}

fn get(caller: &mut Caller<'_, State>, id: u32, out: u32) -> Outcome {
    if id & KIND >= HISTOGRAM {
        let state = caller.data();
        lint(state, Rule::ReadHistogram);
        return Err(match state.strict() {
            true => Status::NotFound.into(),
            false => Status::BadArgument.into(),
        });
    }
    let value = match metric(caller, id)? {
        Metric::Counter(value) | Metric::Gauge(value) => value.get(),
        Metric::Histogram(_) => return Err(Status::BadArgument.into()),
    };
    split(caller)?.0.write_u64(out, value)
}
