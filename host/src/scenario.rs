//! `switchover test`: YAML scenarios for Proxy-Wasm HTTP filters, in process, under a virtual clock.
//!
//! `model` is the format, `read` reads it, `prepare` checks and completes it, `run` plays a scenario to the guests
//! in a [`crate::simulation`], `check` compares, `report` and `junit` tell.

mod check;
mod diff;
pub mod junit;
mod matching;
mod model;
mod prepare;
mod read;
pub mod report;
mod run;
mod world;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::abi;
use crate::config::Problem;
use crate::simulation::Modules;
use crate::vm::VmError;
use prepare::Prepared;

/// Scenarios that can be run.
pub struct Suite {
    scenarios: Vec<Prepared>,
}

/// Which scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its file, as it was named.
    pub file: Arc<Path>,
    /// Its line there, from 1.
    pub line: usize,
    /// Its name.
    pub name: String,
}

/// How to run them.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many run at a time.
    pub jobs: usize,
    /// Keep all that happened.
    pub tell: bool,
    /// Where compiled modules are kept from one run to the next.
    pub module_cache: Option<PathBuf>,
    /// How the ABI is carried out, and who watches.
    pub abi: abi::Options,
}

/// What has become of a scenario.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its file, as it was named.
    pub file: Arc<Path>,
    /// Its name.
    pub name: String,
    /// Its line, from 1.
    pub line: usize,
    /// What was not as expected; none where it passed.
    pub failures: Vec<Failure>,
    /// How long it took, by the real clock.
    pub took: Duration,
    /// How much time passed in it, by the virtual clock.
    pub passed_by: Duration,
    /// Requests that were sent.
    pub requests: u64,
    /// All that happened, if it was to be kept.
    pub told: Vec<String>,
}

/// Something that was not as expected.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The line that says what was expected, from 1.
    pub line: usize,
    /// The path of that within the scenario.
    pub place: String,
    /// The step.
    pub step: String,
    /// What was expected.
    pub expected: String,
    /// What came instead.
    pub actual: String,
    /// What helps to understand it: headers, log lines.
    pub context: Vec<String>,
}

/// Why scenarios cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A path that cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file of another kind, a filter perhaps.
    #[error(
        "{} is not text in UTF-8: give scenarios, .yaml or .yml, which name the filter they are for; `switchover inspect` looks at a filter",
        .0.display()
    )]
    NoText(PathBuf),
    /// A folder without scenarios.
    #[error("{} has no scenarios: no file in it ends in .yaml or .yml", .0.display())]
    Empty(PathBuf),
    /// Files that say what cannot be.
    #[error("{} in scenario files", problems(.0.len()))]
    Problems(Vec<Problem>),
}

// === impl LoadError ===

impl LoadError {
    fn of(path: &Path, error: std::io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            std::io::ErrorKind::InvalidData => Self::NoText(path),
            _ => Self::Read { path, error },
        }
    }
}

fn problems(count: usize) -> String {
    match count {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    }
}

// === impl Suite ===

impl Suite {
    /// Reads files of scenarios; of folders, all files in them and their folders that end in `.yaml` or `.yml`.
    ///
    /// # Errors
    /// What cannot be read, or all problems of all files.
    pub fn load(paths: &[PathBuf]) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        for path in paths {
            let before = files.len();
            find(path, &mut files)?;
            if files.len() == before {
                return Err(LoadError::Empty(path.clone()));
            }
        }
        let mut suite = Self {
            scenarios: Vec::new(),
        };
        let mut problems = Vec::new();
        for file in files {
            let text =
                std::fs::read_to_string(&file).map_err(|error| LoadError::of(&file, error))?;
            match prepare::load(&file, &text) {
                Ok(scenarios) => suite.scenarios.extend(scenarios),
                Err(found) => problems.extend(found),
            }
        }
        match problems.is_empty() {
            true => Ok(suite),
            false => Err(LoadError::Problems(problems)),
        }
    }

    /// Those whose names fit.
    pub fn retain(&mut self, fits: impl Fn(&str) -> bool) {
        self.scenarios.retain(|scenario| fits(&scenario.name));
    }

    /// All names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        let name = |scenario: &Prepared| Name {
            file: scenario.file.clone(),
            line: read::line_of(
                &scenario.tree,
                &prepare::way(&["scenarios"], Some(scenario.index), &[]),
            ),
            name: scenario.name.clone(),
        };
        self.scenarios.iter().map(name).collect()
    }

    /// Runs them all, several at a time; `done` is told of each as it ends, in any order. The outcomes are in order.
    ///
    /// # Errors
    /// Where this machine cannot run wasmtime.
    pub fn run(
        &self,
        options: &Options,
        done: impl Fn(&Outcome) + Sync,
    ) -> Result<Vec<Outcome>, VmError> {
        let modules = Modules::kept_in(options.module_cache.clone())?;
        let next = AtomicUsize::new(0);
        let outcomes = Mutex::new(Vec::new());
        let work = || {
            while let at = next.fetch_add(1, Ordering::Relaxed)
                && let Some(scenario) = self.scenarios.get(at)
            {
                let outcome = run::run(scenario, &modules, options);
                done(&outcome);
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                outcomes.push((at, outcome));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..options.jobs.min(self.scenarios.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut outcomes = outcomes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        outcomes.sort_by_key(|(at, _)| *at);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }
}

// === impl Outcome ===

impl Outcome {
    /// Whether all was as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// The JSON Schema of the format.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(model::File);
    schema.insert(
        "$id".to_owned(),
        "https://switchover.dev/schema/scenarios.json".into(),
    );
    schema.to_value()
}

/// A file, or all scenario files of a folder, in order.
fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), LoadError> {
    let failed = |error| LoadError::Read {
        path: path.to_owned(),
        error,
    };
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let entries: Result<Vec<_>, _> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut entries = entries.map_err(failed)?;
    entries.sort();
    for entry in entries {
        let extension = entry.extension().and_then(|extension| extension.to_str());
        if entry.is_dir() {
            find(&entry, files)?;
        } else if matches!(extension, Some("yaml" | "yml")) {
            files.push(entry);
        }
    }
    Ok(())
}
