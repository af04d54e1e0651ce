//! `bench`: what it measures and shows.

use serde_json::{Value, json};
use switchover_tests::programs;
use switchover_tests::setup::demo_document;

use super::switchover;

#[test]
fn bench_measures_the_filter() {
    let directory = tempfile::tempdir().unwrap();
    let document = directory.path().join("rollout.json");
    let mut text = demo_document();
    text["attempts"] = false.into();
    std::fs::write(&document, text.to_string()).unwrap();
    let filter = programs::filter();
    let arguments = [
        "bench",
        filter.to_str().unwrap(),
        "--json",
        "--requests",
        "20000",
        "--root-id",
        "switchover.route",
    ];
    let more = [
        "--configuration",
        document.to_str().unwrap(),
        "--header",
        "authorization: Bearer demo-key",
    ];
    let variables = ["--env", "BLUE_API_KEY=b", "--env", "GREEN_API_KEY=g"];
    let output = switchover(&[&arguments[..], &more, &variables].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let measured: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&measured["requests"], &measured["answered_by_filter"]),
        (&json!(20_000), &json!(0))
    );
    assert_eq!(measured["guest_memory_growth_bytes"], 0);
    for name in [
        "ns_per_request_median",
        "hostcalls_per_request",
        "callbacks_per_request",
        "guest_memory_bytes",
    ] {
        assert!(
            measured[name].as_f64().is_some_and(|n| n > 0.0),
            "{name} in {measured}"
        );
    }
    let order = [
        "ns_per_request_p10",
        "ns_per_request_median",
        "ns_per_request_p90",
    ]
    .map(|n| measured[n].as_f64().unwrap());
    assert!(order.is_sorted(), "{order:?}");

    let output = switchover(&["bench", "README.md"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("a module begins with the bytes"),
        "{output:?}"
    );
}
