//! Contexts from their creation to their end: the callbacks that say so, and which of them share an entry into the guest.

use std::rc::Rc;

use wasmtime::WasmParams;

use super::entry::{self, Joined, Left};
use super::exports::{Export, Exports};
use super::{Action, Failed, Sees, Vm, VmError, narrow};
use crate::abi::Reach;
use crate::abi::lint::{Rule, lint};
use crate::abi::observe::Words;
use crate::config::WasmPlugin;
use crate::stream::StreamCell;

impl Vm {
    /// Creates and configures a root context.
    ///
    /// # Errors
    /// Where the guest traps or refuses; the root is gone then.
    pub fn add_root(&mut self, plugin: Rc<WasmPlugin>) -> Result<u32, VmError> {
        let vm_size = u32::try_from(self.store.data().vm.configuration.len()).unwrap_or(u32::MAX);
        let plugin_size = u32::try_from(plugin.configuration.len()).unwrap_or(u32::MAX);
        let root = self.store.data_mut().add_root(plugin);
        if self.store.data().uncalled {
            self.store.data_mut().set_effective(root);
            lint(self.store.data(), Rule::NeverCalled);
        }
        let result = self.configure(root, vm_size, plugin_size);
        if result.is_err() && !self.failed {
            self.remove(root);
        }
        result.map(|()| root)
    }

    fn configure(&mut self, root: u32, vm_size: u32, plugin_size: u32) -> Result<(), VmError> {
        let trapped = |_: Failed| VmError::Trap("see the log".to_owned());
        self.store.data_mut().configuring = true;
        let created = self.call(root, |e| &e.context_create, (root, 0), ());
        self.store.data_mut().configuring = false;
        created.map_err(trapped)?;
        if self
            .call(root, |e| &e.vm_start, (root, vm_size), 1)
            .map_err(trapped)?
            == 0
        {
            return Err(VmError::Refused("proxy_on_vm_start"));
        }
        self.store.data_mut().configuring = true;
        let accepted = self.accept(root, plugin_size);
        self.store.data_mut().configuring = false;
        accepted
    }

    fn accept(&mut self, root: u32, plugin_size: u32) -> Result<(), VmError> {
        let accepted = self
            .call(root, |e| &e.configure, (root, plugin_size), 1)
            .map_err(|Failed| VmError::Trap("see the log".to_owned()))?;
        match accepted {
            0 => Err(VmError::Refused("proxy_on_configure")),
            _ => Ok(()),
        }
    }

    /// Creates a stream context of `root`.
    ///
    /// # Errors
    /// Where the guest traps or has.
    pub fn add_stream(&mut self, root: u32, cell: StreamCell) -> Result<u32, Failed> {
        let id = self.store.data_mut().add_stream(root, cell);
        match self.call(id, |e| &e.context_create, (id, root), ()) {
            Ok(()) => Ok(id),
            Err(failed) => {
                self.store.data_mut().remove(id);
                Err(failed)
            }
        }
    }

    /// Runs an entry that several callbacks share.
    fn call_joined<P: WasmParams + Words>(
        &mut self,
        id: u32,
        entry: impl FnOnce(&Exports) -> &Export<P, u32>,
        parameters: P,
        joined: Joined,
    ) -> Result<u32, Failed> {
        self.store.data_mut().join(joined);
        let result = self.call(id, entry, parameters, 0);
        self.store.data_mut().join(Joined::No);
        result
    }

    /// Creates a stream context of `root` and gives it the request's head: its number, and what it wants.
    ///
    /// # Errors
    /// Where the guest has trapped before, or traps while it creates the context by itself.
    pub fn begin(
        &mut self,
        root: u32,
        cell: StreamCell,
        fields: usize,
        end_of_stream: bool,
    ) -> Result<(u32, Result<Action, Failed>), Failed> {
        if !self.joins {
            let id = self.add_stream(root, cell)?;
            return Ok((id, self.request_headers(id, fields, end_of_stream)));
        }
        let id = self.store.data_mut().add_stream(root, cell);
        let parameters = (id, root, narrow(fields), u32::from(end_of_stream));
        let joined = Joined::Begin(end_of_stream);
        let action = match self.call_joined(id, |e| &e.begin, parameters, joined) {
            Ok(entry::UNFINISHED) => self.request_headers(id, fields, end_of_stream),
            Ok(action) => {
                let sees = Sees(Reach::REQUEST_HEADERS, Some(end_of_stream));
                let state = self.store.data_mut();
                state.callbacks += 1;
                state.see(sees.0, sees.1);
                Ok(self.acted(id, action, sees))
            }
            Err(failed) => Err(failed),
        };
        Ok((id, action))
    }

    /// The same where log, done and delete share an entry.
    fn end_joined(&mut self, id: u32, log: bool) {
        // A guest that fails here is failed for the next call; there is nobody to tell.
        let left = self.call_joined(id, |e| &e.end, (id, u32::from(log)), Joined::End);
        let left = Left::from_code(left.unwrap_or_default());
        self.store.data_mut().callbacks += u64::from(log) + u64::from(left == Left::Nothing);
        match left {
            Left::Nothing => return self.store.data_mut().remove(id),
            Left::Delete => {}
            Left::BusyDelete => lint(self.store.data(), Rule::DoneLater),
            Left::DoneDelete => {
                if self.call(id, |e| &e.done, id, 1) == Ok(0) {
                    lint(self.store.data(), Rule::DoneLater);
                }
            }
        }
        self.remove(id);
    }

    /// Ends a stream's context: log, done, delete, in Envoy's order; by the specification log comes after done, and a
    /// context that is still busy stays until it says that it has finished.
    pub fn end(&mut self, id: u32, log: bool) {
        if self.joins {
            return self.end_joined(id, log);
        }
        let strict = self.store.data().strict();
        if log && !strict {
            self.log(id);
        }
        // A guest that fails here is failed for the next call; there is nobody to tell.
        let done = self.call(id, |e| &e.done, id, 1).unwrap_or(1) != 0;
        if !done {
            lint(self.store.data(), Rule::DoneLater);
        }
        if strict && !done {
            return self.store.data_mut().put_off(id);
        }
        if log && strict {
            self.log(id);
        }
        self.remove(id);
    }

    fn log(&mut self, id: u32) {
        let _ = self.call_seeing(id, |e| &e.log, id, (), Sees(Reach::LOG, None));
        self.store.data_mut().let_go(id, Reach::LOG);
    }

    /// Ends a root context: done and delete; false where it is still busy, and stays.
    pub fn end_root(&mut self, id: u32) -> bool {
        let done = self.call(id, |e| &e.done, id, 1).unwrap_or(1) != 0;
        if done {
            self.remove(id);
        } else {
            self.store.data_mut().put_off(id);
        }
        done
    }

    /// Deletes a context that was put off; by the specification its log comes first, where it is a stream's.
    pub fn delete(&mut self, id: u32) {
        if self.store.data().strict() && self.store.data().is_stream(id) {
            self.log(id);
        }
        self.store.data_mut().finish(id);
        self.remove(id);
    }

    pub(super) fn remove(&mut self, id: u32) {
        let _ = self.call(id, |e| &e.delete, id, ());
        self.store.data_mut().remove(id);
    }
}
