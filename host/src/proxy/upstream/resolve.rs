//! From endpoints to addresses: IP addresses at once, names by DNS, again and again for STRICT_DNS.
//!
//! A host that its name no longer has is gone at once; one that stays keeps what health checks know about it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::oneshot;

use super::{Hosts, SharedCluster, health};
use crate::config::cluster::{ClusterKind, DnsFamily, Endpoint};
use crate::stream::UpstreamHost;

/// Resolves every leaf once and waits for the first health check of each host, as Envoy does before it listens;
/// starts a task for each leaf whose names are to be looked up again.
pub async fn start(clusters: &BTreeMap<String, Arc<SharedCluster>>) {
    let mut checks = Vec::new();
    for cluster in clusters.values() {
        let ClusterKind::Leaf {
            dns,
            dns_refresh_rate,
            ..
        } = &cluster.config.kind
        else {
            continue;
        };
        checks.extend(refresh(cluster).await);
        if *dns {
            let (cluster, every) = (cluster.clone(), *dns_refresh_rate);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    refresh(&cluster).await;
                }
            });
        }
    }
    for check in checks {
        // Each ends within its timeout.
        let _ = check.await;
    }
}

/// Looks a leaf's names up; where one has no answer, its hosts of before stay. Gives the first checks of new hosts.
async fn refresh(cluster: &Arc<SharedCluster>) -> Vec<oneshot::Receiver<()>> {
    let ClusterKind::Leaf { priorities, .. } = &cluster.config.kind else {
        return Vec::new();
    };
    let mut checks = Vec::new();
    let mut hosts: Hosts = Vec::with_capacity(priorities.len());
    for endpoints in priorities {
        let mut level = Vec::new();
        for endpoint in endpoints {
            let before = known(cluster, endpoint);
            match addresses(endpoint, cluster.config.dns_family).await {
                Ok(found) => level.extend(found.into_iter().map(|address| {
                    let same = before.iter().find(|host| host.address == address);
                    same.cloned()
                        .unwrap_or_else(|| host(cluster, endpoint, address, &mut checks))
                })),
                Err(error) => {
                    tracing::warn!(
                        cluster = &*cluster.name,
                        host = endpoint.host,
                        "cannot look up a host: {error}"
                    );
                    level.extend(before);
                }
            }
        }
        hosts.push(level.into());
    }
    cluster.publish(Arc::new(hosts));
    checks
}

async fn addresses(endpoint: &Endpoint, family: DnsFamily) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, endpoint.port)]);
    }
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await?;
    Ok(of_family(found.collect(), family))
}

fn of_family(found: Vec<SocketAddr>, family: DnsFamily) -> Vec<SocketAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = found.iter().partition(|address| address.is_ipv4());
    match family {
        DnsFamily::V4Only => v4,
        DnsFamily::V6Only => v6,
        DnsFamily::Auto if v6.is_empty() => v4,
        DnsFamily::Auto => v6,
        DnsFamily::V4Preferred if v4.is_empty() => v6,
        DnsFamily::V4Preferred => v4,
        DnsFamily::All => found,
    }
}

/// A new host; where its cluster has health checks, they begin.
fn host(
    cluster: &Arc<SharedCluster>,
    endpoint: &Endpoint,
    address: SocketAddr,
    checks: &mut Vec<oneshot::Receiver<()>>,
) -> Arc<UpstreamHost> {
    let check = cluster.config.health_check.as_ref();
    let host = Arc::new(UpstreamHost {
        address,
        endpoint: endpoint.clone(),
        cluster: cluster.name.clone(),
        healthy: AtomicBool::new(check.is_none()),
    });
    if let Some(check) = check {
        checks.push(health::start(cluster, check, &host));
    }
    host
}

/// The hosts that an endpoint had at the last look-up.
fn known(cluster: &SharedCluster, endpoint: &Endpoint) -> Vec<Arc<UpstreamHost>> {
    let same = |host: &&Arc<UpstreamHost>| {
        host.endpoint.host == endpoint.host && host.endpoint.port == endpoint.port
    };
    cluster
        .hosts
        .load()
        .iter()
        .flat_map(|level| level.iter())
        .filter(same)
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_families_that_the_file_wants() {
        let v4: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let v6: SocketAddr = "[::1]:1".parse().unwrap();
        for (family, both, only_v4, only_v6) in [
            (DnsFamily::Auto, vec![v6], vec![v4], vec![v6]),
            (DnsFamily::V4Only, vec![v4], vec![v4], vec![]),
            (DnsFamily::V6Only, vec![v6], vec![], vec![v6]),
            (DnsFamily::V4Preferred, vec![v4], vec![v4], vec![v6]),
            (DnsFamily::All, vec![v4, v6], vec![v4], vec![v6]),
        ] {
            assert_eq!(of_family(vec![v4, v6], family), both, "{family:?}");
            assert_eq!(of_family(vec![v4], family), only_v4, "{family:?}");
            assert_eq!(of_family(vec![v6], family), only_v6, "{family:?}");
        }
    }
}
