//! For Istio: `WasmPlugin`, `VirtualService`, `DestinationRule`, and what these need.

use serde::Serialize;
use serde_json::json;

use super::kubernetes;
use super::model::{Environment, Model};
use super::template::{fill, indented};
use super::upstream::Endpoint;
use super::{Code, File, Options, Place, RenderError, Rendered, document, notes};
use crate::rollout::Loaded;

const TARGET: &str = "istio";
const TEMPLATE: &str = include_str!("templates/istio.yaml.j2");
/// The spaces before the document's lines in the template.
const INDENT: usize = 4;

/// Where an environment's requests go.
#[derive(Clone, Serialize)]
struct Destination {
    /// The rollout's index and the environment's.
    #[serde(skip)]
    of: (usize, usize),
    environment: String,
    /// What its objects are called.
    object: String,
    host: String,
    port: u16,
    /// Whether pods are told apart by the label `environment`, for the host is another environment's too.
    subset: bool,
    /// Its addresses, where the host is not a Service's.
    endpoints: Vec<Endpoint>,
    resolution: &'static str,
}

/// The traffic rules of a host.
#[derive(Serialize)]
struct Rule {
    object: String,
    host: String,
    subsets: Vec<String>,
}

/// A route.
#[derive(Serialize)]
struct Route<'a> {
    name: String,
    /// The value of `x-deployment-mode`; `None`: any.
    mode: Option<&'a str>,
    /// A regular expression for the authority.
    authority: Option<String>,
    /// A regular expression for the path.
    path: Option<String>,
    to: &'a Destination,
}

pub(super) fn render(
    loaded: &Loaded,
    model: &Model,
    options: &Options,
    place: &Place,
    code: &Code,
    selector: &(String, String),
) -> Result<Rendered, RenderError> {
    kubernetes::check_names(TARGET, model)?;
    kubernetes::check_models(TARGET, model)?;
    let destinations = destinations(model, options, place)?;
    let (gateway, is_new) = kubernetes::gateway(place, options);
    let cluster = |rollout, environment| {
        let of = |d: &&Destination| d.of == (rollout, environment);
        destinations
            .iter()
            .find(of)
            .map(Destination::cluster)
            .unwrap_or_default()
    };
    let text = document::without_attempts(loaded, model, cluster);
    let notes = notes::istio(model, &gateway, selector);
    let url = match code.url.contains("://") {
        true => code.url.clone(),
        false => format!("oci://{}", code.url),
    };
    let entries = destinations.iter().filter(|d| !d.endpoints.is_empty());
    let values = json!({
        "name": options.name,
        "namespace": place.namespace,
        "selector": json!({"key": selector.0, "value": selector.1}),
        "url": url,
        "sha256": code.sha256,
        "variables": model.variables,
        "text": indented(text.lines(), INDENT),
        "hosts": hosts(model),
        "rules": rules(&destinations),
        "entries": entries.collect::<Vec<_>>(),
        "routes": routes(model, &destinations),
        "is_new": is_new,
        "gateway": gateway,
        "notes": notes,
    });
    let text = fill(TARGET, TEMPLATE, &values)?;
    Ok(Rendered {
        files: vec![File {
            name: "istio.yaml",
            text,
        }],
        notes,
    })
}

/// The hosts of the `VirtualService`.
fn hosts(model: &Model) -> Vec<String> {
    if model
        .rollouts
        .iter()
        .any(|rollout| rollout.hosts.is_empty())
    {
        return vec!["*".to_owned()];
    }
    let mut hosts: Vec<_> = model
        .rollouts
        .iter()
        .flat_map(|rollout| rollout.hosts.clone())
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn destinations(
    model: &Model,
    options: &Options,
    place: &Place,
) -> Result<Vec<Destination>, RenderError> {
    let mut destinations = Vec::new();
    for (at, rollout) in model.rollouts.iter().enumerate() {
        for (index, environment) in rollout.environments.iter().enumerate() {
            let object = kubernetes::object(options, at);
            destinations.push(destination((at, index), environment, object, place)?);
        }
    }
    let all = destinations.clone();
    for own in &mut destinations {
        let shares = |other: &Destination| {
            other.environment != own.environment
                && (&other.host, other.port) == (&own.host, own.port)
        };
        own.subset = all.iter().any(shares);
    }
    Ok(destinations)
}

fn destination(
    of: (usize, usize),
    environment: &Environment,
    object: String,
    place: &Place,
) -> Result<Destination, RenderError> {
    let endpoints = kubernetes::endpoints(environment, &place.namespace);
    let name = &environment.name;
    let ips = endpoints.iter().filter(|endpoint| endpoint.is_ip()).count();
    let (host, port, endpoints) = match endpoints.as_slice() {
        [only] if kubernetes::service(&only.host).is_some() => {
            (only.host.clone(), only.port, Vec::new())
        }
        // What no Service is gets a name within the mesh.
        [first, ..] if ips == 0 || ips == endpoints.len() => {
            (format!("{name}.{object}.internal"), first.port, endpoints)
        }
        _ => {
            return Err(RenderError::Unfit {
                target: TARGET,
                message: format!(
                    "{name} has IP addresses and host names; a ServiceEntry takes one kind"
                ),
            });
        }
    };
    Ok(Destination {
        of,
        environment: name.clone(),
        object,
        host,
        port,
        subset: false,
        endpoints,
        resolution: if ips == 0 { "DNS" } else { "STATIC" },
    })
}

/// One rule for each host.
fn rules(destinations: &[Destination]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for to in destinations {
        let subset = to.subset.then(|| to.environment.clone());
        match rules.iter_mut().find(|rule| rule.host == to.host) {
            Some(rule) => rule
                .subsets
                .extend(subset.filter(|name| !rule.subsets.contains(name))),
            None => rules.push(Rule {
                object: format!("{}-{}", to.object, to.environment),
                host: to.host.clone(),
                subsets: subset.into_iter().collect(),
            }),
        }
    }
    rules
}

fn routes<'a>(model: &'a Model, destinations: &'a [Destination]) -> Vec<Route<'a>> {
    let is_alone = model.rollouts.len() == 1;
    let mut routes = Vec::new();
    for (at, rollout) in model.rollouts.iter().enumerate() {
        for (index, environment) in rollout.in_order() {
            let Some(to) = destinations.iter().find(|d| d.of == (at, index)) else {
                continue;
            };
            routes.push(Route {
                name: match is_alone {
                    true => environment.name.clone(),
                    false => format!("{}-{}", rollout.id, environment.name),
                },
                mode: (index != rollout.stable).then_some(environment.name.as_str()),
                // The hosts of the VirtualService say it where there is one rollout.
                authority: rollout.authority().filter(|_| !is_alone),
                path: rollout.path.as_deref().map(path),
                to,
            });
        }
    }
    routes
}

/// What begins with these whole segments; Istio's `prefix` takes `/v10` for `/v1`.
fn path(prefix: &str) -> String {
    let escaped = regex::escape(prefix);
    match prefix.ends_with('/') {
        true => format!("{escaped}.*"),
        false => format!("{escaped}(/.*)?"),
    }
}

// === impl Destination ===

impl Destination {
    /// What Istio calls its cluster.
    fn cluster(&self) -> String {
        let subset = if self.subset {
            self.environment.as_str()
        } else {
            ""
        };
        format!("outbound|{}|{subset}|{}", self.port, self.host)
    }
}
