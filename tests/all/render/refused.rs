//! What cannot be rendered, and why.

use super::*;

/// A value of a credential goes nowhere, and the message says where it stands.
#[test]
fn secrets_are_refused() {
    let mut document = demo_document();
    document["routing"]["green"]["credential"] = json!({"value": "hunter2"});
    let several = json!({"rollouts": [document.clone()]});
    for (document, place) in [
        (document, ": routing.green"),
        (several, ": rollouts[0].routing.green"),
    ] {
        let files = Files::new(&document);
        let text = std::fs::read_to_string(files.path("rollout.json")).unwrap();
        let line = 1 + text
            .lines()
            .position(|line| line.contains("hunter2"))
            .unwrap();
        for target in TARGETS {
            let output = files.render(target, &[&at("blue", "b:1"), &at("green", "g:1")]);
            let (shown, printed) = (stderr(&output), stdout(&output));
            assert_eq!(
                (output.status.code(), printed.as_str()),
                (Some(1), ""),
                "{shown}"
            );
            let place = format!("rollout.json:{line}{place}.credential.value: ");
            assert!(
                shown.contains(&place) && shown.contains("\"env\": \"GREEN_API_KEY\""),
                "{place}: {shown}"
            );
            assert!(
                !shown.contains("hunter2") && !files.directory().join("out").exists(),
                "{shown}"
            );
        }
    }
}

#[test]
fn wrong_arguments_are_told() {
    let files = Files::new(&demo_document());
    let (blue, green) = (at("blue", "b:1"), at("green", "g:1"));
    let good = [blue.as_str(), green.as_str()];
    let gateway = &["--target", "kubernetes-gateway"][..];
    for (target, more, code, message) in [
        (
            &["--target", "nginx"][..],
            &good[..],
            2,
            "possible values: envoy, istio, envoy-gateway, kubernetes-gateway",
        ),
        (&[], &good, 2, "--target"),
        (TARGETS[0], &good[..1], 1, "add --upstream green=HOST:PORT"),
        (
            TARGETS[0],
            &[&blue, &green, "--upstream=red=r:1"],
            1,
            "no environment or cluster \"red\", only blue, green",
        ),
        (
            TARGETS[0],
            &["--upstream=green"],
            2,
            "expected NAME=HOST:PORT",
        ),
        (
            TARGETS[0],
            &["--upstream=green=g:0"],
            2,
            "expected NAME=HOST:PORT",
        ),
        (
            TARGETS[0],
            &["--namespace", "shop"],
            1,
            "--namespace is not for the target envoy, only for istio",
        ),
        (&["--target", "istio"], &good, 1, "needs --image"),
        (
            TARGETS[2],
            &["--image", "file:///f.wasm"],
            2,
            "cannot be used multiple times",
        ),
        (
            &["--target", "envoy-gateway"],
            &["--image", "file:///f.wasm"],
            1,
            "only istio reads files",
        ),
        (
            TARGETS[1],
            &["--sha256", "12"],
            2,
            "expected 64 hexadecimal digits",
        ),
        (
            TARGETS[1],
            &["--listen", "127.0.0.1:1"],
            1,
            "--listen is not for the target istio, only for envoy",
        ),
        (
            gateway,
            &good,
            1,
            "needs --gateway NAME, or --gateway-class NAME",
        ),
        (
            gateway,
            &["--gateway", "Not A Name"],
            2,
            "expected 1 to 40 of the characters",
        ),
        (TARGETS[1], &["--force"], 2, "--output"),
    ] {
        let output = files.render(target, more);
        let shown = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{target:?} {more:?}: {shown}"
        );
        assert!(shown.contains(message), "{message}: {shown}");
        assert_eq!(stdout(&output), "", "{shown}");
    }
    let output = Command::new(programs::switchover())
        .args(["render", &files.path("rollout.json"), "--target", "envoy"])
        .args(good)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("say --output DIR"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn documents_that_cannot_be_rendered_are_told() {
    let general = json!({"rollout": "all-of-v1", "match": {"path_prefix": "/v1"}, "routing": {"a": {"weight": 1}}});
    let special = json!({"rollout": "chat", "match": {"path_prefix": "/v1/chat"}, "routing": {"b": {"weight": 1}}});
    let shared = |name: &str, prefix: &str| {
        json!({
            "rollout": name, "match": {"path_prefix": prefix}, "routing": {name: {"weight": 1, "clusters": ["same"]}},
        })
    };
    let (all, istio) = (&TARGETS[..], &TARGETS[1..]);
    for (document, targets, message) in [
        (
            json!({"routing": {"blue": {"weight": 1}}, "stable": "red"}),
            all,
            "stable: names no environment",
        ),
        (
            json!({"routing": {"-a": {"weight": 1}}}),
            istio,
            "cannot be part of an object's name",
        ),
        (
            json!({
                "routing": {"a": {"weight": 1}, "b": {"weight": 1, "models": ["m"]}},
                "models": {"catalogue": [{"id": "m"}], "hold_headers": true},
            }),
            &TARGETS[1..3],
            "`routing.b.models` needs headers that wait",
        ),
        (
            json!({"rollouts": [general, special]}),
            &TARGETS[2..],
            "put \"chat\" first",
        ),
        (
            json!({"rollouts": [shared("a", "/a"), shared("b", "/b")]}),
            all,
            "the cluster \"same\" belongs to",
        ),
    ] {
        let files = Files::new(&document);
        let upstreams: Vec<_> = ["a", "b", "-a"]
            .iter()
            .filter(|name| document.to_string().contains(&format!("\"{name}\"")))
            .map(|name| at(name, "s:1"))
            .collect();
        let options: Vec<&str> = upstreams.iter().map(String::as_str).collect();
        for target in targets {
            let output = files.render(target, &options);
            let shown = stderr(&output);
            assert_eq!(
                (output.status.code(), stdout(&output).as_str()),
                (Some(1), ""),
                "{shown}"
            );
            assert!(shown.contains(message), "{message}: {shown}");
        }
    }
}

/// Files that are there may be in use.
#[test]
fn nothing_is_replaced_unasked() {
    let files = Files::new(&demo_document());
    let options = [at("blue", "b:1"), at("green", "g:1")];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    passed(&files.render(TARGETS[0], &options));
    let rollout = files.path("out/rollout.yaml");
    std::fs::write(&rollout, "changed").unwrap();
    std::fs::remove_file(files.path("out/envoy.yaml")).unwrap();
    let output = files.render(TARGETS[0], &options);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("rollout.yaml is there already"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read_to_string(&rollout).unwrap(), "changed");
    assert!(!files.directory().join("out/envoy.yaml").exists());
    let forced: Vec<&str> = options.iter().copied().chain(["--force"]).collect();
    passed(&files.render(TARGETS[0], &forced));
    check(&files.path("out/envoy.yaml"));
}
