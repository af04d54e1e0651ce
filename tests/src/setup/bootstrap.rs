//! Edits of a bootstrap file as a tree.

use std::net::SocketAddr;
use std::path::Path;

use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::{Map, Value, json};

use crate::programs;

/// Where `HttpProtocolOptions` are in a cluster.
const PROTOCOL_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// An Envoy bootstrap.
pub struct Bootstrap(pub Value);

// === impl Bootstrap ===

impl Bootstrap {
    /// `envoy/demo.yaml`, with ports of the kernel's choice.
    pub fn demo() -> Self {
        let mut demo = Self(load("envoy/demo.yaml"));
        demo.0["admin"]["address"]["socket_address"]["port_value"] = 0.into();
        demo.0["static_resources"]["listeners"][0]["address"]["socket_address"]["port_value"] =
            0.into();
        demo
    }

    /// The listeners.
    pub fn listeners(&mut self) -> &mut Vec<Value> {
        list(&mut self.0["static_resources"]["listeners"])
    }

    /// The clusters.
    pub fn clusters(&mut self) -> &mut Vec<Value> {
        list(&mut self.0["static_resources"]["clusters"])
    }

    /// One cluster.
    pub fn cluster(&mut self, name: &str) -> &mut Value {
        named(self.clusters(), name)
    }

    /// Sets a cluster's `HttpProtocolOptions`.
    pub fn speak(&mut self, cluster: &str, options: Value) {
        let mut options = options;
        options["@type"] = format!("type.googleapis.com/{PROTOCOL_OPTIONS}").into();
        self.cluster(cluster)["typed_extension_protocol_options"] =
            json!({PROTOCOL_OPTIONS: options});
    }

    /// Sets a cluster's `UpstreamTlsContext`.
    pub fn secure(&mut self, cluster: &str, context: Value) {
        let mut context = context;
        context["@type"] =
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
                .into();
        self.cluster(cluster)["transport_socket"] =
            json!({"name": "envoy.transport_sockets.tls", "typed_config": context});
    }

    /// The first listener's HTTP connection manager.
    pub fn http(&mut self) -> &mut Value {
        &mut self.listeners()[0]["filter_chains"][0]["filters"][0]["typed_config"]
    }

    /// The first listener's HTTP filters.
    pub fn filters(&mut self) -> &mut Vec<Value> {
        list(&mut self.http()["http_filters"])
    }

    /// The first listener's routes.
    pub fn routes(&mut self) -> &mut Vec<Value> {
        list(&mut self.http()["route_config"]["virtual_hosts"][0]["routes"])
    }

    /// One of these routes.
    pub fn route(&mut self, name: &str) -> &mut Value {
        named(self.routes(), name)
    }

    /// Adds a listener like the first one, on a port of its own.
    pub fn copy_listener(&mut self, name: &str) -> &mut Value {
        let mut listener = self.listeners()[0].clone();
        listener["name"] = name.into();
        self.listeners().push(listener);
        self.listeners().last_mut().unwrap()
    }

    /// Gives a filter of the first listener its configuration in place.
    pub(super) fn set_filter(&mut self, name: &str, typed_config: Value) {
        *named(self.filters(), name) = json!({"name": name, "typed_config": typed_config});
    }

    /// Points a discovered filter of the first listener at its document.
    pub(super) fn set_ecds(&mut self, name: &str, file: &Path) {
        let directory = file.parent().unwrap().to_str().unwrap();
        named(self.filters(), name)["config_discovery"]["config_source"]["path_config_source"] =
            json!({"path": file.to_str().unwrap(), "watched_directory": {"path": directory}});
    }

    /// Replaces the demo's environments; each aggregate begins with its own leaf and goes on with the first's.
    pub fn set_environments(&mut self, environments: &[(String, Vec<SocketAddr>)]) {
        let aggregate = self.cluster("green").clone();
        let leaf = self.cluster("green-only").clone();
        let canary = [
            self.route("green-safe").clone(),
            self.route("green").clone(),
        ];
        let last = self.route("blue").clone();
        self.clusters().clear();
        self.routes().clear();
        let leaf_name = |at: usize| environments.get(at).map(|(name, _)| format!("{name}-only"));
        for (at, (name, addresses)) in environments.iter().enumerate() {
            let other = if at == 0 { leaf_name(1) } else { leaf_name(0) };
            let leaves: Vec<String> = leaf_name(at).into_iter().chain(other).collect();
            let mut aggregate = aggregate.clone();
            aggregate["name"] = name.as_str().into();
            aggregate["cluster_type"]["typed_config"]["clusters"] = leaves.clone().into();
            self.clusters().push(aggregate);

            let mut leaf = leaf.clone();
            leaf["name"] = leaves[0].as_str().into();
            leaf["load_assignment"]["cluster_name"] = leaves[0].as_str().into();
            let endpoints = addresses
                .iter()
                .map(|a| endpoint(*a, name))
                .collect::<Vec<_>>();
            leaf["load_assignment"]["endpoints"][0]["lb_endpoints"] = endpoints.into();
            self.clusters().push(leaf);

            if at > 0 {
                for mut route in canary.clone() {
                    let kind = route["name"].as_str().unwrap().replace("green", name);
                    route["name"] = kind.into();
                    route["match"]["headers"][0]["string_match"]["exact"] = name.as_str().into();
                    route["route"]["cluster"] = name.as_str().into();
                    self.routes().push(route);
                }
            }
        }
        let mut last = last;
        last["name"] = environments[0].0.as_str().into();
        last["route"]["cluster"] = environments[0].0.as_str().into();
        self.routes().push(last);
    }

    /// Edits the attempt role's `PluginConfig` in each aggregate.
    pub fn edit_attempt_role(&mut self, mut edit: impl FnMut(&mut Value)) {
        let filters = self
            .clusters()
            .iter_mut()
            .filter_map(|c| c.get_mut("typed_extension_protocol_options"));
        for options in filters {
            edit(&mut options[PROTOCOL_OPTIONS]["http_filters"][0]["typed_config"]["config"]);
        }
    }

    /// Removes the listener's filters but for the router.
    pub(super) fn remove_filters(&mut self) {
        let filters = self.filters();
        filters.drain(..filters.len() - 1);
    }

    /// Removes the attempt role.
    pub(super) fn remove_upstream_filters(&mut self) {
        for cluster in self.clusters() {
            cluster
                .as_object_mut()
                .unwrap()
                .remove("typed_extension_protocol_options");
        }
    }
}

/// An endpoint that says which environment it belongs to.
pub fn endpoint(address: SocketAddr, environment: &str) -> Value {
    json!({
        "endpoint": {"address": {"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}}},
        "metadata": {"filter_metadata": {"switchover": {"environment": environment}}},
    })
}

/// A YAML file of the repository's.
pub(super) fn load(path: &str) -> Value {
    let text = std::fs::read_to_string(programs::root().join(path)).unwrap();
    let mut documents = documents(&text);
    assert_eq!(documents.len(), 1, "{path} holds one document");
    documents.remove(0)
}

/// The documents of a YAML text.
pub fn documents(text: &str) -> Vec<Value> {
    let documents = Yaml::load_from_str(text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
    documents.iter().map(json_of).collect()
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    value.as_array_mut().expect("a list")
}

fn named<'a>(list: &'a mut [Value], name: &str) -> &'a mut Value {
    list.iter_mut()
        .find(|v| v["name"] == name)
        .unwrap_or_else(|| panic!("nothing is named {name}"))
}

fn json_of(yaml: &Yaml) -> Value {
    if let Some(list) = yaml.as_sequence() {
        list.iter().map(json_of).collect()
    } else if let Some(map) = yaml.as_mapping() {
        let entry = |(k, v): (&Yaml, &Yaml)| (k.as_str().expect("a name").to_owned(), json_of(v));
        Value::Object(map.iter().map(entry).collect::<Map<_, _>>())
    } else if let Some(text) = yaml.as_str() {
        text.into()
    } else if let Some(flag) = yaml.as_bool() {
        flag.into()
    } else if let Some(number) = yaml.as_integer() {
        number.into()
    } else if let Some(number) = yaml.as_floating_point() {
        number.into()
    } else {
        assert!(yaml.is_null(), "no JSON for {yaml:?}");
        Value::Null
    }
}
