//! Checks of the traffic that the filter watches or makes, and of where it goes without it: attempts behind a guard,
//! failover, the last route, probes and shadow copies.

use std::collections::BTreeSet;

use super::{Audit, RouteRole, endpoints};
use crate::config::cluster::{Cluster, ClusterKind};
use crate::config::rollout::Rollout;
use crate::config::route::{
    Forward, PathMatch, RetryPolicy, Route, RouteAction, RouteMatch, Target, VirtualHost,
};
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
            let clusters = self.unseen(rollout).filter(|_| rollout.guard)?;
            let message = format!(
                "is blind to what {} retries in another environment ({clusters}): without the attempt role there it sees the last answer only; install it, and say \"attempts\": true",
                self.file()
            );
            let path = format!("{}guard", rollout.prefix);
            Some(role.document.problem(Severity::Warning, &path, message))
        };
        role.rollouts.iter().filter_map(blind).collect()
    }

    /// Without an attempt role nobody keeps a retry from taking a model elsewhere.
    pub(super) fn unbound_retries(&self, role: &RouteRole<'_>) -> Vec<Problem> {
        let unbound = |rollout: &Rollout| {
            let bound = rollout.environments.iter().find(|e| e.bound)?;
            let clusters = self.unseen(rollout)?;
            let message = format!(
                "does not bind what {} retries in another environment ({clusters}): without the attempt role there a request for any model follows; install it, and say \"attempts\": true",
                self.file()
            );
            let path = format!("{}routing.{}.models", rollout.prefix, bound.name);
            Some(role.document.problem(Severity::Warning, &path, message))
        };
        role.rollouts.iter().filter_map(unbound).collect()
    }

    /// The clusters in which a route retries across environments and no attempt role sees it; `None` where there is none.
    fn unseen(&self, rollout: &Rollout) -> Option<String> {
        let mut clusters = self.failovers(rollout);
        if rollout.attempts {
            clusters.retain(|name| !self.has_attempt_role(name));
        }
        let names: Vec<_> = clusters.into_iter().collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Where nothing chose an environment, the last route decides: it should lead to stable.
    pub(super) fn last_routes(&self, role: &RouteRole<'_>) -> Vec<Problem> {
        let lasts: BTreeSet<&str> = self
            .hosts()
            .filter_map(|host| host.routes.last().filter(|route| takes_all(&route.matcher)))
            .filter_map(|route| match &route.action {
                RouteAction::Forward(forward) => Some(forward),
                _ => None,
            })
            .flat_map(|forward| named(&forward.target))
            .collect();
        let problem = |rollout: &Rollout, cluster: &str| {
            let (stable, first) = (rollout.stable.as_deref()?, self.first(cluster, rollout)?);
            let known = rollout.environments.iter().any(|e| e.name == first);
            (known && first != stable).then(|| {
                let message = format!(
                    "is {stable}, but the last route of {} leads to {cluster:?}, which is {first}: that is where requests go \
                     for which nothing was chosen, also when the filter has failed; lead it to {stable}",
                    self.file()
                );
                let path = format!("{}stable", rollout.prefix);
                role.document.problem(Severity::Warning, &path, message)
            })
        };
        let problems = role.rollouts.iter().flat_map(|rollout| {
            let problems = lasts.iter().filter_map(|cluster| problem(rollout, cluster));
            problems.collect::<Vec<_>>()
        });
        problems.collect()
    }

    /// Until a guard trips, and as long as an environment fails now and then, only failover keeps it from clients.
    pub(super) fn no_failover(&self, role: &RouteRole<'_>) -> Vec<Problem> {
        let problem = |rollout: &Rollout| {
            let (watched, by) = rollout.watched.as_ref()?;
            let mut forwards = self.hosts().flat_map(|host| {
                let forward = move |route: &'a Route| match &route.action {
                    RouteAction::Forward(forward) => Some((&**forward, host)),
                    _ => None,
                };
                host.routes.iter().filter_map(forward)
            });
            let steps = |forward: &Forward, host: &VirtualHost| {
                let policy = forward.retry.as_ref().or(host.retry.as_ref());
                let steps = policy.is_some_and(|policy| policy.previous_priorities.is_some());
                let leads = named(&forward.target).into_iter().any(|cluster| {
                    self.first(cluster, rollout) == Some(watched.as_str())
                        && self.environments(cluster, rollout) > 1
                });
                // Which cluster a header names, the file does not say.
                let is_unknown = matches!(forward.target, Target::ClusterHeader(_));
                steps && retries(policy) && (leads || is_unknown)
            };
            if forwards.any(|(forward, host)| steps(forward, host)) {
                return None;
            }
            let message = format!(
                "failures of {watched} reach clients: no route of {} that leads to it retries in another environment; lead \
                 one to an aggregate with {watched} first, with a retry_policy whose retry_priority is previous_priorities",
                self.file()
            );
            let path = format!("{}{by}.environment", rollout.prefix);
            Some(role.document.problem(Severity::Warning, &path, message))
        };
        role.rollouts.iter().filter_map(problem).collect()
    }

    fn hosts(&self) -> impl Iterator<Item = &'a VirtualHost> {
        let listeners = self.bootstrap.listeners.iter();
        listeners.flat_map(|l| &l.http.routes.virtual_hosts)
    }

    /// The environment of a cluster's first leaf: where a first attempt goes.
    fn first<'r>(&'r self, cluster: &str, rollout: &'r Rollout) -> Option<&'r str> {
        let clusters = &self.bootstrap.clusters;
        let cluster = clusters.get(cluster)?;
        let leaf = match &cluster.kind {
            ClusterKind::Aggregate(leaves) => clusters.get(leaves.first()?)?,
            ClusterKind::Leaf { .. } => cluster,
        };
        members(leaf, rollout).next()
    }

    /// The clusters in which a route retries across environments.
    fn failovers(&self, rollout: &Rollout) -> BTreeSet<&'a str> {
        let forwards = self.hosts().flat_map(|host| {
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

/// Whether every request matches.
fn takes_all(matcher: &RouteMatch) -> bool {
    let any_path = matches!(&matcher.path, PathMatch::Prefix(prefix) if prefix == "/");
    any_path && matcher.headers.is_empty() && matcher.query.is_empty()
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
