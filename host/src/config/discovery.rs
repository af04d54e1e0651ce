//! Documents of file-based discovery: a `DiscoveryResponse` in JSON or YAML, by the file's name, with one resource.

use super::reader::Field;

/// The type of the optional wrapper.
const WRAPPER_URL: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// Finds the only resource, which must be of this type: with the wrapper that management servers put around it or without.
pub(super) fn resource<'a>(root: &Field<'a>, url: &'static str) -> Option<Field<'a>> {
    let list = root.object(|o| {
        o.text("version_info");
        if let Some(field) = o.get("type_url") {
            field.choice(&[(url, ())]);
        }
        o.required("resources")
    })??;
    let resources = list.items();
    let [resource] = resources.as_slice() else {
        list.error(format!("must hold one resource, not {}", resources.len()));
        return None;
    };
    if resource.type_url(&[url, WRAPPER_URL])? == url {
        return Some(resource.clone());
    }
    resource.any(WRAPPER_URL, |o| {
        o.text("name");
        o.text("version");
        o.required("resource")
    })?
}
