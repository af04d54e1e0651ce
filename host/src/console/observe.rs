//! Looking at the document and at all proxies, for as long as somebody looks at the console.
//!
//! Each proxy is asked by itself, so that one that is slow or away holds nobody up.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::proxy::{Answer, EVENTS, FAMILIES, Seen};
use super::state::{Read, State};
use crate::report::{self, Counted, has_models};
use crate::rollout::audit;
use crate::rollout::live::text::Sample;
use crate::rollout::live::{self, Admin, LiveError};
use crate::rollout::{Loaded, timestamp};

/// From a proxy's answer to the next question whether anything has happened.
const ASK: Duration = Duration::from_millis(300);
/// How often the document's file is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The least time between two states.
const LEAST: Duration = Duration::from_millis(150);
/// The longest time between two states: the clock goes on.
const MOST: Duration = Duration::from_secs(1);
/// How often it is asked for all figures, where nothing happens but requests.
const COUNT: Duration = Duration::from_millis(700);
/// How many lines of the audit log are shown.
const LINES: usize = 20;

/// What is looked at, and what was seen.
pub(super) struct Observer {
    document: PathBuf,
    audit: PathBuf,
    read: Mutex<Read>,
    proxies: Vec<Mutex<Seen>>,
    changed: Notify,
    wanted: Notify,
    states: watch::Sender<Shown>,
}

/// A state as it is shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    /// As JSON.
    pub(super) json: Bytes,
    /// Whether every proxy has answered, or failed to.
    pub(super) complete: bool,
}

/// What tells that a file was replaced or has grown.
type Mark = Option<(u64, u64, i64, i64)>;

// === impl Observer ===

impl Observer {
    pub(super) fn new(document: PathBuf, audit: Option<PathBuf>, proxies: Vec<Admin>) -> Self {
        let audit = audit.unwrap_or_else(|| audit::beside(&document));
        Self {
            document,
            audit,
            read: Mutex::default(),
            proxies: proxies
                .into_iter()
                .map(|admin| Mutex::new(Seen::new(admin)))
                .collect(),
            changed: Notify::new(),
            wanted: Notify::new(),
            states: watch::Sender::default(),
        }
    }

    /// States as JSON, from the next one on.
    pub(super) fn subscribe(&self) -> watch::Receiver<Shown> {
        let mut states = self.states.subscribe();
        // What was seen before may be long ago, unless somebody else is looking.
        if self.states.receiver_count() > 1 {
            states.mark_changed();
        } else {
            states.mark_unchanged();
        }
        self.wanted.notify_one();
        states
    }

    /// How many look.
    pub(super) fn viewers(&self) -> usize {
        self.states.receiver_count()
    }

    /// Looks whenever somebody has subscribed; never ends.
    pub(super) async fn run(&self) {
        loop {
            self.wanted.notified().await;
            tokio::select! {
                () = self.look() => {}
                () = self.states.closed() => {}
            }
        }
    }

    async fn look(&self) {
        // What they said before may be long ago.
        let seen = self.proxies.iter().map(locked);
        seen.for_each(|mut seen| seen.answer = Answer::None);
        let proxies = join_all(self.proxies.iter().map(|proxy| self.ask(proxy)));
        tokio::join!(self.follow(), proxies, self.publish());
    }

    /// Asks one proxy again and again: for everything now and then, and at once when something has happened.
    async fn ask(&self, proxy: &Mutex<Seen>) {
        let admin = locked(proxy).admin.clone();
        let mut known: Option<(Instant, Vec<Sample>)> = None;
        loop {
            let before = known.take().filter(|(at, _)| at.elapsed() < COUNT);
            let happened = match &before {
                Some((_, before)) => admin.samples(&EVENTS).await.map(|now| now != *before),
                None => Ok(true),
            };
            known = match happened {
                Ok(false) => before,
                happened => {
                    let samples = match happened {
                        Ok(_) => self.everything(&admin).await,
                        Err(error) => Err(error),
                    };
                    let events = samples.as_ref().map(|(samples, _)| events(samples)).ok();
                    locked(proxy).note(samples);
                    self.changed.notify_one();
                    events.map(|events| (Instant::now(), events))
                }
            };
            sleep(ASK).await;
        }
    }

    /// Asks for all figures, with what models took where the document has some.
    async fn everything(&self, admin: &Admin) -> Result<(Vec<Sample>, Option<Counted>), LiveError> {
        let wants_costs = self.wants_costs();
        let costs: &[&str] = if wants_costs { &report::FAMILIES } else { &[] };
        let families = [&live::FAMILIES[..], &FAMILIES, costs].concat();
        let samples = admin.samples(&families).await?;
        let costs = match wants_costs {
            true => Counted::new(&samples, admin).await.ok(),
            false => None,
        };
        Ok((samples, costs))
    }

    fn wants_costs(&self) -> bool {
        let read = locked(&self.read);
        let document = read.good.as_ref().map(Loaded::document);
        document.is_some_and(has_models)
    }

    /// Reads document and audit log when they have changed.
    async fn follow(&self) {
        let mut marks = None;
        loop {
            let now = [mark(&self.document), mark(&self.audit)];
            if marks != Some(now) {
                marks = Some(now);
                self.read();
                self.changed.notify_one();
            }
            sleep(LOOK).await;
        }
    }

    fn read(&self) {
        let loaded = Loaded::read(&self.document);
        let lines = audit::recent(&self.audit, LINES);
        let mut read = locked(&self.read);
        match loaded {
            Ok(loaded) => {
                read.good = Some(loaded);
                read.error = None;
            }
            Err(error) => read.error = Some(error.to_string()),
        }
        read.audit = lines.unwrap_or_else(|error| {
            tracing::warn!("{} cannot be read: {error}", self.audit.display());
            Vec::new()
        });
    }

    async fn publish(&self) {
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep(MOST) => {}
            }
            let state = self.state();
            match serde_json::to_vec(&state) {
                Ok(json) => drop(self.states.send_replace(Shown {
                    json: json.into(),
                    complete: state.is_complete(),
                })),
                Err(error) => tracing::error!("the console's state is no JSON: {error}"),
            }
            sleep(LEAST).await;
        }
    }

    fn state(&self) -> State {
        let read = locked(&self.read);
        let seen: Vec<_> = self.proxies.iter().map(locked).collect();
        let seen: Vec<&Seen> = seen.iter().map(|guard| &**guard).collect();
        let path = self.document.display().to_string();
        State::new(path, &read, &seen, timestamp(SystemTime::now()))
    }
}

/// What of all figures tells that something has happened.
fn events(samples: &[Sample]) -> Vec<Sample> {
    let is_one = |sample: &&Sample| EVENTS.iter().any(|family| sample.is_of(family));
    samples.iter().filter(is_one).cloned().collect()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn mark(path: &Path) -> Mark {
    let metadata = fs::metadata(path).ok()?;
    Some((
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ))
}
