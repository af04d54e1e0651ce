//! The context that a guest's hostcalls act on, and what it reaches.

use std::rc::Rc;

use super::State;
use crate::abi::Reach;
use crate::config::WasmPlugin;
use crate::stream::{Member, StreamCell};
use crate::vm::contexts::Context;

/// The context that hostcalls act on, resolved once for each callback.
#[derive(Default)]
pub(super) struct Effective {
    pub(super) id: u32,
    pub(super) root: u32,
    plugin: Option<Rc<WasmPlugin>>,
    pub(super) stream: Option<StreamCell>,
    /// What the stream's context reaches, and what its entry says of that: they differ until another context is entered.
    pub(super) reach: Reach,
    pub(super) kept: Reach,
}

// === impl State ===

impl State {
    /// Makes `id` the context that hostcalls act on; false where there is none of that number.
    #[inline]
    pub fn set_effective(&mut self, id: u32) -> bool {
        // Callbacks of one stream often follow one another.
        if id != 0 && self.effective.id == id {
            return true;
        }
        if self.effective.reach != self.effective.kept {
            self.keep_reach();
        }
        let (root, stream, reach) = match self.contexts.get(id) {
            Some(Context::Root(plugin)) => {
                self.effective = Effective {
                    id,
                    root: id,
                    plugin: Some(plugin.clone()),
                    ..Effective::default()
                };
                return true;
            }
            Some(Context::Stream { root, cell, reach }) => (*root, cell.clone(), *reach),
            None => return false,
        };
        if self.effective.root != root {
            self.effective.plugin = match self.contexts.get(root) {
                Some(Context::Root(plugin)) => Some(plugin.clone()),
                _ => None,
            };
            self.effective.root = root;
        }
        self.effective.stream = Some(stream);
        self.effective.id = id;
        self.effective.reach = reach;
        self.effective.kept = reach;
        true
    }

    /// Writes what the effective context reaches to its entry.
    fn keep_reach(&mut self) {
        let Effective { id, reach, .. } = self.effective;
        if let Some(Context::Stream { reach: kept, .. }) = self.contexts.get_mut(id) {
            *kept = reach;
        }
        self.effective.kept = reach;
    }

    /// What the effective context reaches; nothing, where it is a root.
    #[must_use]
    #[inline]
    pub fn reach(&self) -> Reach {
        self.effective.reach
    }

    /// Lets the effective context reach `sees` besides; `end` says whether that is the end of its direction.
    #[inline]
    pub fn see(&mut self, sees: Reach, end: Option<bool>) {
        let reach = self.effective.reach.with(sees);
        self.effective.reach = match end {
            Some(true) => reach.with(Reach::END),
            Some(false) => reach.without(Reach::END),
            None => reach,
        };
    }

    /// Takes `seen` from what the effective context reaches.
    pub(in crate::vm) fn lose(&mut self, seen: Reach) {
        self.effective.reach = self.effective.reach.without(seen);
    }

    /// A context let its stream go on: it reaches `seen` no more, unless it has answered the stream itself.
    #[inline]
    pub(in crate::vm) fn let_go(&mut self, id: u32, seen: Reach) {
        if !self.stopped && self.set_effective(id) {
            self.effective.reach = self.effective.reach.without(seen);
        }
    }

    /// The effective context resumes its stream: of the request it reaches nothing more, but for a body that it still
    /// holds, as in Envoy.
    pub fn resume(&mut self, holds_body: bool) {
        let lost = match holds_body {
            true => Reach::REQUEST.without(Reach::REQUEST_BODY),
            false => Reach::REQUEST,
        };
        self.lose(lost);
    }

    /// Makes the context that the callback began on effective again.
    pub fn set_effective_back(&mut self) {
        self.set_effective(self.current);
    }

    /// The stream of the effective context.
    #[must_use]
    pub fn effective_stream(&self) -> Option<&StreamCell> {
        self.effective.stream.as_ref()
    }

    /// The plugin of the effective context.
    #[must_use]
    pub fn effective_plugin(&self) -> Option<&WasmPlugin> {
        self.effective.plugin.as_deref()
    }

    /// The context that hostcalls act on, told apart from those of other VMs.
    #[must_use]
    pub fn member(&self) -> Member {
        Member {
            vm: self.serial,
            context: self.effective.id,
        }
    }

    /// The context that hostcalls act on; 0 where there is none.
    #[must_use]
    pub fn effective_context(&self) -> u32 {
        self.effective.id
    }

    /// The root of the effective context; 0 where there is none.
    #[must_use]
    pub fn effective_root(&self) -> u32 {
        self.effective.root
    }

    /// The plugin's name, for log lines.
    #[must_use]
    pub fn plugin_name(&self) -> &str {
        self.effective_plugin().map_or("", |plugin| &plugin.name)
    }
}
