//! Rollout documents within an Envoy file: their problems with the file's lines, and what checks across both need.

mod models;

use std::path::{Path, PathBuf};

use switchover_core::{Schedule, Share, document};

use super::facts::TextAt;
use super::node::{Node, Value, parse_json};
use super::reader::Place;
use super::{Problem, Severity};

/// A rollout document's text, wherever it stands.
pub(super) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
    at: Option<&'a TextAt>,
    /// The text as a tree, if it is JSON.
    root: Option<Node>,
}

/// One rollout of a document, as far as an Envoy file can contradict it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rollout {
    /// What comes before its fields in JSON paths: nothing, or `rollouts[0].`.
    pub(super) prefix: String,
    /// `attempts`; true also where it is something wrong.
    pub(super) attempts: bool,
    /// `auth.identity_header`.
    pub(super) identity_header: Option<String>,
    /// The stable environment; `None` where the document is wrong.
    pub(super) stable: Option<String>,
    /// Whether there is a `guard`.
    pub(super) guard: bool,
    /// The environment that `guard` watches, else the one that `schedule` is about, and which of the two it is.
    pub(super) watched: Option<(String, &'static str)>,
    /// The environments.
    pub(super) environments: Vec<Environment>,
    /// What `models` asks of the file, where there are any.
    pub(super) models: Option<Models>,
}

/// What `models` asks of an Envoy file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Models {
    /// `hold_headers`.
    pub(super) hold_headers: bool,
    /// `max_body`, in bytes.
    pub(super) max_body: usize,
}

/// An environment of a rollout.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Environment {
    /// Its name.
    pub(super) name: String,
    /// What it has in `clusters`.
    pub(super) clusters: Vec<Named>,
    /// Where probes and shadow copies for it go to, if there are any: its first cluster, or the one of its own name.
    pub(super) called: Option<Named>,
    /// Whether only some `models` may go there.
    pub(super) bound: bool,
}

/// A mention of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The cluster.
    pub(super) name: String,
    /// The JSON path.
    pub(super) path: String,
}

// === impl Document ===

impl<'a> Document<'a> {
    /// A text in a file; `at` is its place where it is not the file itself.
    pub(super) fn new(file: &'a Path, text: &'a str, at: Option<&'a TextAt>) -> Self {
        Document {
            file,
            text,
            at,
            root: parse_json(text).ok(),
        }
    }

    /// All problems that the document has by itself. `env` answers for the VM's variables.
    pub(super) fn problems(&self, env: &dyn Fn(&str) -> Option<String>) -> Vec<Problem> {
        let document = match document::parse(self.text.as_bytes(), env) {
            Ok(document) => document,
            Err(problems) => return self.placed(Some(problems)),
        };
        let rollouts = document.rollouts().iter().zip(self.rollouts());
        let warnings = rollouts.flat_map(|(rollout, Rollout { prefix, .. })| {
            let falls = rollout.schedule().and_then(falls);
            let falls =
                falls.map(|(at, message)| (format!("{prefix}schedule.steps[{at}]"), message));
            let unguarded = unguarded(rollout);
            let unguarded =
                unguarded.map(|message| (format!("{prefix}guard.environment"), message));
            let warning =
                |(path, message): (String, String)| self.problem(Severity::Warning, &path, message);
            let models = models::doubts(rollout).into_iter();
            let models = models.map(|(path, message)| (format!("{prefix}{path}"), message));
            falls
                .into_iter()
                .chain(unguarded)
                .chain(models)
                .map(warning)
                .collect::<Vec<_>>()
        });
        warnings.collect()
    }

    /// All problems of the text as an attempt role's configuration.
    pub(super) fn attempt_problems(&self) -> Vec<Problem> {
        self.placed(document::parse_attempt(self.text.as_bytes()).err())
    }

    fn placed(&self, problems: Option<Vec<document::Problem>>) -> Vec<Problem> {
        let problems = problems.unwrap_or_default().into_iter();
        problems
            .map(|p| self.problem(Severity::Error, &p.path, p.message))
            .collect()
    }

    /// A problem at a JSON path.
    pub(super) fn problem(
        &self,
        severity: Severity,
        path: &str,
        message: impl Into<String>,
    ) -> Problem {
        let place = self.place(path);
        Problem {
            file: PathBuf::from(self.file),
            line: place.line,
            path: place.path,
            message: message.into(),
            severity,
        }
    }

    /// Where in the file a JSON path leads.
    fn place(&self, path: &str) -> Place {
        let line = match (&self.root, parse_json(self.text)) {
            (Some(root), _) => root.nearest(path).line,
            (None, Err(e)) => e.line,
            (None, Ok(_)) => 1,
        };
        match self.at {
            None => Place {
                line,
                path: path.to_owned(),
            },
            Some(at) => Place {
                line: if at.literal {
                    at.place.line + line
                } else {
                    at.place.line
                },
                path: if path.is_empty() {
                    at.place.path.clone()
                } else {
                    format!("{} > {path}", at.place.path)
                },
            },
        }
    }

    /// The rollouts in it; none where it is not JSON.
    pub(super) fn rollouts(&self) -> Vec<Rollout> {
        let Some(root) = &self.root else {
            return Vec::new();
        };
        let mut rollouts: Vec<_> = match root.get("rollouts").map(|n| &n.value) {
            Some(Value::List(items)) => items
                .iter()
                .enumerate()
                .map(|(i, n)| Rollout::read(n, &format!("rollouts[{i}].")))
                .collect(),
            _ => vec![Rollout::read(root, "")],
        };
        // A variable's value is of no matter here.
        let unknown = |_: &str| Some("unknown".to_owned());
        if let Ok(document) = document::parse(self.text.as_bytes(), &unknown) {
            for (own, rollout) in rollouts.iter_mut().zip(document.rollouts()) {
                own.understand(rollout);
            }
        }
        rollouts
    }
}

// === impl Rollout ===

impl Rollout {
    fn read(node: &Node, prefix: &str) -> Self {
        let mut rollout = Rollout {
            attempts: !matches!(
                node.get("attempts").map(|n| &n.value),
                None | Some(Value::Null | Value::Bool(false))
            ),
            identity_header: node
                .get("auth")
                .and_then(|n| text(n.get("identity_header")?))
                .map(str::to_owned),
            prefix: prefix.to_owned(),
            stable: None,
            guard: present(node, "guard").is_some(),
            watched: None,
            environments: Vec::new(),
            models: None,
        };
        let health = present(node, "health").is_some();
        let shadow = present(node, "shadow").and_then(|n| text(n.get("environment")?));
        let Some(Value::Map(routing)) = node.get("routing").map(|n| &n.value) else {
            return rollout;
        };
        for (name, environment) in routing {
            let path = format!("{prefix}routing.{name}");
            let clusters = clusters(environment, &path);
            let first = clusters.first().cloned().unwrap_or(Named {
                name: name.clone(),
                path,
            });
            rollout.environments.push(Environment {
                name: name.clone(),
                clusters,
                called: (health || shadow == Some(name)).then_some(first),
                bound: environment.get("models").is_some(),
            });
        }
        rollout
    }

    /// Takes over what the document's own rules say.
    fn understand(&mut self, rollout: &document::Rollout) {
        self.stable = Some(name(rollout, rollout.stable()).to_owned());
        let guard = rollout.guard().map(|guard| (guard.environment(), "guard"));
        let schedule = rollout
            .schedule()
            .map(|schedule| (schedule.environment(), "schedule"));
        self.models = rollout.models().map(|models| Models {
            hold_headers: models.hold_headers(),
            max_body: models.max_body(),
        });
        self.watched = guard
            .or(schedule)
            .map(|(environment, by)| (name(rollout, environment).to_owned(), by));
    }

    /// The environment whose cluster this is: one that names it, or names none and is called so itself.
    pub(super) fn owner(&self, cluster: &str) -> Option<&str> {
        let owns = |e: &&Environment| match e.clusters.as_slice() {
            [] => e.name == cluster,
            named => named.iter().any(|named| named.name == cluster),
        };
        self.environments.iter().find(owns).map(|e| e.name.as_str())
    }
}

/// The clusters that an environment names.
fn clusters(environment: &Node, path: &str) -> Vec<Named> {
    let Some(Value::List(items)) = environment.get("clusters").map(|n| &n.value) else {
        return Vec::new();
    };
    let named = |(i, node)| {
        Some(Named {
            name: text(node)?.to_owned(),
            path: format!("{path}.clusters[{i}]"),
        })
    };
    items.iter().enumerate().filter_map(named).collect()
}

/// An environment's name.
fn name(rollout: &document::Rollout, environment: usize) -> &str {
    let environment = rollout.environments().get(environment);
    environment.map_or("", |e| e.name().as_str())
}

/// Why a schedule goes on whatever its environment does.
fn unguarded(rollout: &document::Rollout) -> Option<String> {
    let (guarded, scheduled) = (
        rollout.guard()?.environment(),
        rollout.schedule()?.environment(),
    );
    (guarded != scheduled).then(|| {
        let (guarded, scheduled) = (name(rollout, guarded), name(rollout, scheduled));
        format!("watches {guarded}, while the schedule gives traffic to {scheduled}, which nothing watches; name {scheduled}")
    })
}

/// Why a schedule ends where nobody may expect it, and at which of its steps.
fn falls(schedule: &Schedule) -> Option<(usize, String)> {
    let steps = schedule.steps();
    let last = steps.last()?;
    let highest = steps.iter().map(|step| step.weight).max()?;
    (last.weight < highest).then(|| {
        let message = format!(
            "ends at {}, below the {} that an earlier step reaches",
            percent(last.weight),
            percent(highest)
        );
        (steps.len() - 1, message)
    })
}

/// As in `12.5 %`.
fn percent(share: Share) -> String {
    format!("{} %", f64::from(share.hundredths()) / 100.0)
}

/// A field that is there and not null.
fn present<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    node.get(name).filter(|n| n.value != Value::Null)
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text { text, .. } => Some(text),
        _ => None,
    }
}
