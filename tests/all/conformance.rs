//! What the host does and what Envoy does, hostcall by hostcall: the page `host/CONFORMANCE.md` is made here.

mod behaviours;
mod matrix;
mod page;
mod wasi;

use page::{Engines, Observed};
use switchover_tests::{Engine, Setup, programs};

/// Whether the page is to be written anew, and Envoy's crashes to be tried again.
const WRITE: &str = "SWITCHOVER_CONFORMANCE";

async fn observed(engine: Engine, edit: impl Fn(Setup) -> Setup, try_crashes: bool) -> Observed {
    let (answers, results, properties, errors) = tokio::join!(
        matrix::observe(engine, &edit, try_crashes),
        behaviours::observe(engine, &edit),
        behaviours::properties(engine, &edit),
        wasi::observe(engine, &edit),
    );
    Observed { answers, results, properties, errors }
}

#[test]
fn the_page_is_up_to_date() {
    let write = std::env::var_os(WRITE).is_some();
    switchover_tests::run(async {
        let (envoy, host, strict) = tokio::join!(
            observed(Engine::Envoy, |setup| setup, write),
            observed(Engine::Host, |setup| setup, write),
            observed(Engine::Host, |setup| setup, write),
        );
        if write {
            std::fs::write(matrix::crashes_file(), matrix::crash_lines(&envoy.answers)).unwrap();
        }
        let page = page::write(&Engines {
            envoy,
            host,
            strict,
        })
        .unwrap_or_else(|e| panic!("{e}"));
        let file = programs::root().join("host/CONFORMANCE.md");
        if write {
            std::fs::write(&file, &page).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        let line = committed.lines().zip(page.lines()).find(|(a, b)| a != b);
        assert!(
            committed == page,
            "host/CONFORMANCE.md is out of date, run `make conformance`; first difference: {line:#?}"
        );
    });
}
