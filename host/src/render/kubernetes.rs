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

/// What changes where the filter runs, and no attempt role can be installed.
pub(super) fn without_attempt_role(model: &Model) -> Vec<String> {
    let mut notes = vec![
        "there is no attempt role here: a failed request is retried in its own environment only, never in the other \
         one, so failures of a new version reach clients until the tripwire or an operator takes its traffic away"
            .to_owned(),
    ];
    if model.has_credentials() {
        notes.push(
            "each environment's credential is injected before its first attempt and goes with every retry (\"attempts\" \
             is false)"
                .to_owned(),
        );
    }
    if model.has("guard") {
        notes.push(
            "the guard counts what clients get, after retries, and not each attempt".to_owned(),
        );
    }
    if model.has("models") {
        notes.push(
            "headers do not wait for bodies (`models.hold_headers` is false): an attempt has begun by the time its model \
             is known, and is broken off if there is no such model"
                .to_owned(),
        );
    }
    notes
}

/// The members of the rollouts that have no meaning without a filter, in the document's own words.
pub(super) fn lost(rollout: &Rollout) -> Vec<String> {
    let meanings = [
        ("strategy", "the order of the shares: requests draw lots"),
        ("sticky", "requests of one user stay in no environment"),
        ("override", "nobody can choose an environment"),
        (
            "auth",
            "clients' credentials are neither verified nor rewritten, and pass to the environments as they are",
        ),
        (
            "schedule",
            "the share stands still where it was when this was rendered; render and apply anew at each step",
        ),
        ("guard", "no tripwire: failures change no share"),
        ("health", "no probes by the filter"),
        ("shadow", "no copies of requests"),
        ("models", "no rules for models"),
    ];
    let there = meanings.iter().filter(|(member, _)| rollout.has(member));
    let mut lost: Vec<_> = there
        .map(|(member, meaning)| format!("`{member}` is lost: {meaning}"))
        .collect();
    if rollout
        .environments
        .iter()
        .any(|environment| environment.credential)
    {
        lost.push("`credential` is lost: no environment gets its credential".to_owned());
    }
    lost
}
