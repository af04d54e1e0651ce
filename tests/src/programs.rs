//! Where the programs and files under test are.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The `switchover` command: `SWITCHOVER_BIN`, or what `make build` or `cargo build` made.
pub fn switchover() -> PathBuf {
    find(
        "the switchover command",
        "SWITCHOVER_BIN",
        &["target/release/switchover", "target/debug/switchover"],
        "make build",
    )
}

/// The filter: `SWITCHOVER_WASM`, or what `make build` made.
pub fn filter() -> PathBuf {
    find(
        "the filter",
        "SWITCHOVER_WASM",
        &["dist/switchover.wasm"],
        "make build",
    )
}

/// Envoy: `ENVOY`, or what `make test` put into `.venv`.
pub fn envoy() -> PathBuf {
    find("Envoy", "ENVOY", &[".venv/bin/envoy"], "make test")
}

/// A program of Debian's, by its name.
pub fn debian(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = places.find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: run `make packages`, or install it"))
}

/// What finds barriers in pages, for a browser to run: `SWITCHOVER_AXE`, or what `make test` put into `.venv`.
pub fn axe() -> PathBuf {
    find(
        "axe-core",
        "SWITCHOVER_AXE",
        &[".venv/axe-4.14.1/node_modules/axe-core/axe.min.js"],
        "make test",
    )
}

/// Python with the packages of `tests/clients/requirements.txt`: `SWITCHOVER_PYTHON`, or `.venv`'s.
pub fn python() -> PathBuf {
    find(
        "Python with the clients' packages",
        "SWITCHOVER_PYTHON",
        &[".venv/bin/python"],
        "make test",
    )
}

/// What a variable names, or else the first of the places that is there.
fn find(what: &str, variable: &str, places: &[&str], maker: &str) -> PathBuf {
    if let Some(named) = std::env::var_os(variable) {
        let named = root().join(named);
        assert!(
            named.is_file(),
            "{what} is missing: {variable} names {}, which is no file",
            named.display()
        );
        return named;
    }
    let found = places.iter().map(|p| root().join(p)).find(|p| p.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{what} is missing: no {}; run `{maker}`, or point {variable} to it",
            places.join(" and no ")
        )
    })
}

/// A guest of `tests/guests/languages/`: in `SWITCHOVER_LANGUAGES`, or where `make languages` builds it.
pub fn language(name: &str) -> PathBuf {
    built(
        name,
        "SWITCHOVER_LANGUAGES",
        "target/guests/languages",
        "make languages",
    )
}

/// A guest of `tests/guests/` that is written in Rust: in `SWITCHOVER_GUESTS`, or where `make test` builds it.
pub fn guest(name: &str) -> PathBuf {
    built(
        name,
        "SWITCHOVER_GUESTS",
        "target/guests/wasm32-unknown-unknown/wasm",
        "make guests",
    )
}

fn built(name: &str, variable: &str, place: &str, maker: &str) -> PathBuf {
    let folder =
        std::env::var_os(variable).map_or_else(|| root().join(place), |named| root().join(named));
    let file = folder.join(format!("{name}.wasm"));
    assert!(
        file.is_file(),
        "the guest {name} is missing: no {}; run `{maker}`, or point {variable} to its folder",
        file.display()
    );
    file
}
