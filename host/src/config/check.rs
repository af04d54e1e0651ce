//! Checking a file as a whole, with the documents in it and the files that it names.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::audit::Audit;
use super::facts::{Facts, PluginAt, TlsAt};
use super::node;
use super::plugin::{Code, read_discovered, read_discovered_text};
use super::read::{self, read_file};
use super::rollout::Document;
use super::{Problem, Severity};

/// The root id of the role in a listener's filters.
pub(super) const ROUTE: &str = "switchover.route";
/// The root id of the role in a cluster's upstream filters.
pub(super) const ATTEMPT: &str = "switchover.attempt";

/// The first bytes of a Wasm module.
const WASM_MAGIC: &[u8] = b"\0asm";

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bootstrap,
    Discovered,
    Document,
}

/// All problems of a bootstrap, of an ECDS document or of a plain rollout document: errors first, then warnings, each
/// by file and line.
///
/// A bootstrap's ECDS documents and Wasm modules are opened as well. `env` looks up variables of the process's
/// environment; those that a VM takes from there and that are not set are warnings.
pub fn check(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Vec<Problem> {
    match read_file(path) {
        Ok(text) => check_text(path, &text, env),
        Err(problem) => vec![problem],
    }
}

/// The same for a text that is, or is to be, the file's.
pub fn check_text(path: &Path, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Vec<Problem> {
    let mut problems = match Kind::of(path, text) {
        Kind::Bootstrap => bootstrap(path, text, env),
        Kind::Discovered => {
            let (_, facts, mut problems) = read_discovered_text(path, text, None, env);
            problems.extend(facts.plugins.borrow().iter().flat_map(plugin));
            problems
        }
        // The variables of its VM are not known.
        Kind::Document => Document::new(path, text, None).problems(&|_| Some("unknown".to_owned())),
    };
    // What an alias repeats is one problem.
    let mut seen = BTreeSet::new();
    problems.retain(|p| seen.insert((p.file.clone(), p.line, p.message.clone())));
    problems.sort_by_key(|p| (p.severity, p.file != path, p.file.clone(), p.line));
    problems
}

fn bootstrap(path: &Path, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Vec<Problem> {
    let (bootstrap, facts, mut problems) = read::bootstrap(path, text, env);
    let (plugins, discovered) = all_plugins(path, &facts, env);
    problems.extend(discovered);
    problems.extend(facts.tls.borrow().iter().filter_map(|at| tls(path, at)));
    // What is missing would only be reported once more, as what others miss in it.
    let sound = problems.iter().all(|p| p.severity == Severity::Warning);
    problems.extend(plugins.iter().flat_map(plugin));
    if let Some(bootstrap) = bootstrap.as_ref().filter(|_| sound) {
        problems.extend(Audit::new(bootstrap, &plugins).run());
    }
    problems
}

/// What is wrong with the files of a TLS context.
fn tls(path: &Path, at: &TlsAt) -> Option<Problem> {
    let error = crate::tls::check(&at.common).err()?;
    Some(Problem {
        file: path.to_owned(),
        line: at.place.line,
        path: at.place.path.clone(),
        message: error.to_string(),
        severity: Severity::Error,
    })
}

/// The plugins of the file and of its ECDS documents, and the problems of the latter.
fn all_plugins(
    path: &Path,
    facts: &Facts,
    env: &dyn Fn(&str) -> Option<String>,
) -> (Vec<PluginAt>, Vec<Problem>) {
    let mut plugins = facts.plugins.borrow().clone();
    let mut problems = Vec::new();
    for discovery in facts.discoveries.borrow().iter() {
        if !discovery.path.exists() {
            problems.push(Problem {
                file: path.to_owned(),
                line: discovery.place.line,
                path: discovery.place.path.clone(),
                message: format!(
                    "the document {} does not exist; it must when the listener starts",
                    discovery.path.display()
                ),
                severity: Severity::Error,
            });
            continue;
        }
        let (_, facts, found) = read_discovered(&discovery.path, Some(&discovery.name), env);
        problems.extend(found);
        let slot = Some(discovery.slot.clone());
        plugins.extend(facts.plugins.into_inner().into_iter().map(|p| PluginAt {
            slot: slot.clone(),
            ..p
        }));
    }
    (plugins, problems)
}

/// The problems of one plugin by itself: its code, its variables, its document.
fn plugin(at: &PluginAt) -> Vec<Problem> {
    let mut problems: Vec<_> = code(&at.plugin.vm.code)
        .into_iter()
        .map(|message| at.problem(Severity::Error, &at.code, message))
        .chain(at.host_keys.iter().map(|(name, place)| {
            at.problem(
                Severity::Warning,
                place,
                format!("the variable {name} is not set here, so the guest goes without it"),
            )
        }))
        .collect();
    match at.plugin.root_id.as_str() {
        ROUTE => problems.extend(route_document(at)),
        ATTEMPT => problems.extend(attempt_configuration(at)),
        _ => {}
    }
    problems
}

/// Why a code is no Wasm module.
fn code(code: &Code) -> Option<String> {
    let not_wasm = |start: &[u8]| !start.starts_with(WASM_MAGIC);
    match code {
        Code::Inline(bytes) => not_wasm(bytes).then(|| "is not a Wasm module".to_owned()),
        Code::File(path) => match start(path) {
            Err(e) => Some(format!(
                "the Wasm module {} cannot be read: {e}",
                path.display()
            )),
            Ok(bytes) => {
                not_wasm(&bytes).then(|| format!("{} is not a Wasm module", path.display()))
            }
        },
    }
}

/// The first bytes of a file.
fn start(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = u64::try_from(WASM_MAGIC.len()).unwrap_or(u64::MAX);
    File::open(path)?.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn route_document(at: &PluginAt) -> Vec<Problem> {
    let Ok(text) = std::str::from_utf8(&at.plugin.configuration) else {
        return vec![at.problem(
            Severity::Error,
            &at.place,
            "the rollout document is not text in UTF-8",
        )];
    };
    if text.trim().is_empty() {
        let message = format!("the root id {ROUTE} needs a rollout document as its configuration");
        return vec![at.problem(Severity::Error, &at.place, message)];
    }
    let missing = |name: &str| at.host_keys.iter().any(|(key, _)| key == name);
    // A variable that is only unset here was warned of; its document is right all the same.
    let lookup = |name: &str| {
        at.plugin
            .vm
            .environment
            .get(name)
            .cloned()
            .or_else(|| missing(name).then(|| "unknown".to_owned()))
    };
    Document::new(&at.file, text, at.configuration.as_ref()).problems(&lookup)
}

/// The attempt role's configuration is empty, or `{}`, or names a route plugin.
fn attempt_configuration(at: &PluginAt) -> Vec<Problem> {
    let text = String::from_utf8_lossy(&at.plugin.configuration);
    let document = Document::new(&at.file, &text, at.configuration.as_ref());
    document.attempt_problems()
}

// === impl PluginAt ===

impl PluginAt {
    /// A problem in the plugin's file.
    pub(super) fn problem(
        &self,
        severity: Severity,
        place: &super::reader::Place,
        message: impl Into<String>,
    ) -> Problem {
        Problem {
            file: self.file.clone(),
            line: place.line,
            path: place.path.clone(),
            message: message.into(),
            severity,
        }
    }
}

// === impl Kind ===

impl Kind {
    /// By the fields at the top; a bootstrap in doubt.
    pub(super) fn of(path: &Path, text: &str) -> Self {
        let Ok(root) = node::parse(path, text) else {
            return Kind::Bootstrap;
        };
        if root.get("resources").is_some() {
            Kind::Discovered
        } else if root.get("routing").is_some() || root.get("rollouts").is_some() {
            Kind::Document
        } else {
            Kind::Bootstrap
        }
    }
}
