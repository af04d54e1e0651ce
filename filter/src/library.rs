//! The documents in force, by route plugin: how the attempt role finds what the route role decided by.
//!
//! Where both roles share a VM, the route role puts its document here. Its text also goes to shared data, where an attempt
//! role in another VM (a new binary that reached one filter first) or a rebuilt one finds it and follows it.

use std::rc::Rc;

use switchover_core::document::{self, Document};

use crate::ffi::{self, Level};
use crate::meters::{Meters, RolloutMeters};

/// Documents kept beside the newest for streams that began under an older one with another rollout id.
const OLDER_KEPT: usize = 3;

/// A document with what goes with it in this VM.
pub(crate) struct Live {
    pub(crate) document: Document,
    /// One for each rollout.
    pub(crate) meters: Vec<RolloutMeters>,
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
}

// === impl Live ===

impl Live {
    pub(crate) fn new(document: Document, meters: &mut Meters) -> Rc<Self> {
        let meters = meters.of(&document);
        Rc::new(Self { document, meters })
    }
}

// === impl Library ===

impl Library {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Puts a document in force, for this VM and for those that follow.
    pub(crate) fn publish(&mut self, plugin: &str, live: &Rc<Live>, text: &[u8]) {
        let version = switchover_core::sha256(text);
        if live.document.has_attempts() {
            ffi::set_shared_data(&text_key(plugin), text);
            ffi::set_shared_data(&version_key(plugin), &version);
        }
        if let Some(shelf) = self.shelf(plugin) {
            shelf.version = version.to_vec();
            shelf.put(Rc::clone(live));
        }
    }

    /// The newest document of a plugin that has this rollout, and the rollout's index there.
    pub(crate) fn find(
        &mut self,
        plugin: &str,
        rollout: &str,
        meters: &mut Meters,
    ) -> Option<(Rc<Live>, usize)> {
        let shelf = self.shelf(plugin)?;
        if let Some(found) = shelf.find(rollout) {
            return Some(found);
        }
        if shelf.missed {
            return None;
        }
        shelf.follow(meters);
        let found = shelf.find(rollout);
        shelf.missed = found.is_none();
        found
    }

    /// Looks whether other VMs have published newer documents.
    pub(crate) fn follow(&mut self, meters: &mut Meters) {
        for shelf in &mut self.0 {
            shelf.missed = false;
            shelf.follow(meters);
        }
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
        self.documents.retain(|older| !has_all(older));
        self.documents.truncate(OLDER_KEPT);
        self.documents.insert(0, live);
    }

    fn follow(&mut self, meters: &mut Meters) {
        let Some(version) = ffi::shared_data(&version_key(&self.plugin))
            .filter(|version| **version != *self.version)
        else {
            return;
        };
        // The text is written first: where its digest is another, a newer version is about to follow.
        let text = ffi::shared_data(&text_key(&self.plugin));
        let Some(text) = text.filter(|text| switchover_core::sha256(text) == *version) else {
            return;
        };
        self.version = version.to_vec();
        match read(&text) {
            Ok(document) => self.put(Live::new(document, meters)),
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
    ["switchover.document.", plugin].concat()
}

fn version_key(plugin: &str) -> String {
    ["switchover.version.", plugin].concat()
}
