//! From endpoints to addresses: IP addresses at once, names by DNS, again and again for STRICT_DNS.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Hosts, SharedCluster};
use crate::config::cluster::{ClusterKind, Endpoint};
use crate::stream::UpstreamHost;

/// Resolves every leaf once, and starts a task for each whose names are to be looked up again.
pub async fn start(clusters: &BTreeMap<String, Arc<SharedCluster>>) {
    for cluster in clusters.values() {
        let ClusterKind::Leaf {
            dns,
            dns_refresh_rate,
            ..
        } = &cluster.config.kind
        else {
            continue;
        };
        refresh(cluster).await;
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
}

/// Looks a leaf's names up; where one has no answer, its hosts of before stay.
async fn refresh(cluster: &Arc<SharedCluster>) {
    let ClusterKind::Leaf { priorities, .. } = &cluster.config.kind else {
        return;
    };
    let mut hosts: Hosts = Vec::with_capacity(priorities.len());
    for endpoints in priorities {
        let mut level = Vec::new();
        for endpoint in endpoints {
            match addresses(endpoint).await {
                Ok(found) => level.extend(
                    found
                        .into_iter()
                        .map(|address| host(cluster, endpoint, address)),
                ),
                Err(error) => {
                    tracing::warn!(
                        cluster = &*cluster.name,
                        host = endpoint.host,
                        "cannot look up a host: {error}"
                    );
                    level.extend(known(cluster, endpoint));
                }
            }
        }
        hosts.push(level.into());
    }
    cluster.hosts.store(Arc::new(hosts));
}

async fn addresses(endpoint: &Endpoint) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, endpoint.port)]);
    }
    Ok(
        tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
            .await?
            .collect(),
    )
}

fn host(cluster: &SharedCluster, endpoint: &Endpoint, address: SocketAddr) -> Arc<UpstreamHost> {
    Arc::new(UpstreamHost {
        address,
        endpoint: endpoint.clone(),
        cluster: cluster.name.clone(),
    })
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
