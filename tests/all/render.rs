//! `switchover render`: its files serve, its objects fit the published schemas, and what cannot be said is told.

mod notes;
mod objects;
mod refused;

use std::path::Path;
use std::process::{Command, Output};

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::client::Call;
use switchover_tests::keys::consumer;
use switchover_tests::setup::demo_document;
use switchover_tests::upstream::{Seen, text};
use switchover_tests::{Client, Engine, Gateway, Upstream, assert_eventually, cases, programs};
use tempfile::TempDir;

const KEYS: [(&str, &str); 2] = [
    ("BLUE_API_KEY", "key-of-blue"),
    ("GREEN_API_KEY", "key-of-green"),
];
/// What each target needs beside upstreams.
const TARGETS: [&[&str]; 4] = [
    &[
        "--target",
        "envoy",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ],
    &[
        "--target",
        "istio",
        "--image",
        "oci://registry.example.com/switchover:1.0.0",
    ],
    &[
        "--target",
        "envoy-gateway",
        "--image",
        "registry.example.com/switchover@sha256:0123",
    ],
    &[
        "--target",
        "kubernetes-gateway",
        "--gateway-class",
        "example",
    ],
];

/// A directory with a document in it.
struct Files(TempDir);

impl Files {
    fn new(document: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join("rollout.json"),
            format!("{document:#}"),
        )
        .unwrap();
        Self(directory)
    }

    fn directory(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, name: &str) -> String {
        self.directory().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `switchover render` on the document; what `envoy` makes is in `out`.
    fn render(&self, target: &[&str], more: &[&str]) -> Output {
        let mut command = Command::new(programs::switchover());
        command
            .arg("render")
            .arg(self.path("rollout.json"))
            .args(target)
            .args(more);
        if target.contains(&"envoy") {
            command.arg("--output").arg(self.path("out"));
            command.arg("--filter").arg(programs::filter());
        }
        command.current_dir(programs::root()).output().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn passed(output: &Output) -> &Output {
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        stderr(output)
    );
    output
}

/// What is said about an upstream.
fn at(name: &str, address: impl std::fmt::Display) -> String {
    format!("--upstream={name}={address}")
}

/// Documents of all kinds, each with its upstreams.
fn kinds() -> Vec<(&'static str, Value, Vec<String>)> {
    let two = || vec![at("blue", "blue:8080"), at("green", "green.shop.svc:8081")];
    let with = |fields: Value| {
        let mut document = demo_document();
        document
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        document
    };
    let shop = json!({
        "rollout": "shop",
        "stable": "old",
        "match": {"hosts": ["shop.example.com", "*.shop.example.com"], "path_prefix": "/v1"},
        "routing": {"old": {"weight": 1, "clusters": ["old-only"]}, "new": {"weight": 1}},
        "auth": {"identity_header": "x-user"},
    });
    let rest = json!({"rollout": "rest", "routing": {"only": {"weight": 1}}});
    let rollouts = json!({"rollouts": [shop, rest]});
    let three = json!({
        "stable": "on",
        "routing": {"on": {"weight": 98}, "no": {"weight": 1, "version": "1: \"#"}, "1-2": {"weight": 1}},
        "match": {"hosts": ["api.example.com"]},
        "health": {"path": "/health"},
        "shadow": {"environment": "no", "percent": 1},
    });
    vec![
        (
            "models",
            with(json!({"models": {"catalogue": [{"id": "demo-small"}]}})),
            two(),
        ),
        (
            "smallest",
            json!({"routing": {"blue": {"weight": 95}, "green": {"weight": 5}}, "strategy": "weighted_round_robin"}),
            two(),
        ),
        ("demo", demo_document(), two()),
        (
            "schedule",
            with(json!({"schedule": {
                "environment": "green", "start": "2026-11-22T20:00:00Z", "ramp": "linear",
                "steps": [{"at": "5m", "weight": 1}, {"at": "90m", "weight": 33.33}],
            }})),
            two(),
        ),
        (
            "sticky",
            with(json!({"sticky": {"by": ["consumer", {"cookie": "session"}]}, "guard": null})),
            two(),
        ),
        (
            "three environments",
            three,
            vec![at("on", "on:80"), at("no", "no:80"), at("1-2", "other:81")],
        ),
        (
            "several rollouts",
            rollouts,
            vec![
                at("old", "old:80"),
                at("new", "new:80"),
                at("only", "only:80"),
            ],
        ),
    ]
}

/// The same upstreams as no Services: addresses, and several of them.
fn addresses(upstreams: &[String]) -> Vec<String> {
    let address = |(n, upstream): (usize, &String)| {
        let name = upstream.split('=').nth(1).unwrap();
        [
            at(name, format!("10.0.0.{n}:8080")),
            at(name, format!("10.1.0.{n}:8081")),
        ]
    };
    upstreams.iter().enumerate().flat_map(address).collect()
}

/// Switchover's own check finds nothing to say, not even a warning.
fn check(file: &str) {
    let output = Command::new(programs::switchover())
        .args(["check", file])
        .envs(KEYS)
        .current_dir(programs::root())
        .output()
        .unwrap();
    assert_eq!(
        stdout(&output),
        format!("{file}: ok\n"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn bootstraps_pass_both_checks() {
    for (name, document, upstreams) in kinds() {
        for upstreams in [addresses(&upstreams), upstreams] {
            let files = Files::new(&document);
            let options: Vec<&str> = upstreams.iter().map(String::as_str).collect();
            let output = files.render(TARGETS[0], &options);
            passed(&output);
            let file = files.path("out/envoy.yaml");
            check(&file);
            let output = Command::new(programs::envoy())
                .args(["--mode", "validate", "-c", &file])
                .envs(KEYS)
                .output()
                .unwrap();
            assert!(output.status.success(), "{name}: {}", stderr(&output));
        }
    }
}

/// Echoes who it is and which key it got.
async fn upstream(name: &'static str) -> Upstream {
    Upstream::start(move |request: Seen| async move {
        let key = request
            .headers()
            .get("authorization")
            .map_or("none", |v| v.to_str().unwrap());
        let failing = request.headers().contains_key("x-fail") && name != "blue";
        let status = if failing {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        };
        text(status, &format!("{name} {key}"))
    })
    .await
}

/// Serves what is rendered from a document.
async fn serve(
    engine: Engine,
    document: &Value,
    upstreams: &[(&str, &Upstream)],
) -> (Gateway, String) {
    let files = Files::new(document);
    let upstreams: Vec<_> = upstreams
        .iter()
        .map(|(name, upstream)| at(name, upstream.address()))
        .collect();
    let options: Vec<&str> = upstreams.iter().map(String::as_str).collect();
    passed(&files.render(TARGETS[0], &options));
    let file = files.path("out/envoy.yaml");
    let rollout = files.path("out/rollout.yaml");
    let gateway = Gateway::of_file(engine, files.0, Path::new(&file), &KEYS).await;
    (gateway, rollout)
}

/// A call of a consumer who names the environment.
fn call<'a>(client: &'a mut Client, mode: &str) -> Call<'a> {
    let call = client.get("/").header("api-key", "the-key");
    call.header("x-deployment-mode", mode)
}

cases! {
    async fn the_files_serve(engine: Engine) {
        let (blue, green) = (upstream("blue").await, upstream("green").await);
        let mut document = demo_document();
        document["auth"]["consumers"] = json!([consumer("team-a", "the-key")]);
        document["auth"]["consumers"][0]["override"] = true.into();
        let (gateway, rollout) = serve(engine, &document, &[("blue", &blue), ("green", &green)]).await;
        let mut client = gateway.client();
        assert_eq!(call(&mut client, "blue").send().await.text(), "blue Bearer key-of-blue");
        assert_eq!(call(&mut client, "green").send().await.text(), "green Bearer key-of-green");
        // The other environment answers, with its own key.
        let reply = call(&mut client, "green").header("x-fail", "yes").send().await;
        assert_eq!((reply.status.as_u16(), reply.text(), reply.header("x-deployment-mode")), (200, "blue Bearer key-of-blue", "blue"));
        assert_eq!(client.get("/").header("api-key", "wrong").send().await.status, 401);
        // Nobody else says who the consumer is.
        call(&mut client, "blue").header("x-consumer", "someone").send().await;
        assert_eq!(blue.requests().last().unwrap().headers()["x-consumer"], "team-a");

        // The verbs take the file, and the proxy follows it.
        let output = Command::new(programs::switchover()).args(["rollout", "set", "green=100", &rollout]).output().unwrap();
        passed(&output);
        let mut other = gateway.client();
        assert_eventually!(other.get("/").header("api-key", "the-key").send().await.text() == "green Bearer key-of-green", "not followed");
    }

    /// Routes and the document agree on which rollout a request is for.
    async fn several_rollouts_serve(engine: Engine) {
        let (old, new, only) = (upstream("old").await, upstream("new").await, upstream("only").await);
        let (_, mut document, _) = kinds().pop().unwrap();
        document["rollouts"][0]["routing"]["old"]["weight"] = 0.into();
        document["rollouts"][0]["response_headers"] = true.into();
        let (gateway, _) = serve(engine, &document, &[("old", &old), ("new", &new), ("only", &only)]).await;
        let mut client = gateway.client();
        for (host, path, expected) in [
            ("shop.example.com", "/v1", "new"),
            ("SHOP.example.com:8080", "/v1/a", "new"),
            ("a.shop.example.com", "/v1?q", "new"),
            ("shop.example.com", "/v10", "only"),
            ("shopxexample.com", "/v1", "only"),
            (".shop.example.com.evil.com", "/v1", "only"),
        ] {
            let reply = client.get(path).host(host).send().await;
            assert_eq!((reply.text(), reply.header("x-deployment-mode")), (format!("{expected} none").as_str(), expected), "{host}{path}");
        }
    }
}
