//! The two roles of the filter in one file: their names, VMs and configurations.

use super::*;

#[test]
fn two_route_roles_of_one_name() {
    let dir = folder();
    let filter = |weight: u32, name: &str| {
        format!(
            "{{name: {name}, typed_config: {{\"@type\": {WASM}, config: {{name: {name}, root_id: switchover.route, failure_policy: FAIL_RELOAD, vm_config: {{vm_id: v, code: {{local: {{filename: DIR/filter.wasm}}}}}}, configuration: {{\"@type\": type.googleapis.com/google.protobuf.StringValue, value: '{{\"routing\": {{\"blue\": {{\"weight\": {weight}}}}}}}'}}}}}}}}"
        )
    };
    let twice = |first: String, second: String| {
        let filters = format!("{first}, {second}, {ROUTER}");
        let parts = Parts {
            filters: &filters,
            ..Parts::default()
        };
        checked(&dir, "f.yaml", &parts.yaml())
    };
    let none: [&str; 0] = [];
    let warnings = |found: Vec<String>| -> Vec<String> {
        found
            .into_iter()
            .filter(|l| l.starts_with("error"))
            .collect()
    };
    assert_eq!(warnings(twice(filter(1, "a"), filter(2, "b"))), none);
    assert_eq!(warnings(twice(filter(1, "a"), filter(1, "a"))), none);
    same(
        &warnings(twice(filter(1, "a"), filter(2, "a"))),
        &[
            "error f.yaml:9: ROUTE: another route role named \"a\" with the vm_id \"v\" has another document; give each a name of its own",
        ],
    );
}

#[test]
fn a_filter_that_may_be_bypassed() {
    let warning = |header: &str| {
        format!(
            "warning f.yaml:20: ROUTE: with FAIL_OPEN a client's own {header} gets through when the VM has failed; put a header_mutation filter that removes it before this one"
        )
    };
    let (mode, identity) = (warning("x-deployment-mode"), warning("x-consumer"));
    gateway(&[("policy", "FAIL_OPEN")], &[&mode, &identity]);
    gateway(
        &[
            ("policy", "FAIL_OPEN"),
            ("strip", "{remove: X-Deployment-Mode}"),
        ],
        &[&identity],
    );
    gateway(
        &[
            ("policy", "FAIL_OPEN"),
            ("strip", "{remove: x-deployment-mode}, {remove: x-consumer}"),
        ],
        &[],
    );
}

#[test]
fn roles_share_a_vm() {
    gateway(
        &[("vm", "other")],
        &[
            "warning f.yaml:55: ATTEMPT: runs in a VM of its own, since its vm_id differs from the route role's; a document reaches it a tick later",
        ],
    );
    gateway(&[("configuration", r#"{"route_plugin": "route"}"#)], &[]);
    gateway(
        &[("configuration", r#"{"route_plugin": "x"}"#)],
        &[
            "error f.yaml:58: ATTEMPT.configuration.value: there is no route plugin \"x\"; there is route",
        ],
    );
}

#[test]
fn the_attempt_roles_own_configuration() {
    let dir = folder();
    let mut text = GATEWAY.replace("{{configuration}}", r#"{"routing": {}}"#);
    let rules = tags(&switchover_core::metrics::LABELS);
    for (name, value) in USUAL.iter().chain(&[("tags", &*rules)]) {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    same(
        &checked(&dir, "f.yaml", &text),
        &["error f.yaml:58: ATTEMPT.configuration.value > routing: …"],
    );
}
