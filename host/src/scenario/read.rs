//! Reading files of scenarios: YAML into types, strictly, with all problems at once and the place of each.
//!
//! The types say what is allowed, through serde. A file with a problem is read again without the value that was wrong,
//! so that the next one shows too.

mod de;
mod error;

use std::collections::HashSet;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::config::{Dialect, Problem, Severity, Tree, TreeValue, parse_yaml};

/// No more problems of one file are told.
const MAX_PROBLEMS: usize = 50;

/// Reads a text as a `T`; the tree tells places.
///
/// # Errors
/// All problems, in the file's order.
pub(super) fn read<T: DeserializeOwned>(
    file: &Path,
    text: &str,
) -> Result<(T, Tree), Vec<Problem>> {
    let tree = parse_yaml(text, Dialect::Core)
        .map_err(|error| vec![problem(file, error.line, String::new(), error.message)])?;
    let mut problems = Vec::new();
    let mut passed_over = HashSet::new();
    loop {
        let error = match de::read::<T>(&tree, &passed_over) {
            Ok(value) if problems.is_empty() => return Ok((value, tree)),
            Ok(_) => break,
            Err(error) => error,
        };
        let place = error.path();
        if !error.follows {
            problems.push(problem(file, error.line, place, error.message));
        }
        let progress = error.node.is_some_and(|node| passed_over.insert(node));
        if !progress || problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    problems.sort_by_key(|problem| problem.line);
    // What is no mapping at all is met again by what looks behind it.
    problems.dedup_by_key(|problem| problem.to_string());
    Err(problems)
}

/// A problem that stops the file from being run.
pub(super) fn problem(file: &Path, line: usize, path: String, message: String) -> Problem {
    Problem {
        file: file.to_owned(),
        line,
        path,
        message,
        severity: Severity::Error,
    }
}

/// The line of what a path of keys and indices leads to, or of the last thing that exists on the way.
pub(super) fn line_of(tree: &Tree, path: &[Step]) -> usize {
    let mut node = tree;
    for step in path {
        let next = match (step, &node.value) {
            (Step::Key(key), TreeValue::Map(_)) => node.get(key),
            (Step::Index(index), TreeValue::List(items)) => items.get(*index),
            _ => None,
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node.line
}

/// A step on the way from a file's root to one of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A mapping's key.
    Key(String),
    /// A sequence's item, from 0.
    Index(usize),
}

/// A path as people write it.
pub(super) fn path_text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Key(key)
                if key
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') =>
            {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Step::Key(key) => text.push_str(&format!("[{key:?}]")),
        }
    }
    text
}
