//! Active HTTP health checks: a task for each host, which ends when the host is no more.
//!
//! As in Envoy, a host begins unhealthy, and the first check decides alone. Unlike there, the interval is the same
//! whether or not the cluster has traffic, and each check has a connection of its own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;

use super::SharedCluster;
use super::connect::connect;
use crate::config::cluster::HealthCheck;
use crate::proxy::attempt;
use crate::stream::UpstreamHost;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    /// A 200.
    Healthy,
    /// Another status.
    Unhealthy(StatusCode),
    /// No answer in time.
    Silent,
}

/// What is known of a host.
#[derive(Debug, Default)]
struct Record {
    healthy: bool,
    checked: bool,
    /// Findings in a row that contradict `healthy`.
    against: u32,
}

/// Why a check got no answer.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Starts to check a host; what comes back is told of the first check's end.
pub(super) fn start(
    cluster: &Arc<SharedCluster>,
    check: &HealthCheck,
    host: &Arc<UpstreamHost>,
) -> oneshot::Receiver<()> {
    let (first, checked) = oneshot::channel();
    tokio::spawn(watch(
        cluster.clone(),
        check.clone(),
        Arc::downgrade(host),
        first,
    ));
    checked
}

async fn watch(
    cluster: Arc<SharedCluster>,
    check: HealthCheck,
    host: Weak<UpstreamHost>,
    first: oneshot::Sender<()>,
) {
    let mut first = Some(first);
    let mut record = Record::default();
    while let Some(host) = host.upgrade() {
        let stats = &cluster.stats;
        stats.health_attempt.increment();
        let finding = find(&cluster, &check, &host).await;
        match finding {
            Finding::Healthy => stats.health_success.increment(),
            Finding::Unhealthy(_) | Finding::Silent => stats.health_failure.increment(),
        }
        let healthy = record.after(&check, finding);
        if host.healthy.swap(healthy, Ordering::Relaxed) != healthy {
            cluster.publish(cluster.hosts.load_full());
            tracing::info!(
                cluster = &*cluster.name,
                host = %host.address,
                healthy,
                "a host's health changed: {finding:?}"
            );
        }
        drop(host);
        if let Some(first) = first.take() {
            let _ = first.send(());
        }
        tokio::time::sleep(check.interval).await;
    }
}

async fn find(cluster: &SharedCluster, check: &HealthCheck, host: &UpstreamHost) -> Finding {
    match tokio::time::timeout(check.timeout, ask(cluster, check, host)).await {
        Ok(Ok(StatusCode::OK)) => Finding::Healthy,
        Ok(Ok(status)) => Finding::Unhealthy(status),
        Ok(Err(error)) => {
            tracing::debug!(cluster = &*cluster.name, host = %host.address, "health check: {error}");
            Finding::Silent
        }
        Err(_) => Finding::Silent,
    }
}

/// The status of a whole answer.
async fn ask(
    cluster: &SharedCluster,
    check: &HealthCheck,
    host: &UpstreamHost,
) -> Result<StatusCode, Failure> {
    let mut request = Request::get(&check.path)
        .header(header::HOST, check.host.as_deref().unwrap_or(&cluster.name))
        .header(header::USER_AGENT, "Envoy/HC")
        .body(Empty::<Bytes>::new())?;
    let alpn: &[u8] = if check.http2 { b"h2" } else { b"http/1.1" };
    let io = TokioIo::new(connect(cluster, host, Some(alpn)).await?);
    // The connections end when this function does: they have nobody to send for then.
    let mut response = if check.http2 {
        let authority = request.headers_mut().remove(header::HOST);
        let authority = authority.unwrap_or(HeaderValue::from_static(""));
        let path = check.path.parse()?;
        let uri = attempt::absolute(&HeaderValue::from_static("http"), &authority, path);
        *request.uri_mut() = uri.ok_or("host is no authority")?;
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = http1::handshake(io).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    while let Some(frame) = response.body_mut().frame().await {
        frame?;
    }
    Ok(response.status())
}

// === impl Record ===

impl Record {
    /// Takes a finding in; whether the host is healthy after it.
    fn after(&mut self, check: &HealthCheck, finding: Finding) -> bool {
        let (agrees, needed) = match finding {
            Finding::Healthy if !self.checked => (false, 1),
            Finding::Healthy => (self.healthy, check.healthy_threshold),
            Finding::Unhealthy(_) => (!self.healthy, 1),
            Finding::Silent => (!self.healthy, check.unhealthy_threshold),
        };
        self.checked = true;
        self.against = if agrees { 0 } else { self.against + 1 };
        if !agrees && self.against >= needed {
            self.healthy = !self.healthy;
            self.against = 0;
        }
        self.healthy
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OK: Finding = Finding::Healthy;
    const BAD: Finding = Finding::Unhealthy(StatusCode::SERVICE_UNAVAILABLE);
    const SILENT: Finding = Finding::Silent;

    fn history(findings: &[Finding]) -> Vec<bool> {
        let check = HealthCheck {
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            path: "/".to_owned(),
            host: None,
            http2: false,
        };
        let mut record = Record::default();
        findings
            .iter()
            .map(|finding| record.after(&check, *finding))
            .collect()
    }

    #[test]
    fn the_first_check_decides_alone() {
        assert_eq!(history(&[OK]), [true]);
        assert_eq!(history(&[BAD, OK, OK]), [false, false, true]);
        assert_eq!(history(&[SILENT, OK, OK]), [false, false, true]);
    }

    #[test]
    fn silence_counts_and_a_bad_status_is_enough() {
        assert_eq!(
            history(&[OK, SILENT, SILENT, OK, SILENT, SILENT, SILENT]),
            [true, true, true, true, true, true, false]
        );
        assert_eq!(history(&[OK, BAD]), [true, false]);
        assert_eq!(
            history(&[OK, BAD, OK, BAD, OK, OK]),
            [true, false, false, false, false, true]
        );
    }
}
