//! Filters: their modules, configurations and VMs, with what they leave out filled in.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::super::model::{Configure, Plugin, Policy, Setup, Short, Vm};
use super::super::read::Step as Way;
use super::Preparing;
use crate::config::WasmPlugin;
use crate::config::plugin::{Code, FailurePolicy, VmConfig};

/// A filter as the simulation takes it.
#[derive(Clone)]
pub(in super::super) struct ReadyPlugin {
    /// The plugin.
    pub(in super::super) plugin: WasmPlugin,
    /// Its configuration before it was written as bytes, for merges.
    pub(in super::super) configuration: Option<Value>,
}

/// A plugin's parts as one place of the file has them.
struct Part<'a> {
    plugin: &'a Plugin,
    place: Vec<Way>,
}

impl Preparing<'_> {
    /// The filter under test.
    pub(super) fn under_test(
        &mut self,
        defaults: &Setup,
        with: &Setup,
        index: usize,
    ) -> Option<ReadyPlugin> {
        let mut parts = Vec::new();
        // The scenario's own first.
        if let Some(Short(plugin)) = &with.filter {
            let place = self.place(true, index, &["filter"]);
            parts.push(Part { plugin, place });
        }
        if let Some(Short(plugin)) = &defaults.filter {
            let place = self.place(false, index, &["filter"]);
            parts.push(Part { plugin, place });
        }
        if !parts.iter().any(|part| part.plugin.file.is_some()) {
            let place = super::way(&["scenarios"], Some(index), &[]);
            self.report(
                &place,
                "has no filter to test: name its file in defaults.filter or with.filter",
            );
            return None;
        }
        self.plugin(&parts, None)
    }

    /// The other filters of a list.
    pub(super) fn others(
        &mut self,
        defaults: &Setup,
        with: &Setup,
        index: usize,
        list: &'static str,
        under_test: &ReadyPlugin,
    ) -> Vec<ReadyPlugin> {
        let of = |setup: &Setup| match list {
            "filters_before" => setup.filters_before.clone(),
            "filters_after" => setup.filters_after.clone(),
            _ => setup.upstream_filters.clone(),
        };
        let own = of(with);
        let base = self.place(own.is_some(), index, &[list]);
        let plugins = own.or_else(|| of(defaults)).unwrap_or_default();
        let mut ready = Vec::new();
        for (at, Short(plugin)) in plugins.iter().enumerate() {
            let mut place = base.clone();
            place.push(Way::Index(at));
            ready.extend(self.plugin(&[Part { plugin, place }], Some(under_test)));
        }
        ready
    }

    fn plugin(
        &mut self,
        parts: &[Part<'_>],
        under_test: Option<&ReadyPlugin>,
    ) -> Option<ReadyPlugin> {
        let configuration = self.configuration(parts);
        let base = under_test.map(|ready| &ready.plugin);
        let code = match parts
            .iter()
            .find_map(|part| Some((part, part.plugin.file.as_ref()?)))
        {
            Some((part, file)) => {
                let mut place = part.place.clone();
                place.push(Way::Key("file".to_owned()));
                self.module(file, &place)?
            }
            None => base?.vm.code.clone(),
        };
        let text = |of: fn(&Plugin) -> &Option<String>| {
            parts.iter().find_map(|part| of(part.plugin).clone())
        };
        let root_id = text(|plugin| &plugin.root_id).unwrap_or_default();
        let name = text(|plugin| &plugin.name)
            .or_else(|| (!root_id.is_empty()).then(|| root_id.clone()))
            .unwrap_or_else(|| stem(&code));
        let vm = parts.iter().find_map(|part| part.plugin.vm.as_ref());
        let vm = match (vm, base) {
            (None, Some(base)) if base.vm.code == code => base.vm.clone(),
            (vm, _) => vm_config(vm, code),
        };
        let policy = parts.iter().find_map(|part| part.plugin.failure_policy);
        let backoff = parts.iter().find_map(|part| part.plugin.reload_backoff);
        let stop = parts
            .iter()
            .find_map(|part| part.plugin.allow_on_headers_stop_iteration);
        let plugin = WasmPlugin {
            name,
            root_id,
            configuration: bytes(configuration.as_ref()),
            vm,
            failure_policy: match policy {
                Some(Policy::Closed) => FailurePolicy::FailClosed,
                Some(Policy::Open) => FailurePolicy::FailOpen,
                Some(Policy::Reload) => FailurePolicy::FailReload,
                None => base.map_or(FailurePolicy::FailClosed, |base| base.failure_policy),
            },
            reload_backoff: match (backoff, base) {
                (Some(span), _) => span.0,
                (None, Some(base)) => base.reload_backoff,
                (None, None) => Duration::from_secs(1),
            },
            allow_on_headers_stop_iteration: stop
                .unwrap_or_else(|| base.is_some_and(|base| base.allow_on_headers_stop_iteration)),
        };
        Some(ReadyPlugin {
            plugin,
            configuration,
        })
    }

    pub(super) fn module(&mut self, file: &str, place: &[Way]) -> Option<Code> {
        let path = self.folder.join(file);
        if !path.is_file() {
            self.report(place, &format!("there is no file {}", path.display()));
            return None;
        }
        Some(Code::File(path))
    }

    /// A part's own configuration counts, or else that of the one behind it; merges add to what was there before.
    fn configuration(&mut self, parts: &[Part<'_>]) -> Option<Value> {
        let mut configuration = None;
        for part in parts.iter().rev() {
            let plugin = part.plugin;
            let own = self.stated(
                plugin.configuration.as_ref(),
                plugin.configuration_file.as_deref(),
                &part.place,
            );
            configuration = own.or(configuration);
            if let Some(patch) = &plugin.merge {
                let mut place = part.place.clone();
                place.push(Way::Key("merge".to_owned()));
                configuration = self.merged(configuration, patch, &place);
            }
        }
        configuration
    }

    /// A configuration that stands there, or in a file.
    pub(super) fn stated(
        &mut self,
        inline: Option<&Value>,
        file: Option<&str>,
        place: &[Way],
    ) -> Option<Value> {
        let file = match (inline, file) {
            (Some(_), Some(_)) => {
                self.report(
                    place,
                    "only one of configuration, configuration_file may be set",
                );
                return None;
            }
            (inline, None) => return inline.cloned(),
            (None, Some(file)) => file,
        };
        let path = self.folder.join(file);
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(serde_json::from_str(&text).unwrap_or(Value::String(text))),
            Err(error) => {
                let mut place = place.to_vec();
                place.push(Way::Key("configuration_file".to_owned()));
                self.report(&place, &format!("cannot read {}: {error}", path.display()));
                None
            }
        }
    }

    pub(super) fn merged(
        &mut self,
        configuration: Option<Value>,
        patch: &Value,
        place: &[Way],
    ) -> Option<Value> {
        let parsed = match configuration {
            Some(Value::String(text)) => serde_json::from_str(&text).ok(),
            Some(value) => Some(value),
            None => Some(Value::Null),
        };
        match parsed {
            Some(mut value) => {
                merge(&mut value, patch);
                Some(value)
            }
            None => {
                self.report(
                    place,
                    "the configuration is no JSON, so nothing can be merged into it",
                );
                None
            }
        }
    }
}

// === impl ReadyPlugin ===

impl ReadyPlugin {
    /// The same with another configuration; files have been checked.
    pub(in super::super) fn configured(
        &self,
        change: &Configure,
        folder: &std::path::Path,
    ) -> WasmPlugin {
        let mut plugin = self.plugin.clone();
        let read = |file: &String| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        let stated = change.configuration.clone();
        let stated = stated.or_else(|| {
            change
                .configuration_file
                .as_ref()
                .map(read)
                .map(Value::String)
        });
        let mut configuration = stated.or_else(|| self.configuration.clone());
        if let Some(patch) = &change.merge {
            let value = configuration.get_or_insert(Value::Null);
            if let Value::String(text) = &*value
                && let Ok(parsed) = serde_json::from_str(text)
            {
                *value = parsed;
            }
            merge(value, patch);
        }
        plugin.configuration = bytes(configuration.as_ref());
        if let Some(file) = &change.file {
            plugin.vm.code = Code::File(folder.join(file));
        }
        plugin
    }
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(name);
            }
            value => merge(target.entry(name.as_str()).or_insert(Value::Null), value),
        }
    }
}

/// A configuration as guests get it: a text as it is, anything else as JSON.
fn bytes(value: Option<&Value>) -> Bytes {
    match value {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(text)) => Bytes::copy_from_slice(text.as_bytes()),
        Some(value) => Bytes::from(value.to_string()),
    }
}

fn vm_config(vm: Option<&Vm>, code: Code) -> VmConfig {
    VmConfig {
        vm_id: vm.map(|vm| vm.id.clone()).unwrap_or_default(),
        runtime: String::new(),
        code,
        configuration: bytes(vm.and_then(|vm| vm.configuration.as_ref())),
        environment: vm.map(|vm| vm.environment.clone()).unwrap_or_default(),
    }
}

fn stem(code: &Code) -> String {
    match code {
        Code::File(path) => path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default(),
        Code::Inline(_) => String::new(),
    }
}
