//! `switchover trace`: what it shows of real filters, and that no secret is in any of it.

use std::io::Write as _;
use std::process::{Command, Output};

use serde_json::{Value, json};
use switchover_tests::setup::demo_document;
use switchover_tests::{guest, programs};

fn trace(arguments: &[&str]) -> Output {
    let mut command = Command::new(programs::switchover());
    command.arg("trace").args(arguments).output().unwrap()
}

/// The JSON lines.
fn lines(arguments: &[&str]) -> Vec<Value> {
    let output = trace(&[arguments, &["--json"]].concat());
    let text = std::str::from_utf8(&output.stdout).unwrap().lines();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    text.map(parse).collect()
}

fn names<'a>(lines: &'a [Value], of: &str) -> Vec<&'a str> {
    let all = lines.iter().filter(|line| line["event"] == "callback");
    let own = all.filter(|line| of.is_empty() || line["plugin"] == of);
    own.map(|line| line["name"].as_str().unwrap()).collect()
}

#[test]
fn a_callout_is_shown_from_the_call_to_the_header_it_brings() {
    let guest = programs::guest("sdk");
    let guest = guest.to_str().unwrap();
    let arguments = [guest, "--path", "/callout", "--header", "x-ask: /allow"];
    let lines = lines(&[&arguments[..], &["--callout", "200:the guard"]].concat());
    let names = names(&lines, "");
    let begin = names
        .iter()
        .position(|name| *name == "proxy_on_request_headers")
        .unwrap();
    assert_eq!(names[begin + 1], "proxy_on_http_call_response");
    let (asked, answered) = (&lines[begin], &lines[begin + 1]);
    assert_eq!(asked["result"], "PAUSE", "{asked:#}");
    let call = asked["calls"].as_array().unwrap().iter();
    let call = call
        .clone()
        .find(|call| call["name"] == "proxy_http_call")
        .unwrap();
    assert_eq!(
        call["arguments"][0],
        json!({"name": "upstream", "value": "auth"})
    );
    assert_eq!(call["status"], "OK");
    let change =
        json!({"map": "request", "name": "x-allowed-by", "before": null, "after": "the guard"});
    assert_eq!(answered["changes"], json!([change]));
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["event"], &summary["outcome"]["passed"]),
        (&json!("summary"), &json!("forwarded"))
    );
    assert_eq!(summary["callbacks"], names.len());
    let count = |line: &Value| line["calls"].as_array().map_or(0, Vec::len);
    assert_eq!(summary["hostcalls"], lines.iter().map(count).sum::<usize>());
    assert!(summary["guest_ns"].as_u64() > Some(0) && summary["host_ns"].as_u64() > Some(0));

    let output = trace(&[&arguments[..], &["--callout", "200:the guard"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "on_request_headers(context=2, ",
        "http_call(\"auth\", ",
        "  = PAUSE\n",
        "  + request x-allowed-by: the guard\n",
    ] {
        assert!(text.contains(words), "{words:?} in {text}");
    }
    assert!(!text.contains('\u{1b}'), "colour is for terminals");
}

#[test]
fn filters_of_a_chain_see_the_request_forwards_and_the_response_backwards() {
    let (first, second) = (programs::guest("empty"), programs::guest("sdk"));
    let lines = lines(&[first.to_str().unwrap(), second.to_str().unwrap()]);
    let of = |name: &str| -> Vec<&str> {
        let all = lines.iter().filter(|line| line["name"] == name);
        all.map(|line| line["plugin"].as_str().unwrap()).collect()
    };
    assert_eq!(of("proxy_on_request_headers"), ["empty", "sdk"]);
    assert_eq!(of("proxy_on_response_headers"), ["sdk", "empty"]);
    assert!(names(&lines, "empty").contains(&"proxy_on_delete"));
}

/// All kinds of secrets that a filter can meet, none of which may be in what is shown, whether it starts or not.
#[test]
fn no_secret_is_in_any_output() {
    const SECRETS: [&str; 9] = [
        "demo-key",
        "blue-variable-3141",
        "green-configured-2718",
        "s3ss10n-value",
        "query-key-777",
        "response-cookie-999",
        "m1ne-header-555",
        "hunter2-password",
        "c3VyZTpodW50ZXIyLXBhc3N3b3Jk",
    ];
    let mut document = demo_document();
    document["attempts"] = false.into();
    document["routing"]["green"]["credential"] = json!({"value": "green-configured-2718"});
    document["override"] = json!({"header": "x-deployment-mode", "allow": "anyone"});
    let write = |document: &Value| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(document.to_string().as_bytes()).unwrap();
        file
    };
    let right = write(&document);
    document["stable"] = "no-such-environment".into();
    let wrong = write(&document);
    let filter = programs::filter();
    let guest = programs::guest("sdk");
    let request = [
        "--path",
        "/v1/models?api_key=query-key-777",
        "--header",
        "authorization: Bearer demo-key",
        "--header",
        "proxy-authorization: Basic c3VyZTpodW50ZXIyLXBhc3N3b3Jk",
        "--header",
        "cookie: session=s3ss10n-value; theme=dark",
        "--header",
        "x-mine: m1ne-header-555",
        "--header",
        "x-deployment-mode: green",
        "--header",
        "x-again: demo-key and hunter2-password",
        "--response-header",
        "set-cookie: id=response-cookie-999; Path=/",
        "--env",
        "BLUE_API_KEY=blue-variable-3141",
        "--mask",
        "x-mine",
        "--ticks",
        "2",
        "--width",
        "100000",
    ];
    let route = ["--root-id", "switchover.route", "--configuration"];
    let of_filter = |document: &tempfile::NamedTempFile| -> Vec<String> {
        let path = document.path().to_str().unwrap();
        let first = [filter.to_str().unwrap()];
        [&first[..], &route, &[path], &request]
            .concat()
            .iter()
            .map(|a| (*a).to_owned())
            .collect()
    };
    let plain: Vec<String> = [&[guest.to_str().unwrap()][..], &request]
        .concat()
        .iter()
        .map(|a| (*a).to_owned())
        .collect();
    for (arguments, code) in [(of_filter(&right), 0), (of_filter(&wrong), 1), (plain, 0)] {
        for more in [
            &[][..],
            &["--json"],
            &["--after", "3"],
            &["--abi", "strict"],
        ] {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = trace(&[&arguments, more].concat());
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            let all = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&all);
            for secret in SECRETS {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
            assert!(text.contains("<secret "), "{text}");
        }
    }
    // What is asserted to be nowhere was there: the credential goes upstream, and is the one that is configured.
    let arguments = of_filter(&right);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let lines = lines(&arguments);
    let upstream = &lines.last().unwrap()["outcome"]["request"];
    let field = |name: &str| {
        let fields = upstream.as_array().unwrap().iter();
        fields
            .clone()
            .find(|field| field[0] == name)
            .map(|field| field[1].as_str().unwrap())
    };
    let credential = field("authorization").unwrap_or_default();
    assert!(credential.starts_with("Bearer <secret "), "{upstream:#}");
    assert_eq!(field("x-deployment-mode"), Some("green"), "{upstream:#}");
    let again = field("x-again").unwrap_or_default();
    assert!(
        again.starts_with("<secret ") && again.contains(" and <secret "),
        "{again}"
    );
    let number = |text: &str| {
        text.split("<secret ")
            .nth(1)
            .and_then(|t| t.split('>').next())
            .map(str::to_owned)
    };
    assert_ne!(
        number(credential),
        number(again),
        "the client's key is not the upstream's"
    );
}

/// Reads all that there is, bodies both whole and piece by piece, logs it, and writes the pieces back.
const READER: &str = r#"(module
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_buffer_bytes" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_pairs" (func $pairs (param i32 i32 i32) (result i32)))
    (memory (export "memory") 16)
    (global $heap (mut i32) (i32.const 1024))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param $size i32) (result i32)
        (global.get $heap)
        (global.set $heap (i32.add (global.get $heap) (local.get $size))))
    (func $read (param $buffer i32) (param $at i32) (param $most i32)
        (drop (call $get (local.get $buffer) (local.get $at) (local.get $most) (i32.const 0) (i32.const 4))))
    (func $tell (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4)))))
    (func $body (param $buffer i32) (param $size i32) (param $step i32) (local $at i32)
        (loop $next
            (call $read (local.get $buffer) (local.get $at) (local.get $step))
            (drop (call $set (local.get $buffer) (local.get $at) (local.get $step)
                (i32.load (i32.const 0)) (i32.load (i32.const 4))))
            (local.set $at (i32.add (local.get $at) (local.get $step)))
            (br_if $next (i32.lt_u (local.get $at) (local.get $size)))))
    (func $bodies (param $buffer i32) (param $size i32) (result i32)
        (call $read (local.get $buffer) (i32.const 0) (local.get $size))
        (call $tell)
        (call $body (local.get $buffer) (local.get $size) (i32.const 1))
        (call $body (local.get $buffer) (local.get $size) (i32.const 5))
        (call $body (local.get $buffer) (local.get $size) (i32.const 16))
        (i32.const 0))
    (func $headers (param $map i32) (result i32)
        (drop (call $pairs (local.get $map) (i32.const 0) (i32.const 4)))
        (call $tell)
        (i32.const 0))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $bodies (i32.const 7) (local.get 1)))
        (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $headers (i32.const 0)))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (call $headers (i32.const 2)))
    (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
        (call $bodies (i32.const 0) (local.get 1)))
    (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
        (call $bodies (i32.const 1) (local.get 1))))"#;

/// However requests, bodies and configurations carry them, and however a guest reads them.
#[test]
fn secrets_are_masked_in_whatever_form_they_come() {
    const HEADERS: [&str; 8] = [
        "authorization: Digest username=\"Zaphod77\", realm=\"r\", uri=\"/\", response=\"66a29f0e4\"",
        "x-session-id: sQ81ss10n",
        "x-jwt-assertion: eyJq.QQxw.ZZvk",
        "x-signature: QkJ8vWx3",
        "x-csrf: Xq7rfXq7",
        "sid: Zk91sidZ",
        "referer: https://joe:r3fPzWq9@h.example/?access_token=QvTk5577#x",
        "x-back: /login?to=https%3A%2F%2Fann%3Ab4ckPzW%40h.example%2F",
    ];
    const BODIES: [&str; 5] = [
        "user=joe&password=f0rmQz%2Dw%5a+Qx9&n=1",
        r#"{"user": "joe", "password": "jVz\u0032Qq\/Zx7", "session": 9182736450, "secret": true}"#,
        "{\"token\": \"l1nQzWone\"}\n{\"token\": \"l1nQzWtwo\", \"credential\": {\"value\": 5544332211}}\n",
        "event: a\ndata: {\"api_key\": \"ev3ntQzW8\"}\n\ndata: https://u:ev3ntPzW@h/\n\n",
        "--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\np4rtQzW7\r\n--b--\r\n",
    ];
    const SECRETS: [&str; 26] = [
        "Zaphod77",
        "66a29f0e4",
        "sQ81ss10n",
        "QQxw",
        "QkJ8vWx3",
        "Xq7rf",
        "Zk91sid",
        "r3fPzWq9",
        "QvTk5577",
        "b4ckPzW",
        "f0rmQz",
        "w%5a",
        "Qx9",
        "wZ Qx9",
        "jVz",
        "u0032",
        "Qq",
        "Zx7",
        "9182736450",
        "l1nQzW",
        "Wone",
        "Wtwo",
        "5544332211",
        "ev3nt",
        "p4rt",
        "c0nfQzW",
    ];
    let directory = tempfile::tempdir().unwrap();
    let guest = guest::compile("reader", READER, directory.path());
    let configuration = directory.path().join("configuration");
    std::fs::write(
        &configuration,
        "upstream: \"postgres://app:c0nfQzW@db/x\"\n",
    )
    .unwrap();
    let mut arguments = vec![guest.to_str().unwrap(), "--method", "POST"];
    arguments.extend(["--configuration", configuration.to_str().unwrap()]);
    arguments.extend(["--path", "/a?sig=QvTk5577&user=joe"]);
    arguments.extend(HEADERS.iter().flat_map(|header| ["--header", header]));
    for body in BODIES {
        let bodies = [format!("--body={body}"), format!("--response-body={body}")];
        let bodies = bodies.each_ref().map(String::as_str);
        for more in [&["--width", "100000"][..], &["--width", "30"], &["--json"]] {
            let output = trace(&[&arguments[..], &bodies, more].concat());
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            for secret in SECRETS {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
            // What is around them is shown.
            assert!(text.contains("joe") && text.contains("h.exam"), "{text}");
        }
    }
}

#[test]
fn what_does_not_start_is_shown_until_there() {
    let guest = programs::filter();
    let output = trace(&[guest.to_str().unwrap(), "--root-id", "switchover.route"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("on_configure") && text.contains("refused its configuration"),
        "{text}"
    );
    let directory = tempfile::tempdir().unwrap();
    let endless = r#"(module (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 1024))
        (func $endless (loop (br 0))) (start $endless))"#;
    let endless = guest::compile("endless", endless, directory.path());
    for (file, words) in [
        (endless.to_str().unwrap(), "it ran for longer than 1s"),
        ("README.md", "a module begins with the bytes"),
        ("tests/guests/witness.wat", "assemble it first"),
    ] {
        let file = programs::root().join(file);
        let output = trace(&[file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            text.starts_with("error: ") && text.contains(words),
            "{text}"
        );
    }
}

/// The guests in four languages are written alike: their traces tell the same.
#[test]
fn filters_in_other_languages_are_traced() {
    for name in ["rust", "go", "assemblyscript", "cpp"] {
        let guest = programs::language(name);
        let lines = lines(&[guest.to_str().unwrap(), "--path", "/somewhere"]);
        let find = |callback: &str| lines.iter().find(|line| line["name"] == callback);
        let headers = find("proxy_on_request_headers").unwrap();
        let calls = headers["calls"].as_array().unwrap();
        let log = calls
            .iter()
            .find(|call| call["name"] == "proxy_log")
            .unwrap();
        let said = json!({"name": "message", "value": format!("{name} saw /somewhere")});
        assert_eq!(log["arguments"][1], said, "{name}");
        assert_eq!(headers["result"], "CONTINUE", "{name}");
        assert_eq!(
            lines.last().unwrap()["outcome"]["passed"],
            "forwarded",
            "{name}"
        );
        let initialisers = lines.iter().filter(|line| line["name"] == "_initialize");
        assert!(initialisers.count() <= 1, "{name}");
    }
}
