//! A real registry for images, Debian's `docker-registry`, and `skopeo`, which pushes to it and pulls from it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{GLANCE, PATIENCE, programs};

/// Who may use a registry that wants to know.
pub const CREDENTIALS: &str = "ci:let-me-in";
/// The same as the registry reads it: bcrypt, at its least cost.
const HTPASSWD: &str = "ci:$2y$05$abcdefghijklmnopqrstuu3Jd./u/rH1RxB6auX5v7gLP6uWhKCgG\n";

/// A registry of its own, with nothing in it; it is killed when dropped.
pub struct Registry {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

// === impl Registry ===

impl Registry {
    /// Starts one that serves everybody, and waits until it listens.
    pub fn open() -> Self {
        Self::start(&Value::Null)
    }

    /// Starts one that serves [`CREDENTIALS`] alone.
    pub fn closed() -> Self {
        Self::start(&json!({"htpasswd": {"realm": "tests", "path": "htpasswd"}}))
    }

    fn start(auth: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        let mut config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": folder.join("images")}},
            "http": {"addr": "127.0.0.1:0"},
        });
        if !auth.is_null() {
            config["auth"] = auth.clone();
        }
        // JSON is YAML.
        std::fs::write(folder.join("config.yml"), config.to_string()).unwrap();
        std::fs::write(folder.join("htpasswd"), HTPASSWD).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let mut command = Command::new(programs::debian("docker-registry"));
        command.args(["serve", "config.yml"]).current_dir(folder);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut process = command.spawn().unwrap();
        let start = Instant::now();
        let address = loop {
            let log = std::fs::read_to_string(folder.join("log")).unwrap();
            if let Some(address) = listening(&log) {
                break address;
            }
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "the registry ended: {log}");
            assert!(start.elapsed() < PATIENCE, "it does not listen: {log}");
            std::thread::sleep(GLANCE);
        };
        Self {
            process,
            address,
            _directory: directory,
        }
    }

    /// An image's name in it, for `skopeo`.
    pub fn image(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address in the registry's log: `… msg="listening on 127.0.0.1:5000" …`.
fn listening(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("listening on ")?;
    rest.split('"').next()?.parse().ok()
}

/// Copies an image to a registry or from one, without TLS.
pub fn copy(credentials: Option<&str>, from: &str, to: &str) -> Output {
    let mut command = Command::new(programs::debian("skopeo"));
    command.args(["--insecure-policy", "copy", "--src-tls-verify=false"]);
    command.arg("--dest-tls-verify=false");
    if let Some(credentials) = credentials {
        let option = match to.starts_with("docker:") {
            true => "--dest-creds",
            false => "--src-creds",
        };
        command.args([option, credentials]);
    }
    command.args([from, to]).output().unwrap()
}

/// The filter in a pulled image layout, as Istio and Envoy Gateway take it out: `pkg/wasm/imagefetcher.go` of
/// github.com/istio/istio.
///
/// # Panics
/// Where they would refuse the image.
pub fn extract(layout: &Path) -> Vec<u8> {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        layout.join("blobs").join(digest.replace(':', "/"))
    };
    let read =
        |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let index = read(&layout.join("index.json"));
    let manifest = read(&blob(&index["manifests"][0]));
    let layers = manifest["layers"].as_array().unwrap();
    // First as the compat variant, by the last layer, …
    let last = layers.last().expect("there is a layer");
    if last["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip" {
        let mut tar = Command::new(programs::debian("tar"));
        tar.args(["--extract", "--gzip", "--to-stdout", "--file"]);
        let output = tar.arg(blob(last)).arg("plugin.wasm").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        return output.stdout;
    }
    // … then as the oci variant, by one of two.
    assert_eq!(layers.len(), 2, "{manifest}");
    let is_content =
        |layer: &&Value| layer["mediaType"] == "application/vnd.module.wasm.content.layer.v1+wasm";
    let content = layers.iter().find(is_content).expect("there is a module");
    std::fs::read(blob(content)).unwrap()
}
