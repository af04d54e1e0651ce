//! The audit log: a line of JSON for each change of a document.
//!
//! It holds digests and the members that verbs change, never a credential or a consumer's digest. It may lie in the
//! directory that a gateway watches: gateways look at moves there, and a line is appended.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::edit::Change;

/// The variable that says who the operator is.
pub const OPERATOR: &str = "SWITCHOVER_OPERATOR";

/// One change, as the log holds it.
#[derive(Debug, Serialize)]
pub(super) struct Entry<'a> {
    /// When: RFC 3339, in UTC.
    pub(super) time: String,
    /// Who.
    pub(super) who: &'a str,
    /// The document's file.
    pub(super) document: String,
    /// The verb.
    pub(super) verb: &'a str,
    /// Its arguments.
    pub(super) arguments: Value,
    /// The rollout and the document before.
    pub(super) before: State,
    /// The same afterwards.
    pub(super) after: State,
    /// What has changed between them.
    pub(super) changes: &'a [Change],
    /// Why the document was not replaced after all; the line before it says what was meant to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<String>,
}

/// What a document was.
#[derive(Debug, Serialize)]
pub(super) struct State {
    /// The rollout's id.
    pub(super) rollout: String,
    /// SHA-256 of the document's JSON text, in hexadecimal digits.
    pub(super) sha256: String,
}

/// An audit log, open for a line.
#[derive(Debug)]
pub(super) struct AuditLog {
    path: PathBuf,
    file: File,
}

/// The audit log cannot be written, so nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("nothing was changed, for the audit log {} cannot be written: {error} (`--audit FILE` names another)", path.display())]
pub struct AuditError {
    path: PathBuf,
    error: io::Error,
}

/// The log of a document: `DOCUMENT.audit.jsonl` beside it.
#[must_use]
pub fn beside(document: &Path) -> PathBuf {
    let mut name = document.as_os_str().to_owned();
    name.push(".audit.jsonl");
    PathBuf::from(name)
}

/// Who runs this: `SWITCHOVER_OPERATOR`, else the login name, else the user's number.
#[must_use]
pub fn operator(env: &dyn Fn(&str) -> Option<String>) -> String {
    [OPERATOR, "USER", "LOGNAME"]
        .iter()
        .find_map(|name| env(name).filter(|value| !value.trim().is_empty()))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// An instant in RFC 3339.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

// === impl State ===

impl State {
    pub(super) fn new(rollout: &str, document: &str) -> Self {
        let digest = switchover_core::sha256(document.as_bytes());
        let hex = digest.iter().map(|byte| format!("{byte:02x}"));
        Self {
            rollout: rollout.to_owned(),
            sha256: hex.collect(),
        }
    }
}

// === impl AuditLog ===

impl AuditLog {
    /// Opens a log, or begins it.
    pub(super) fn open(path: &Path) -> Result<Self, AuditError> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        file.map(|file| Self {
            path: path.to_owned(),
            file,
        })
        .map_err(|error| AuditError {
            path: path.to_owned(),
            error,
        })
    }

    /// Appends a line, in one write.
    pub(super) fn append(&mut self, entry: &Entry<'_>) -> Result<(), AuditError> {
        let line = serde_json::to_vec(entry).map_err(io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        written.map_err(|error| AuditError {
            path: self.path.clone(),
            error,
        })
    }

    /// Makes what was appended outlive a crash of the machine.
    pub(super) fn sync(&self) {
        if let Err(error) = self.file.sync_data() {
            tracing::warn!(
                "the audit log {} cannot be synced: {error}",
                self.path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_has_a_name() {
        let env = |set: &'static [(&str, &str)]| {
            operator(&|name| {
                let found = set.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(env(&[("USER", "b"), (OPERATOR, "a")]), "a");
        assert_eq!(env(&[("LOGNAME", "c"), ("USER", " ")]), "c");
        assert!(env(&[]).starts_with("uid "));
    }

    #[test]
    fn the_log_is_beside_the_document() {
        let beside = beside(Path::new("envoy/demo.ecds.yaml"));
        assert_eq!(beside, Path::new("envoy/demo.ecds.yaml.audit.jsonl"));
    }
}
