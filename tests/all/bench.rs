//! `switchover bench`: several filters, chains, bodies, and which growth of memory is called a leak.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use switchover_tests::programs;

/// Runs `switchover bench` with `--json`.
fn bench(arguments: &[&str]) -> (Output, Value) {
    let mut command = Command::new(programs::switchover());
    let output = command.arg("bench").args(arguments).arg("--json");
    let output = output.output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json)
}

/// A guest that takes `bytes` of memory with each request and gives none back, until it has `most` bytes; it traps where
/// it gets no more.
fn hungry(directory: &Path, name: &str, bytes: u32, most: u32) -> PathBuf {
    let text = format!(
        r#"(module
  (memory (export "memory") 1)
  (global $used (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.lt_u (global.get $used) (i32.const {most}))
      (then (global.set $used (i32.add (global.get $used) (i32.const {bytes})))))
    (if (i32.gt_u (global.get $used) (i32.mul (memory.size) (i32.const 65536)))
      (then (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))))
    (i32.const 0)))"#
    );
    let file = directory.join(format!("{name}.wasm"));
    std::fs::write(&file, wat::parse_str(&text).unwrap()).unwrap();
    file
}

/// Past what any guest may have.
const NEVER: u32 = 1 << 30;

#[test]
fn a_leak_is_told_from_a_warm_up() {
    let directory = tempfile::tempdir().unwrap();
    let leaking = hungry(directory.path(), "leaking", 64, NEVER);
    let warming = hungry(directory.path(), "warming", 64, 1 << 20);
    let frugal = hungry(directory.path(), "frugal", 0, NEVER);
    let files = [&leaking, &warming, &frugal].map(|path| path.to_str().unwrap());
    let (output, measured) = bench(&[&files[..], &["--requests", "50000"]].concat());
    assert_eq!(output.status.code(), Some(1), "one leaks: {output:?}");
    let verdicts: Vec<&str> = measured
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["leak_verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["leak", "warm-up", "steady"], "{measured:#}");
    let slope = measured[0]["guest_memory_growth_per_request"]
        .as_f64()
        .unwrap();
    assert!((slope - 64.0).abs() < 6.4, "{slope} bytes a request");
    assert!(measured[1]["guest_memory_growth_bytes"].as_u64() > Some(0));

    let (output, measured) = bench(&[files[1], "--requests", "50000"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(measured["leak_verdict"], "warm-up");
}

/// At 10,000 bytes a request the gateway's limit is reached after some 6,500: what was measured until then is told.
#[test]
fn a_guest_that_runs_out_of_memory_is_measured_until_then() {
    let directory = tempfile::tempdir().unwrap();
    let leaking = hungry(directory.path(), "leaking", 10_000, NEVER);
    let file = leaking.to_str().unwrap();
    let (output, measured) = bench(&[file, "--requests", "20000"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(measured["trapped"], true, "{measured:#}");
    assert_eq!(measured["leak_verdict"], "leak");
    let done = measured["requests"].as_u64().unwrap();
    assert!((1_000..7_000).contains(&done), "{done}");
}

/// The second filter of a chain, and each further one, sees what the first sees.
#[test]
fn a_chain_is_measured_filter_by_filter() {
    let guest = programs::guest("empty");
    let guest = guest.to_str().unwrap();
    let (output, measured) = bench(&["--chain", guest, guest, guest, "--requests", "5000"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let column = |name: &str| -> Vec<f64> {
        let rows = measured.as_array().unwrap().iter();
        rows.map(|row| row[name].as_f64().unwrap()).collect()
    };
    assert_eq!(column("filters_in_chain"), [1.0, 2.0, 3.0]);
    let rounded: Vec<f64> = column("callbacks_per_request")
        .iter()
        .map(|n| n.round())
        .collect();
    assert_eq!(rounded, [6.0, 12.0, 18.0]);
    assert!(column("ns_per_request_median").is_sorted(), "{measured:#}");
}

/// The SDK's guests have body callbacks: two more a request.
#[test]
fn bodies_reach_the_filters_that_want_them() {
    let guest = programs::guest("empty");
    let guest = guest.to_str().unwrap();
    let callbacks = |more: &[&str]| {
        let (output, measured) = bench(&[&[guest, "--requests", "2000"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        measured["callbacks_per_request"].as_f64().unwrap().round()
    };
    assert_eq!(
        (callbacks(&[]), callbacks(&["--body-size", "4096"])),
        (6.0, 8.0)
    );
}

/// What a callout decides: after one answer the guest refuses, after another it goes on.
#[test]
fn callouts_get_the_answer_that_was_asked_for() {
    let guest = programs::guest("sdk");
    let arguments = [
        guest.to_str().unwrap(),
        "--requests",
        "2000",
        "--path",
        "/callout",
    ];
    let more = ["--header", "x-ask: /allow"];
    let (output, measured) = bench(&[&arguments[..], &more, &["--callout", "401:no"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(measured["answered_by_filter"], 2_000, "{measured:#}");
    let (output, measured) = bench(&[&arguments[..], &more, &["--callout", "200:yes"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        (&measured["answered_by_filter"], &measured["held_by_filter"]),
        (&0.into(), &0.into()),
        "{measured:#}"
    );
}

/// Go's heap takes its size while the first requests run, and no more: none of the guests is found leaking.
#[test]
fn filters_in_other_languages_do_not_leak() {
    let guests = ["rust", "go", "assemblyscript", "cpp"].map(programs::language);
    let files: Vec<&str> = guests.iter().map(|path| path.to_str().unwrap()).collect();
    let (output, measured) = bench(&[&files[..], &["--requests", "20000"]].concat());
    assert_eq!(output.status.code(), Some(0), "{measured:#}");
    for one in measured.as_array().unwrap() {
        assert_ne!(one["leak_verdict"], "leak", "{one:#}");
        assert_eq!(one["hostcalls_by_name"]["proxy_log"], 1.0, "{one:#}");
    }
}
