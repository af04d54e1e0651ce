//! A document and where its environments are, as templates and targets need it.

use serde_json::Value;
use switchover_core::document;

use super::upstream::Endpoint;
use super::{Options, RenderError};
use crate::rollout::Loaded;

/// A document with an address for each cluster.
pub(super) struct Model {
    /// The rollouts in their order.
    pub(super) rollouts: Vec<Rollout>,
    /// The variables that hold credentials.
    pub(super) variables: Vec<String>,
}

/// A rollout.
pub(super) struct Rollout {
    /// Its index in `rollouts`; `None` where the document is one rollout.
    pub(super) at: Option<usize>,
    /// Its id.
    pub(super) id: String,
    /// The hosts that it is for; none: all.
    pub(super) hosts: Vec<String>,
    /// What its paths start with, in whole segments.
    pub(super) path: Option<String>,
    /// The environments, in order of their names.
    pub(super) environments: Vec<Environment>,
    /// The index of the stable one.
    pub(super) stable: usize,
    /// The header that tells who the consumer is.
    pub(super) identity: Option<String>,
    /// Whether the filter sends probes.
    pub(super) probes: bool,
    /// Whether the document says to which host.
    pub(super) probes_host: bool,
    /// The members that it has.
    json: Value,
}

/// An environment.
pub(super) struct Environment {
    /// Its name.
    pub(super) name: String,
    /// Whether requests for it carry a credential.
    pub(super) credential: bool,
    /// Its clusters, at least one.
    pub(super) leaves: Vec<Leaf>,
}

/// A cluster that belongs to one environment.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Its name.
    pub(super) cluster: String,
    /// Its addresses, at least one.
    pub(super) endpoints: Vec<Endpoint>,
}

// === impl Model ===

impl Model {
    /// Gives each cluster its addresses.
    ///
    /// # Errors
    /// A cluster has none, or an upstream fits none.
    pub(super) fn new(loaded: &Loaded, options: &Options) -> Result<Self, RenderError> {
        let json: Value = serde_json::from_str(loaded.text()).unwrap_or_default();
        let list = json.get("rollouts").is_some();
        let rollouts = loaded.document().rollouts();
        let model = |(at, rollout): (usize, &document::Rollout)| {
            let json = json.get("rollouts").and_then(|list| list.get(at));
            Rollout::new(rollout, list.then_some(at), json, options)
        };
        let mut model = Self {
            rollouts: rollouts.iter().enumerate().map(model).collect(),
            variables: loaded.document().variables().to_vec(),
        };
        if !list {
            model
                .rollouts
                .iter_mut()
                .for_each(|only| only.json = json.clone());
        }
        model.place(options)?;
        model.own_clusters()?;
        Ok(model)
    }

    /// Puts the upstreams into the clusters that they name.
    fn place(&mut self, options: &Options) -> Result<(), RenderError> {
        for upstream in &options.upstreams {
            let mut clusters = self.clusters_called(&upstream.name);
            clusters.dedup();
            let [cluster] = clusters.as_slice() else {
                return Err(self.misnamed(&upstream.name, &clusters));
            };
            let cluster = cluster.clone();
            for leaf in self.leaves_mut().filter(|leaf| leaf.cluster == cluster) {
                leaf.endpoints.push(upstream.endpoint.clone());
            }
        }
        let empty = self.leaves().filter(|(_, leaf)| leaf.endpoints.is_empty());
        let mut missing: Vec<_> = empty
            .map(|(name, leaf)| (name, leaf.cluster.as_str()))
            .collect();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let several = self.rollouts.len() > 1
            || missing
                .iter()
                .any(|(name, _)| self.clusters_called(name).len() > 1);
        let options = missing.iter().map(|(name, cluster)| {
            format!(
                "--upstream {}=HOST:PORT",
                if several { cluster } else { name }
            )
        });
        let options = options.collect::<Vec<_>>().join(" ");
        Err(RenderError::Upstream(format!(
            "an address is missing for each of these; add {options}"
        )))
    }

    /// The clusters that a name means: the one of that name, else those of the environments of that name.
    fn clusters_called(&self, name: &str) -> Vec<String> {
        let all = || {
            self.leaves()
                .map(|(owner, leaf)| (owner, leaf.cluster.clone()))
        };
        if all().any(|(_, cluster)| cluster == name) {
            return vec![name.to_owned()];
        }
        let mut clusters: Vec<_> = all()
            .filter(|(owner, _)| *owner == name)
            .map(|(_, cluster)| cluster)
            .collect();
        clusters.sort();
        clusters.dedup();
        clusters
    }

    fn misnamed(&self, name: &str, clusters: &[String]) -> RenderError {
        let message = if clusters.is_empty() {
            let mut known: Vec<_> = self.leaves().map(|(owner, _)| owner).collect();
            known.sort_unstable();
            known.dedup();
            format!(
                "--upstream {name}=…: the document has no environment or cluster {name:?}, only {}",
                known.join(", ")
            )
        } else {
            format!(
                "--upstream {name}=…: {name} has several clusters; name one of them: {}",
                clusters.join(", ")
            )
        };
        RenderError::Upstream(message)
    }

    /// A cluster belongs to the same environment wherever it is named, since its endpoints say which.
    fn own_clusters(&self) -> Result<(), RenderError> {
        let all: Vec<_> = self.leaves().collect();
        for (name, leaf) in &all {
            let other = all
                .iter()
                .find(|(other, same)| other != name && same.cluster == leaf.cluster);
            if let Some((other, _)) = other {
                return Err(RenderError::Upstream(format!(
                    "the cluster {:?} belongs to {name} in one rollout and to {other} in another; give each environment clusters of its own",
                    leaf.cluster
                )));
            }
        }
        Ok(())
    }

    /// All clusters, as often as they are named, with the names of their environments.
    pub(super) fn leaves(&self) -> impl Iterator<Item = (&str, &Leaf)> {
        let environments = self.rollouts.iter().flat_map(|r| &r.environments);
        environments.flat_map(|e| e.leaves.iter().map(|leaf| (e.name.as_str(), leaf)))
    }

    fn leaves_mut(&mut self) -> impl Iterator<Item = &mut Leaf> {
        let environments = self.rollouts.iter_mut().flat_map(|r| &mut r.environments);
        environments.flat_map(|e| &mut e.leaves)
    }

    /// Whether some requests carry an environment's credential.
    pub(super) fn has_credentials(&self) -> bool {
        !self.variables.is_empty()
    }

    /// Whether some rollout has this member.
    pub(super) fn has(&self, member: &str) -> bool {
        self.rollouts.iter().any(|rollout| rollout.has(member))
    }
}

// === impl Rollout ===

impl Rollout {
    fn new(
        rollout: &document::Rollout,
        at: Option<usize>,
        json: Option<&Value>,
        options: &Options,
    ) -> Self {
        let hosts: Vec<_> = rollout
            .hosts()
            .iter()
            .map(|host| host.as_str().to_owned())
            .collect();
        Self {
            at,
            id: rollout.id().as_str().to_owned(),
            hosts: if hosts.is_empty() {
                options.hosts.clone()
            } else {
                hosts
            },
            path: rollout
                .path_prefix()
                .map(|path| path.as_str().to_owned())
                .filter(|path| path != "/"),
            environments: rollout
                .environments()
                .iter()
                .map(Environment::new)
                .collect(),
            stable: rollout.stable(),
            identity: rollout
                .identity_header()
                .map(|header| header.as_str().to_owned()),
            probes: rollout.health().is_some(),
            probes_host: rollout
                .health()
                .is_some_and(|health| health.host().is_some()),
            json: json.cloned().unwrap_or_default(),
        }
    }

    /// Whether it is for every request.
    pub(super) fn takes_all(&self) -> bool {
        self.hosts.is_empty() && self.path.is_none()
    }

    /// Whether it has this member, and not as null.
    pub(super) fn has(&self, member: &str) -> bool {
        self.json.get(member).is_some_and(|value| !value.is_null())
    }

    /// The environment that only some models may go to.
    pub(super) fn of_some_models(&self) -> Option<&str> {
        let routing = self.json.get("routing").and_then(Value::as_object);
        let mut environments = routing.into_iter().flatten();
        let limited = |environment: &Value| environment.get("models").is_some_and(|m| !m.is_null());
        environments
            .find(|(_, environment)| limited(environment))
            .map(|(name, _)| name.as_str())
    }

    /// The environments that get their share by name, then stable, which gets all else; with their indices.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (usize, &Environment)> {
        let others = self
            .environments
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != self.stable);
        let stable = self
            .environments
            .iter()
            .enumerate()
            .filter(|(at, _)| *at == self.stable);
        others.chain(stable)
    }

    /// A host name for requests of the filter's own: one that the rollout is for, else where stable is.
    pub(super) fn host(&self) -> &str {
        let named = self
            .hosts
            .iter()
            .map(String::as_str)
            .find(|host| !host.starts_with('*'));
        let stable = || {
            self.environments
                .get(self.stable)
                .and_then(|e| e.endpoints().next())
        };
        named
            .or_else(|| stable().map(|endpoint| endpoint.host.as_str()))
            .unwrap_or_default()
    }

    /// A regular expression for the whole authority of the requests that it is for; `None`: any.
    pub(super) fn authority(&self) -> Option<String> {
        let pattern = |host: &String| match host.strip_prefix('*') {
            Some(suffix) => format!(".+{}", regex::escape(suffix)),
            None => regex::escape(host),
        };
        let patterns: Vec<_> = self.hosts.iter().map(pattern).collect();
        (!patterns.is_empty()).then(|| format!("(?i)({})(:[0-9]+)?", patterns.join("|")))
    }
}

// === impl Environment ===

impl Environment {
    fn new(environment: &document::Environment) -> Self {
        let leaf = |cluster: &document::ClusterName| Leaf {
            cluster: cluster.as_str().to_owned(),
            endpoints: Vec::new(),
        };
        Self {
            name: environment.name().as_str().to_owned(),
            credential: environment.credential().is_some(),
            leaves: environment.clusters().iter().map(leaf).collect(),
        }
    }

    /// The addresses of all its clusters.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.leaves.iter().flat_map(|leaf| &leaf.endpoints)
    }
}
