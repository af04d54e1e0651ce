//! Watching what passes between guests and the host: each callback and each hostcall, for traces.
//!
//! A VM without an observer pays one branch for each hostcall and callback.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::{AsContextMut, Caller, Store};

use super::import::{Answer, ImportInfo};
use super::lint;
use super::memory::{Peek, peek};
use crate::stream::StreamCell;
use crate::vm::entry;
use crate::vm::state::State;

/// Is told what passes between a guest and the host. Hostcalls that a guest makes while it serves another (from its
/// allocator) are told before that one ends.
pub trait Observer {
    /// A callback begins.
    fn callback_begins(&mut self, guest: &Guest<'_>, callback: &Callback<'_>);

    /// A callback has ended: with its result, `None` where it has none, or with a trap.
    fn callback_ends(
        &mut self,
        guest: &Guest<'_>,
        callback: &Callback<'_>,
        result: Result<Option<u64>, &wasmtime::Error>,
        took: Duration,
    );

    /// A hostcall has ended.
    fn hostcall(&mut self, guest: &Guest<'_>, call: &Hostcall<'_>);
}

/// Makes an observer for a VM that is about to start.
#[derive(Clone)]
pub struct Observers(Arc<dyn Fn() -> Box<dyn Observer> + Send + Sync>);

/// The guest, as it is at that moment.
#[derive(Debug)]
pub struct Guest<'a> {
    /// The context that hostcalls act on.
    pub context: u32,
    /// Its root context.
    pub root: u32,
    /// The plugin's name.
    pub plugin: &'a str,
    /// The stream of the context, where it is a stream's.
    pub stream: Option<&'a StreamCell>,
    /// Its memory.
    pub memory: Peek<'a>,
}

/// A callback.
#[derive(Debug, Clone, Copy)]
pub struct Callback<'a> {
    /// The export's name.
    pub name: &'static str,
    /// Its arguments; the first is the context, or what takes its place.
    pub arguments: &'a [u64],
}

/// A hostcall that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Hostcall<'a> {
    /// The function.
    pub import: &'static ImportInfo,
    /// Its arguments, a number for each of wasm's own: see [`super::Kind::width`].
    pub arguments: &'a [u64],
    /// Its result, `None` where it has none, or the trap it ended in.
    pub result: Result<Option<u32>, &'a wasmtime::Error>,
    /// How long it took.
    pub took: Duration,
}

/// A number of wasm as an observer gets it.
pub(crate) trait Word {
    /// Its bits.
    fn word(self) -> u64;
}

/// Numbers of a callback as an observer gets them.
pub(crate) trait Words {
    /// Their bits, and how many there are.
    fn words(&self) -> ([u64; 5], usize);
}

// === impl Observers ===

impl Observers {
    /// Calls `make` for each VM.
    #[must_use]
    pub fn new(make: impl Fn() -> Box<dyn Observer> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    /// An observer for one VM.
    #[must_use]
    pub fn make(&self) -> Box<dyn Observer> {
        (self.0)()
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observers")
    }
}

// === impl Word ===

impl Word for u32 {
    fn word(self) -> u64 {
        u64::from(self)
    }
}

impl Word for u64 {
    fn word(self) -> u64 {
        self
    }
}

impl Word for i64 {
    fn word(self) -> u64 {
        self.cast_unsigned()
    }
}

impl Words for () {
    fn words(&self) -> ([u64; 5], usize) {
        ([0; 5], 0)
    }
}

impl Words for u32 {
    fn words(&self) -> ([u64; 5], usize) {
        ([self.word(), 0, 0, 0, 0], 1)
    }
}

impl Words for (u32, u32) {
    fn words(&self) -> ([u64; 5], usize) {
        ([self.0.word(), self.1.word(), 0, 0, 0], 2)
    }
}

impl Words for (u32, u32, u32) {
    fn words(&self) -> ([u64; 5], usize) {
        ([self.0.word(), self.1.word(), self.2.word(), 0, 0], 3)
    }
}

impl Words for (u32, u32, u32, u32) {
    fn words(&self) -> ([u64; 5], usize) {
        let (a, b, c, d) = *self;
        ([a.word(), b.word(), c.word(), d.word(), 0], 4)
    }
}

impl Words for (u32, u32, u32, u32, u32) {
    fn words(&self) -> ([u64; 5], usize) {
        let (a, b, c, d, e) = *self;
        ([a.word(), b.word(), c.word(), d.word(), e.word()], 5)
    }
}

/// A hostcall of a VM that is observed or restricted, or whose callback is to be found out.
#[cold]
pub(super) fn attended<A: Answer>(
    caller: &mut Caller<'_, State>,
    import: &'static ImportInfo,
    arguments: &[u64],
    body: impl FnOnce(&mut Caller<'_, State>) -> A,
) -> wasmtime::Result<A::Wasm> {
    entry::resolve(caller);
    if !caller.data().watched() {
        return body(caller).answer();
    }
    let began = Instant::now();
    let result = match caller.data().restriction.refuses(import.name) {
        Some(phase) => Err(wasmtime::Error::msg(format!(
            "{} must not be called {phase}",
            import.name
        ))),
        None => body(caller).answer(),
    };
    let took = began.elapsed();
    if caller.data().process.abi.lint.is_some()
        && let Ok(answer) = &result
    {
        let number = A::number(answer);
        lint::after(caller, import, arguments, number);
    }
    tell(caller, |observer, guest| {
        let call = Hostcall {
            import,
            arguments,
            result: result.as_ref().map(A::number),
            took,
        };
        observer.hostcall(guest, &call);
    });
    result
}

/// Runs a callback of a VM that is observed.
#[cold]
pub(crate) fn callback<P: Words, R: Words>(
    store: &mut Store<State>,
    name: &'static str,
    parameters: P,
    call: impl FnOnce(&mut Store<State>, P) -> wasmtime::Result<R>,
) -> wasmtime::Result<R> {
    let (words, n) = parameters.words();
    let callback = Callback {
        name,
        arguments: words.get(..n).unwrap_or_default(),
    };
    tell(&mut *store, |observer, guest| {
        observer.callback_begins(guest, &callback);
    });
    let began = Instant::now();
    let result = call(store, parameters);
    let took = began.elapsed();
    let number = result.as_ref().map(|result| {
        let (words, n) = result.words();
        words.get(..n).and_then(|words| words.first()).copied()
    });
    tell(store, |observer, guest| {
        observer.callback_ends(guest, &callback, number, took);
    });
    result
}

fn tell(
    mut context: impl AsContextMut<Data = State>,
    say: impl FnOnce(&mut dyn Observer, &Guest<'_>),
) {
    peek(context.as_context_mut(), |memory, state| {
        // out of its place meanwhile, so that the rest of the state can be read
        let Some(mut observer) = state.observer.take() else {
            return;
        };
        let guest = Guest {
            context: state.effective_context(),
            root: state.effective_root(),
            plugin: state.plugin_name(),
            stream: state.effective_stream(),
            memory,
        };
        say(observer.as_mut(), &guest);
        state.observer = Some(observer);
    });
}
