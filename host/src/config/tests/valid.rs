//! Files that real Envoy accepts too (`envoy --mode validate`).

use std::time::Duration;

use super::super::cluster::{ClusterKind, DnsFamily, LbPolicy};
use super::super::listener::HttpFilterKind;
use super::super::plugin::{Code, FailurePolicy, load_discovered};
use super::super::route::{HeaderEdit, PathMatch, ResetFormat, RouteAction, Target, ValueMatch};
use super::*;

fn full() -> Bootstrap {
    let env = |name: &str| (name == "SWITCHOVER_TEST_KEY").then(|| "k".to_owned());
    let loaded = load(Path::new("tests/config/full.yaml"), &env).expect("the file is valid");
    assert_eq!(loaded.warnings, []);
    loaded.bootstrap
}

#[test]
fn listener_and_connection_manager() {
    let bootstrap = full();
    assert_eq!(
        bootstrap.node,
        Node {
            id: "gateway-1".into(),
            cluster: "gateways".into()
        }
    );
    assert_eq!(bootstrap.admin, Some("[::1]:0".parse().unwrap()));
    assert_eq!(bootstrap.stats_tags[0].name, "environment");
    let [listener] = bootstrap.listeners.as_slice() else {
        panic!("one listener")
    };
    assert_eq!(
        (listener.name.as_str(), listener.buffer_limit),
        ("gateway", 65536)
    );
    let http = &listener.http;
    assert!(!http.generate_request_id && http.use_remote_address);
    assert_eq!(http.max_request_headers_kb, 16);
    assert_eq!(http.stream_idle_timeout, Duration::from_secs(60));
    assert_eq!(http.request_timeout, Duration::from_secs(30));
    assert_eq!(http.common.idle_timeout, Duration::ZERO);
    assert_eq!(http.drain_timeout, Duration::from_secs(1));
    assert_eq!(http.server_name, "switchover");
}

#[test]
fn filters() {
    let bootstrap = full();
    let [edits, inline, discovered, router] = bootstrap.listeners[0].http.http_filters.as_slice()
    else {
        panic!("four filters")
    };
    let HttpFilterKind::HeaderMutation(mutation) = &edits.kind else {
        panic!("{edits:?}")
    };
    assert!(matches!(&mutation.request[0], HeaderEdit::Remove(name) if name == "x-consumer"));
    assert!(
        matches!(&mutation.request[1], HeaderEdit::Overwrite(name, value) if name == "x-a" && value == "50%")
    );
    assert!(
        matches!(&mutation.response[0], HeaderEdit::AddIfAbsent(name, value) if name == "x-b" && value == "b")
    );
    let HttpFilterKind::Wasm(plugin) = &inline.kind else {
        panic!("{inline:?}")
    };
    assert_eq!(
        (plugin.name.as_str(), plugin.root_id.as_str()),
        ("filter", "root")
    );
    assert_eq!(plugin.configuration, "{\"some\": \"document\"}\n");
    assert_eq!(plugin.failure_policy, FailurePolicy::FailReload);
    assert_eq!(plugin.reload_backoff, Duration::from_millis(500));
    assert!(plugin.allow_on_headers_stop_iteration);
    assert_eq!(plugin.vm.configuration.as_ref(), b"\xff\xef");
    assert!(matches!(&plugin.vm.code, Code::Inline(code) if code.starts_with(b"\0asm")));
    let variables: Vec<_> = plugin
        .vm
        .environment
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(
        variables,
        [("LEVEL", "debug"), ("SWITCHOVER_TEST_KEY", "k")]
    );
    let HttpFilterKind::Discovered(discovery) = &discovered.kind else {
        panic!("{discovered:?}")
    };
    assert_eq!(discovery.path, Path::new("tests/config/ecds.yaml"));
    assert_eq!(
        discovery.watched_directory.as_deref(),
        Some(Path::new("tests/config"))
    );
    assert_eq!(discovery.initial_fetch_timeout, Duration::from_secs(1));
    assert!(discovery.default.is_some());
    assert!(matches!(router.kind, HttpFilterKind::Terminal));
}

#[test]
fn routes() {
    let bootstrap = full();
    let table = &bootstrap.listeners[0].http.routes;
    assert!(
        matches!(&table.request_headers[0], HeaderEdit::Remove(n) if n == "x-d"),
        "removals come first"
    );
    assert!(
        matches!(&table.request_headers[1], HeaderEdit::OverwriteIfPresent(n, v) if n == "x-c" && v.is_empty())
    );
    let [host] = table.virtual_hosts.as_slice() else {
        panic!("one host")
    };
    assert_eq!(
        host.domains,
        ["api.example.com", "*.example.org", "example.*", "*"]
    );
    let [green, header, split, direct, redirect] = host.routes.as_slice() else {
        panic!("five routes")
    };
    assert_eq!(green.matcher.headers[0].name, "x-deployment-mode");
    assert!(matches!(&green.matcher.headers[0].test, ValueMatch::Exact(v, true) if v == "green"));
    assert!(green.matcher.headers[1].invert && green.matcher.headers[1].missing_as_empty);
    assert!(matches!(
        green.matcher.headers[5].test,
        ValueMatch::Present(false)
    ));
    assert!(matches!(
        green.matcher.headers[6].test,
        ValueMatch::Present(true)
    ));
    let ValueMatch::Regex(regex) = &green.matcher.headers[4].test else {
        panic!("a regex")
    };
    assert!(
        regex.is_match("m") && !regex.is_match("lm"),
        "the whole value must match, whatever the alternatives"
    );
    let RouteAction::Forward(forward) = &green.action else {
        panic!("a forward")
    };
    assert_eq!(forward.timeout, Duration::from_secs(300));
    assert_eq!(
        forward
            .mirrors
            .iter()
            .map(|m| m.per_million)
            .collect::<Vec<_>>(),
        [1_000_000, 500]
    );
    let retry = forward.retry.as_ref().unwrap();
    assert!(
        retry.on.server_error
            && retry.on.gateway_error
            && retry.on.status_codes
            && retry.on.refused_stream
    );
    assert_eq!(
        retry
            .status_codes
            .iter()
            .map(|s| s.as_u16())
            .collect::<Vec<_>>(),
        [429, 425]
    );
    assert_eq!(
        (retry.base_interval, retry.max_interval),
        (Duration::from_millis(1), Duration::from_millis(10))
    );
    assert_eq!(
        (
            retry.previous_priorities,
            retry.previous_hosts,
            retry.host_selection_attempts
        ),
        (Some(1), true, 3)
    );
    assert!(matches!(&header.matcher.path, PathMatch::Exact(p) if p == "/header"));
    let RouteAction::Forward(forward) = &header.action else {
        panic!("a forward")
    };
    assert!(matches!(&forward.target, Target::ClusterHeader(name) if name == "x-cluster"));
    assert_eq!(forward.timeout, Duration::from_secs(15));
    let RouteAction::Forward(forward) = &split.action else {
        panic!("a forward")
    };
    let limited = forward
        .retry
        .as_ref()
        .unwrap()
        .rate_limited
        .as_ref()
        .unwrap();
    let headers = limited.reset_headers.iter();
    let headers: Vec<_> = headers.map(|h| (h.name.as_str(), h.format)).collect();
    let expected = [
        ("retry-after", ResetFormat::Seconds),
        ("x-reset", ResetFormat::UnixTimestamp),
    ];
    assert_eq!(
        (headers.as_slice(), limited.max_interval),
        (expected.as_slice(), Duration::from_secs(60))
    );
    let Target::Weighted(clusters) = &forward.target else {
        panic!("weights")
    };
    assert_eq!(
        *clusters,
        [("blue-only".to_owned(), 9), ("green-only".to_owned(), 1)]
    );
    assert!(
        matches!(&direct.action, RouteAction::Direct(d) if d.status == 418 && d.body == "short")
    );
    assert!(
        matches!(&redirect.action, RouteAction::Redirect(r) if r.status == 308 && r.scheme.as_deref() == Some("https"))
    );
}

#[test]
fn clusters() {
    let bootstrap = full();
    let green = &bootstrap.clusters["green"];
    assert!(
        matches!(&green.kind, ClusterKind::Aggregate(leaves) if *leaves == ["green-only", "blue-only"])
    );
    let limits = green.limits;
    let limits = [
        limits.max_connections,
        limits.max_pending_requests,
        limits.max_requests,
        limits.max_retries,
    ];
    assert_eq!(limits, [1, 2, 3, 8]);
    assert_eq!(green.upstream_filters.len(), 2);
    assert_eq!(
        (green.idle_timeout, green.max_requests_per_connection),
        (Duration::from_secs(5), Some(100))
    );
    let leaf = &bootstrap.clusters["green-only"];
    assert_eq!(
        (leaf.lb_policy, leaf.dns_family),
        (LbPolicy::LeastRequest, DnsFamily::V4Preferred)
    );
    assert_eq!(
        leaf.health_check.as_ref().and_then(|c| c.host.as_deref()),
        Some("api")
    );
    let ClusterKind::Leaf {
        dns: true,
        dns_refresh_rate,
        priorities,
    } = &leaf.kind
    else {
        panic!("{leaf:?}")
    };
    assert_eq!(*dns_refresh_rate, Duration::from_secs(2));
    assert_eq!(
        priorities.iter().map(Vec::len).collect::<Vec<_>>(),
        [1, 0, 1],
        "levels without endpoints stay"
    );
    let metadata =
        serde_json::json!({"environment": "green", "rank": 1, "share": "0.5", "on": [null]});
    assert_eq!(
        priorities[0][0].metadata["switchover"], metadata,
        "as Envoy reads YAML"
    );
    assert_eq!((priorities[0][0].weight, priorities[2][0].weight), (3, 1));
}

#[test]
fn defaults_are_envoys() {
    let yaml = Parts::default().yaml();
    let bootstrap = load_str(Path::new("f.yaml"), &yaml, &no_env)
        .expect("valid")
        .bootstrap;
    let listener = &bootstrap.listeners[0];
    assert_eq!(
        (listener.name.as_str(), listener.buffer_limit),
        ("127.0.0.1:0", 1 << 20)
    );
    let http = &listener.http;
    assert!(http.generate_request_id && !http.use_remote_address);
    assert_eq!(
        (http.max_request_headers_kb, http.server_name.as_str()),
        (60, "envoy")
    );
    assert_eq!(http.stream_idle_timeout, Duration::from_secs(300));
    assert_eq!(http.common.idle_timeout, Duration::from_secs(3600));
    let blue = &bootstrap.clusters["blue"];
    assert_eq!(
        (blue.connect_timeout, blue.limits.max_retries),
        (Duration::from_secs(5), 3)
    );
    assert_eq!(
        (blue.limits.max_connections, blue.lb_policy),
        (1024, LbPolicy::RoundRobin)
    );
}

#[test]
fn json_is_read_as_json() {
    let json = r#"{"node": {"id": "😀\u00e9\/", "cluster": "y"},
	"static_resources": {"clusters": [{"name": "010", "connect_timeout": "1s",
	"circuit_breakers": {"thresholds": [{"max_retries": 1e1}]},
	"load_assignment": {"cluster_name": "c"}}]}}"#;
    let bootstrap = load_str(Path::new("f.json"), json, &no_env)
        .expect("valid")
        .bootstrap;
    assert_eq!(
        bootstrap.node,
        Node {
            id: "😀é/".into(),
            cluster: "y".into()
        }
    );
    assert_eq!(bootstrap.clusters["010"].limits.max_retries, 10);
}

#[test]
fn discovered() {
    let path = Path::new("tests/config/ecds.yaml");
    let plugin = load_discovered(path, "discovered", &no_env).expect("valid");
    assert_eq!(
        (plugin.root_id.as_str(), plugin.failure_policy),
        ("root", FailurePolicy::FailOpen)
    );
    assert_eq!(plugin.configuration, "text");
    let problems = load_discovered(path, "other", &no_env).expect_err("another filter's");
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "tests/config/ecds.yaml:10: resources[0].resource.name: must be the filter's name, \"other\""
        ]
    );
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let env = |_: &str| Some("s3cret".to_owned());
    let bootstrap = load(Path::new("tests/config/full.yaml"), &env)
        .expect("valid")
        .bootstrap;
    let text = format!("{bootstrap:?}");
    assert!(
        text.contains("SWITCHOVER_TEST_KEY")
            && !text.contains("s3cret")
            && !text.contains("document")
    );
}

#[test]
fn a_collectors_token_is_not_shown() {
    let hcm = "tracing: {random_sampling: {value: 12.5}, provider: {name: t, typed_config: {\"@type\": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, http_service: {http_uri: {uri: \"http://c:4318/v1/traces?x\", cluster: blue, timeout: 1s}, request_headers_to_add: [{header: {key: x-token, value: t0p}}]}}}},";
    let yaml = Parts {
        hcm,
        ..Parts::default()
    }
    .yaml();
    let loaded = load_str(Path::new("f.yaml"), &yaml, &no_env).expect("a valid file");
    let tracing = loaded.bootstrap.listeners[0].http.tracing.clone();
    let tracing = tracing.expect("tracing");
    assert_eq!(tracing.random_sampling, 1_250);
    assert_eq!(tracing.overall_sampling, 10_000);
    assert_eq!(tracing.exporter.authority, "c:4318");
    assert_eq!(tracing.exporter.path, "/v1/traces?x");
    assert_eq!(tracing.exporter.headers[0].1, "t0p");
    let shown = format!("{:?}", loaded.bootstrap);
    assert!(
        shown.contains("x-token") && !shown.contains("t0p"),
        "{shown}"
    );
}
