//! Describes a gateway over the shape of `envoy/demo.yaml`.

mod bootstrap;

use std::io::PipeWriter;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use bootstrap::{Bootstrap, documents, endpoint};

use crate::gateway::{Gateway, NotStarted};
use crate::{Engine, Upstream, programs};

/// The resource's and filter's name of the route role in the demo.
pub(crate) const ROUTE_FILTER: &str = "switchover.route";

/// Which of the filter's roles are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roles {
    Both,
    RouteOnly,
    Neither,
}

type Edit<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A gateway to be: the demo's, with its environments, document and ports replaced.
///
/// As in the demo, the route role comes by ECDS, the attempt role is installed, and the environments'
/// aggregates fail over. The first environment is stable and has the last route.
pub struct Setup {
    environments: Vec<(String, Vec<SocketAddr>)>,
    document: Value,
    workers: u32,
    variables: Vec<(String, String)>,
    route_guest: Option<PathBuf>,
    attempt_guest: Option<PathBuf>,
    roles: Roles,
    inline: bool,
    log_level: &'static str,
    arguments: Vec<&'static str>,
    output: Option<[PipeWriter; 2]>,
    edits: Vec<Edit<Bootstrap>>,
    plugin_edits: Vec<Edit<Value>>,
}

// === impl Setup ===

impl Setup {
    /// A gateway with one upstream for each environment, and the smallest document: all of it to the first.
    pub fn new(environments: &[(&str, &Upstream)]) -> Self {
        let environments: Vec<_> = environments
            .iter()
            .map(|(n, u)| (*n, u.address()))
            .collect();
        Self::at(&environments)
    }

    /// The same over addresses.
    pub fn at(environments: &[(&str, SocketAddr)]) -> Self {
        let routing = |(at, (name, _)): (usize, &(&str, SocketAddr))| {
            (
                (*name).to_owned(),
                json!({"weight": u8::from(at == 0), "clusters": [format!("{name}-only")]}),
            )
        };
        let routing: serde_json::Map<_, _> = environments.iter().enumerate().map(routing).collect();
        Self {
            environments: environments
                .iter()
                .map(|(n, a)| ((*n).to_owned(), vec![*a]))
                .collect(),
            document: json!({"stable": environments.first().map(|e| e.0), "routing": routing}),
            workers: 1,
            variables: Vec::new(),
            route_guest: None,
            attempt_guest: None,
            roles: Roles::Both,
            inline: false,
            log_level: "info",
            arguments: Vec::new(),
            output: None,
            edits: Vec::new(),
            plugin_edits: Vec::new(),
        }
    }

    /// Sets the rollout document.
    #[must_use]
    pub fn document(mut self, document: Value) -> Self {
        self.document = document;
        self
    }

    /// Sets the number of workers; one by default, so that counts are exact.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Sets a variable of the engine's process and passes it on to both roles' VM.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs another guest in the place of the route role.
    #[must_use]
    pub fn route_guest(mut self, guest: &Path) -> Self {
        self.route_guest = Some(guest.to_owned());
        self
    }

    /// Runs another guest in the place of the attempt role.
    #[must_use]
    pub fn attempt_guest(mut self, guest: &Path) -> Self {
        self.attempt_guest = Some(guest.to_owned());
        self
    }

    /// Writes the route role's configuration into the bootstrap instead of an ECDS document.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    /// Sets the engine's log level; `info` by default.
    #[must_use]
    pub fn log_level(mut self, level: &'static str) -> Self {
        self.log_level = level;
        self
    }

    /// Adds an argument to the engine's command line.
    #[must_use]
    pub fn argument(mut self, argument: &'static str) -> Self {
        self.arguments.push(argument);
        self
    }

    /// Edits the bootstrap after everything else.
    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut Bootstrap) + Send + 'static) -> Self {
        self.edits.push(Box::new(edit));
        self
    }

    /// Edits the route role's `PluginConfig`.
    #[must_use]
    pub fn plugin(mut self, edit: impl FnOnce(&mut Value) + Send + 'static) -> Self {
        self.plugin_edits.push(Box::new(edit));
        self
    }

    /// Sets `failure_policy` of the route role.
    #[must_use]
    pub fn failure_policy(self, policy: &'static str) -> Self {
        self.plugin(move |plugin| plugin["failure_policy"] = policy.into())
    }

    /// Gives the engine these for its standard output and error.
    #[must_use]
    pub fn printing_into(mut self, output: PipeWriter, error: PipeWriter) -> Self {
        self.output = Some([output, error]);
        self
    }

    /// Leaves the attempt role out.
    #[must_use]
    pub fn without_attempt_role(mut self) -> Self {
        self.roles = Roles::RouteOnly;
        self
    }

    /// Leaves every filter out, for what the engine does by itself.
    #[must_use]
    pub fn without_filters(mut self) -> Self {
        self.roles = Roles::Neither;
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// With the engine's output where it does not start.
    pub async fn start(self, engine: Engine) -> Gateway {
        self.try_start(engine)
            .await
            .unwrap_or_else(|e| panic!("{engine:?} did not start: {e}"))
    }

    /// Starts it and waits until it serves or ends.
    pub async fn try_start(self, engine: Engine) -> Result<Gateway, NotStarted> {
        let directory = tempfile::tempdir().unwrap();
        let ecds = directory.path().join("ecds");
        std::fs::create_dir(&ecds).unwrap();
        let Self {
            workers,
            variables,
            log_level,
            arguments,
            ..
        } = self;
        let names: Vec<&str> = variables.iter().map(|(n, _)| n.as_str()).collect();
        let vm_environment = json!({"host_env_keys": names});

        let mut plugin = demo_plugin();
        let mut bootstrap = Bootstrap::demo();
        bootstrap.set_environments(&self.environments);
        if self.roles == Roles::Both {
            let guest = self.attempt_guest.unwrap_or_else(programs::filter);
            bootstrap.edit_attempt_role(|plugin| set_guest(plugin, &guest, &vm_environment));
        } else {
            bootstrap.remove_upstream_filters();
        }
        if self.roles == Roles::Neither {
            bootstrap.remove_filters();
        } else {
            set_guest(
                &mut plugin,
                &self.route_guest.unwrap_or_else(programs::filter),
                &vm_environment,
            );
            set_document(&mut plugin, &self.document);
            for edit in self.plugin_edits {
                edit(&mut plugin);
            }
            if self.inline {
                bootstrap.set_filter(ROUTE_FILTER, wasm(&plugin));
            } else {
                bootstrap.set_ecds(ROUTE_FILTER, &ecds.join("route.json"));
            }
        }
        for edit in self.edits {
            edit(&mut bootstrap);
        }
        let file = directory.path().join("envoy.yaml");
        std::fs::write(&file, format!("{:#}", bootstrap.0)).unwrap();
        std::fs::write(ecds.join("route.json"), resource(&plugin).to_string()).unwrap();
        let admin_file = directory.path().join("admin.txt");
        let mut command = engine.command(&file, &admin_file, workers, log_level);
        command.args(arguments).envs(variables);
        match self.output {
            None => Gateway::start(engine, directory, command, &admin_file, plugin).await,
            Some([output, error]) => {
                command.stdout(output).stderr(error);
                Gateway::printing(engine, directory, command, &admin_file, plugin).await
            }
        }
    }
}

/// The route role's `PluginConfig` in the demo.
pub fn demo_plugin() -> Value {
    let mut resource = bootstrap::load("envoy/demo.ecds.yaml");
    resource["resources"][0]["typed_config"]["config"].take()
}

/// The demo's rollout document.
pub fn demo_document() -> Value {
    serde_json::from_str(demo_plugin()["configuration"]["value"].as_str().unwrap()).unwrap()
}

fn set_guest(plugin: &mut Value, guest: &Path, environment: &Value) {
    plugin["vm_config"]["code"]["local"]["filename"] = guest.to_str().unwrap().into();
    plugin["vm_config"]["environment_variables"] = environment.clone();
}

/// Puts a rollout document into a `PluginConfig`.
pub fn set_document(plugin: &mut Value, document: &Value) {
    plugin["configuration"]["value"] = document.to_string().into();
}

/// A Wasm filter's `typed_config`.
pub fn wasm(plugin: &Value) -> Value {
    json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": plugin})
}

/// The ECDS document around a plugin.
pub(crate) fn resource(plugin: &Value) -> Value {
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": ROUTE_FILTER,
        "typed_config": wasm(plugin),
    }]})
}
