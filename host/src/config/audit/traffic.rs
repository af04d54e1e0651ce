//! Checks of the traffic that the filter watches or makes: attempts behind a guard, probes and shadow copies.

use std::collections::BTreeSet;

use super::{Audit, RouteRole, endpoints};
use crate::config::cluster::{Cluster, ClusterKind};
use crate::config::rollout::Rollout;
use crate::config::route::{Forward, RetryPolicy, RouteAction, Target};
use crate::config::{Problem, Severity};

impl<'a> Audit<'a> {
    /// What `health` and `shadow` call is a leaf of this file: an aggregate's answer may be another environment's.
    pub(super) fn called(&self, role: &RouteRole<'_>) -> Vec<Problem> {
        let environments = role.rollouts.iter().flat_map(|r| &r.environments);
        let problem = |name: &str| match &self.bootstrap.clusters.get(name).map(|c| &c.kind) {
            Some(ClusterKind::Leaf { .. }) => None,
            Some(ClusterKind::Aggregate(leaves)) => Some(format!(
                "{name:?} is an aggregate, where another environment may answer the calls of health and shadow; name this environment's leaf in clusters ({})",
                leaves.join(", ")
            )),
            None => Some(format!(
                "there is no cluster {name:?} in {} for the calls of health and shadow; name this environment's leaf in clusters",
                self.file()
            )),
        };
        environments
            .filter_map(|environment| {
                let named = environment.called.as_ref()?;
                let message = problem(&named.name)?;
                Some(role.document.problem(Severity::Error, &named.path, message))
            })
            .collect()
    }

    /// Without an attempt role a guard sees the last answer only, which failover has made good.
    pub(super) fn blind_guards(&self, role: &RouteRole<'_>) -> Vec<Problem> {
        let blind = |rollout: &Rollout| {
            let mut clusters = self.failovers(rollout);
            if rollout.attempts {
                clusters.retain(|name| !self.has_attempt_role(name));
            }
            let names: Vec<_> = clusters.into_iter().collect();
            (rollout.guard && !names.is_empty()).then(|| {
                let message = format!(
                    "is blind to what {} retries in another environment ({}): without the attempt role there it sees the last answer only; install it, and say \"attempts\": true",
                    self.file(),
                    names.join(", ")
                );
                let path = format!("{}guard", rollout.prefix);
                role.document.problem(Severity::Warning, &path, message)
            })
        };
        role.rollouts.iter().filter_map(blind).collect()
    }

    /// The clusters in which a route retries across environments.
    fn failovers(&self, rollout: &Rollout) -> BTreeSet<&'a str> {
        let hosts = self
            .bootstrap
            .listeners
            .iter()
            .flat_map(|l| &l.http.routes.virtual_hosts);
        let forwards = hosts.flat_map(|host| {
            let forward = |action: &'a RouteAction| match action {
                RouteAction::Forward(forward) => Some(&**forward),
                _ => None,
            };
            let actions = host.routes.iter().map(|route| &route.action);
            let retried = |f: &&Forward| retries(f.retry.as_ref().or(host.retry.as_ref()));
            actions.filter_map(forward).filter(retried)
        });
        forwards
            .flat_map(|forward| named(&forward.target))
            .filter(|name| self.environments(name, rollout) > 1)
            .collect()
    }

    /// How many environments an attempt in a cluster may belong to.
    fn environments(&self, cluster: &str, rollout: &Rollout) -> usize {
        let clusters = &self.bootstrap.clusters;
        let leaves: Vec<&str> = match clusters.get(cluster).map(|c| &c.kind) {
            Some(ClusterKind::Aggregate(leaves)) => leaves.iter().map(String::as_str).collect(),
            _ => vec![cluster],
        };
        let leaves = leaves.into_iter().filter_map(|name| clusters.get(name));
        let environments: BTreeSet<_> = leaves.flat_map(|leaf| members(leaf, rollout)).collect();
        environments.len()
    }
}

/// The environments of a leaf's endpoints: by their metadata, else by the clusters that environments name.
fn members<'a>(leaf: &'a Cluster, rollout: &'a Rollout) -> impl Iterator<Item = &'a str> {
    let owner = rollout.owner(&leaf.name);
    endpoints(leaf).filter_map(move |endpoint| {
        let own = endpoint.metadata.get("switchover");
        own.and_then(|own| own.get("environment")?.as_str())
            .or(owner)
    })
}

/// Whether a policy sends anything twice.
fn retries(policy: Option<&RetryPolicy>) -> bool {
    policy.is_some_and(|policy| policy.num_retries > 0 && policy.on != Default::default())
}

/// The clusters that a target names.
pub(super) fn named(target: &Target) -> Vec<&str> {
    match target {
        Target::Cluster(name) => vec![name],
        Target::Weighted(clusters) => clusters.iter().map(|(name, _)| name.as_str()).collect(),
        Target::ClusterHeader(_) => Vec::new(),
    }
}
