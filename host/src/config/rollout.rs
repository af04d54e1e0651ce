//! Rollout documents within an Envoy file: their problems with the file's lines, and what checks across both need.

use std::path::{Path, PathBuf};

use switchover_core::document;

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
    /// The environments' names.
    pub(super) environments: Vec<String>,
    /// Each name in `routing.*.clusters`, with its JSON path.
    pub(super) clusters: Vec<(String, String)>,
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
        self.placed(document::parse(self.text.as_bytes(), env).err())
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
        match root.get("rollouts").map(|n| &n.value) {
            Some(Value::List(items)) => items
                .iter()
                .enumerate()
                .map(|(i, n)| Rollout::read(n, &format!("rollouts[{i}].")))
                .collect(),
            _ => vec![Rollout::read(root, "")],
        }
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
            ..Rollout::default()
        };
        let Some(Value::Map(routing)) = node.get("routing").map(|n| &n.value) else {
            return rollout;
        };
        for (name, environment) in routing {
            rollout.environments.push(name.clone());
            let Some(Value::List(clusters)) = environment.get("clusters").map(|n| &n.value) else {
                continue;
            };
            let named = clusters
                .iter()
                .enumerate()
                .filter_map(|(i, n)| Some((text(n)?, i)));
            rollout.clusters.extend(named.map(|(cluster, i)| {
                (
                    cluster.to_owned(),
                    format!("{prefix}routing.{name}.clusters[{i}]"),
                )
            }));
        }
        rollout
    }
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text { text, .. } => Some(text),
        _ => None,
    }
}
