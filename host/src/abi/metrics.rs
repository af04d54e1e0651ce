//! Metrics that guests define.

use wasmtime::Caller;

use super::import::family;
use super::memory::{Span, split};
use super::{Failure, Outcome, Status};
use crate::stats::{GUEST_PREFIX, Kind, Metric};
use crate::vm::state::State;

/// A guest that defines more has a leak (a metric for each request, say).
const MAX_METRICS: usize = 100_000;

family! {
    pub(super) static FAMILY: Status in ENV {
        proxy_define_metric(kind: Metric, name: Bytes, metric: OutU32) => define,
        proxy_increment_metric(metric: Token, by: Delta) => increment,
        proxy_record_metric(metric: Token, value: Wide) => record,
        proxy_get_metric(metric: Token, value: OutU64) => get,
    }
}

fn define(caller: &mut Caller<'_, State>, kind: u32, name: Span, out: u32) -> Outcome {
    let kind = match kind {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Histogram,
        _ => return Err(Status::BadArgument.into()),
    };
    let (mut view, state) = split(caller)?;
    let name = String::from_utf8_lossy(view.span(name)?);
    if state.metrics.len() >= MAX_METRICS {
        return Err(Status::InternalFailure.into());
    }
    let metric = state
        .process
        .stats
        .define(&format!("{GUEST_PREFIX}{name}"), kind)
        .ok_or(Status::BadArgument)?;
    let id = u32::try_from(state.metrics.len()).map_err(|_| Status::InternalFailure)?;
    view.write_u32(out, id)?;
    state.metrics.push(metric);
    Ok(())
}

fn metric<'a>(caller: &'a Caller<'_, State>, id: u32) -> Result<&'a Metric, Failure> {
    caller
        .data()
        .metrics
        .get(id as usize)
        .ok_or(Failure::Status(Status::NotFound))
}

fn increment(caller: &mut Caller<'_, State>, id: u32, by: i64) -> Outcome {
    match metric(caller, id)? {
        Metric::Counter(counter) if by > 0 => counter.add(by.cast_unsigned()),
        Metric::Gauge(gauge) => gauge.offset(by),
        _ => return Err(Status::BadArgument.into()),
    }
    Ok(())
}

/// On a counter it adds, as in Envoy.
fn record(caller: &mut Caller<'_, State>, id: u32, value: u64) -> Outcome {
    match metric(caller, id)? {
        Metric::Counter(counter) => counter.add(value),
        Metric::Gauge(gauge) => gauge.set(value),
        Metric::Histogram(histogram) => histogram.record(value),
    }
    Ok(())
}

fn get(caller: &mut Caller<'_, State>, id: u32, out: u32) -> Outcome {
    let value = match metric(caller, id)? {
        Metric::Counter(value) | Metric::Gauge(value) => value.get(),
        Metric::Histogram(_) => return Err(Status::BadArgument.into()),
    };
    split(caller)?.0.write_u64(out, value)
}
