//! What a target does not do of what a document says, and what else there is to do: each text of this file is a note.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::kubernetes::Reference;
use super::model::{Model, Rollout};

/// A note; `envoy/README.md` has all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Note(String);

/// Members that have no meaning without a filter, and what becomes of them.
const LOST: [(&str, &str); 9] = [
    (
        "strategy",
        "`strategy` is lost: the order of the shares: requests draw lots",
    ),
    (
        "sticky",
        "`sticky` is lost: requests of one user stay in no environment",
    ),
    (
        "override",
        "`override` is lost: nobody can choose an environment",
    ),
    (
        "auth",
        "`auth` is lost: clients' credentials are neither verified nor rewritten, and pass to the environments as they are",
    ),
    (
        "schedule",
        "`schedule` is lost: the share stands still where it was when this was rendered; render and apply anew at each step",
    ),
    (
        "guard",
        "`guard` is lost: no tripwire: failures change no share",
    ),
    ("health", "`health` is lost: no probes by the filter"),
    ("shadow", "`shadow` is lost: no copies of requests"),
    ("models", "`models` is lost: no rules for models"),
];

// === impl Note ===

impl From<&str> for Note {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For files of Envoy and of the gateway.
pub(super) fn envoy(model: &Model) -> Vec<Note> {
    let mut notes = Vec::new();
    if model.has_credentials() {
        notes.push(Note(format!(
            "the proxy's environment must hold {}: the credentials are read from there",
            model.variables.join(", ")
        )));
    }
    if model.rollouts.iter().all(|rollout| !rollout.takes_all()) {
        notes.push("a request that no rollout of the document is for has no route, and is answered with 404".into());
    }
    notes
}

/// For Istio, whose filter is for pods with this label.
pub(super) fn istio(
    model: &Model,
    gateway: &Reference,
    (label, value): &(String, String),
) -> Vec<Note> {
    let mut notes = without_attempt_role(model);
    notes.push(Note(format!(
        "the WasmPlugin is for pods with the label {label}={value} in the namespace {}; it must be the one that the gateway runs in",
        gateway.namespace
    )));
    if model.has_credentials() {
        notes.push(Note(format!(
            "the gateway's container must have the variables {}, from a Secret; render writes none",
            model.variables.join(", ")
        )));
    }
    notes.push("FAIL_RELOAD needs Istio 1.27 or newer".into());
    notes
}

/// For Envoy Gateway, whose gateway may be a new one.
pub(super) fn envoy_gateway(model: &Model, gateway: &Reference, is_new: bool) -> Vec<Note> {
    let mut notes = without_attempt_role(model);
    notes.push(
        "Backend needs `extensionApis: {enableBackend: true}` in Envoy Gateway's own configuration"
            .into(),
    );
    notes.push(
        "Envoy Gateway knows no FAIL_RELOAD: should the filter ever trap, requests get 503 until the policy changes"
            .into(),
    );
    if !is_new {
        notes.push(Note(format!(
            "the EnvoyProxy here takes effect once {}/{} refers to it (infrastructure.parametersRef), or what it says \
             stands in the one that it has",
            gateway.namespace, gateway.name
        )));
    }
    if model.has_credentials() {
        notes.push(Note(format!(
            "the Secret with the keys {} must be there before the proxy starts; render writes none",
            model.variables.join(", ")
        )));
    }
    notes
}

/// For a gateway without a filter, some of whose Services may be in another namespace.
pub(super) fn kubernetes_gateway(model: &Model, is_foreign: bool) -> Vec<Note> {
    let mut notes = vec![Note::from("there is no filter here, only the shares")];
    let mut seen = BTreeSet::new();
    let lost = model.rollouts.iter().flat_map(lost);
    notes.extend(lost.filter(|note| seen.insert(note.clone())));
    if is_foreign {
        notes.push("Services of other namespaces need a ReferenceGrant there".into());
    }
    notes
}

/// What changes where the filter runs, and no attempt role can be installed.
fn without_attempt_role(model: &Model) -> Vec<Note> {
    let mut notes = vec![Note::from(
        "there is no attempt role here: a failed request is retried in its own environment only, never in the other \
         one, so failures of a new version reach clients until the tripwire or an operator takes its traffic away",
    )];
    if model.has_credentials() {
        notes.push(
            "each environment's credential is injected before its first attempt and goes with every retry (\"attempts\" \
             is false)"
                .into(),
        );
    }
    if model.has("guard") {
        notes.push("the guard counts what clients get, after retries, and not each attempt".into());
    }
    if model.has("models") {
        notes.push(
            "headers do not wait for bodies (`models.hold_headers` is false): an attempt has begun by the time its model \
             is known, and is broken off if there is no such model"
                .into(),
        );
    }
    notes
}

/// What a rollout loses without a filter, in the document's own words.
fn lost(rollout: &Rollout) -> Vec<Note> {
    let there = LOST.iter().filter(|(member, _)| rollout.has(member));
    let mut lost: Vec<_> = there.map(|(_, text)| Note::from(*text)).collect();
    let mut environments = rollout.environments.iter();
    if environments.any(|environment| environment.credential) {
        lost.push("`credential` is lost: no environment gets its credential".into());
    }
    lost
}
