//! Reading Wasm plugins.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Code, FailurePolicy, VmConfig, WasmPlugin};
use crate::config::common::{self, Data};
use crate::config::facts::{PluginAt, Slot, TextAt};
use crate::config::node::Value;
use crate::config::reader::{Field, Object, Place};

/// The type of a Wasm HTTP filter.
pub(in crate::config) const WASM_URL: &str =
    "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

const STRING_VALUE: &str = "type.googleapis.com/google.protobuf.StringValue";
const BYTES_VALUE: &str = "type.googleapis.com/google.protobuf.BytesValue";
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

/// Envoy's default of `reload_config.backoff.base_interval`.
const RELOAD_BACKOFF: Duration = Duration::from_secs(1);
/// Envoy draws from up to half of the interval in whole milliseconds: 1.40 divides by zero where that is nothing.
const LEAST_RELOAD_BACKOFF: Duration = Duration::from_millis(2);

/// What is noted about a plugin beside its type.
#[derive(Default)]
struct Places {
    configuration: Option<TextAt>,
    code: Option<Place>,
    host_keys: Vec<(String, Place)>,
}

/// Reads an `Any` of a Wasm HTTP filter; `None` after an error in it.
pub(in crate::config) fn plugin(field: &Field<'_>, slot: Option<Slot>) -> Option<WasmPlugin> {
    let config = field.any(WASM_URL, |o| o.required("config"))??;
    let mut places = Places::default();
    let plugin = config.object(|o| plugin_config(o, &mut places))??;
    let cx = field.context();
    cx.facts.plugins.borrow_mut().push(PluginAt {
        plugin: plugin.clone(),
        file: cx.file.to_owned(),
        slot,
        place: config.place(),
        configuration: places.configuration,
        code: places.code.unwrap_or_else(|| config.place()),
        host_keys: places.host_keys,
    });
    Some(plugin)
}

fn plugin_config(o: &Object<'_>, places: &mut Places) -> Option<WasmPlugin> {
    o.refuse(
        &["capability_restriction_config"],
        "leave it out; every capability is allowed",
    );
    let configuration = match o.get("configuration") {
        Some(field) => {
            places.configuration = Some(text_at(&field));
            configuration(&field)
        }
        None => Some(Bytes::new()),
    };
    let vm = o
        .required_one_of(&["vm_config"])
        .and_then(|(_, f)| f.object(|o| vm_config(o, places))?);
    Some(WasmPlugin {
        name: o.text("name"),
        root_id: o.text("root_id"),
        failure_policy: failure_policy(o),
        reload_backoff: reload_backoff(o),
        allow_on_headers_stop_iteration: o.bool("allow_on_headers_stop_iteration", false),
        configuration: configuration?,
        vm: vm?,
    })
}

/// The place of a configuration's text.
fn text_at(field: &Field<'_>) -> TextAt {
    let mut place = field.place();
    let value = field.node().get("value");
    if let Some(value) = value {
        place.line = value.line;
        place.path.push_str(".value");
    }
    let literal = matches!(
        value.map(|n| &n.value),
        Some(Value::Text { literal: true, .. })
    );
    TextAt { place, literal }
}

/// Reads the `Any` of a `configuration`.
fn configuration(field: &Field<'_>) -> Option<Bytes> {
    let text = |o: &Object<'_>| Bytes::from(o.text("value"));
    let bytes = |o: &Object<'_>| o.get("value").and_then(|f| f.bytes()).unwrap_or_default();
    match field.type_url(&[STRING_VALUE, BYTES_VALUE, STRUCT])? {
        STRING_VALUE => field.any(STRING_VALUE, text),
        BYTES_VALUE => field.any(BYTES_VALUE, bytes),
        _ => {
            field.error(format!(
                "Envoy hands a Struct to the guest as protobuf's wire bytes, not as JSON; write JSON into a {STRING_VALUE}"
            ));
            None
        }
    }
}

fn failure_policy(o: &Object<'_>) -> FailurePolicy {
    let names = [
        ("UNSPECIFIED", FailurePolicy::Unspecified),
        ("FAIL_CLOSED", FailurePolicy::FailClosed),
        ("FAIL_OPEN", FailurePolicy::FailOpen),
        ("FAIL_RELOAD", FailurePolicy::FailReload),
    ];
    let policy = o.get("failure_policy").and_then(|f| f.choice(&names));
    match (o.get("fail_open"), policy) {
        (Some(field), Some(_)) => {
            field.error("only one of fail_open, failure_policy may be set; leave fail_open out");
            FailurePolicy::FailClosed
        }
        (Some(field), None) if field.bool() == Some(true) => FailurePolicy::FailOpen,
        (None, None) => {
            o.field().warning(
                "without a failure_policy Envoy fails closed: after one trap of the filter all requests get 503 until its \
                 configuration changes, while this gateway rebuilds the VM; write failure_policy: FAIL_RELOAD",
            );
            FailurePolicy::Unspecified
        }
        (_, policy) => policy.unwrap_or(FailurePolicy::Unspecified),
    }
}

fn reload_backoff(o: &Object<'_>) -> Duration {
    let base = o
        .get("reload_config")
        .and_then(|f| f.object(|o| o.get("backoff"))?);
    let base = base.and_then(|f| f.object(|o| o.required("base_interval"))?);
    let Some(base) = base else {
        return RELOAD_BACKOFF;
    };
    match base.duration() {
        Some(interval) if interval < LEAST_RELOAD_BACKOFF => {
            base.error("must be at least 0.002s: below that, Envoy 1.40 divides by zero");
            RELOAD_BACKOFF
        }
        interval => interval.unwrap_or(RELOAD_BACKOFF),
    }
}

fn vm_config(o: &Object<'_>, places: &mut Places) -> Option<VmConfig> {
    // Only a hint to Envoy that the module may carry native code, which it ignores where there is none.
    o.bool("allow_precompiled", false);
    let runtimes = [
        "envoy.wasm.runtime.v8",
        "envoy.wasm.runtime.wasmtime",
        "envoy.wasm.runtime.wamr",
    ];
    let runtime = o
        .get("runtime")
        .and_then(|f| f.choice(&runtimes.map(|r| (r, r))))
        .unwrap_or_default();
    let code = o.required("code").and_then(|f| code(&f, places));
    let environment = o
        .get("environment_variables")
        .and_then(|f| environment(&f, places));
    let configuration = o.get("configuration").and_then(|f| configuration(&f));
    Some(VmConfig {
        vm_id: o.text("vm_id"),
        runtime: runtime.to_owned(),
        code: code?,
        configuration: configuration.unwrap_or_default(),
        environment: environment.unwrap_or_default(),
    })
}

fn code(field: &Field<'_>, places: &mut Places) -> Option<Code> {
    field.object(|o| {
        o.refuse(
            &["remote"],
            "fetch the module first and name it with local: {filename: …}",
        );
        let (_, local) = o.required_one_of(&["local"])?;
        places.code = Some(local.place());
        Some(match common::data_source(&local)? {
            Data::File(path) => Code::File(path),
            Data::Inline(bytes) => Code::Inline(bytes),
        })
    })?
}

fn environment(field: &Field<'_>, places: &mut Places) -> Option<BTreeMap<String, String>> {
    field.object(|o| {
        let mut variables = BTreeMap::new();
        for (key, value) in o.get("key_values").map(|f| f.entries()).unwrap_or_default() {
            variables.insert(key.to_owned(), value.text().unwrap_or_default().to_owned());
        }
        let mut seen: Vec<_> = variables.keys().cloned().collect();
        for item in o.list("host_env_keys") {
            let Some(key) = item.name() else { continue };
            if seen.iter().any(|k| k == key) {
                item.error(format!("the variable {key:?} is set twice"));
            }
            seen.push(key.to_owned());
            match (item.context().env)(key) {
                Some(value) => drop(variables.insert(key.to_owned(), value)),
                None => places.host_keys.push((key.to_owned(), item.place())),
            }
        }
        variables
    })
}
