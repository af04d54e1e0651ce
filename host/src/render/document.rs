//! The document's text as a target gets it.

use serde_json::Value;

use super::model::{Model, Rollout};
use crate::config::Problem;
use crate::rollout::Loaded;
use crate::rollout::edit::Edit;

/// The credentials whose values stand in the document: what is rendered is kept and shared.
pub(super) fn secrets(loaded: &Loaded) -> Vec<Problem> {
    let document: Value = serde_json::from_str(loaded.text()).unwrap_or_default();
    let mut problems = Vec::new();
    let rollouts = match document.get("rollouts").and_then(Value::as_array) {
        Some(rollouts) => rollouts
            .iter()
            .enumerate()
            .map(|(at, rollout)| (format!("rollouts[{at}]."), rollout))
            .collect(),
        None => vec![(String::new(), &document)],
    };
    for (prefix, rollout) in rollouts {
        let routing = rollout.get("routing").and_then(Value::as_object);
        for (name, environment) in routing.into_iter().flatten() {
            let value = environment.pointer("/credential/value");
            if value.is_some_and(|value| !value.is_null()) {
                problems.push(secret(loaded, &prefix, name));
            }
        }
    }
    problems
}

fn secret(loaded: &Loaded, prefix: &str, environment: &str) -> Problem {
    let variable = environment.to_ascii_uppercase().replace('-', "_");
    let message = format!(
        "would be written into files that are kept and shared; name a variable of the proxy's environment instead, such \
         as \"env\": \"{variable}_API_KEY\", and put the secret there"
    );
    let path = format!("{prefix}routing.{environment}.credential.value");
    loaded.error(&path, message)
}

/// The document where an attempt role injects the credentials.
pub(super) fn with_attempts(loaded: &Loaded, model: &Model) -> String {
    let mut edits = Vec::new();
    for rollout in &model.rollouts {
        edits.push((rollout.at, Edit::set(&["attempts"], true)));
        edits.extend(hold_headers(rollout, true));
    }
    edited(loaded, edits)
}

/// The document where the route role injects them, and clusters are called as `cluster` says.
pub(super) fn without_attempts(
    loaded: &Loaded,
    model: &Model,
    cluster: impl Fn(usize, usize) -> String,
) -> String {
    let mut edits = Vec::new();
    for (at, rollout) in model.rollouts.iter().enumerate() {
        edits.push((rollout.at, Edit::remove(&["attempts"])));
        edits.extend(hold_headers(rollout, false));
        for (index, environment) in rollout.environments.iter().enumerate() {
            let path = ["routing", environment.name.as_str(), "clusters"];
            edits.push((rollout.at, Edit::set(&path, vec![cluster(at, index)])));
        }
        // Else probes would say the cluster's name, which is no host there.
        if rollout.probes && !rollout.probes_host {
            let host = rollout.host().to_owned();
            edits.push((rollout.at, Edit::set(&["health", "host"], host)));
        }
    }
    edited(loaded, edits)
}

/// Whether headers wait for the body is up to whoever writes the plugin's configuration.
fn hold_headers(rollout: &Rollout, held: bool) -> Option<(Option<usize>, Edit)> {
    let edit = || (rollout.at, Edit::set(&["models", "hold_headers"], held));
    rollout.has("models").then(edit)
}

/// The text with these changes, each within the document's rollout of that index, or in its only one.
fn edited(loaded: &Loaded, edits: impl IntoIterator<Item = (Option<usize>, Edit)>) -> String {
    let mut text = loaded.text().to_owned();
    for (at, edit) in edits {
        let base = at.map_or_else(Vec::new, |at| vec!["rollouts".to_owned(), at.to_string()]);
        // A rollout that was read is an object with these members.
        if let Some((new, _)) = edit.apply(&text, &base) {
            text = new;
        }
    }
    // In YAML no tab indents. Within a JSON string there is none.
    text.trim().replace('\t', "  ")
}
