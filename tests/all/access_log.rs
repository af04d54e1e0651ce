//! Access logs: the same file, both engines, the same lines.

use std::path::PathBuf;

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::raw::Raw;
use switchover_tests::upstream::{refusing, text};
use switchover_tests::{Engine, Gateway, Setup, Upstream, assert_eventually, cases};
use tempfile::TempDir;

/// A gateway that logs into a file of `directory`, flushed often.
async fn gateway(
    engine: Engine,
    setup: Setup,
    directory: &TempDir,
    log: Value,
) -> (Gateway, PathBuf) {
    let file = directory.path().join("access.log");
    let mut typed = json!({
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": file,
    });
    let mut entry = json!({"name": "log"});
    for (name, value) in log.as_object().unwrap() {
        match name.as_str() {
            "filter" => entry["filter"] = value.clone(),
            _ => typed[name] = value.clone(),
        }
    }
    entry["typed_config"] = typed;
    let setup = match engine {
        Engine::Host => setup,
        Engine::Envoy => setup.argument("--file-flush-interval-msec").argument("100"),
    };
    let gateway = setup
        .without_filters()
        .edit(move |b| b.http()["access_log"] = json!([entry]))
        .start(engine)
        .await;
    (gateway, file)
}

fn text_format(line: &str) -> Value {
    json!({"log_format": {"text_format_source": {"inline_string": format!("{line}\n")}}})
}

/// The lines of a log, once there are so many.
async fn lines(file: &PathBuf, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    assert_eventually!(
        read().lines().count() >= count,
        "{} lines, not {count}",
        read().lines().count()
    );
    read().lines().map(str::to_owned).collect()
}

cases! {
    async fn a_text_says_what_the_format_says(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let directory = tempfile::tempdir().unwrap();
        let format = "%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %REQ(X-Absent?user-agent):4% %REQ(x-absent)% %PROTOCOL% %RESPONSE_CODE% \
            %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% %UPSTREAM_HOST% \
            %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ROUTE_NAME% %RESP(content-length)% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% \
            %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION% %QUERY_PARAM(a)% %PATH(NQ)% 100%%";
        let (gateway, file) = gateway(engine, Setup::new(&[("blue", &blue)]), &directory, text_format(format)).await;
        let mut client = gateway.client();
        client.post("/x?a=b", "four").header("user-agent", "abcdefgh").send().await;
        let expected = format!(
            "POST /x?a=b gateway.test abcd - HTTP/1.1 200 via_upstream - 4 4 blue {} 1 blue 4 127.0.0.1 127.0.0.1 - - b /x 100%",
            blue.address(),
        );
        assert_eq!(lines(&file, 1).await, [expected]);
    }

    async fn the_default_line_is_envoys(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let directory = tempfile::tempdir().unwrap();
        let (gateway, file) = gateway(engine, Setup::new(&[("blue", &blue)]), &directory, json!({})).await;
        gateway.client().get("/x").header("user-agent", "me").header("x-request-id", "id").header("x-forwarded-for", "1.2.3.4").send().await;
        let line = lines(&file, 1).await.remove(0);
        let (time, rest) = line.split_once("] ").unwrap();
        humantime::parse_rfc3339(time.strip_prefix('[').unwrap()).unwrap();
        let words: Vec<&str> = rest.split(' ').collect();
        assert_eq!(words[..7], ["\"GET", "/x", "HTTP/1.1\"", "200", "-", "0", "4"], "{line}");
        assert!(words[7].parse::<u64>().is_ok() && words[8].parse::<u64>().is_ok(), "{line}");
        let upstream = format!("\"{}\"", blue.address());
        assert!(words[9].starts_with("\"1.2.3.4"), "{line}");
        assert_eq!(words[10..], ["\"me\"", words[11], "\"gateway.test\"", &upstream], "{line}");
    }

    async fn flags_and_details_say_what_went_wrong(engine: Engine) {
        let (nowhere, _held) = refusing();
        let directory = tempfile::tempdir().unwrap();
        let format = text_format("%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %UPSTREAM_REQUEST_ATTEMPT_COUNT%");
        let setup = Setup::at(&[("blue", nowhere)]).edit(|bootstrap| {
            let mut retried = bootstrap.route("blue").clone();
            bootstrap.route("blue")["match"] = json!({"prefix": "/down"});
            bootstrap.route("blue")["route"].as_object_mut().unwrap().remove("retry_policy");
            retried["name"] = "retried".into();
            retried["match"] = json!({"prefix": "/retried"});
            retried["route"]["retry_policy"] = json!({"retry_on": "connect-failure", "num_retries": 2});
            let slow = json!({"name": "direct", "match": {"prefix": "/direct"}, "direct_response": {"status": 204}});
            bootstrap.routes().extend([retried, slow]);
        });
        let (gateway, file) = gateway(engine, setup, &directory, format).await;
        let mut client = gateway.client();
        for path in ["/down", "/retried", "/none", "/direct"] {
            client.get(path).send().await;
        }
        assert_eq!(lines(&file, 4).await, [
            "/down 503 UF UpstreamConnectionFailure 1",
            "/retried 503 URX,UF UpstreamRetryLimitExceeded,UpstreamConnectionFailure 3",
            "/none 404 NR NoRouteFound 0",
            "/direct 204 - - 0",
        ]);
    }

    async fn json_keeps_types_and_order(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let directory = tempfile::tempdir().unwrap();
        let format = json!({"log_format": {"json_format": {
            "z": "%RESPONSE_CODE%", "a": "%REQ(x-absent)%", "mixed": "<%REQ(x-absent)%|%PROTOCOL%>", "bytes": "%BYTES_SENT%",
            "nested": {"list": ["%ROUTE_NAME%", 3, true], "quote": "%REQ(x-quote)%"}, "flags": "%RESPONSE_FLAGS%", "upstream": "%UPSTREAM_CLUSTER%",
        }}});
        let (gateway, file) = gateway(engine, Setup::new(&[("blue", &blue)]), &directory, format).await;
        gateway.client().get("/").header("x-quote", "a \"b\" \\").send().await;
        let expected = r#"{"a":null,"bytes":4,"flags":"-","mixed":"<-|HTTP/1.1>","nested":{"list":["blue",3,true],"quote":"a \"b\" \\"},"upstream":"blue","z":200}"#;
        assert_eq!(lines(&file, 1).await, [expected]);
    }

    async fn empty_values_may_be_left_out(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let directory = tempfile::tempdir().unwrap();
        let format = json!({"log_format": {"omit_empty_values": true, "json_format": {"a": "%REQ(x-absent)%", "b": "%PROTOCOL%", "c": "%REQ(x-absent)%"}}});
        let (gateway, file) = gateway(engine, Setup::new(&[("blue", &blue)]), &directory, format).await;
        gateway.client().get("/").send().await;
        assert_eq!(lines(&file, 1).await, [r#"{"b":"HTTP/1.1"}"#]);
    }

    async fn filters_choose_what_is_logged(engine: Engine) {
        let blue = Upstream::start(|request| async move {
            let status = request.uri().path().trim_start_matches('/').parse().unwrap();
            text(StatusCode::from_u16(status).unwrap(), "")
        }).await;
        let directory = tempfile::tempdir().unwrap();
        let status = |op: &str, value: u32| json!({"status_code_filter": {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "x"}}}});
        let wanted = json!({"header_filter": {"header": {"name": "x-log", "string_match": {"exact": "1"}}}});
        let mut log = text_format("%RESPONSE_CODE%");
        log["filter"] = json!({"or_filter": {"filters": [
            {"and_filter": {"filters": [status("GE", 400), status("LE", 499)]}},
            wanted,
        ]}});
        let setup = Setup::new(&[("blue", &blue)]).edit(|b| {
            b.route("blue")["route"].as_object_mut().unwrap().remove("retry_policy");
        });
        let (gateway, file) = gateway(engine, setup, &directory, log).await;
        let mut client = gateway.client();
        for status in ["/200", "/400", "/404", "/500"] {
            client.get(status).send().await;
        }
        client.get("/201").header("x-log", "1").send().await;
        assert_eq!(lines(&file, 3).await, ["400", "404", "201"]);
    }

    /// As whoever rotates logs does: the file is moved away, and SIGUSR1 says so.
    async fn a_moved_log_is_opened_anew(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let directory = tempfile::tempdir().unwrap();
        let (gateway, file) = gateway(engine, Setup::new(&[("blue", &blue)]), &directory, text_format("%REQ(:PATH)%")).await;
        let mut client = gateway.client();
        client.get("/before").send().await;
        assert_eq!(lines(&file, 1).await, ["/before"]);
        let moved = directory.path().join("access.log.1");
        std::fs::rename(&file, &moved).unwrap();
        gateway.signal(rustix::process::Signal::USR1);
        assert_eventually!({
            client.get("/after").send().await;
            file.exists() && std::fs::read_to_string(&file).unwrap().contains("/after")
        }, "the log goes nowhere");
        assert!(std::fs::read_to_string(moved).unwrap().starts_with("/before\n"));
    }

    async fn a_tunnel_is_logged_at_its_end(engine: Engine) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let setup = Setup::at(&[("blue", listener.local_addr().unwrap())]).edit(|b| {
            b.http()["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
        });
        let format = text_format("%RESPONSE_CODE% %BYTES_RECEIVED% %BYTES_SENT%");
        let (gateway, file) = gateway(engine, setup, &directory, format).await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
        let mut upstream = Raw::accept(&listener).await;
        upstream.read_until("\r\n\r\n").await;
        upstream.write("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n").await;
        client.read_until("\r\n\r\n").await;
        client.write("four").await;
        upstream.read_until("four").await;
        upstream.write("seven77").await;
        client.read_until("seven77").await;
        drop(upstream);
        client.read_to_end().await;
        assert_eq!(lines(&file, 1).await, ["101 4 7"]);
    }

    /// Host only: where Envoy has more operators. What is not known is an error with its place, not a dash.
    host async fn unknown_operators_are_refused(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let setup = Setup::new(&[("blue", &blue)]).without_filters().edit(|b| {
            b.http()["access_log"] = json!([{"name": "log", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {"json_format": {"x": "%NOBODY_KNOWS%"}},
            }}]);
        });
        let refused = setup.try_start(engine).await.err().expect("a refusal");
        assert!(refused.output.contains("access_log[0].typed_config.log_format.json_format.x: %NOBODY_KNOWS% is not supported here"), "{refused}");
    }
}
