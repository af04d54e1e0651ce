//! The demo's files, made ready for a drill in a directory of its own.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::DrillError;
use crate::config::Carrier;

const BOOTSTRAP: &str = include_str!("../../../envoy/demo.yaml");
const DOCUMENT: &str = include_str!("../../../envoy/demo.ecds.yaml");
/// The filter's place in both.
const WASM: &str = "dist/switchover.wasm";
/// A trip needs so many outcomes.
pub(super) const MIN_REQUESTS: u32 = 50;

/// A directory with a bootstrap, the rollout document, and what processes print.
pub(super) struct Files {
    directory: TempDir,
}

/// The key that an upstream wants.
pub(super) fn key(environment: &str) -> &'static str {
    match environment {
        "blue" => "drill-key-of-blue",
        _ => "drill-key-of-green",
    }
}

// === impl Files ===

impl Files {
    /// An empty directory.
    pub(super) fn new() -> Result<Self, DrillError> {
        let directory = tempfile::Builder::new()
            .prefix("switchover-drill-")
            .tempdir();
        let directory = directory.map_err(|error| DrillError::File {
            what: "cannot make a temporary directory".to_owned(),
            error,
        })?;
        let files = Self { directory };
        std::fs::create_dir(files.watched()).map_err(|e| files.failed(&files.watched(), e))?;
        Ok(files)
    }

    /// Writes bootstrap and document for these upstreams.
    pub(super) fn write(
        &self,
        wasm: &Path,
        blue: SocketAddr,
        green: SocketAddr,
    ) -> Result<(), DrillError> {
        let wasm = std::fs::canonicalize(wasm).map_err(|error| DrillError::File {
            what: format!(
                "the filter {} cannot be used; `make build` makes it, --wasm names another",
                wasm.display()
            ),
            error,
        })?;
        let port = |address: SocketAddr| format!("port_value: {}", address.port());
        let nothing = || "port_value: 0".to_owned();
        let bootstrap = [
            ("port_value: 9901", nothing()),
            ("port_value: 10000", nothing()),
            ("port_value: 10001", port(blue)),
            ("port_value: 10002", port(green)),
            (
                "path: envoy/demo.ecds.yaml",
                format!("path: {}", quoted(&self.document())),
            ),
            (
                "{path: envoy}",
                format!("{{path: {}}}", quoted(&self.watched())),
            ),
            (WASM, quoted(&wasm)),
        ];
        self.put(&self.bootstrap(), &replaced(BOOTSTRAP, &bootstrap)?)?;
        let ecds = replaced(DOCUMENT, &[(WASM, quoted(&wasm))])?;
        self.put(&self.document(), &with_document(&self.document(), &ecds)?)
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn bootstrap(&self) -> PathBuf {
        self.directory().join("envoy.yaml")
    }

    /// The rollout document, alone in its directory but for the audit log.
    pub(super) fn document(&self) -> PathBuf {
        self.watched().join("rollout.yaml")
    }

    fn watched(&self) -> PathBuf {
        self.directory().join("rollout")
    }

    /// Where a process's output goes.
    pub(super) fn log(&self, process: &str) -> PathBuf {
        self.directory().join(format!("{process}.log"))
    }

    fn put(&self, path: &Path, text: &str) -> Result<(), DrillError> {
        std::fs::write(path, text).map_err(|e| self.failed(path, e))
    }

    fn failed(&self, path: &Path, error: io::Error) -> DrillError {
        let what = format!("cannot write {}", path.display());
        DrillError::File { what, error }
    }
}

/// A path as a YAML scalar in quotes.
fn quoted(path: &Path) -> String {
    Value::from(path.to_string_lossy()).to_string()
}

/// A text with each of these parts, which it has once, replaced.
fn replaced(text: &str, parts: &[(&str, String)]) -> Result<String, DrillError> {
    let mut text = text.to_owned();
    for (part, by) in parts {
        // `port_value: 1000` is not part of `port_value: 10001`.
        let found = text.match_indices(part);
        let whole = |at: &usize| !text[at + part.len()..].starts_with(|c: char| c.is_ascii_digit());
        let places: Vec<usize> = found.map(|(at, _)| at).filter(whole).collect();
        let [at] = places.as_slice() else {
            let message = format!("{part:?} occurs {} times instead of once", places.len());
            return Err(DrillError::Demo(message));
        };
        text.replace_range(*at..at + part.len(), by);
    }
    Ok(text)
}

/// The ECDS document with the demo's rollout as the drill begins: all of it on blue, and a tripwire on green.
fn with_document(path: &Path, ecds: &str) -> Result<String, DrillError> {
    let foreign = |e: &dyn std::fmt::Display| DrillError::Demo(e.to_string());
    let carrier = Carrier::find(path, ecds).map_err(|e| foreign(&e))?;
    let mut document: Value = serde_json::from_str(carrier.document()).map_err(|e| foreign(&e))?;
    for (pointer, value) in [
        ("/rollout", json!("drill-2.0.3")),
        ("/routing/blue/weight", json!(1)),
        ("/routing/green/weight", json!(0)),
        ("/routing/green/version", json!("2.0.3")),
    ] {
        let member = document.pointer_mut(pointer);
        *member.ok_or_else(|| foreign(&format!("no {pointer}")))? = value;
    }
    document["guard"] = json!({
        "environment": "green", "window": "5s", "min_requests": MIN_REQUESTS, "max_error_rate": 0.05,
    });
    carrier
        .replace(ecds, &format!("{document:#}"))
        .map_err(|e| foreign(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn what_is_written_is_sound() {
        let files = Files::new().expect("a directory");
        let wasm = files.directory().join("filter \"x\".wasm");
        std::fs::write(&wasm, b"\0asm\x01\0\0\0").expect("written");
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        files.write(&wasm, at(1), at(2)).expect("written");
        let env = |name: &str| name.ends_with("_API_KEY").then(|| "key".to_owned());
        let problems = config::check(&files.bootstrap(), &env);
        assert_eq!(problems, [], "{problems:#?}");
        let loaded = crate::rollout::Loaded::read(&files.document());
        assert!(loaded.is_ok_and(|l| l.document().rollouts()[0].guard().is_some()));
    }

    #[test]
    fn a_missing_filter_is_told() {
        let files = Files::new().expect("a directory");
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = files
            .write(Path::new("none.wasm"), at, at)
            .expect_err("missing");
        assert!(error.to_string().contains("none.wasm"), "{error}");
    }

    #[test]
    fn parts_occur_once() {
        let replace = |text| replaced(text, &[("a: 1", "b".to_owned())]).ok();
        assert_eq!(replace("a: 12, a: 1").as_deref(), Some("a: 12, b"));
        assert_eq!(replace("a: 1, a: 1"), None);
        assert_eq!(replace(""), None);
    }
}
