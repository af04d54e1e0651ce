//! Whole files, valid and not, with the exact problems.

mod documents;
mod invalid;
mod valid;
mod yaml;

use std::path::Path;

use super::*;

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const ROUTER: &str = "{name: router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";
const CLUSTER: &str = "{name: blue, load_assignment: {cluster_name: blue, endpoints: []}}";

/// An empty process environment.
fn no_env(_: &str) -> Option<String> {
    None
}

/// A bootstrap with one of its parts in place of the usual one.
struct Parts<'a> {
    hcm: &'a str,
    filters: &'a str,
    domains: &'a str,
    route: &'a str,
    clusters: &'a str,
    top: &'a str,
}

impl Default for Parts<'_> {
    fn default() -> Self {
        Parts {
            hcm: "",
            filters: ROUTER,
            domains: "[\"*\"]",
            route: "match: {prefix: /}, route: {cluster: blue}",
            clusters: CLUSTER,
            top: "",
        }
    }
}

impl Parts<'_> {
    /// Line 8 is the connection manager's, 9 the filters', 10 the domains', 11 the route's, 12 the clusters', 13 the top's.
    fn yaml(&self) -> String {
        let Parts {
            hcm,
            filters,
            domains,
            route,
            clusters,
            top,
        } = self;
        format!(
            "node: {{id: a, cluster: b}}\n\
             static_resources:\n  listeners:\n  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    \
             filter_chains: [{{filters: [{{name: hcm, typed_config: {{\n      \
             \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,\n      \
             stat_prefix: a,\n      {hcm}\n      http_filters: [{filters}],\n      \
             route_config: {{virtual_hosts: [{{name: v, domains: {domains},\n      \
             routes: [{{{route}}}]}}]}}}}}}]}}]\n  clusters: [{clusters}]\n{top}\n"
        )
    }

    /// The problems, each as its line, the last part of its path and its message.
    fn problems(&self) -> Vec<String> {
        problems(&self.yaml())
    }
}

/// The problems of a YAML bootstrap as `line: path: message`, with the path's usual beginnings cut to `…`.
fn problems(text: &str) -> Vec<String> {
    let found = match load_str(Path::new("f.yaml"), text, &no_env) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => errors,
    };
    found.iter().map(short).collect()
}

fn short(problem: &Problem) -> String {
    let hcm = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.";
    let route = format!("{hcm}route_config.virtual_hosts[0].routes[0].");
    problem
        .to_string()
        .replacen("f.yaml:", "", 1)
        .replacen(&route, "ROUTE.", 1)
        .replacen(hcm, "HCM.", 1)
        .replacen("static_resources.clusters[0].", "CLUSTER.", 1)
}
