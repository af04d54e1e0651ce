//! The audit log: a line of JSON for each change of a document.
//!
//! It holds digests and the members that verbs change, never a credential or a consumer's digest. It may lie in the
//! directory that a gateway watches: gateways look at moves there, and a line is appended.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
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

/// The audit log cannot be kept, so nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// No change without a line about it: free the disk, or name another with `--audit`.
    #[error("nothing was changed, for the audit log {} cannot be {verb}: {error} (`--audit FILE` names another)", path.display())]
    File {
        /// The log.
        path: PathBuf,
        /// What cannot be done with it.
        verb: &'static str,
        /// Why.
        error: io::Error,
    },
    /// It is the document.
    #[error("nothing was changed, for {} is the document itself: name another file for the audit log", .0.display())]
    Document(PathBuf),
    /// It holds something else.
    #[error("nothing was changed, for {} does not end with a line of an audit log: name another file for it", .0.display())]
    Foreign(PathBuf),
}

/// A line of the log, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// When: RFC 3339, in UTC.
    pub time: String,
    /// Who.
    pub who: String,
    /// The verb.
    pub verb: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Value,
    /// What has changed.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// The rollout afterwards.
    pub after: ToldState,
    /// Why the document was not replaced after all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a document was after a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldState {
    /// The rollout's id.
    pub rollout: String,
}

/// How much of a log's end is read to show its last lines, in bytes.
const TAIL: u64 = 128 << 10;

/// The last lines of a log, the newest first; none where there is no log yet.
///
/// # Errors
/// It cannot be read.
pub fn recent(path: &Path, count: usize) -> io::Result<Vec<Told>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let lines = tail.rsplit(|byte| *byte == b'\n');
    let told = lines.filter_map(|line| serde_json::from_slice(line).ok());
    Ok(told.take(count).collect())
}

/// The ids of rollouts that an audit log tells of; `None` where there is no log yet.
pub(super) type History = Option<BTreeSet<String>>;

/// The log of a document: `DOCUMENT.audit.jsonl` beside it.
#[must_use]
pub fn beside(document: &Path) -> PathBuf {
    let mut name = document.as_os_str().to_owned();
    name.push(".audit.jsonl");
    PathBuf::from(name)
}

/// What an audit log has told so far, if it is one.
///
/// Only a file of lines is read: what else can be appended to, such as a terminal, has no past.
pub(super) fn history(path: &Path, document: &Metadata) -> Result<History, AuditError> {
    let failed = |error| AuditError::File {
        path: path.to_owned(),
        verb: "read",
        error,
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if (metadata.dev(), metadata.ino()) == (document.dev(), document.ino()) {
        return Err(AuditError::Document(path.to_owned()));
    }
    if !metadata.is_file() {
        return Ok(None);
    }
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let (mut ids, mut is_ours) = (BTreeSet::new(), true);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        let told = line.ends_with(b"\n").then(|| ids_of(&line)).flatten();
        is_ours = told.is_some();
        ids.extend(told.into_iter().flatten());
        line.clear();
    }
    if is_ours {
        Ok(Some(ids))
    } else {
        Err(AuditError::Foreign(path.to_owned()))
    }
}

/// The rollout's ids before and after the change that a line tells; `None` for a line that tells none.
fn ids_of(line: &[u8]) -> Option<[String; 2]> {
    #[derive(Deserialize)]
    struct Line {
        before: Rollout,
        after: Rollout,
    }
    #[derive(Deserialize)]
    struct Rollout {
        rollout: String,
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    Some([line.before.rollout, line.after.rollout])
}

/// Who runs this: `SWITCHOVER_OPERATOR`, else `USER` or `LOGNAME`, else the user's name in `/etc/passwd`, else the
/// user's number.
#[must_use]
pub fn operator(env: &dyn Fn(&str) -> Option<String>) -> String {
    let uid = rustix::process::getuid().as_raw();
    let users = || fs::read_to_string("/etc/passwd").unwrap_or_default();
    [OPERATOR, "USER", "LOGNAME"]
        .iter()
        .find_map(|name| env(name).filter(|value| !value.trim().is_empty()))
        .or_else(|| user(&users(), uid))
        .unwrap_or_else(|| format!("uid {uid}"))
}

/// The name of a user in the text of `/etc/passwd`.
fn user(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

/// SHA-256 of a text, in hexadecimal digits.
pub(super) fn sha256(text: &str) -> String {
    let digest = switchover_core::sha256(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An instant in RFC 3339.
pub(super) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

// === impl State ===

impl State {
    pub(super) fn new(rollout: &str, document: &str) -> Self {
        Self {
            rollout: rollout.to_owned(),
            sha256: sha256(document),
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
        .map_err(|error| AuditError::File {
            path: path.to_owned(),
            verb: "written",
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
        written.map_err(|error| AuditError::File {
            path: self.path.clone(),
            verb: "written",
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
        let passwd = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n";
        assert_eq!(user(passwd, 1000).as_deref(), Some("ada"));
        assert_eq!(user(passwd, 10), None);
    }

    #[test]
    fn the_log_is_beside_the_document() {
        let beside = beside(Path::new("envoy/demo.ecds.yaml"));
        assert_eq!(beside, Path::new("envoy/demo.ecds.yaml.audit.jsonl"));
    }
}
