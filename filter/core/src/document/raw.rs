//! The rollout document as it is written, before it is checked as a whole. The doc comments here are the reference: `switchover schema` prints them.

pub(crate) mod auth;
pub(crate) mod models;
mod operate;
pub(crate) mod sticky;

use crate::document::read::{At, Problems, Read, choice, members, object};
use crate::document::text::{
    ClusterName, Count, HostPattern, Label, ModelPattern, Name, RolloutId, UrlPath, Weight,
};
use crate::json::Node;

pub use auth::AuthMode;
pub(crate) use auth::{Auth, Consumer, Credential, Key, Source};
pub(crate) use models::{Aliases, CatalogueModel, Limits, Models, Price};
pub use models::{ModelList, UnknownModel};
pub use operate::Ramp;
pub(crate) use operate::{Guard, Health, Schedule, Shadow, Step};
pub use sticky::Allow;
pub(crate) use sticky::{KeyField, KeySource, Override, Sticky};

/// A JSON array; items that could not be read are left out, so each keeps its index.
pub(crate) struct Items<T>(pub(crate) Vec<(usize, T)>);

/// A JSON object from environment names to `T`, in order of the names.
pub(crate) struct ByName<T>(pub(crate) Vec<(Name, T)>);

/// The whole document: one rollout, or several in `rollouts`.
pub(crate) enum Document {
    /// One rollout
    One(Box<Rollout>),
    /// Several
    Many(Rollouts),
}

object! {
    /// Several rollouts in one document: the first whose `match` fits a request decides; a request that fits none passes
    /// untouched.
    struct Rollouts {
        /// The rollouts, in the order in which they are tried.
        rollouts: Items<Rollout> [required],
    }
}

object! {
    /// A rollout: which environments there are, who gets which, and which credentials requests carry.
    struct Rollout {
        /// The identity of this rollout: salt of the sticky hash (a new one picks new first users) and metric label.
        /// Default: `default`.
        rollout: RolloutId,
        /// The environment that traffic goes to when in doubt. Default: `blue` if there is one, else the first by name.
        stable: Name,
        /// The environments by name, at least one, the sum of their weights above zero.
        routing: ByName<Environment> [required],
        /// How requests without a sticky key are shared out. Default: `weighted_round_robin`.
        strategy: Strategy,
        /// Which requests belong together and stay in one environment. Default: none, except for `consistent_hash`,
        /// which by default keeps each consumer in one environment.
        sticky: Sticky,
        /// Whether a request may name its environment itself. Default: nobody may.
        r#override: Override,
        /// What becomes of the clients' credentials. Default: they pass as they are.
        auth: Auth,
        /// A share that changes with time. Default: the weights stand as they are.
        schedule: Schedule,
        /// Limits at which all traffic returns to stable. Default: none.
        guard: Guard,
        /// Probes of each environment by the filter. Default: none.
        health: Health,
        /// Copies of requests for an environment, whose answers are dropped. Default: none.
        shadow: Shadow,
        /// The models of an OpenAI-compatible API: names, prices, what requests and tokens are limited to. Default: request
        /// bodies are not looked at.
        models: Models,
        /// Whether an attempt role (root id `switchover.attempt`) is installed as an upstream filter and injects the
        /// credentials, once for each attempt. Default: false, the route role injects them, and a retry in another
        /// environment would carry the first one's credential.
        attempts: bool,
        /// True: everything to stable, whatever the weights say; an allowed override still counts. Default: false.
        rollback: bool,
        /// Counts an operator's resumes; a new number opens a tripped latch. Default: 0.
        resume: Count,
        /// Which requests this rollout is for. Default: all.
        r#match: Match,
        /// Whether responses say who answered, in `x-deployment-mode` and `x-deployment-version`. Default: true.
        response_headers: bool,
    }
}

object! {
    /// One environment.
    struct Environment {
        /// Its share of the traffic relative to the other environments: an integer from 0 to 1,000,000.
        weight: Weight [required],
        /// The version that runs there; responses carry it as `x-deployment-version`. Default: none.
        version: Label,
        /// The clusters whose attempts belong to this environment, where endpoints carry no `switchover` metadata; leaf
        /// clusters only. Default: the environment's own name.
        clusters: Items<ClusterName>,
        /// The credential that requests for this environment carry. Default: none.
        credential: Credential,
        /// The only models that may go there: names of the catalogue, or what they begin with and `*`. Requests for others go
        /// to stable; for what stable does not take, to the first environment that does, whatever its weight. Attempts
        /// that failover brings here all the same are answered with 503. It needs `models` with `hold_headers`. Default:
        /// all.
        models: Items<ModelPattern>,
    }
}

choice! {
    /// How requests without a sticky key are shared out.
    pub enum Strategy {
        /// Smooth and exact: of as many requests in a row as the weights add up to, each environment gets its weight.
        "weighted_round_robin" => WeightedRoundRobin,
        /// Each request draws lots.
        "weighted_random" => WeightedRandom,
        /// By the hash of the sticky key; a request without one is shared out in turn.
        "consistent_hash" => ConsistentHash,
    }
}

object! {
    /// Which requests a rollout is for: those that fit every field given.
    struct Match {
        /// Hosts, without ports: exact names, or `*.` and what the host ends in. Default: all.
        hosts: Items<HostPattern>,
        /// What the path starts with, in whole segments: `/v1` fits `/v1` and `/v1/models`, not `/v10`. Default: all.
        path_prefix: UrlPath,
    }
}

// === impl Document ===

impl Read for Document {
    const EXPECTED: &'static str = "a rollout document";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        let Node::Object(fields) = node else {
            problems.wrong_type(at, "an object: a rollout document", node);
            return None;
        };
        if fields.iter().any(|(name, _)| name == "rollouts") {
            return Rollouts::read(node, at, problems).map(Self::Many);
        }
        Rollout::read(node, at, problems).map(|rollout| Self::One(Box::new(rollout)))
    }
}

// === impl Items ===

impl<T: Read> Read for Items<T> {
    const EXPECTED: &'static str = "an array";

    #[cold]
    #[inline(never)]
    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        let Node::Array(items) = node else {
            problems.wrong_type(at, Self::EXPECTED, node);
            return None;
        };
        let item = |(index, node)| Some((index, T::read(node, &at.item(index), problems)?));
        Some(Self(items.iter().enumerate().filter_map(item).collect()))
    }
}

// === impl ByName ===

impl<T: Read> Read for ByName<T> {
    const EXPECTED: &'static str = "an object from environment names to environments";

    fn read(node: &Node, at: &At<'_>, problems: &mut Problems) -> Option<Self> {
        let mut environments: Vec<(Name, T)> = Vec::new();
        for (name, node) in members(node, at, problems)? {
            let at = at.member(name);
            let value = T::read(node, &at, problems);
            match Name::new(name) {
                Some(name) => {
                    let place = environments.partition_point(|(other, _)| *other < name);
                    value
                        .into_iter()
                        .for_each(|value| environments.insert(place, (name.clone(), value)));
                }
                None => problems.push(
                    &at,
                    ["is no environment name: expected ", Name::EXPECTED].concat(),
                ),
            }
        }
        Some(Self(environments))
    }
}

/// The configuration of an attempt role.
pub(crate) fn read_route_plugin(node: &Node, problems: &mut Problems) -> Option<String> {
    object! {
        /// The attempt role's own configuration.
        struct Attempt {
            /// The name of the route plugin whose requests get credentials. Default: any.
            route_plugin: ClusterName,
        }
    }
    let attempt = Attempt::read(node, &At::Root, problems)?;
    attempt.route_plugin.map(|name| name.as_str().to_owned())
}
