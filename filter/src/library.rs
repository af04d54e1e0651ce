//! The documents in force, by route plugin: how the attempt role finds what the route role decided by.
//!
//! Where both roles share a VM, the route role puts its document here. Its text also goes to shared data, where an attempt
//! role in another VM (a new binary that reached one filter first) or a rebuilt one finds it and follows it.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::rc::Rc;

use switchover_core::Timestamp;
use switchover_core::control::Control;
use switchover_core::document::{self, Document, Rollout};
use switchover_core::guard::Outcome;

use crate::ffi::{self, Level};
use crate::guard::table_key;
use crate::meters::{Meters, RolloutMeters};
use crate::probes::Prober;
use crate::spending::Spending;

/// Documents kept beside the newest for streams that began under an older one with another rollout id.
const OLDER_KEPT: usize = 3;

/// A document with what goes with it in this VM.
pub(crate) struct Live {
    /// The name of the route role's plugin.
    pub(crate) plugin: String,
    pub(crate) document: Document,
    /// One for each rollout.
    pub(crate) meters: Vec<RolloutMeters>,
    /// One for each rollout.
    controls: Vec<RefCell<Control>>,
    /// One for each rollout.
    probers: Vec<RefCell<Prober>>,
    /// One for each rollout.
    spending: Vec<RefCell<Spending>>,
    /// Where the workers' figures are in shared data, for each rollout; `None` without a guard.
    tables: Vec<Option<String>>,
    /// A newer document of the plugin is in force.
    is_superseded: Cell<bool>,
}

/// The documents of all route plugins.
pub(crate) struct Library(Vec<Shelf>);

struct Shelf {
    plugin: String,
    /// The newest first.
    documents: Vec<Rc<Live>>,
    /// The digest of the newest text that was read, good or bad.
    version: Vec<u8>,
    /// Shared data was looked at in vain since the last tick.
    missed: bool,
    /// The newest is another VM's: no route role here looks after it.
    is_followed: bool,
}

// === impl Live ===

impl Live {
    /// Goes on where `before` stands; what other workers know, or this one before its VM was rebuilt, counts from the start.
    pub(crate) fn new(
        plugin: &str,
        document: Document,
        before: Option<&Self>,
        worker: u64,
        meters: &mut Meters,
    ) -> Rc<Self> {
        let now = Timestamp::from_nanos(ffi::now());
        let control = |rollout: &Rollout| {
            let old = before.and_then(|before| {
                let (index, old) = before.document.rollout(rollout.id().as_str())?;
                Some(before.control_mut(index)?.succeed(old, rollout, now))
            });
            RefCell::new(old.unwrap_or_else(|| Control::new(rollout, now)))
        };
        let prober = |rollout: &Rollout| {
            let old = before.and_then(|before| {
                let (index, old) = before.document.rollout(rollout.id().as_str())?;
                Some(before.prober_mut(index)?.succeed(old, rollout))
            });
            RefCell::new(old.unwrap_or_else(Prober::new))
        };
        let rollouts = document.rollouts().iter();
        let live = Self {
            plugin: plugin.to_owned(),
            controls: rollouts.clone().map(control).collect(),
            probers: rollouts.clone().map(prober).collect(),
            spending: rollouts.clone().map(|_| RefCell::default()).collect(),
            tables: rollouts.map(|rollout| table_key(plugin, rollout)).collect(),
            meters: meters.of(&document),
            document,
            is_superseded: Cell::new(false),
        };
        let is_over = |old: &&Rollout| live.document.rollout(old.id().as_str()).is_none();
        let shown = before.map_or(&[][..], |before| &before.meters);
        meters.supersede(shown, &live.meters);
        let olds = before.map_or(&[][..], |before| before.document.rollouts());
        for old in olds.iter().filter(is_over) {
            meters.retire(old.id().as_str());
        }
        for (index, rollout) in live.document.rollouts().iter().enumerate() {
            live.look_at_latch(index);
            live.meet_others(index, worker, now);
            if rollout.health().is_some() {
                live.learn_health(index);
            }
            if let Some(mut control) = live.control_mut(index) {
                control.refresh(rollout, now);
            }
        }
        Rc::new(live)
    }

    /// The state of a rollout.
    pub(crate) fn control(&self, index: usize) -> Option<Ref<'_, Control>> {
        self.controls.get(index)?.try_borrow().ok()
    }

    /// The probes of a rollout, to be gone on with.
    pub(crate) fn prober_mut(&self, index: usize) -> Option<RefMut<'_, Prober>> {
        self.probers.get(index)?.try_borrow_mut().ok()
    }

    /// The metrics of a rollout's models.
    pub(crate) fn spending_mut(&self, index: usize) -> Option<RefMut<'_, Spending>> {
        self.spending.get(index)?.try_borrow_mut().ok()
    }

    /// Where the workers' figures are in shared data.
    pub(crate) fn table(&self, index: usize) -> Option<&str> {
        self.tables.get(index)?.as_deref()
    }

    /// The weights of a rollout that are in force.
    pub(crate) fn weights(&self, index: usize) -> Vec<u32> {
        let control = self.control(index);
        control.map_or_else(Vec::new, |control| control.weights().to_vec())
    }

    /// The state of a rollout, to be changed.
    pub(crate) fn control_mut(&self, index: usize) -> Option<RefMut<'_, Control>> {
        self.controls.get(index)?.try_borrow_mut().ok()
    }
}

// === impl Library ===

impl Library {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Puts a document in force, for this VM and for those that follow.
    pub(crate) fn publish(&mut self, live: &Rc<Live>, text: &[u8], meters: &mut Meters) {
        let plugin = &live.plugin;
        let version = switchover_core::sha256(text);
        let key = version_key(plugin);
        ffi::set_shared_data(&text_key(plugin), text);
        let found = ffi::shared_data(&key);
        let found = found.as_ref();
        // Each document passes through several VMs, of which Envoy has two that serve nothing: the first one counts it.
        if found.is_none_or(|(found, _)| **found != version)
            && ffi::swap_shared_data(&key, &version, found.map(|(_, number)| *number))
        {
            meters.count_reload(true);
        }
        if let Some(shelf) = self.shelf(plugin) {
            shelf.version = version.to_vec();
            shelf.is_followed = false;
            shelf.put(Rc::clone(live));
        }
    }

    /// The newest document of a plugin that has this rollout, and the rollout's index there.
    pub(crate) fn find(
        &mut self,
        plugin: &str,
        rollout: &str,
        worker: u64,
        meters: &mut Meters,
    ) -> Option<(Rc<Live>, usize)> {
        let shelf = self.shelf(plugin)?;
        if let Some(found) = shelf.find(rollout) {
            return Some(found);
        }
        if shelf.missed {
            return None;
        }
        shelf.follow(worker, meters);
        let found = shelf.find(rollout);
        shelf.missed = found.is_none();
        found
    }

    /// Looks whether other VMs have published newer documents, and how their rollouts stand.
    pub(crate) fn follow(&mut self, worker: u64, meters: &mut Meters) {
        let now = Timestamp::from_nanos(ffi::now());
        for shelf in &mut self.0 {
            shelf.missed = false;
            shelf.follow(worker, meters);
            let newest = shelf.documents.first().filter(|_| shelf.is_followed);
            if let Some(live) = newest {
                for (index, rollout) in live.document.rollouts().iter().enumerate() {
                    live.meet_others(index, worker, now);
                    if let Some(mut control) = live.control_mut(index) {
                        control.refresh(rollout, now);
                    }
                }
            }
        }
    }

    /// The plugin's newest document, if it is of this text and looked after here: two listeners may run the same.
    pub(crate) fn same(&self, plugin: &str, text: &[u8]) -> Option<Rc<Live>> {
        let shelf = self.0.iter().find(|shelf| shelf.plugin == plugin)?;
        let is_same = !shelf.is_followed && *shelf.version == switchover_core::sha256(text);
        shelf.documents.first().filter(|_| is_same).map(Rc::clone)
    }

    /// The environment of an older document's rollout in the newest that has this rollout: document, rollout, environment.
    pub(crate) fn today(
        &self,
        live: &Rc<Live>,
        rollout: usize,
        environment: usize,
    ) -> Option<(Rc<Live>, usize, usize)> {
        let old = live.document.rollouts().get(rollout)?;
        let shelf = self.0.iter().find(|shelf| shelf.plugin == live.plugin)?;
        let (newest, index) = shelf.find(old.id().as_str())?;
        if Rc::ptr_eq(&newest, live) {
            return Some((newest, rollout, environment));
        }
        let name = old.environments().get(environment)?.name();
        let own = newest.document.rollouts().get(index)?;
        let environment = own.environment(name.as_str().as_bytes())?;
        Some((newest, index, environment))
    }

    /// Counts how an attempt or a request ended that began under this document: under the newest, whose limits are in force.
    pub(crate) fn record(
        &self,
        live: &Rc<Live>,
        rollout: usize,
        outcome: Outcome,
        now: Timestamp,
        meters: &mut Meters,
    ) {
        if !live.is_superseded.get() {
            live.record(rollout, &outcome, now, meters);
        } else if let Some((newest, rollout, environment)) =
            self.today(live, rollout, outcome.environment)
        {
            let outcome = Outcome {
                environment,
                ..outcome
            };
            newest.record(rollout, &outcome, now, meters);
        }
    }

    /// Whether this is its plugin's newest document.
    pub(crate) fn is_newest(&self, live: &Rc<Live>) -> bool {
        let shelf = self.0.iter().find(|shelf| shelf.plugin == live.plugin);
        let newest = shelf.and_then(|shelf| shelf.documents.first());
        newest.is_some_and(|newest| Rc::ptr_eq(newest, live))
    }

    /// The shelf of a plugin, which is made if it is not there.
    fn shelf(&mut self, plugin: &str) -> Option<&mut Shelf> {
        let index = self
            .0
            .iter()
            .position(|shelf| shelf.plugin == plugin)
            .unwrap_or(self.0.len());
        if index == self.0.len() {
            let plugin = plugin.to_owned();
            self.0.push(Shelf {
                plugin,
                documents: Vec::new(),
                version: Vec::new(),
                missed: false,
                is_followed: false,
            });
        }
        self.0.get_mut(index)
    }
}

// === impl Shelf ===

impl Shelf {
    fn find(&self, rollout: &str) -> Option<(Rc<Live>, usize)> {
        self.documents
            .iter()
            .find_map(|live| Some((Rc::clone(live), live.document.rollout(rollout)?.0)))
    }

    fn put(&mut self, live: Rc<Live>) {
        let has_all = |older: &Rc<Live>| {
            older
                .document
                .rollouts()
                .iter()
                .all(|own| live.document.rollout(own.id().as_str()).is_some())
        };
        for older in &self.documents {
            older.is_superseded.set(!Rc::ptr_eq(older, &live));
        }
        self.documents.retain(|older| !has_all(older));
        self.documents.truncate(OLDER_KEPT);
        self.documents.insert(0, live);
    }

    fn follow(&mut self, worker: u64, meters: &mut Meters) {
        let Some((version, _)) = ffi::shared_data(&version_key(&self.plugin))
            .filter(|(version, _)| **version != *self.version)
        else {
            return;
        };
        // The text is written first: where its digest is another, a newer version is about to follow.
        let text = ffi::shared_data(&text_key(&self.plugin));
        let Some((text, _)) = text.filter(|(text, _)| switchover_core::sha256(text) == *version)
        else {
            return;
        };
        self.version = version.to_vec();
        match read(&text) {
            Ok(document) => {
                let before = self.documents.first();
                let live = Live::new(
                    &self.plugin,
                    document,
                    before.map(Rc::as_ref),
                    worker,
                    meters,
                );
                self.put(live);
                self.is_followed = true;
            }
            Err(problems) => {
                for problem in problems {
                    ffi::log(
                        Level::Error,
                        &[
                            "switchover: published by `",
                            &self.plugin,
                            "`: ",
                            &problem.to_string(),
                        ]
                        .concat(),
                    );
                }
            }
        }
    }
}

/// Parses a document with the VM's environment variables.
pub(crate) fn read(text: &[u8]) -> Result<Document, Vec<document::Problem>> {
    let variables = ffi::environment();
    let look_up = |name: &str| {
        variables
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
    };
    document::parse(text, &look_up)
}

fn text_key(plugin: &str) -> String {
    key("document", plugin, "")
}

fn version_key(plugin: &str) -> String {
    key("version", plugin, "")
}

/// A key of shared data; zero bytes are in no plugin's name and no rollout's id.
pub(crate) fn key(what: &str, plugin: &str, rollout: &str) -> String {
    ["switchover", what, plugin, rollout].join("\0")
}
