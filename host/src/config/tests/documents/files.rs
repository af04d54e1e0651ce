//! Documents that are discovered or plain, modules, and files that cannot be read.

use super::*;

const ECDS: &str = r#"version_info: "1"
resources:
- "@type": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig
  name: route
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    config:
      root_id: switchover.route
      failure_policy: FAIL_RELOAD
      vm_config: {code: {local: {filename: DIR/filter.wasm}}, environment_variables: {host_env_keys: [RED]}}
      configuration:
        "@type": type.googleapis.com/google.protobuf.StringValue
        value: |
          {"routing": {"blue": {"weight": 1, "credential": {"env": "RED"}},
            "green": {"weight": -1}}}
"#;

#[test]
fn discovered_documents() {
    let dir = folder();
    let path = "resources[0].typed_config.config";
    let document = [
        format!("error ecds.yaml:15: {path}.configuration.value > routing.green.weight: …"),
        format!(
            "warning ecds.yaml:10: {path}.vm_config.environment_variables.host_env_keys[0]: the variable RED is not set here, so the guest goes without it"
        ),
    ];
    let document = document.each_ref().map(String::as_str);
    same(&checked(&dir, "ecds.yaml", ECDS), &document);
    let discovery = format!(
        "{{name: NAME, config_discovery: {{config_source: {{path_config_source: {{path: DIR/PATH}}}}, type_urls: [{WASM}]}}}}, {ROUTER}"
    );
    let bootstrap = |name: &str, path: &str| {
        let filters = discovery.replace("NAME", name).replace("PATH", path);
        let rules = tags(&switchover_core::metrics::LABELS);
        Parts {
            filters: &filters,
            top: &format!("stats_config: {{stats_tags: [{rules}]}}"),
            ..Parts::default()
        }
        .yaml()
    };
    same(
        &checked(&dir, "f.yaml", &bootstrap("route", "ecds.yaml")),
        &document,
    );
    let hcm =
        "static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0]";
    assert_eq!(
        checked(&dir, "f.yaml", &bootstrap("route", "none.json")),
        [format!(
            "error f.yaml:9: {hcm}.config_discovery: the document none.json does not exist; it must when the listener starts"
        )]
    );
    let named = "error ecds.yaml:4: resources[0].name: must be the filter's name, \"x\"".to_owned();
    assert!(checked(&dir, "f.yaml", &bootstrap("x", "ecds.yaml")).contains(&named));
}

#[test]
fn plain_documents() {
    let dir = folder();
    let document = "{\n\"routing\": {\"blue\": {\"weight\": 1, \"credential\": {\"env\": \"ANY\"}}},\n\"strategy\": \"none\"}";
    same(
        &checked(&dir, "rollout.json", document),
        &["error rollout.json:3: strategy: …"],
    );
    assert_eq!(
        checked(
            &dir,
            "rollout.json",
            &document.replace("none", "weighted_random")
        ),
        [] as [&str; 0]
    );
}

#[test]
fn modules() {
    let dir = folder();
    let wasm = |file: &str| {
        let filter = format!(
            "{{name: w, typed_config: {{\"@type\": {WASM}, config: {{failure_policy: FAIL_RELOAD, vm_config: {{code: {{local: {{filename: DIR/{file}}}}}}}}}}}}}, {ROUTER}"
        );
        Parts {
            filters: &filter,
            ..Parts::default()
        }
        .yaml()
    };
    fs::write(dir.path().join("text"), "(module)").expect("written");
    let at = "error f.yaml:9: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.config.vm_config.code.local";
    assert_eq!(
        checked(&dir, "f.yaml", &wasm("filter.wasm")),
        [] as [&str; 0]
    );
    assert_eq!(
        checked(&dir, "f.yaml", &wasm("text")),
        [format!("{at}: text is not a Wasm module")]
    );
    assert_eq!(
        checked(&dir, "f.yaml", &wasm("none")),
        [format!(
            "{at}: the Wasm module none cannot be read: No such file or directory (os error 2)"
        )]
    );
}

#[test]
fn files_that_cannot_be_read() {
    let dir = folder();
    let path = dir.path().join("none.yaml");
    let problems: Vec<_> = check(&path, &keys)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        problems,
        [format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            path.display()
        )]
    );
    fs::write(&path, b"\xff").expect("written");
    let problems: Vec<_> = check(&path, &keys)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        problems,
        [format!("{}: is not text in UTF-8", path.display())]
    );
}
