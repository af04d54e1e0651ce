//! Documents of file-based extension discovery (ECDS).

use std::path::Path;

use super::{WasmPlugin, read::plugin};
use crate::config::facts::Facts;
use crate::config::reader::{Context, Env, Field, Object};
use crate::config::{Problem, split, with_root};

/// The type of a filter's configuration.
const RESOURCE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// The type of its optional wrapper.
const WRAPPER_URL: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

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
        response(root, filter_name)
    });
    (plugin.flatten(), facts, problems)
}

fn response(root: &Field<'_>, filter_name: Option<&str>) -> Option<WasmPlugin> {
    root.object(|o| {
        o.text("version_info");
        if let Some(url) = o.get("type_url") {
            url.choice(&[(RESOURCE_URL, ())]);
        }
        let list = o.required("resources")?;
        let resources = list.items();
        let [resource] = resources.as_slice() else {
            list.error(format!("must hold one resource, not {}", resources.len()));
            return None;
        };
        resource_of(resource, filter_name)
    })?
}

/// Reads the resource, with the wrapper that management servers put around it or without.
fn resource_of(resource: &Field<'_>, filter_name: Option<&str>) -> Option<WasmPlugin> {
    if resource.type_url(&[RESOURCE_URL, WRAPPER_URL])? == RESOURCE_URL {
        return resource.any(RESOURCE_URL, |o| extension(o, filter_name))?;
    }
    let inner = resource.any(WRAPPER_URL, |o| {
        o.text("name");
        o.text("version");
        o.required("resource")
    })??;
    inner.any(RESOURCE_URL, |o| extension(o, filter_name))?
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
