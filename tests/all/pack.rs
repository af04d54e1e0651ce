//! `switchover pack`: images that a real registry takes, and filters that come out of them again.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use switchover_tests::registry::{self, CREDENTIALS, Registry};
use switchover_tests::{Setup, Upstream, cases, programs};

fn pack(arguments: &[&str], filter: &Path, layout: &Path) -> Output {
    let mut command = Command::new(programs::switchover());
    command.arg("pack").arg(filter).arg("-o").arg(layout);
    command.args(arguments).output().unwrap()
}

/// Packs the filter, and gives what the command said of the image.
fn packed(variant: &str, layout: &Path) -> Value {
    let output = pack(
        &["--json", "--variant", variant, "--tag", "under-test"],
        &programs::filter(),
        layout,
    );
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn oci(layout: &Path) -> String {
    format!("oci:{}:under-test", layout.display())
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// It failed with these words.
fn refused(output: &Output, words: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(told.contains(words), "{words:?} in {told}");
}

cases! {
    async fn a_filter_that_was_pushed_and_pulled_serves(engine: Engine) {
        let registry = Registry::open();
        let upstream = Upstream::named("api").await;
        let directory = tempfile::tempdir().unwrap();
        for variant in ["compat", "oci"] {
            let (there, back) = (directory.path().join(variant), directory.path().join("back").join(variant));
            let image = packed(variant, &there);
            let digest = image["digest"].as_str().unwrap();
            succeeded(&registry::copy(None, &oci(&there), &registry.image("filters/switchover:1")));
            // By its digest: what the command said is what the registry calls it.
            let name = registry.image(&format!("filters/switchover@{digest}"));
            std::fs::create_dir_all(&back).unwrap();
            succeeded(&registry::copy(None, &name, &oci(&back)));
            let filter = registry::extract(&back);
            assert_eq!(filter, std::fs::read(programs::filter()).unwrap());

            let file = directory.path().join(format!("{variant}.wasm"));
            std::fs::write(&file, filter).unwrap();
            let gateway = Setup::new(&[("blue", &upstream), ("green", &upstream)])
                .document(json!({"routing": {
                    "blue": {"weight": 0, "clusters": ["blue-only"]},
                    "green": {"weight": 1, "clusters": ["green-only"]}}}))
                .route_guest(&file)
                .attempt_guest(&file)
                .start(engine)
                .await;
            let reply = gateway.client().get("/v1/models").send().await;
            assert_eq!(reply.status, 200);
            assert_eq!(reply.header("x-deployment-mode"), "green");
        }
        assert_eq!(upstream.count(), 2);
    }
}

#[test]
fn a_registry_that_refuses_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("image");
    packed("compat", &layout);
    let registry = Registry::closed();
    let name = registry.image("filters/switchover:1");
    let push = |credentials| registry::copy(credentials, &oci(&layout), &name);
    refused(&push(None), "authentication required");
    refused(&push(Some("ci:wrong")), "authentication required");
    succeeded(&push(Some(CREDENTIALS)));
    let back = oci(&directory.path().join("back"));
    let pull = |credentials, name: &str| registry::copy(credentials, name, &back);
    refused(&pull(None, &name), "authentication required");
    let unknown = registry.image("filters/other:1");
    refused(&pull(Some(CREDENTIALS), &unknown), "manifest unknown");
    succeeded(&pull(Some(CREDENTIALS), &name));
    drop(registry);
    refused(&push(Some(CREDENTIALS)), "connection refused");
}

#[test]
fn what_is_no_filter_is_refused_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let module = directory.path().join("plain.wasm");
    std::fs::write(&module, wat::parse_str("(module)").unwrap()).unwrap();
    let layout = directory.path().join("image");
    for (file, words) in [
        (module.as_path(), "it exports no ABI marker"),
        (Path::new("Cargo.toml"), "not WebAssembly"),
        (Path::new("nothing.wasm"), "cannot read nothing.wasm"),
    ] {
        let output = pack(&[], file, &layout);
        refused(&output, words);
        assert_eq!(output.status.code(), Some(1));
        assert!(!layout.exists());
    }
    packed("compat", &layout);
    let before = std::fs::read(layout.join("index.json")).unwrap();
    refused(&pack(&[], &programs::filter(), &layout), "is not empty");
    assert_eq!(std::fs::read(layout.join("index.json")).unwrap(), before);
}
