//! Where a rollout document stands in its file, so that it can be changed there and nothing else.

mod yaml;

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::check::{ATTEMPT, Kind};
use super::facts::TextAt;
use super::node::{self, parts};
use super::plugin::read_discovered_text;
use super::rollout::Document;
use super::{Problem, Severity, WasmPlugin, split};

/// A rollout document, and its place in the text of a file.
pub struct Carrier {
    file: PathBuf,
    document: String,
    /// Where the document's text stands; `None` where it is the file.
    at: Option<TextAt>,
    /// The bytes of the file that hold it, quotes included.
    range: Range<usize>,
    style: Style,
}

/// How the document is written there.
#[derive(Debug, PartialEq, Eq)]
enum Style {
    /// It is the file.
    Whole,
    /// A string of a JSON file.
    Json,
    /// A YAML scalar in `'`.
    SingleQuoted,
    /// A YAML scalar in `"`.
    DoubleQuoted,
    /// A YAML block (`|`): what each line starts with, and what it ends with.
    Literal { indent: String, end: &'static str },
}

// === impl Carrier ===

impl Carrier {
    /// Finds the document in a file's text: the file itself, or the `configuration` of an ECDS document's filter.
    ///
    /// # Errors
    /// The text is something else, or broken off, or carries the document in a form that cannot be changed safely: a
    /// folded or several-line scalar, an alias, bytes.
    pub fn find(file: &Path, text: &str) -> Result<Self, Problem> {
        let fail = |line, message: String| problem(file, line, "", message);
        let root = node::parse(file, text).map_err(|e| fail(e.line, e.message))?;
        match Kind::of(file, text) {
            // As the filter, `check` reads a document by itself as JSON, whatever the file's name.
            Kind::Document => {
                node::parse_json(text).map_err(|e| fail(e.line, e.message))?;
                Ok(Self {
                    file: file.to_owned(),
                    document: text.to_owned(),
                    at: None,
                    range: 0..text.len(),
                    style: Style::Whole,
                })
            }
            Kind::Discovered => Self::within(file, text),
            Kind::Bootstrap if root.get("static_resources").is_some() => Err(fail(
                0,
                "is an Envoy bootstrap, which Envoy reads only once; name the ECDS document that it leads to \
                 (`config_discovery.config_source.path_config_source.path`)"
                    .to_owned(),
            )),
            Kind::Bootstrap => Err(fail(
                0,
                "is neither a rollout document (an object with `routing` or `rollouts`) nor an ECDS document (`resources`)"
                    .to_owned(),
            )),
        }
    }

    /// Finds it in an ECDS document.
    fn within(file: &Path, text: &str) -> Result<Self, Problem> {
        let (plugin, at) = plugin(file, text)?;
        let (path, line) = (at.place.path.as_str(), at.place.line);
        let fail = |message: &str| problem(file, line, path, message.to_owned());
        if plugin.root_id == ATTEMPT {
            return Err(fail(
                "is an attempt role's configuration, which holds no rollout; name the route role's file",
            ));
        }
        let document = String::from_utf8(plugin.configuration.to_vec())
            .map_err(|_| fail("is not text in UTF-8"))?;
        let (range, style) = if node::is_yaml(file) {
            yaml::find(text, path, line)
        } else {
            json(text, path)
        }
        .map_err(|message| fail(&message))?;
        let carrier = Self {
            file: file.to_owned(),
            document,
            at: Some(at.clone()),
            range,
            style,
        };
        // What is written back unchanged must be the file as it is: then the place is the right one.
        match carrier.replace(text, &carrier.document) {
            Ok(same) if carrier.style.is_quoted() || same == text => Ok(carrier),
            _ => Err(fail(
                "is written in a form that cannot be changed safely; write it as a literal block (`value: |`)",
            )),
        }
    }

    /// The document's text.
    #[must_use]
    pub fn document(&self) -> &str {
        &self.document
    }

    /// An error at a JSON path of the document.
    #[must_use]
    pub fn error(&self, path: &str, message: String) -> Problem {
        Document::new(&self.file, &self.document, self.at.as_ref()).problem(
            Severity::Error,
            path,
            message,
        )
    }

    /// The file's text with another document in this place, and all else byte for byte as it was.
    ///
    /// # Errors
    /// The result would not be read as that document within the same file.
    pub fn replace(&self, text: &str, document: &str) -> Result<String, Problem> {
        let unsafe_here = || {
            let message = "the document cannot be changed safely in this file; write it as a literal block (`value: |`)";
            problem(&self.file, 0, "", message.to_owned())
        };
        let new = self.written(text, document).ok_or_else(unsafe_here)?;
        if self.style == Style::Whole {
            return Ok(new);
        }
        let (before, ..) = plugin(&self.file, text)?;
        let (after, ..) = plugin(&self.file, &new)?;
        let same = after.configuration.trim_ascii_end() == document.trim_ascii_end().as_bytes()
            && (before.name, before.root_id, before.vm) == (after.name, after.root_id, after.vm)
            && before.failure_policy == after.failure_policy;
        if same { Ok(new) } else { Err(unsafe_here()) }
    }

    fn written(&self, text: &str, document: &str) -> Option<String> {
        let document = match &self.style {
            Style::Whole => document.to_owned(),
            Style::Json | Style::DoubleQuoted => serde_json::to_string(document).ok()?,
            Style::SingleQuoted if document.contains('\n') => return None,
            Style::SingleQuoted => format!("'{}'", document.replace('\'', "''")),
            Style::Literal { indent, end } => literal(document, indent, end),
        };
        let before = text.get(..self.range.start)?;
        Some([before, &document, text.get(self.range.end..)?].concat())
    }
}

/// The lines of a literal block, without the end of the last.
fn literal(document: &str, indent: &str, end: &str) -> String {
    let lines = document.trim_end_matches('\n').split('\n');
    let lines = lines.map(|line| match line {
        "" => String::new(),
        line => format!("{indent}{line}"),
    });
    lines.collect::<Vec<_>>().join(end)
}

/// The filter of an ECDS document, with the place of its document's text.
fn plugin(file: &Path, text: &str) -> Result<(WasmPlugin, TextAt), Problem> {
    let (plugin, facts, problems) = read_discovered_text(file, text, None, &|_| None);
    let (errors, _) = split(problems);
    if let Some(error) = errors.into_iter().next() {
        return Err(error);
    }
    let facts = facts.plugins.into_inner();
    let at = facts.first().and_then(|at| at.configuration.as_ref());
    match (plugin, at) {
        (Some(plugin), Some(at)) => Ok((plugin, at.clone())),
        _ => Err(problem(
            file,
            0,
            "",
            "holds no rollout document: the filter has no `configuration`".to_owned(),
        )),
    }
}

/// The string at a path of a JSON file, quotes included.
fn json(text: &str, path: &str) -> Result<(Range<usize>, Style), String> {
    let lost = || "is not a string of this file".to_owned();
    let mut at = text.trim();
    for step in path.split(['.', '[']) {
        let step = step.trim_end_matches(']');
        let parts = parts(at).map_err(|e| e.to_string())?;
        let index = step.parse().ok();
        let next = match index {
            Some(index) => parts.get::<usize>(index),
            None => parts.iter().find(|(name, _)| name == step),
        };
        at = next.ok_or_else(lost)?.1.get();
    }
    let start = (at.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    if at.starts_with('"') {
        Ok((start..start + at.len(), Style::Json))
    } else {
        Err(lost())
    }
}

fn problem(file: &Path, line: usize, path: &str, message: String) -> Problem {
    Problem {
        file: file.to_owned(),
        line,
        path: path.to_owned(),
        message,
        severity: Severity::Error,
    }
}

// === impl Style ===

impl Style {
    /// Whether the same text may be written in several ways, so that escapes may change.
    fn is_quoted(&self) -> bool {
        matches!(self, Self::Json | Self::SingleQuoted | Self::DoubleQuoted)
    }
}

#[cfg(test)]
mod tests;
