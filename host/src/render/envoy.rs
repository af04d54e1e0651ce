//! For Envoy and for `switchover serve`: a bootstrap, and the ECDS document that changes while they run.

use serde::Serialize;
use serde_json::json;
use switchover_core::models::Models;

use super::model::{Environment, Leaf, Model, Rollout};
use super::template::{fill, indented, stats_config};
use super::upstream::Endpoint;
use super::{Envoy, File, Options, RenderError, Rendered, document, notes};
use crate::rollout::Loaded;

const BOOTSTRAP: &str = include_str!("templates/envoy.yaml.j2");
const DOCUMENT: &str = include_str!("templates/rollout.yaml.j2");
/// The files' names.
const NAMES: [&str; 2] = ["envoy.yaml", "rollout.yaml"];
/// Envoy's default for `per_connection_buffer_limit_bytes`.
const DEFAULT_BUFFER: usize = 1 << 20;
/// The spaces before the document's lines in its template.
const INDENT: usize = 10;

/// A route.
#[derive(Serialize)]
struct Route {
    name: String,
    /// The value of `x-deployment-mode`; `None`: any.
    mode: Option<String>,
    /// A regular expression for the authority.
    authority: Option<String>,
    path: Option<Path>,
    /// Whether it is for the methods that may be sent twice.
    safe: bool,
    /// Whether a failed attempt is followed by one in another environment.
    fails_over: bool,
    cluster: String,
}

/// What a path starts with, and whether it ends there or with a `/` after it.
#[derive(Serialize)]
struct Path {
    field: &'static str,
    value: String,
}

/// A cluster that routes name: an environment, and where its requests go after it.
#[derive(Serialize, PartialEq)]
struct Aggregate {
    name: String,
    leaves: Vec<String>,
}

/// A cluster with addresses.
#[derive(Serialize)]
struct Cluster<'a> {
    name: &'a str,
    environment: &'a str,
    kind: &'static str,
    endpoints: &'a [Endpoint],
}

pub(super) fn render(
    loaded: &Loaded,
    model: &Model,
    options: &Options,
    envoy: &Envoy,
) -> Result<Rendered, RenderError> {
    let mut aggregates = Vec::new();
    let routes: Vec<_> = model
        .rollouts
        .iter()
        .flat_map(|rollout| routes(rollout, model, &mut aggregates))
        .collect();
    let mut identities: Vec<_> = model
        .rollouts
        .iter()
        .filter_map(|r| r.identity.as_deref())
        .collect();
    identities.sort_unstable();
    identities.dedup();
    let notes = notes::envoy(model);
    let [bootstrap, rollout] = NAMES;
    let text = document::with_attempts(loaded, model);
    let values = json!({
        "name": options.name,
        "directory": envoy.directory.to_string_lossy(),
        "rollout": envoy.directory.join(rollout).to_string_lossy(),
        "filter": envoy.filter.to_string_lossy(),
        "listen": json!({"host": envoy.listen.ip().to_string(), "port": envoy.listen.port()}),
        "admin": json!({"host": envoy.admin.ip().to_string(), "port": envoy.admin.port()}),
        "buffer": buffer(loaded),
        "stats_config": stats_config(0),
        "variables": model.variables,
        "text": indented(text.lines(), INDENT),
        "notes": notes,
        "identities": identities,
        "routes": &routes,
        "aggregates": &aggregates,
        "clusters": clusters(model),
    });
    let file = |name, template| {
        let text = fill("envoy", template, &values)?;
        Ok(File { name, text })
    };
    Ok(Rendered {
        files: vec![file(bootstrap, BOOTSTRAP)?, file(rollout, DOCUMENT)?],
        notes,
    })
}

/// What the listener must be able to hold, in bytes, where the longest body that waits for its model is longer than
/// Envoy's default allows.
fn buffer(loaded: &Loaded) -> Option<usize> {
    let models = loaded.document().rollouts().iter();
    let longest = models
        .filter_map(|rollout| rollout.models())
        .map(Models::max_body);
    longest.max().filter(|longest| *longest > DEFAULT_BUFFER)
}

/// A rollout's routes, and the aggregates that they lead to.
fn routes(rollout: &Rollout, model: &Model, aggregates: &mut Vec<Aggregate>) -> Vec<Route> {
    let mut routes = Vec::new();
    for (at, environment) in rollout.in_order() {
        let is_stable = at == rollout.stable;
        let cluster = aggregate(rollout, environment, model, aggregates);
        let prefix = match rollout.at {
            Some(_) => format!("{}/", rollout.id),
            None => String::new(),
        };
        let kinds = if is_stable {
            &[false][..]
        } else {
            &[true, false]
        };
        routes.extend(kinds.iter().map(|safe| Route {
            name: format!(
                "{prefix}{}{}",
                environment.name,
                if *safe { "-safe" } else { "" }
            ),
            mode: (!is_stable).then(|| environment.name.clone()),
            authority: rollout.authority(),
            path: rollout.path.as_deref().map(Path::new),
            safe: *safe,
            fails_over: !is_stable,
            cluster: cluster.clone(),
        }));
    }
    routes
}

/// The cluster in which an environment comes first, and stable after it; after stable, the others.
fn aggregate(
    rollout: &Rollout,
    environment: &Environment,
    model: &Model,
    known: &mut Vec<Aggregate>,
) -> String {
    let is_own = |other: &&Environment| other.name == environment.name;
    let is_stable = rollout
        .environments
        .get(rollout.stable)
        .is_some_and(|stable| is_own(&stable));
    let after = rollout
        .environments
        .iter()
        .enumerate()
        .filter(|(at, other)| !is_own(other) && (is_stable || *at == rollout.stable));
    let names = |environment: &Environment| {
        let name = |leaf: &Leaf| leaf.cluster.clone();
        environment.leaves.iter().map(name).collect::<Vec<_>>()
    };
    let mut leaves = names(environment);
    leaves.extend(after.flat_map(|(_, other)| names(other)));
    if let Some(same) = known.iter().find(|aggregate| aggregate.leaves == leaves) {
        return same.name.clone();
    }
    let base = format!("{}-first", environment.name);
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    let taken = |name: &String| {
        known.iter().any(|a| a.name == *name)
            || model.leaves().any(|(_, leaf)| leaf.cluster == *name)
    };
    let name = std::iter::once(base.clone())
        .chain(numbered)
        .find(|name| !taken(name))
        .unwrap_or(base);
    known.push(Aggregate {
        name: name.clone(),
        leaves,
    });
    name
}

/// Each cluster once.
fn clusters(model: &Model) -> Vec<Cluster<'_>> {
    let mut clusters: Vec<Cluster<'_>> = Vec::new();
    for (environment, leaf) in model.leaves() {
        if clusters.iter().any(|known| known.name == leaf.cluster) {
            continue;
        }
        let is_static = leaf.endpoints.iter().all(Endpoint::is_ip);
        clusters.push(Cluster {
            name: &leaf.cluster,
            environment,
            kind: if is_static { "STATIC" } else { "STRICT_DNS" },
            endpoints: &leaf.endpoints,
        });
    }
    clusters
}

// === impl Path ===

impl Path {
    fn new(prefix: &str) -> Self {
        let field = if prefix.ends_with('/') {
            "prefix"
        } else {
            "path_separated_prefix"
        };
        Self {
            field,
            value: prefix.to_owned(),
        }
    }
}
