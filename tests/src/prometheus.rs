//! A real Prometheus, Debian's, that scrapes gateways.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Client, GLANCE, PATIENCE, programs};

/// A Prometheus with the project's rules and nothing else; it is killed when dropped.
pub struct Prometheus {
    process: Child,
    address: SocketAddr,
    _directory: TempDir,
}

// === impl Prometheus ===

impl Prometheus {
    /// Starts one that scrapes these admin servers five times a second, each under its label `engine`, and waits until it is
    /// ready.
    pub async fn start(targets: &[(&str, SocketAddr)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path();
        let targets: Vec<_> = targets
            .iter()
            .map(|(engine, address)| json!({"targets": [address.to_string()], "labels": {"engine": engine}}))
            .collect();
        let config = json!({
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": [programs::root().join("envoy/prometheus/rules.yaml")],
            "scrape_configs": [{
                "job_name": "switchover", "metrics_path": "/stats/prometheus", "static_configs": targets,
            }],
        });
        // JSON is YAML.
        std::fs::write(folder.join("prometheus.yaml"), config.to_string()).unwrap();
        let log = File::create(folder.join("log")).unwrap();
        let mut command = Command::new(programs::debian("prometheus"));
        command
            .current_dir(folder)
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"])
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut process = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let start = Instant::now();
        let address = loop {
            let log = std::fs::read_to_string(folder.join("log")).unwrap();
            if let (Some(address), true) = (listening(&log), log.contains("Server is ready")) {
                break address;
            }
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "Prometheus ended: {log}");
            assert!(start.elapsed() < PATIENCE, "it is not ready: {log}");
            tokio::time::sleep(GLANCE).await;
        };
        Self {
            process,
            address,
            _directory: directory,
        }
    }

    /// The samples that a query gives now: labels and value.
    ///
    /// # Panics
    /// Where Prometheus does not take the query.
    pub async fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let reply = Client::new(self.address).get(&path).send().await.json();
        assert_eq!(reply["status"], "success", "{query}: {reply}");
        let samples = reply["data"]["result"].as_array().unwrap();
        let read = |sample: &Value| {
            let value = sample["value"][1].as_str().unwrap().parse().unwrap();
            (sample["metric"].clone(), value)
        };
        samples.iter().map(read).collect()
    }

    /// The sum of a query's samples; 0 where there is none.
    pub async fn sum(&self, query: &str) -> f64 {
        self.query(query).await.iter().map(|(_, value)| value).sum()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address in the line that tells of it.
fn listening(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("Listening on"))?;
    let (_, address) = line.rsplit_once("address=")?;
    address.trim().parse().ok()
}
