//! Metrics that guests define.

use wasmtime::{Caller, Linker};

use super::memory::split;
use super::{Failure, Outcome, Status, answer, count};
use crate::stats::{GUEST_PREFIX, Kind, Metric};
use crate::vm::state::State;

/// A guest that defines more has a leak (a metric for each request, say).
const MAX_METRICS: usize = 100_000;

pub(super) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut caller: Caller<'_, State>, kind: u32, name: u32, len: u32, out: u32| {
            count(&mut caller);
            answer(define(&mut caller, kind, (name, len), out))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_increment_metric",
        |mut caller: Caller<'_, State>, id: u32, by: i64| {
            count(&mut caller);
            answer(increment(&caller, id, by))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_record_metric",
        |mut caller: Caller<'_, State>, id: u32, value: u64| {
            count(&mut caller);
            answer(record(&caller, id, value))
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_metric",
        |mut caller: Caller<'_, State>, id: u32, out: u32| {
            count(&mut caller);
            answer(get(&mut caller, id, out))
        },
    )?;
    Ok(())
}

fn define(caller: &mut Caller<'_, State>, kind: u32, name: (u32, u32), out: u32) -> Outcome {
    let kind = match kind {
        0 => Kind::Counter,
        1 => Kind::Gauge,
        2 => Kind::Histogram,
        _ => return Err(Status::BadArgument.into()),
    };
    let (mut view, state) = split(caller)?;
    let name = String::from_utf8_lossy(view.bytes(name.0, name.1)?);
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

fn increment(caller: &Caller<'_, State>, id: u32, by: i64) -> Outcome {
    match metric(caller, id)? {
        Metric::Counter(counter) if by > 0 => counter.add(by.cast_unsigned()),
        Metric::Gauge(gauge) => gauge.offset(by),
        _ => return Err(Status::BadArgument.into()),
    }
    Ok(())
}

/// On a counter it adds, as in Envoy.
fn record(caller: &Caller<'_, State>, id: u32, value: u64) -> Outcome {
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
