//! `switchover trace`: what it shows of real filters, and that no secret is in any of it.

use std::io::Write as _;
use std::process::{Command, Output};

use serde_json::{Value, json};
use switchover_tests::programs;
use switchover_tests::setup::demo_document;

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
    let output = trace(&["README.md"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
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
