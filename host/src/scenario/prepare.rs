//! From what a file says to what can be run: defaults and differences joined, files found, names checked.

mod check;
mod plugin;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::model::{self, Cluster, Match, Mode, Retry, Setup, Short, Step};
use super::read::{self, Step as Way, line_of, path_text, problem};
use crate::abi;
use crate::config::{Problem, Tree};
use crate::simulation::RetryOn;
pub(super) use check::actions;
pub(super) use plugin::ReadyPlugin;

/// A scenario that can be run.
pub(super) struct Prepared {
    /// Its file, as it was named.
    pub(super) file: Arc<Path>,
    /// The folder that paths in it start from.
    pub(super) folder: Arc<Path>,
    /// The file, for places.
    pub(super) tree: Arc<Tree>,
    /// Its place among the file's scenarios.
    pub(super) index: usize,
    /// Its name.
    pub(super) name: String,
    /// It is to fail to start.
    pub(super) refused: bool,
    /// What it starts from.
    pub(super) ready: Ready,
    /// Its steps.
    pub(super) steps: Vec<Step>,
}

/// What a scenario starts from, complete.
pub(super) struct Ready {
    /// Filters of the listener before the one under test, that one, and those behind it.
    pub(super) listener: Vec<ReadyPlugin>,
    /// Its place among them.
    pub(super) at: usize,
    /// The filter under test, once more.
    pub(super) under_test: Box<ReadyPlugin>,
    /// Upstream filters.
    pub(super) upstream: Vec<ReadyPlugin>,
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) routes: Arc<[Routed]>,
    pub(super) workers: usize,
    pub(super) seed: u64,
    pub(super) start: SystemTime,
    pub(super) deadline: Duration,
    pub(super) patience: Duration,
    pub(super) mode: Option<abi::Mode>,
}

/// A route whose names are known.
pub(super) struct Routed {
    pub(super) name: Arc<str>,
    pub(super) path: Option<Short<Match>>,
    pub(super) headers: BTreeMap<String, Short<Match>>,
    pub(super) target: Target,
    pub(super) attempts: Option<Vec<String>>,
    pub(super) retry_on: RetryOn,
    pub(super) timeout: Duration,
}

/// Where a route leads.
pub(super) enum Target {
    /// To this cluster.
    Cluster(Arc<str>),
    /// To the one that this header names.
    Header(String),
}

/// The cluster that is there where none is named.
const UPSTREAM: &str = "upstream";

/// 2026-01-01T00:00:00Z.
const START: Duration = Duration::from_secs(1_767_225_600);

/// Reads a file and prepares its scenarios.
///
/// # Errors
/// All problems, in the file's order.
pub(super) fn load(file: &Path, text: &str) -> Result<Vec<Prepared>, Vec<Problem>> {
    let (contents, tree) = read::read::<model::File>(file, text)?;
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut preparing = Preparing {
        file,
        folder: folder.unwrap_or(Path::new(".")),
        tree: &tree,
        problems: Vec::new(),
    };
    if contents.scenarios.is_empty() {
        preparing.report(&[Way::Key("scenarios".to_owned())], "has no scenario");
    }
    let mut ready = Vec::new();
    for (index, scenario) in contents.scenarios.iter().enumerate() {
        let twin = contents.scenarios.iter().take(index);
        if twin.into_iter().any(|other| other.name == scenario.name) {
            preparing.report(
                &way(&["scenarios"], Some(index), &["name"]),
                &format!(
                    "another scenario of this file is named {:?} too",
                    scenario.name
                ),
            );
        }
        ready.push(preparing.setup(&contents.defaults, &scenario.with, index));
        if let Some(Some(ready)) = ready.last() {
            preparing.steps(scenario, ready, index);
        }
    }
    let mut problems = preparing.problems;
    problems.sort_by_key(|problem| problem.line);
    problems.dedup();
    if !problems.is_empty() {
        return Err(problems);
    }
    let (file, folder): (Arc<Path>, Arc<Path>) =
        (file.into(), folder.unwrap_or(Path::new(".")).into());
    let tree = Arc::new(tree);
    let scenarios = contents.scenarios.into_iter().zip(ready).enumerate();
    Ok(scenarios
        .filter_map(|(index, (scenario, ready))| {
            Some(Prepared {
                file: file.clone(),
                folder: folder.clone(),
                tree: tree.clone(),
                index,
                name: scenario.name,
                refused: scenario.refused,
                ready: ready?,
                steps: scenario.steps,
            })
        })
        .collect())
}

/// A path of keys, perhaps with an index behind the first of them.
pub(super) fn way(before: &[&str], index: Option<usize>, behind: &[&str]) -> Vec<Way> {
    let key = |key: &&str| Way::Key((*key).to_owned());
    let mut way: Vec<Way> = before.iter().map(key).collect();
    way.extend(index.map(Way::Index));
    way.extend(behind.iter().map(key));
    way
}

/// A file that is being prepared.
struct Preparing<'a> {
    file: &'a Path,
    folder: &'a Path,
    tree: &'a Tree,
    problems: Vec<Problem>,
}

// === impl Preparing ===

impl Preparing<'_> {
    fn report(&mut self, place: &[Way], message: &str) {
        let line = line_of(self.tree, place);
        let problem = problem(self.file, line, path_text(place), message.to_owned());
        self.problems.push(problem);
    }

    /// Joins defaults and a scenario's own; `None` where it has no filter.
    fn setup(&mut self, defaults: &Setup, with: &Setup, index: usize) -> Option<Ready> {
        let under_test = self.under_test(defaults, with, index)?;
        let before = self.others(defaults, with, index, "filters_before", &under_test);
        let after = self.others(defaults, with, index, "filters_after", &under_test);
        let upstream = self.others(defaults, with, index, "upstream_filters", &under_test);
        let at = before.len();
        let own = [under_test.clone()];
        let listener = before.into_iter().chain(own).chain(after).collect();
        let mut clusters = defaults.clusters.clone();
        clusters.extend(with.clusters.clone());
        if clusters.is_empty() {
            clusters.insert(UPSTREAM.to_owned(), Cluster::default());
        }
        let routes = self.routes(defaults, with, index, &clusters);
        for (name, cluster) in &clusters {
            let own = with.clusters.contains_key(name);
            let mut place = self.place(own, index, &["clusters", name]);
            place.push(Way::Key("answers".to_owned()));
            for answer in cluster.answers.iter().flat_map(|answers| answers.iter()) {
                self.answer(answer, &place);
            }
        }
        let workers = with.workers.or(defaults.workers).unwrap_or(1);
        if !(1..=64).contains(&workers) {
            let place = self.place(with.workers.is_some(), index, &["workers"]);
            self.report(&place, &format!("expected from 1 to 64, found {workers}"));
        }
        let start = with.start.or(defaults.start);
        Some(Ready {
            listener,
            at,
            under_test: Box::new(under_test),
            upstream,
            clusters,
            routes: routes.into(),
            workers,
            seed: with.seed.or(defaults.seed).unwrap_or(1),
            start: start.map_or(SystemTime::UNIX_EPOCH + START, |start| start.0),
            deadline: with
                .deadline
                .or(defaults.deadline)
                .map_or(crate::simulation::DEADLINE, |span| span.0),
            patience: with
                .patience
                .or(defaults.patience)
                .map_or(Duration::from_secs(300), |span| span.0),
            mode: with.mode.or(defaults.mode).map(|mode| match mode {
                Mode::Strict => abi::Mode::Strict,
                Mode::Envoy => abi::Mode::Envoy,
            }),
        })
    }

    /// Where a field of the setup stands: in the scenario's own, or in the defaults.
    fn place(&self, own: bool, index: usize, keys: &[&str]) -> Vec<Way> {
        match own {
            true => {
                let keys: Vec<_> = ["with"].into_iter().chain(keys.iter().copied()).collect();
                way(&["scenarios"], Some(index), &keys)
            }
            false => {
                let keys: Vec<_> = ["defaults"]
                    .into_iter()
                    .chain(keys.iter().copied())
                    .collect();
                way(&keys, None, &[])
            }
        }
    }

    fn routes(
        &mut self,
        defaults: &Setup,
        with: &Setup,
        index: usize,
        clusters: &BTreeMap<String, Cluster>,
    ) -> Vec<Routed> {
        let routes = with.routes.as_ref().or(defaults.routes.as_ref());
        let Some(routes) = routes else {
            let first = match clusters.contains_key(UPSTREAM) {
                true => Some(UPSTREAM),
                false => clusters.keys().next().map(String::as_str),
            };
            let target = Target::Cluster(Arc::from(first.unwrap_or(UPSTREAM)));
            return vec![routed(&model::Route::default(), target)];
        };
        let base = self.place(with.routes.is_some(), index, &["routes"]);
        let mut known = Vec::new();
        for (at, route) in routes.iter().enumerate() {
            let mut place = base.clone();
            place.push(Way::Index(at));
            let target = match (&route.cluster, &route.cluster_header) {
                (Some(name), None) => Target::Cluster(Arc::from(name.as_str())),
                (None, Some(header)) => Target::Header(header.clone()),
                _ => {
                    self.report(&place, "exactly one of cluster, cluster_header is required");
                    continue;
                }
            };
            let attempts = route.attempts.iter().flatten();
            let own = route.cluster.iter().filter(|_| route.attempts.is_none());
            for name in attempts.chain(own) {
                if !clusters.contains_key(name) {
                    self.report(&place, &unknown("cluster", name, clusters.keys()));
                }
            }
            self.header_names(route.headers.keys(), &place);
            known.push(routed(route, target));
        }
        known
    }
}

/// "There is no such …", and what there is.
pub(super) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a String>,
) -> String {
    let known: Vec<_> = known.map(String::as_str).collect();
    format!(
        "there is no {what} {name:?} here; there is: {}",
        known.join(", ")
    )
}

fn routed(route: &model::Route, target: Target) -> Routed {
    let failures: Vec<Retry> = match &route.retry_on {
        Some(list) => list.iter().map(|retry| retry.0).collect(),
        None => vec![Retry::ServerErrors, Retry::Reset],
    };
    let statuses = failures.iter().filter_map(|retry| match retry {
        Retry::Status(status) => http::StatusCode::from_u16(*status).ok(),
        _ => None,
    });
    Routed {
        name: Arc::from(route.name.as_str()),
        path: route.path.clone(),
        headers: route.headers.clone(),
        target,
        attempts: route.attempts.clone(),
        retry_on: RetryOn {
            server_errors: failures.contains(&Retry::ServerErrors),
            reset: failures.contains(&Retry::Reset),
            statuses: statuses.collect(),
        },
        timeout: route.timeout.map_or(Duration::from_secs(15), |span| span.0),
    }
}
