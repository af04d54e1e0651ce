//! Filters and what they are made of: documents and binaries that are swapped in while requests run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{FilterId, Followed, Gateway, Ready, StartError};
use crate::config::listener::{HttpFilter, HttpFilterKind};
use crate::config::plugin::{self, Code};
use crate::config::{Problem, WasmPlugin};
use crate::vm::VmError;
use crate::vm::plugin::{Plugin, Vms};

/// One guest of the file, and what it runs now.
pub(super) struct Source {
    /// Its place.
    pub(super) id: FilterId,
    /// The filter.
    pub(super) filter: HttpFilter,
    /// What it runs; `None` until its document has been accepted.
    pub(super) current: Option<Ready>,
    /// The document's text as last looked at, accepted or not.
    seen: Option<Vec<u8>>,
}

/// Why a change was refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The document.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Document(Vec<Problem>),
    /// The guest.
    #[error(transparent)]
    Guest(#[from] VmError),
}

// === impl Source ===

impl Source {
    pub(super) fn new(id: FilterId, filter: HttpFilter) -> Self {
        Self {
            id,
            filter,
            current: None,
            seen: None,
        }
    }

    /// Loads what the filter starts with. A document that is refused at the start leaves the default, or nothing:
    /// the listener then answers 500, as in Envoy.
    pub(super) fn start(&mut self, gateway: &Arc<Gateway>) -> Result<(), StartError> {
        let named = |error| StartError::Filter {
            name: self.filter.name.clone(),
            error,
        };
        match &self.filter.kind {
            HttpFilterKind::Wasm(plugin) => {
                self.current = Some(prepare(gateway, plugin).map_err(named)?)
            }
            HttpFilterKind::Discovered(discovery) => {
                if let Some(default) = &discovery.default {
                    self.current = Some(prepare(gateway, default).map_err(named)?);
                }
                if !discovery.path.exists() {
                    let message =
                        "no such file; it must be there when the gateway starts".to_owned();
                    let file = discovery.path.clone();
                    let severity = crate::config::Severity::Error;
                    return Err(StartError::Discovery(vec![Problem {
                        file,
                        line: 0,
                        path: String::new(),
                        message,
                        severity,
                    }]));
                }
                match self.document(gateway) {
                    Ok(ready) => self.current = ready.or(self.current.take()),
                    Err(refusal) => self.refused(gateway, &refusal),
                }
            }
            HttpFilterKind::HeaderMutation(_) | HttpFilterKind::Terminal => {}
        }
        Ok(())
    }

    /// What has changed since it was last looked at: the document, or the binary behind it.
    pub(super) fn changed(&mut self, gateway: &Arc<Gateway>) -> Result<Option<Ready>, Refusal> {
        if matches!(self.filter.kind, HttpFilterKind::Discovered(_))
            && let Some(ready) = self.document(gateway)?
        {
            return Ok(Some(ready));
        }
        let Some(current) = &self.current else {
            return Ok(None);
        };
        if !matches!(current.config.vm.code, Code::File(_)) {
            return Ok(None);
        }
        let compiled = gateway.engine.load(&current.config.vm.code)?;
        if compiled.digest == current.compiled.digest {
            return Ok(None);
        }
        Ok(Some(prepare(gateway, &current.config)?))
    }

    /// The document, if its text is another than before.
    fn document(&mut self, gateway: &Arc<Gateway>) -> Result<Option<Ready>, Refusal> {
        let HttpFilterKind::Discovered(discovery) = &self.filter.kind else {
            return Ok(None);
        };
        // A file that is gone for a moment is between two moves.
        let path = &discovery.path;
        let text = match std::fs::metadata(path) {
            // A pipe would wait for its writer; it is refused below.
            Ok(metadata) if !metadata.is_file() => Ok(Vec::new()),
            _ => std::fs::read(path),
        };
        let Ok(text) = text else {
            return Ok(None);
        };
        if self.seen.as_ref() == Some(&text) {
            return Ok(None);
        }
        self.seen = Some(text);
        let config = plugin::load_discovered(&discovery.path, &self.filter.name, &*gateway.env)
            .map_err(Refusal::Document)?;
        Ok(Some(prepare(gateway, &config)?))
    }

    /// Says that a change was refused.
    pub(super) fn refused(&self, gateway: &Gateway, refusal: &Refusal) {
        self.counter(gateway, "update_rejected");
        let filter = &self.filter.name;
        if self.current.is_some() {
            tracing::error!(
                filter,
                "the new document or binary is refused, the old one serves on: {refusal}"
            );
        } else {
            tracing::error!(
                filter,
                "the document is refused, requests get 500 until a good one is there: {refusal}"
            );
        }
    }

    /// Takes a change over.
    pub(super) fn accepted(&mut self, gateway: &Gateway, ready: Ready) {
        self.current = Some(ready);
        self.counter(gateway, "update_success");
        tracing::info!(
            filter = self.filter.name,
            "a new document or binary is in force"
        );
    }

    fn counter(&self, gateway: &Gateway, what: &str) {
        let name = format!(
            "extension_config_discovery.http_filter.{}.{what}",
            self.filter.name
        );
        gateway.process.stats.counter(&name).increment();
    }

    /// The directories whose changes may mean it.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        if let HttpFilterKind::Discovered(discovery) = &self.filter.kind {
            found.push(parent(&discovery.path));
            found.extend(discovery.watched_directory.clone());
        }
        if let HttpFilterKind::Wasm(plugin) = &self.filter.kind
            && let Code::File(path) = &plugin.vm.code
        {
            found.push(parent(path));
        }
        if let Some(Ready { config, .. }) = &self.current
            && let Code::File(path) = &config.vm.code
        {
            found.push(parent(path));
        }
        found
    }
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Compiles a plugin and tries it in a VM that serves nothing, as Envoy does on its main thread.
fn prepare(gateway: &Arc<Gateway>, config: &WasmPlugin) -> Result<Ready, VmError> {
    let compiled = gateway.engine.load(&config.vm.code)?;
    let vms = Vms::new(
        gateway.process.clone(),
        Rc::new(|_, _| ()),
        crate::abi::queues::Mailbox::default(),
    );
    drop(Plugin::start(config.clone(), compiled.clone(), vms)?);
    Ok(Ready {
        config: config.clone(),
        compiled,
    })
}

/// Takes over what certificates, keys and trust say now.
pub(super) fn certificates(gateway: &Gateway) {
    for Followed { prefix, tls } in &gateway.tls {
        let (outcome, context) = match tls.refresh() {
            Ok(false) => continue,
            Ok(true) => {
                tracing::info!("new certificates are in force: {prefix}");
                ("update_success", "ssl_context_update_by_sds")
            }
            Err(error) => {
                tracing::error!(
                    "new certificates are refused, those before stay in force: {prefix}: {error}"
                );
                ("update_rejected", "update_rejected")
            }
        };
        let count = |name: String| gateway.process.stats.counter(&name).increment();
        count(format!("{prefix}.{context}"));
        for secret in tls.secrets() {
            count(format!("sds.{secret}.{outcome}"));
        }
    }
}

/// Watches directories; each change is one message.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
}

impl Watch {
    /// Begins with these.
    pub(super) fn start(
        directories: BTreeSet<PathBuf>,
    ) -> notify::Result<(Self, mpsc::Receiver<()>)> {
        let (sender, receiver) = mpsc::channel(1);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| matters(&event.kind)) {
                    // A message that waits already stands for this change too.
                    let _ = sender.try_send(());
                }
            })?;
        for directory in &directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        let watch = Self {
            watcher,
            directories,
        };
        Ok((watch, receiver))
    }

    /// Adds those that are new: a document may name other files than before.
    pub(super) fn extend(&mut self, directories: BTreeSet<PathBuf>) {
        for directory in directories {
            if self.directories.contains(&directory) {
                continue;
            }
            match self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.directories.insert(directory);
                }
                Err(error) => {
                    tracing::error!("cannot watch {}: {error}", directory.display());
                }
            }
        }
    }
}

/// Moves, new names and finished writes; not the parts of a write.
fn matters(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(_)
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Access(AccessKind::Close(AccessMode::Write))
    )
}
