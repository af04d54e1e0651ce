//! One exchange through a chain of filters, with every callback and every hostcall within it.
//!
//! What comes out is masked: values of headers, configuration members, query parameters and variables that hold
//! secrets are replaced wherever they occur, as `<secret 1>`, `<secret 2>`; the same value has the same number. Nothing
//! gives them back.

mod changes;
mod decode;
mod names;
mod recorder;
mod secrets;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::abi;
use crate::abi::observe::Observers;
use crate::config::WasmPlugin;
use crate::process::GuestLog;
use crate::rig::{self, Exchange, Passed, Rig};
use crate::stream::Stream;
use crate::vm::VmError;
use crate::vm::engine::Engine;
pub use changes::Change;
pub use decode::Value;
use recorder::{Log, Recorder};
use secrets::Mask;

/// What is traced.
pub struct Tracing {
    /// The filters, in order.
    pub chain: Vec<WasmPlugin>,
    /// What they get.
    pub exchange: Exchange,
    /// Requests that run before and are not shown.
    pub after: u32,
    /// Ticks after the exchange.
    pub ticks: u32,
    /// How the ABI is carried out; its observers are not asked.
    pub abi: abi::Options,
    /// Names whose values are masked besides those that are known: of headers, members, parameters.
    pub mask: Vec<String>,
}

/// What was seen.
#[derive(Debug)]
pub struct Trace {
    /// The callbacks, in their order.
    pub callbacks: Vec<CallbackTrace>,
    /// How the exchange ended; `None` where the filters did not start.
    pub outcome: Option<Outcome>,
    /// Why they did not start, or that one has trapped.
    pub problem: Option<String>,
}

/// A callback and what happened in it.
#[derive(Debug, Default, Serialize)]
pub struct CallbackTrace {
    /// The plugin's name.
    pub plugin: String,
    /// The context it is about.
    pub context: u32,
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// Hostcalls within it.
    pub calls: Vec<CallTrace>,
    /// What it did to the heads and trailers.
    pub changes: Vec<Change>,
    /// What it returned, in the ABI's words; `None` where it returns nothing.
    pub result: Option<String>,
    /// The trap it ended in.
    pub trap: Option<String>,
    /// Time in the guest, without hostcalls.
    #[serde(rename = "guest_ns", serialize_with = "nanoseconds")]
    pub guest: Duration,
    /// Time in hostcalls, with the guest's allocator where they call it.
    #[serde(rename = "host_ns", serialize_with = "nanoseconds")]
    pub host: Duration,
}

/// A hostcall.
#[derive(Debug, Serialize)]
pub struct CallTrace {
    /// Its name.
    pub name: &'static str,
    /// What the guest gave.
    pub arguments: Vec<Argument>,
    /// What it was answered: a status, an error number of WASI; `None` where it returns nothing.
    pub status: Option<String>,
    /// What was handed over, where the status is OK.
    pub returned: Vec<Argument>,
    /// How long it took.
    #[serde(rename = "ns", serialize_with = "nanoseconds")]
    pub took: Duration,
}

/// A value with its name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Argument {
    /// As the specification names it.
    pub name: &'static str,
    /// What it is.
    pub value: Value,
}

/// How an exchange ended.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// `forwarded`, `answered` by a filter, `held` for good, or `reset`.
    pub passed: &'static str,
    /// The request's head as it would reach the upstream.
    pub request: Vec<(String, String)>,
    /// The response's head as the client gets it; empty where there is none.
    pub response: Vec<(String, String)>,
}

/// Runs the exchange.
///
/// # Errors
/// Where this machine cannot run wasmtime, or a module is none. Filters that do not start or trap are told in the trace.
pub fn run(tracing: &Tracing) -> Result<Trace, VmError> {
    let engine = Engine::new()?;
    for plugin in &tracing.chain {
        engine.load(&plugin.vm.code)?;
    }
    let log = Arc::new(Mutex::new(Log::new(&tracing.mask)));
    let lock = || log.lock().unwrap_or_else(PoisonError::into_inner);
    lock().secrets.learn_exchange(&tracing.exchange);
    tracing
        .chain
        .iter()
        .for_each(|plugin| lock().secrets.learn_plugin(plugin));
    let recorded = log.clone();
    let observers = Observers::new(move || Box::new(Recorder::new(recorded.clone())));
    let options = abi::Options {
        observers: Some(observers),
        ..tracing.abi.clone()
    };
    let process = rig::process(options, GuestLog::kept());
    let mut outcome = None;
    let problem = match Rig::start(&engine, &tracing.chain, &tracing.exchange, process) {
        Ok(rig) => {
            outcome = Some(exchange(tracing, &rig, &log));
            rig.has_trapped().then(|| "a filter trapped".to_owned())
        }
        Err(error) => Some(error.to_string()),
    };
    // The rig is gone: what its end brought about is not the exchange's.
    let mut log = lock();
    let callbacks = log.take();
    let mask = log.secrets.mask();
    Ok(Trace {
        callbacks,
        outcome: outcome.map(|(passed, heads)| told(passed, &heads, &mask)),
        problem: problem.map(|text| mask.text(text.as_bytes())),
    })
}

fn exchange(tracing: &Tracing, rig: &Rig<'_>, log: &Mutex<Log>) -> (Passed, Heads) {
    let pause = |paused| {
        log.lock().unwrap_or_else(PoisonError::into_inner).paused = paused;
    };
    pause(tracing.after > 0);
    for _ in 0..tracing.after {
        rig.pass(&mut rig.make_ready());
    }
    pause(false);
    let mut ready = rig.make_ready();
    let passed = rig.pass(&mut ready);
    for _ in 0..tracing.ticks {
        rig.tick();
    }
    pause(true);
    let heads = Heads::of(&ready.cell.borrow());
    (passed, heads)
}

/// The heads at the end.
struct Heads {
    request: changes::Fields,
    response: changes::Fields,
}

impl Heads {
    fn of(stream: &Stream) -> Self {
        Self {
            request: changes::request(stream),
            response: changes::response(stream),
        }
    }
}

fn told(passed: Passed, heads: &Heads, mask: &Mask<'_>) -> Outcome {
    let show = |fields: &changes::Fields| {
        let fields = fields.iter();
        fields
            .map(|(name, value)| (mask.text(name), mask.field(name, value)))
            .collect()
    };
    Outcome {
        passed: match passed {
            Passed::On => "forwarded",
            Passed::Answered => "answered",
            Passed::Held => "held",
            Passed::Reset => "reset",
        },
        request: show(&heads.request),
        response: show(&heads.response),
    }
}

fn nanoseconds<S: serde::Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
