//! Documents of file-based extension discovery (ECDS).

use std::path::Path;

use super::{WasmPlugin, read::plugin};
use crate::config::facts::Facts;
use crate::config::reader::{Context, Env, Object};
use crate::config::{Problem, discovery, split, with_root};

/// The type of a filter's configuration.
const RESOURCE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// Reads the document at a `path_config_source`: a `DiscoveryResponse` in JSON or YAML, by the file's name, with one
/// `TypedExtensionConfig` whose name is the filter's.
///
/// # Errors
/// All problems of the document, each with its line and path.
pub fn load_discovered(
    path: &Path,
    filter_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<WasmPlugin, Vec<Problem>> {
    let (plugin, _, problems) = read(path, Some(filter_name), env);
    let (errors, _) = split(problems);
    match plugin {
        Some(plugin) if errors.is_empty() => Ok(plugin),
        _ => Err(errors),
    }
}

/// The same with all that was noted and all problems, for any filter if none is named.
pub(in crate::config) fn read(
    path: &Path,
    filter_name: Option<&str>,
    env: Env<'_>,
) -> (Option<WasmPlugin>, Facts, Vec<Problem>) {
    let text = match crate::config::read_file(path) {
        Ok(text) => text,
        Err(problem) => return (None, Facts::default(), vec![problem]),
    };
    read_text(path, &text, filter_name, env)
}

/// The same for a text; `path` says whether it is YAML, and stands in the problems.
pub(in crate::config) fn read_text(
    path: &Path,
    text: &str,
    filter_name: Option<&str>,
    env: Env<'_>,
) -> (Option<WasmPlugin>, Facts, Vec<Problem>) {
    let (plugin, facts, problems) = with_root(Context::new(path, env), text, |root| {
        discovery::resource(root, RESOURCE_URL)?.any(RESOURCE_URL, |o| extension(o, filter_name))?
    });
    (plugin.flatten(), facts, problems)
}

fn extension(o: &Object<'_>, filter_name: Option<&str>) -> Option<WasmPlugin> {
    let name = o.required("name");
    let config = o.required("typed_config");
    if let (Some(name), Some(wanted)) = (name, filter_name)
        && name.name().is_some_and(|n| n != wanted)
    {
        name.error(format!("must be the filter's name, {wanted:?}"));
    }
    plugin(&config?, None)
}
