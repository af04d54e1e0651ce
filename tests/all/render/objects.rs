//! What is rendered for Kubernetes: objects that fit the published schemas and carry the document.

use serde_json::{Value, json};
use switchover_tests::setup::{demo_document, documents};
use switchover_tests::{programs, python};

use super::{Files, TARGETS, addresses, at, check, kinds, passed, stderr, stdout};

/// Every object of every target fits the schema of its kind; spoiled ones do not.
#[tokio::test]
async fn objects_fit_the_published_schemas() {
    let mut cases = Vec::new();
    for (name, document, upstreams) in kinds() {
        let files = Files::new(&document);
        for target in &TARGETS[1..] {
            for upstreams in [upstreams.clone(), addresses(&upstreams)] {
                let mut options: Vec<&str> = upstreams.iter().map(String::as_str).collect();
                options.extend(["--namespace", "shop"]);
                let output = files.render(target, &options);
                // Shares alone are for Services.
                if target.contains(&"kubernetes-gateway") && upstreams[0].contains("10.0.0.") {
                    assert_eq!(output.status.code(), Some(1));
                    assert!(
                        stderr(&output).contains("must be one Service"),
                        "{}",
                        stderr(&output)
                    );
                    continue;
                }
                let objects = documents(&stdout(passed(&output)));
                assert!(objects.len() > 1);
                cases.push(json!({"name": format!("{name}, {target:?}"), "valid": true, "objects": objects}));
            }
        }
    }
    for object in cases
        .clone()
        .iter()
        .flat_map(|case| case["objects"].as_array().unwrap())
    {
        let mut unknown = object.clone();
        unknown["spec"]["wieght"] = 1.into();
        let mut untyped = object.clone();
        untyped["spec"] = "text".into();
        for (what, object) in [("unknown field", unknown), ("wrong type", untyped)] {
            let name = format!("{what} in {}", object["kind"]);
            cases.push(json!({"name": name, "valid": false, "objects": [object]}));
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!(cases).to_string()).unwrap();
    let schemas = programs::root().join("tests/crds");
    let printed = python::client(
        "crds.py",
        &[schemas.to_str().unwrap(), file.path().to_str().unwrap()],
    )
    .await;
    assert!(printed.contains(" objects"), "{printed}");
}

/// The document within objects is right for the place, and says what it said but for that.
#[test]
fn objects_carry_the_document() {
    for (name, document, upstreams) in kinds() {
        let files = Files::new(&document);
        let options: Vec<&str> = upstreams.iter().map(String::as_str).collect();
        for (target, kind, path) in [
            (TARGETS[1], "WasmPlugin", "/spec/pluginConfig"),
            (TARGETS[2], "EnvoyExtensionPolicy", "/spec/wasm/0/config"),
        ] {
            let objects = documents(&stdout(passed(&files.render(target, &options))));
            let object = objects
                .iter()
                .find(|object| object["kind"] == kind)
                .unwrap();
            let carried = object.pointer(path).unwrap();
            std::fs::write(files.path("carried.json"), carried.to_string()).unwrap();
            check(&files.path("carried.json"));
            assert_eq!(bare(carried), bare(&document), "{name}");
            assert!(
                !carried.to_string().contains("\"attempts\""),
                "{name}: {carried}"
            );
        }
    }
}

/// A document without what depends on the place.
fn bare(document: &Value) -> Value {
    let mut document = document.clone();
    let rollouts = match document.get_mut("rollouts") {
        Some(rollouts) => rollouts.as_array_mut().unwrap().iter_mut().collect(),
        None => vec![&mut document],
    };
    for rollout in rollouts {
        let rollout = rollout.as_object_mut().unwrap();
        rollout.remove("attempts");
        if let Some(models) = rollout.get_mut("models").and_then(Value::as_object_mut) {
            models.remove("hold_headers");
        }
        if let Some(health) = rollout.get_mut("health").and_then(Value::as_object_mut) {
            health.remove("host");
        }
        for environment in rollout["routing"].as_object_mut().unwrap().values_mut() {
            environment.as_object_mut().unwrap().remove("clusters");
        }
    }
    document
}

/// What a target does not do is said twice: to whoever renders, and to whoever reads the file.
#[test]
fn what_is_lost_is_told() {
    let mut document = demo_document();
    let fields = json!({"sticky": {"by": ["consumer"]}, "health": {}, "shadow": {"environment": "green", "percent": 1}});
    document
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let files = Files::new(&document);
    for (target, expected) in [
        (
            TARGETS[1],
            &[
                "no attempt role",
                "\"attempts\" is false",
                "guard counts what clients get",
                "BLUE_API_KEY, GREEN_API_KEY",
            ][..],
        ),
        (
            TARGETS[2],
            &["no attempt role", "enableBackend", "FAIL_RELOAD", "Secret"],
        ),
        (
            TARGETS[3],
            &[
                "`auth` is lost",
                "`guard` is lost",
                "`sticky` is lost",
                "`override` is lost",
                "`health` is lost",
                "`shadow` is lost",
                "`credential` is lost",
            ],
        ),
    ] {
        let output = files.render(target, &[&at("blue", "b:1"), &at("green", "g:1")]);
        let (shown, printed) = (stderr(&output), stdout(passed(&output)));
        for words in expected {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        for note in shown
            .lines()
            .map(|line| line.strip_prefix("note: ").unwrap())
        {
            assert!(
                printed.contains(&format!("# Note: {note}.\n")),
                "{note}: {printed}"
            );
        }
    }
}

/// Without a filter the shares are those of now.
#[test]
fn shares_are_those_of_now() {
    let schedule = |start: &str| {
        json!({
            "routing": {"blue": {"weight": 100}, "green": {"weight": 0}},
            "schedule": {"environment": "green", "start": start, "steps": [{"at": "1m", "weight": 12.5}]},
        })
    };
    let rollback =
        json!({"routing": {"blue": {"weight": 1}, "green": {"weight": 3}}, "rollback": true});
    for (document, green) in [
        (schedule("2020-01-01T00:00:00Z"), 0.125),
        (schedule("2190-01-01T00:00:00Z"), 0.0),
        (rollback, 0.0),
    ] {
        let files = Files::new(&document);
        let output = files.render(TARGETS[3], &[&at("blue", "b:1"), &at("green", "g:1")]);
        let objects = documents(&stdout(passed(&output)));
        let route = objects
            .iter()
            .find(|object| object["kind"] == "HTTPRoute")
            .unwrap();
        let backends = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap();
        let weight = |name: &str| {
            backends.iter().find(|b| b["name"] == name).unwrap()["weight"]
                .as_f64()
                .unwrap()
        };
        assert_eq!(
            weight("g") / (weight("g") + weight("b")),
            green,
            "{route:#}"
        );
    }
}

/// Environments of one Service are told apart by a label.
#[test]
fn one_service_has_subsets() {
    let files = Files::new(&demo_document());
    let output = files.render(TARGETS[1], &[&at("blue", "api:80"), &at("green", "api:80")]);
    let objects = documents(&stdout(passed(&output)));
    let of = |kind: &str| {
        objects
            .iter()
            .filter(|o| o["kind"] == kind)
            .collect::<Vec<_>>()
    };
    let rules = of("DestinationRule");
    assert_eq!(rules.len(), 1);
    assert_eq!(
        rules[0]["spec"]["subsets"],
        json!([{"name": "blue", "labels": {"environment": "blue"}}, {"name": "green", "labels": {"environment": "green"}}])
    );
    assert_eq!(
        of("VirtualService")[0]["spec"]["http"][0]["route"][0]["destination"]["subset"],
        "green"
    );
    let document = &of("WasmPlugin")[0]["spec"]["pluginConfig"];
    assert_eq!(
        document["routing"]["green"]["clusters"],
        json!(["outbound|80|green|api.default.svc.cluster.local"])
    );
}
