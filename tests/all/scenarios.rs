//! `switchover test`: our own scenarios, and what the command prints and answers.

mod format;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use switchover_tests::programs;

fn test(arguments: &[&str]) -> Output {
    let mut command = Command::new(programs::switchover());
    command.arg("test").args(arguments);
    command.current_dir(programs::root()).output().unwrap()
}

/// Exit code, standard output, standard error.
fn told(output: &Output) -> (i32, &str, &str) {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(&output.stdout), text(&output.stderr))
}

/// A file of scenarios for the SDK's guest.
fn file(directory: &Path, scenarios: &str) -> PathBuf {
    let guest = programs::guest("sdk");
    let text = format!(
        "defaults:\n  filter: {}\n  clusters: {{upstream: {{}}, auth: {{}}}}\nscenarios:\n{scenarios}",
        guest.display()
    );
    let file = directory.join("scenarios.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

/// Runs a file of scenarios.
fn run(scenarios: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = file(directory.path(), scenarios);
    test(&[&[file.to_str().unwrap()], arguments].concat())
}

/// All that is in `tests/scenarios`.
#[test]
fn our_own_pass() {
    let output = test(&["tests/scenarios", "--json"]);
    let (code, out, error) = told(&output);
    let report: Value = serde_json::from_str(out).unwrap_or_else(|_| panic!("{out}{error}"));
    let failed: Vec<_> = report["scenarios"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|scenario| scenario["passed"] != true)
        .collect();
    assert!(code == 0 && failed.is_empty(), "{failed:#?}");
    assert!(report["passed"].as_u64().unwrap() >= 90, "{out}");
}

/// With the same seed, whatever runs beside it.
#[test]
fn what_happens_is_the_same_each_time() {
    let tell = |jobs| {
        let output = test(&[
            "tests/scenarios/sdk.yaml",
            "--verbose",
            "--json",
            "--jobs",
            jobs,
        ]);
        let report: Value = serde_json::from_str(told(&output).1).unwrap();
        let scenarios = report["scenarios"].as_array().unwrap();
        let told = scenarios.iter().map(|scenario| scenario["told"].clone());
        told.collect::<Vec<_>>()
    };
    let first = tell("1");
    assert!(
        first
            .iter()
            .all(|told| !told.as_array().unwrap().is_empty())
    );
    assert_eq!(first, tell("4"));
}

const FAILING: &str = r#"  - name: one that fails
    steps:
      - answers: {upstream: {body: "one\ntwo\nthree\n"}}
        request: {path: /, body: hello, headers: {x-one: 1}}
        expect:
          upstream: {headers: {x-one: 2}}
          response: {status: 404, body: "ONE\n2\nTHREE\n"}
  - name: one that passes
    steps:
      - {request: GET /shared, expect: {response: 200}}
"#;

#[test]
fn a_failure_tells_where_and_what() {
    let directory = tempfile::tempdir().unwrap();
    let file = file(directory.path(), FAILING);
    let output = test(&[file.to_str().unwrap()]);
    let (code, out, error) = told(&output);
    assert_eq!((code, error), (1, ""), "{out}");
    let file = file.display();
    let expected = format!(
        "FAIL one that fails {file}:5
     step 1 (POST /)
     {file}:10: steps[0].expect.upstream.headers.x-one
       - expected  + actual
       - 2
       + 1
       headers were:
         x-one: 1
         host: gateway.test
     {file}:11: steps[0].expect.response.status
       - expected  + actual
       - 404
       + 200
       details: via_upstream
       body:
         ONE
         TWO
         THREE
     {file}:11: steps[0].expect.response.body
       - expected  + actual
         ONE
       - 2
       + TWO
         THREE
1 passed, 1 failed; 2 requests in "
    );
    assert!(out.starts_with(&expected), "{out}\ninstead of\n{expected}");
}

#[test]
fn reports_for_programs() {
    let directory = tempfile::tempdir().unwrap();
    let scenarios = file(directory.path(), FAILING);
    let junit = directory.path().join("report.xml");
    let output = test(&[
        scenarios.to_str().unwrap(),
        "--json",
        "--junit",
        junit.to_str().unwrap(),
    ]);
    let (code, out, _) = told(&output);
    let report: Value = serde_json::from_str(out).unwrap();
    assert_eq!(code, 1);
    assert_eq!(
        (&report["passed"], &report["failed"]),
        (&1.into(), &1.into())
    );
    let failure = &report["scenarios"][0]["failures"][0];
    assert_eq!(failure["path"], "steps[0].expect.upstream.headers.x-one");
    assert_eq!(
        (&failure["line"], &failure["expected"]),
        (&10.into(), &"2".into())
    );
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(
        xml.contains("<testsuites name=\"switchover\" tests=\"2\" failures=\"1\""),
        "{xml}"
    );
    assert!(xml.contains("name=\"one that passes\""), "{xml}");
}

#[test]
fn some_of_them_by_name() {
    let output = run(FAILING, &["--filter", "passes$"]);
    assert_eq!(told(&output).0, 0, "{output:?}");
    let output = run(FAILING, &["--list"]);
    let (code, out, _) = told(&output);
    let names: Vec<_> = out
        .lines()
        .map(|line| line.rsplit(": ").next().unwrap())
        .collect();
    assert_eq!(
        (code, names),
        (0, vec!["one that fails", "one that passes"])
    );
}

/// None is an error: a suite whose name was mistyped must not pass.
#[test]
fn no_scenario_is_an_error() {
    let output = run(FAILING, &["--filter", "no such name"]);
    let (code, _, error) = told(&output);
    assert_eq!(
        (code, error),
        (2, "error: no scenario's name matches /no such name/\n")
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let output = test(&[path]);
    let (code, _, error) = told(&output);
    assert_eq!(code, 2);
    assert_eq!(
        error,
        format!("error: {path} has no scenarios: no file in it ends in .yaml or .yml\n")
    );
    assert_eq!(told(&test(&["no/such/file.yaml"])).0, 2);
    assert_eq!(told(&test(&[])).0, 2);
}

/// All at once, each with its line, its path and what would be right.
#[test]
fn a_file_with_mistakes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.yaml");
    let text = "defaults:
  filter: {file: nowhere.wasm, nme: 3}
  workers: many
scenarios:
  - name: one
    steps:
      - request: {method: 5, body: {jsn: 1}}
        expect: {response: {status: often}, took: 5, logs: [{level: loud}]}
      - requst: GET /
  - steps: []
";
    std::fs::write(&file, text).unwrap();
    let output = test(&[file.to_str().unwrap()]);
    let (code, out, error) = told(&output);
    assert_eq!((code, out), (2, ""));
    let name = format!("{}:", file.display());
    let error: Vec<_> = error
        .lines()
        .map(|line| line.trim_start_matches(&name))
        .collect();
    let expected = [
        "2: defaults.filter.nme: is not known here; allowed: file, name, root_id, configuration, configuration_file, merge, vm, failure_policy, reload_backoff, allow_on_headers_stop_iteration",
        "3: defaults.workers: expected a whole number, found \"many\"",
        "7: scenarios[0].steps[0].request.method: expected text, found the number 5",
        "7: scenarios[0].steps[0].request.body.jsn: \"jsn\" is not known here; allowed: text, json, file, base64, parts, size",
        "8: scenarios[0].steps[0].expect.response.status: expected a whole number, found \"often\"",
        "8: scenarios[0].steps[0].expect.took: expected a length of time such as 5s, or at_least and at_most, found the number 5",
        "8: scenarios[0].steps[0].expect.logs[0].level: \"loud\" is not known here; allowed: trace, debug, info, warn, error, critical",
        "9: scenarios[0].steps[1].requst: is not known here; allowed: name, answers, request, open, finish, leave, advance, advance_to, wall_clock, configure, trap, shared_data, answer, steps, times, worker, expect",
        "10: scenarios[1]: the field name is missing",
        "error: 9 problems in scenario files",
    ];
    assert_eq!(error, expected);
}

/// What the types cannot say: names, files, things that do not go together.
#[test]
fn what_makes_no_sense_is_refused() {
    let scenarios = r"  - name: one
    steps:
      - {request: GET /, advance: 1s, expect: {response: 200}}
      - {answers: {nobody: 200}, expect: {response: 200}}
      - {finish: nothing}
      - {trap: other, worker: 3}
      - {request: {path: /, body: {file: none.txt}, headers: {':path': /}}, times: 0}
      - {advance: 1s, times: 3, expect: {shares: {by: route, expect: {a: 1}}}}
  - name: one
    with: {routes: [{cluster: nowhere}, {name: both, cluster: auth, cluster_header: x}]}
    steps: []
";
    let output = run(scenarios, &[]);
    let (code, _, error) = told(&output);
    assert_eq!(code, 2, "{error}");
    for expected in [
        ":7: scenarios[0].steps[0]: only one thing may happen in a step; these are several: request, advance",
        ":8: scenarios[0].steps[1].answers.nobody: there is no cluster \"nobody\" here; there is: auth, upstream",
        ":8: scenarios[0].steps[1].expect.response: goes with request, finish or leave only",
        ":9: scenarios[0].steps[2].finish: there is no request under way named \"nothing\" here; there is: ",
        ":10: scenarios[0].steps[3].worker: there is no worker 3; there are 1, from 0",
        ":10: scenarios[0].steps[3].trap: there is no plugin \"other\" here; there is: sdk",
        ":11: scenarios[0].steps[4].times: must be at least 1",
        ":11: scenarios[0].steps[4].request.headers[\":path\"]: \":path\" cannot be a header's name; pseudo headers have fields of their own",
        "none.txt",
        ":12: scenarios[0].steps[5].times: goes with request or steps only",
        ":12: scenarios[0].steps[5].expect.shares: goes with request or steps only",
        ":13: scenarios[1].name: another scenario of this file is named \"one\" too",
        ":14: scenarios[1].with.routes[0]: there is no cluster \"nowhere\" here",
        ":14: scenarios[1].with.routes[1]: exactly one of cluster, cluster_header is required",
        ":13: scenarios[1]: has no steps, so that nothing is tested",
    ] {
        assert!(error.contains(expected), "{expected} in\n{error}");
    }
}

/// A request that nobody lets go is told as such.
#[test]
fn a_request_that_hangs_is_a_failure() {
    let scenarios = "  - name: hangs
    with: {patience: 400ms}
    steps:
      - {answers: {auth: never}, request: GET /callout, expect: {response: 200}}
";
    let output = run(scenarios, &[]);
    let (code, out, _) = told(&output);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("- a request that is over within 400ms of virtual time"),
        "{out}"
    );
    assert!(
        out.contains("+ it hangs: sdk has paused at the request's headers and is never resumed"),
        "{out}"
    );
}

/// Traps that nobody ordered are failures, even where the answer is what was expected.
#[test]
fn a_trap_that_nobody_ordered_is_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let guest = directory.path().join("loop.wasm");
    let module = r#"(module
        (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 4096))
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0)))"#;
    std::fs::write(&guest, wat::parse_str(module).unwrap()).unwrap();
    let scenarios = "  - name: loops
    with: {filter: loop.wasm, deadline: 100ms}
    steps:
      - {request: GET /, expect: {response: 503}}
  - name: is known to loop
    with: {filter: loop.wasm, deadline: 100ms}
    steps:
      - {request: GET /, expect: {response: 503, traps: 1}}
";
    let file = file(directory.path(), scenarios);
    let output = test(&[file.to_str().unwrap()]);
    let (code, out, _) = told(&output);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("FAIL loops") && out.contains("1 passed, 1 failed"),
        "{out}"
    );
    assert!(
        out.contains("- no trap (say `traps` in `expect` where one is to come)"),
        "{out}"
    );
    assert!(out.contains("proxy_on_request_headers"), "{out}");
}
