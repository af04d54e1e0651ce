//! The rollout that a verb is about.

use serde_json::Value;
use switchover_core::document::{Document, Rollout};

/// A rollout within its document's text.
pub struct Named<'a> {
    rollout: &'a Rollout,
    /// The keys that lead to it in the text.
    base: Vec<String>,
    /// It as it is written.
    json: &'a Value,
}

/// No rollout, or not one alone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The document has several.
    #[error("the document has several rollouts; choose one with `--rollout`: {}", .0.join(", "))]
    Several(Vec<String>),
    /// The document has none of this id.
    #[error("the document has no rollout {id:?}, only {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        id: String,
        /// What there is.
        known: Vec<String>,
    },
}

// === impl Named ===

impl<'a> Named<'a> {
    /// Chooses from a document; `json` is what it was read from.
    pub(super) fn select(
        document: &'a Document,
        json: &'a Value,
        id: Option<&str>,
    ) -> Result<Self, SelectError> {
        let known = || {
            document
                .rollouts()
                .iter()
                .map(|r| r.id().as_str().to_owned())
        };
        let (index, rollout) = match (id, document.rollouts()) {
            (Some(id), _) => document.rollout(id).ok_or_else(|| SelectError::Unknown {
                id: id.to_owned(),
                known: known().collect(),
            })?,
            (None, [only]) => (0, only),
            (None, _) => return Err(SelectError::Several(known().collect())),
        };
        let (json, base) = match json.get("rollouts") {
            Some(rollouts) => (
                rollouts.get(index).unwrap_or(&Value::Null),
                vec!["rollouts".to_owned(), index.to_string()],
            ),
            None => (json, Vec::new()),
        };
        Ok(Self {
            rollout,
            base,
            json,
        })
    }

    /// The rollout.
    #[must_use]
    pub fn rollout(&self) -> &'a Rollout {
        self.rollout
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.rollout.id().as_str()
    }

    /// The keys that lead to it in the document's text.
    pub(super) fn base(&self) -> &[String] {
        &self.base
    }

    /// A member as it is written; `None` also where it is null.
    pub(crate) fn member(&self, pointer: &str) -> Option<&Value> {
        self.json.pointer(pointer).filter(|value| !value.is_null())
    }

    /// An environment's name.
    #[must_use]
    pub fn name(&self, environment: usize) -> &'a str {
        let environment = self.rollout.environments().get(environment);
        environment.map_or("", |e| e.name().as_str())
    }

    /// The stable environment's name.
    #[must_use]
    pub fn stable(&self) -> &'a str {
        self.name(self.rollout.stable())
    }
}
