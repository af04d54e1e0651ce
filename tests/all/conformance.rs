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
    Observed {
        answers,
        results,
        properties,
        errors,
    }
}

#[test]
fn the_page_is_up_to_date() {
    let write = std::env::var_os(WRITE).is_some();
    switchover_tests::run(async {
        let (envoy, host, strict) = tokio::join!(
            observed(Engine::Envoy, |setup| setup, write),
            observed(Engine::Host, |setup| setup, write),
            observed(
                Engine::Host,
                |setup| setup.argument("--abi").argument("strict"),
                write
            ),
        );
        let reasons_file = programs::root().join("tests/all/conformance/reasons.txt");
        let reasons = std::fs::read_to_string(&reasons_file).unwrap();
        let crashes = matrix::crash_lines(&envoy.answers);
        let page = page::write(
            &Engines {
                envoy,
                host,
                strict,
            },
            &reasons,
        );
        let file = programs::root().join("host/CONFORMANCE.md");
        if write {
            std::fs::write(matrix::crashes_file(), crashes).unwrap();
            std::fs::write(&file, &page.text).unwrap();
            // What explains nothing any more goes; what is to be explained is for a person.
            let used = reasons
                .lines()
                .filter(|line| !page.unused.iter().any(|unused| unused == line));
            std::fs::write(
                &reasons_file,
                used.map(|line| format!("{line}\n")).collect::<String>(),
            )
            .unwrap();
        } else {
            assert!(
                page.unused.is_empty(),
                "reasons.txt explains what is no difference any more: {:#?}",
                page.unused
            );
        }
        assert!(
            page.unexplained.is_empty(),
            "differences without a reason in reasons.txt:\n{}",
            page.unexplained.join("\n")
        );
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        let line = committed
            .lines()
            .zip(page.text.lines())
            .find(|(a, b)| a != b);
        assert!(
            committed == page.text,
            "host/CONFORMANCE.md is out of date, run `make conformance`; first difference: {line:#?}"
        );
    });
}
