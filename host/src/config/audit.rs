//! Checks across a bootstrap and the rollout documents that run in it.

mod models;
mod tags;
mod traffic;

use std::collections::BTreeSet;

use switchover_core::document::{self, MODE_HEADER};

use super::check::{ATTEMPT, ROUTE};
use super::cluster::{Cluster, ClusterKind, Endpoint};
use super::facts::{Chain, PluginAt, Slot};
use super::listener::{HttpFilter, HttpFilterKind};
use super::plugin::{FailurePolicy, WasmPlugin};
use super::rollout::{Document, Named, Rollout};
use super::route::{HeaderEdit, RouteAction};
use super::{Bootstrap, Problem, Severity};

/// A bootstrap and its plugins by role.
pub(super) struct Audit<'a> {
    bootstrap: &'a Bootstrap,
    routes: Vec<RouteRole<'a>>,
    attempts: Vec<&'a PluginAt>,
}

/// A route role and its document.
struct RouteRole<'a> {
    at: &'a PluginAt,
    document: Document<'a>,
    rollouts: Vec<Rollout>,
}

// === impl Audit ===

impl<'a> Audit<'a> {
    /// For a bootstrap without errors and all plugins in it.
    pub(super) fn new(bootstrap: &'a Bootstrap, plugins: &'a [PluginAt]) -> Self {
        let role = |root_id| plugins.iter().filter(move |p| p.plugin.root_id == root_id);
        Audit {
            bootstrap,
            routes: role(ROUTE).map(RouteRole::new).collect(),
            attempts: role(ATTEMPT).collect(),
        }
    }

    /// All checks.
    pub(super) fn run(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for role in &self.routes {
            problems.extend(self.clusters(role));
            problems.extend(self.called(role));
            problems.extend(self.blind_guards(role));
            problems.extend(self.unbound_retries(role));
            problems.extend(self.last_routes(role));
            problems.extend(self.no_failover(role));
            problems.extend(self.bypass(role));
            problems.extend(self.models(role));
            if role.attempts() {
                problems.extend(self.attempt_filters(role));
                problems.extend(self.metadata(role));
            }
        }
        problems.extend(self.namesakes());
        problems.extend(self.tags());
        for at in &self.attempts {
            problems.extend(self.unused_attempt(at));
            problems.extend(self.route_plugin(at));
            problems.extend(self.shared_vm(at));
        }
        problems
    }

    /// `routing.*.clusters` names leaves of this file: the attempt role sees an aggregate's name for all its leaves.
    fn clusters(&self, role: &RouteRole<'_>) -> Vec<Problem> {
        let check = |Named { name, path }: &Named| {
            let severity = match role.attempts() {
                true => Severity::Error,
                false => Severity::Warning,
            };
            let (severity, message) = match self.bootstrap.clusters.get(name).map(|c| &c.kind) {
                Some(ClusterKind::Leaf { .. }) => return None,
                Some(ClusterKind::Aggregate(leaves)) => (
                    Severity::Error,
                    format!(
                        "{name:?} is an aggregate, which says nothing about the environment; name its leaf ({})",
                        leaves.join(", ")
                    ),
                ),
                None => (
                    severity,
                    format!("there is no cluster {name:?} in {}", self.file()),
                ),
            };
            Some(role.document.problem(severity, path, message))
        };
        let environments = role.rollouts.iter().flat_map(|r| &r.environments);
        environments
            .flat_map(|e| e.clusters.iter().filter(|c| e.called.as_ref() != Some(c)))
            .filter_map(check)
            .collect()
    }

    fn file(&self) -> std::path::Display<'_> {
        self.bootstrap.file.display()
    }

    /// A role that may be passed over must find its own headers stripped already.
    fn bypass(&self, role: &RouteRole<'_>) -> Vec<Problem> {
        let Some(Slot {
            chain: Chain::Listener(index),
            position,
        }) = &role.at.slot
        else {
            return Vec::new();
        };
        if role.at.plugin.failure_policy != FailurePolicy::FailOpen {
            return Vec::new();
        }
        let filters = self
            .bootstrap
            .listeners
            .get(*index)
            .map(|l| l.http.http_filters.as_slice())
            .unwrap_or_default();
        let stripped = stripped(filters.get(..*position).unwrap_or_default());
        let mut names: Vec<_> = role
            .rollouts
            .iter()
            .filter_map(|r| r.identity_header.clone())
            .collect();
        names.insert(0, MODE_HEADER.to_owned());
        names.retain(|name| !stripped.contains(&name.to_ascii_lowercase()));
        let message = |name| {
            format!(
                "with FAIL_OPEN a client's own {name} gets through when the VM has failed; put a header_mutation filter that removes it before this one"
            )
        };
        names
            .into_iter()
            .map(|n| {
                role.at
                    .problem(Severity::Warning, &role.at.place, message(n))
            })
            .collect()
    }

    /// With `attempts: true` each cluster that routes name runs the attempt role.
    fn attempt_filters(&self, role: &RouteRole<'_>) -> Option<Problem> {
        if self.attempts.is_empty() {
            let message = format!(
                "no cluster of {} has an upstream filter with the root id {ATTEMPT}, so no credential is ever sent",
                self.file()
            );
            return Some(
                role.document
                    .problem(Severity::Error, &role.attempts_path(), message),
            );
        }
        let without: Vec<_> = self
            .routed()
            .into_iter()
            .filter(|name| !self.has_attempt_role(name))
            .collect();
        (!without.is_empty()).then(|| {
            let message = format!("routes of {} lead to clusters without the attempt role, which get no credential: {}", self.file(), without.join(", "));
            role.document.problem(Severity::Warning, &role.attempts_path(), message)
        })
    }

    fn has_attempt_role(&self, cluster: &str) -> bool {
        let here = |p: &&PluginAt| matches!(&p.slot, Some(Slot { chain: Chain::Cluster(name), .. }) if name == cluster);
        self.attempts.iter().any(here)
    }

    /// The clusters that routes name.
    fn routed(&self) -> BTreeSet<&'a str> {
        let hosts = self
            .bootstrap
            .listeners
            .iter()
            .flat_map(|l| &l.http.routes.virtual_hosts);
        let mut names = BTreeSet::new();
        for route in hosts.flat_map(|h| &h.routes) {
            let RouteAction::Forward(forward) = &route.action else {
                continue;
            };
            names.extend(traffic::named(&forward.target));
        }
        names
    }

    /// Behind an aggregate only an endpoint's metadata tells the environment of an attempt.
    fn metadata(&self, role: &RouteRole<'_>) -> Vec<Problem> {
        let aggregates = self
            .bootstrap
            .clusters
            .values()
            .filter_map(|c| match &c.kind {
                ClusterKind::Aggregate(leaves) if self.has_attempt_role(&c.name) => Some(leaves),
                _ => None,
            });
        let leaves: BTreeSet<_> = aggregates.flatten().collect();
        let clusters = leaves
            .into_iter()
            .filter_map(|name| self.bootstrap.clusters.get(name));
        let problem = |cluster: &Cluster| {
            let message =
                endpoints(cluster).find_map(|e| unknown_environment(e, &role.rollouts))?;
            let message = format!("cluster {:?} of {}: {message}", cluster.name, self.file());
            Some(
                role.document
                    .problem(Severity::Warning, &role.attempts_path(), message),
            )
        };
        clusters.filter_map(problem).collect()
    }

    /// Route roles of one name in one VM share what they keep there, their latch too: they must be one and the same.
    fn namesakes(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (i, role) in self.routes.iter().enumerate() {
            let (at, plugin) = (role.at, &role.at.plugin);
            let namesake = self
                .routes
                .iter()
                .take(i)
                .map(|r| &r.at.plugin)
                .find(|other| {
                    other.name == plugin.name
                        && other.vm.vm_id == plugin.vm.vm_id
                        && other.configuration != plugin.configuration
                });
            if namesake.is_some() {
                let message = format!(
                    "another route role named {:?} with the vm_id {:?} has another document; give each a name of its own",
                    plugin.name, plugin.vm.vm_id
                );
                problems.push(at.problem(Severity::Error, &at.place, message));
            }
        }
        problems
    }

    fn unused_attempt(&self, at: &PluginAt) -> Option<Problem> {
        let used = self.routes.iter().any(RouteRole::attempts);
        (!used).then(|| {
            let message = "no rollout document says \"attempts\": true, so this filter injects nothing, and a credential follows a retry to the other environment";
            at.problem(Severity::Warning, &at.place, message)
        })
    }

    fn route_plugin(&self, at: &PluginAt) -> Option<Problem> {
        let wanted = document::parse_attempt(&at.plugin.configuration).ok()??;
        let names: Vec<_> = self
            .routes
            .iter()
            .map(|r| r.at.plugin.name.as_str())
            .collect();
        (!names.contains(&wanted.as_str())).then(|| {
            let place = at.configuration.as_ref().map_or(&at.place, |c| &c.place);
            at.problem(
                Severity::Error,
                place,
                format!(
                    "there is no route plugin {wanted:?}; there is {}",
                    names.join(", ")
                ),
            )
        })
    }

    /// The roles share a VM, so that a document reaches both at once.
    fn shared_vm(&self, at: &PluginAt) -> Option<Problem> {
        let mut differences = self
            .routes
            .iter()
            .map(|r| (vm_differences(&r.at.plugin, &at.plugin), &r.at.plugin));
        let (difference, other) = differences
            .clone()
            .find(|(d, _)| d.is_empty())
            .or_else(|| differences.next())?;
        let message = if !difference.is_empty() {
            let guarded = self
                .routes
                .iter()
                .flat_map(|r| &r.rollouts)
                .any(|r| r.guard);
            let blind = match guarded {
                true => ", and its attempts that end without an answer do not count for the guard",
                false => "",
            };
            format!(
                "runs in a VM of its own, since its {} differs from the route role's; a document reaches it a tick later{blind}",
                difference.join(", ")
            )
        } else if other.vm.environment != at.plugin.vm.environment {
            "shares the route role's VM, but its environment_variables differ; those of the first to start hold for both".to_owned()
        } else {
            return None;
        };
        Some(at.problem(Severity::Warning, &at.place, message))
    }
}

// === impl RouteRole ===

impl<'a> RouteRole<'a> {
    fn new(at: &'a PluginAt) -> Self {
        let text = std::str::from_utf8(&at.plugin.configuration).unwrap_or_default();
        let document = Document::new(&at.file, text, at.configuration.as_ref());
        RouteRole {
            rollouts: document.rollouts(),
            document,
            at,
        }
    }

    fn attempts(&self) -> bool {
        self.rollouts.iter().any(|r| r.attempts)
    }

    /// The JSON path of the first `attempts: true`.
    fn attempts_path(&self) -> String {
        let first = self.rollouts.iter().find(|r| r.attempts);
        first
            .map(|r| format!("{}attempts", r.prefix))
            .unwrap_or_default()
    }
}

fn endpoints(cluster: &Cluster) -> impl Iterator<Item = &Endpoint> {
    match &cluster.kind {
        ClusterKind::Leaf { priorities, .. } => priorities.as_slice(),
        ClusterKind::Aggregate(_) => &[],
    }
    .iter()
    .flatten()
}

/// Why an endpoint belongs to no environment of the rollouts.
fn unknown_environment(endpoint: &Endpoint, rollouts: &[Rollout]) -> Option<String> {
    let Endpoint {
        host,
        port,
        metadata,
        ..
    } = endpoint;
    let environment = metadata
        .get("switchover")
        .and_then(|m| m.get("environment"))
        .and_then(|e| e.as_str());
    match environment {
        None => Some(format!(
            "the endpoint {host}:{port} has no metadata switchover.environment, so it gets no credential behind an aggregate"
        )),
        Some(name)
            if rollouts
                .iter()
                .any(|r| r.environments.iter().any(|e| e.name == name)) =>
        {
            None
        }
        Some(name) => Some(format!(
            "the endpoint {host}:{port} is of environment {name:?}, which this document does not have"
        )),
    }
}

/// The headers that filters remove from every request, in lower case.
fn stripped(filters: &[HttpFilter]) -> BTreeSet<String> {
    let edits = filters.iter().flat_map(|f| match &f.kind {
        HttpFilterKind::HeaderMutation(mutation) => mutation.request.as_slice(),
        _ => &[],
    });
    let removed = edits.filter_map(|e| match e {
        HeaderEdit::Remove(name) => Some(name.as_str().to_owned()),
        _ => None,
    });
    removed.collect()
}

/// What keeps two plugins from sharing a VM, as Envoy keys VMs.
fn vm_differences(a: &WasmPlugin, b: &WasmPlugin) -> Vec<&'static str> {
    let parts = [
        ("vm_id", a.vm.vm_id == b.vm.vm_id),
        ("code", a.vm.code == b.vm.code),
        (
            "configuration of the VM",
            a.vm.configuration == b.vm.configuration,
        ),
    ];
    parts
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| name)
        .collect()
}
