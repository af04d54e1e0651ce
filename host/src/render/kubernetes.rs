//! What all Kubernetes targets have in common: names, hosts, and what changes without an attempt role.

use serde::Serialize;

use super::model::{Environment, Model, Rollout};
use super::upstream::Endpoint;
use super::{Gateway, Options, Place, RenderError};

/// What Kubernetes calls Services in its own domain.
const SERVICES: &str = ".svc.cluster.local";

/// A Kubernetes object's name and namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Reference {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The whole name of a host: one without a dot is a Service of the namespace.
pub(super) fn full_name(host: &str, namespace: &str) -> String {
    if host.ends_with(".svc") {
        format!("{host}.cluster.local")
    } else if host.contains(['.', ':']) {
        host.to_owned()
    } else {
        format!("{host}.{namespace}{SERVICES}")
    }
}

/// The Service that a whole name is the name of.
pub(super) fn service(host: &str) -> Option<Reference> {
    let (name, namespace) = host.strip_suffix(SERVICES)?.split_once('.')?;
    (!name.is_empty() && !namespace.contains('.')).then(|| Reference {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// The addresses of an environment, with whole names.
pub(super) fn endpoints(environment: &Environment, namespace: &str) -> Vec<Endpoint> {
    let whole = |endpoint: &Endpoint| Endpoint {
        host: full_name(&endpoint.host, namespace),
        port: endpoint.port,
    };
    environment.endpoints().map(whole).collect()
}

/// What a rollout's objects are called: the first as all of them, each other with its number.
pub(super) fn object(options: &Options, at: usize) -> String {
    match at {
        0 => options.name.clone(),
        _ => format!("{}-{}", options.name, at + 1),
    }
}

/// The gateway, and whether it is to be made.
pub(super) fn gateway(place: &Place, options: &Options) -> (Reference, bool) {
    let (namespace, name, is_new) = match &place.gateway {
        Gateway::Existing { namespace, name } => (namespace.as_ref(), name, false),
        Gateway::New { .. } => (None, &options.name, true),
    };
    let reference = Reference {
        namespace: namespace.unwrap_or(&place.namespace).clone(),
        name: name.clone(),
    };
    (reference, is_new)
}

/// Environments are parts of objects' names, which are stricter.
///
/// # Errors
/// A name begins or ends with `-`.
pub(super) fn check_names(target: &'static str, model: &Model) -> Result<(), RenderError> {
    let environments = model.rollouts.iter().flat_map(|r| &r.environments);
    let mut names = environments.map(|e| e.name.as_str());
    match names.find(|name| name.starts_with('-') || name.ends_with('-')) {
        None => Ok(()),
        Some(name) => Err(RenderError::Unfit {
            target,
            message: format!(
                "the environment {name:?} cannot be part of an object's name; let it begin and end with a letter or a digit"
            ),
        }),
    }
}

/// Only where headers wait for the body does the model choose the environment; these control planes do not say so.
///
/// # Errors
/// An environment is for some models only.
pub(super) fn check_models(target: &'static str, model: &Model) -> Result<(), RenderError> {
    match model.rollouts.iter().find_map(Rollout::of_some_models) {
        None => Ok(()),
        Some(name) => Err(RenderError::Unfit {
            target,
            message: format!(
                "`routing.{name}.models` needs headers that wait for the body (allow_on_headers_stop_iteration); leave it out"
            ),
        }),
    }
}
