//! Writes down what passes between guests and the host.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::changes::{RawChange, Snapshot};
use super::secrets::Secrets;
use super::{Argument, CallTrace, CallbackTrace, Value, decode, names};
use crate::abi::observe::{Callback, Guest, Hostcall, Observer};
use crate::stream::StreamCell;

/// What was written down, of all VMs.
pub(super) struct Log {
    callbacks: Vec<(CallbackTrace, Vec<RawChange>)>,
    pub(super) secrets: Secrets,
    /// Nothing is written down meanwhile.
    pub(super) paused: bool,
}

/// Writes down what passes in one VM.
pub(super) struct Recorder {
    log: Arc<Mutex<Log>>,
    /// The exchange's stream, once the VM has had a part in it.
    stream: Option<StreamCell>,
    /// How the heads were when the callback began.
    before: Snapshot,
    /// The callback that runs.
    current: Option<CallbackTrace>,
    /// The last that was written down is this VM's initialiser.
    initialises: bool,
    /// Time that writing down took in it: it is nobody's.
    own: Duration,
}

// === impl Log ===

impl Log {
    /// Nothing yet; `mask` are names whose values are secret besides those that are known.
    pub(super) fn new(mask: &[String]) -> Self {
        Self {
            callbacks: Vec::new(),
            secrets: Secrets::new(mask),
            paused: false,
        }
    }

    /// Takes what was written down, masked by what is known at the end.
    pub(super) fn take(&mut self) -> Vec<CallbackTrace> {
        let all = std::mem::take(&mut self.callbacks).into_iter();
        let mask = self.secrets.mask();
        all.map(|(mut callback, changes)| {
            mask.callback(&mut callback);
            callback.changes = changes.iter().map(|change| mask.change(change)).collect();
            callback
        })
        .collect()
    }
}

// === impl Recorder ===

impl Recorder {
    pub(super) fn new(log: Arc<Mutex<Log>>) -> Self {
        Self {
            log,
            stream: None,
            before: Snapshot::default(),
            current: None,
            initialises: false,
            own: Duration::ZERO,
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hostcall of an initialiser. They run before any callback, and are shown as one.
    fn initialiser(&mut self, guest: &Guest<'_>, call: CallTrace) {
        let goes_on = std::mem::replace(&mut self.initialises, true);
        let mut log = self.log();
        if log.paused {
            return;
        }
        if goes_on && let Some((last, _)) = log.callbacks.last_mut() {
            last.host += call.took;
            last.calls.push(call);
            return;
        }
        let initialiser = CallbackTrace {
            plugin: guest.plugin.to_owned(),
            name: "_initialize",
            host: call.took,
            calls: vec![call],
            ..CallbackTrace::default()
        };
        log.callbacks.push((initialiser, Vec::new()));
    }

    /// How the heads are now. The data path never holds the stream while a guest runs.
    fn snapshot(&mut self, guest: &Guest<'_>) -> Snapshot {
        if let Some(stream) = guest.stream {
            self.stream = Some(stream.clone());
        }
        let stream = self
            .stream
            .as_ref()
            .and_then(|stream| stream.try_borrow().ok());
        let snapshot = stream
            .map(|stream| Snapshot::of(&stream))
            .unwrap_or_default();
        let mut log = self.log();
        for (name, value) in snapshot.fields() {
            log.secrets.learn_field(name, value);
        }
        drop(log);
        snapshot
    }
}

impl Observer for Recorder {
    fn callback_begins(&mut self, guest: &Guest<'_>, callback: &Callback<'_>) {
        self.before = self.snapshot(guest);
        self.initialises = false;
        self.own = Duration::ZERO;
        let names = names::arguments(callback.name, callback.arguments.len());
        let each = callback.arguments.iter().zip(names);
        self.current = Some(CallbackTrace {
            plugin: guest.plugin.to_owned(),
            context: guest.context,
            name: callback.name,
            arguments: each
                .map(|(number, name)| Argument {
                    name,
                    value: match names::is_flag(name) {
                        true => Value::Flag(*number != 0),
                        false => Value::Number(*number),
                    },
                })
                .collect(),
            ..CallbackTrace::default()
        });
    }

    fn callback_ends(
        &mut self,
        guest: &Guest<'_>,
        callback: &Callback<'_>,
        result: Result<Option<u64>, &wasmtime::Error>,
        took: Duration,
    ) {
        let Some(mut current) = self.current.take() else {
            return;
        };
        let after = self.snapshot(guest);
        let changes = self.before.changes(&after);
        current.host = current.calls.iter().map(|call| call.took).sum();
        let others = current.host + self.own;
        current.guest = took.saturating_sub(others);
        match result {
            Ok(result) => {
                current.result = result.map(|number| names::result(callback.name, number));
            }
            Err(trap) => current.trap = Some(format!("{trap:?}")),
        }
        let mut log = self.log();
        if !log.paused {
            log.callbacks.push((current, changes));
        }
    }

    fn hostcall(&mut self, guest: &Guest<'_>, call: &Hostcall<'_>) {
        let began = Instant::now();
        let call: CallTrace = decode::call(call, guest.memory);
        self.log().secrets.learn_call(&call);
        match &mut self.current {
            Some(current) => current.calls.push(call),
            None => self.initialiser(guest, call),
        }
        self.own += began.elapsed();
    }
}
