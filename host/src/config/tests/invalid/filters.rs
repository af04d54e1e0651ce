//! Chains of HTTP filters, Wasm plugins, and configurations that are discovered.

use super::*;

#[test]
fn chains_of_filters() {
    let wasm = format!(
        "{{name: w, typed_config: {{\"@type\": {WASM}, config: {{vm_config: {{code: {{local: {{filename: f.wasm}}}}}}}}}}}}"
    );
    let last = "the last filter must be Router (type.googleapis.com/envoy.extensions.filters.http.router.v3.Router)";
    filters("", &[&format!("9: HCM.http_filters: {last}")]);
    filters(&wasm, &[&format!("9: HCM.http_filters[0]: {last}")]);
    filters(
        &format!("{ROUTER}, {wasm}"),
        &[
            "9: HCM.http_filters[0]: must be the last filter: Router",
            &format!("9: HCM.http_filters[1]: {last}"),
        ],
    );
    let mutation =
        "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    filters(
        &format!(
            "{{name: l, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}}}, {ROUTER}"
        ),
        &[&format!(
            "9: HCM.http_filters[0].typed_config[\"@type\"]: the type \"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua\" is not supported here; supported: {WASM}, {mutation}, {router}"
        )],
    );
    filters(
        &format!("{{name: l, typed_config: {{}}}}, {ROUTER}"),
        &[&format!(
            "9: HCM.http_filters[0].typed_config: the field @type is missing; supported here: {WASM}, {mutation}, {router}"
        )],
    );
}

fn wasm_config(config: &str, expected: &[&str]) {
    let filter =
        format!("{{name: w, typed_config: {{\"@type\": {WASM}, config: {{{config}}}}}}}, {ROUTER}");
    let expected: Vec<_> = expected
        .iter()
        .map(|e| format!("9: HCM.http_filters[0].typed_config.config{e}"))
        .collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    filters(&filter, &expected);
}

#[test]
fn wasm_plugins() {
    let vm = "vm_config: {code: {local: {filename: f.wasm}}}";
    wasm_config("name: a", &[".vm_config: is required"]);
    wasm_config(
        &format!("{vm}, fail_open: false, failure_policy: FAIL_OPEN"),
        &[".fail_open: only one of fail_open, failure_policy may be set; leave fail_open out"],
    );
    wasm_config(
        &format!("{vm}, reload_config: {{backoff: {{base_interval: 0.0019s}}}}"),
        &[
            ".reload_config.backoff.base_interval: must be at least 0.002s: below that, Envoy 1.40 divides by zero",
        ],
    );
    // Envoy takes these two.
    wasm_config(
        &format!(
            "{vm}, configuration: {{\"@type\": type.googleapis.com/google.protobuf.Struct, value: {{a: 1}}}}"
        ),
        &[
            ".configuration: Envoy hands a Struct to the guest as protobuf's wire bytes, not as JSON; write JSON into a type.googleapis.com/google.protobuf.StringValue",
        ],
    );
    wasm_config(
        &format!("{vm}, capability_restriction_config: {{}}"),
        &[
            ".capability_restriction_config: is not supported: leave it out; every capability is allowed",
        ],
    );
    wasm_config(
        "vm_config: {runtime: v8, code: {remote: {}}, environment_variables: {key_values: {A: b}, host_env_keys: [A, B, B]}}",
        &[
            ".vm_config.runtime: \"v8\" is not supported here; supported: envoy.wasm.runtime.v8, envoy.wasm.runtime.wasmtime, envoy.wasm.runtime.wamr",
            ".vm_config.code.remote: is not supported: fetch the module first and name it with local: {filename: …}",
            ".vm_config.environment_variables.host_env_keys[0]: the variable \"A\" is set twice",
            ".vm_config.environment_variables.host_env_keys[2]: the variable \"B\" is set twice",
        ],
    );
    wasm_config(
        "vm_config: {code: {local: {inline_bytes: \"?\", inline_string: a}}}",
        &[
            ".vm_config.code.local.inline_bytes: only one of filename, inline_string, inline_bytes may be set; inline_string is, so leave inline_bytes out",
        ],
    );
}

#[test]
fn discovery() {
    let filter = |config: &str| format!("{{name: w, config_discovery: {{{config}}}}}, {ROUTER}");
    filters(
        &filter(
            "config_source: {api_config_source: {}}, type_urls: [], apply_default_config_without_warming: true",
        ),
        &[
            "9: HCM.http_filters[0].config_discovery.type_urls: must name the type of the filter",
            "9: HCM.http_filters[0].config_discovery.apply_default_config_without_warming: needs a default_config",
            "9: HCM.http_filters[0].config_discovery.config_source.api_config_source: is not supported: there is no xDS server; use path_config_source",
        ],
    );
    filters(
        &filter("config_source: {path: a, resource_api_version: AUTO}, type_urls: [x]"),
        &[
            &format!(
                "9: HCM.http_filters[0].config_discovery.type_urls[0]: \"x\" is not supported here; supported: {WASM}"
            ),
            "9: HCM.http_filters[0].config_discovery.config_source.path: is not supported: deprecated; use path_config_source: {path: …}",
            "9: HCM.http_filters[0].config_discovery.config_source.resource_api_version: \"AUTO\" is not supported here; supported: V3",
        ],
    );
    let valid = filter(&format!(
        "config_source: {{path_config_source: {{path: a}}}}, type_urls: [{WASM}]"
    ));
    let yaml = Parts {
        filters: &valid,
        ..Parts::default()
    }
    .yaml()
    .replace("node: {id: a, cluster: b}", "node: {id: a}");
    assert_eq!(
        problems(&yaml),
        [
            "1: node: config_discovery needs node.id and node.cluster in Envoy, here or by --service-node, --service-cluster"
        ]
    );
}
