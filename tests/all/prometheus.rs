//! What a real Prometheus sees of both engines, and what the project's rules and dashboard make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::{Value, json};
use switchover_core::document::digest;
use switchover_tests::keys::consumer;
use switchover_tests::prometheus::Prometheus;
use switchover_tests::upstream::{Seen, text};
use switchover_tests::{Engine, Gateway, Setup, Upstream, assert_eventually, programs, run};

/// Requests of the first part, of each engine.
const REQUESTS: usize = 200;
const WRONG_KEYS: usize = 7;

fn document(version: &str) -> Value {
    let mut team = consumer("team a", "key-a");
    team["override"] = true.into();
    json!({
        "rollout": "drill-1", "stable": "blue", "attempts": true,
        "routing": {
            "blue": {"weight": 1, "version": "1.0.0", "clusters": ["blue-only"]},
            "green": {"weight": 0, "version": version, "clusters": ["green-only"]},
        },
        "schedule": {"environment": "green", "start": "2026-01-01T00:00:00Z",
            "steps": [{"at": "0s", "weight": 10}, {"at": "1m", "weight": 25}]},
        "override": {"allow": "consumers"},
        "auth": {"mode": "replace", "consumers": [team, consumer("team b", "key-b")]},
        "guard": {"environment": "green", "min_requests": 10, "max_error_rate": 0.5},
        "health": {"path": "/health", "interval": "1s", "timeout": "1s"},
        "shadow": {"environment": "green", "percent": 100},
    })
}

/// An engine of the drill with its upstreams.
struct Proxy {
    name: &'static str,
    gateway: Gateway,
    _upstreams: [Upstream; 2],
    /// Requests by the environment that answered.
    answered: [usize; 2],
}

impl Proxy {
    /// Blue fails the first request to `/once`, green each one to `/fail`.
    async fn start(engine: Engine) -> Self {
        let failed = AtomicBool::new(false);
        let blue = Upstream::start(move |request: Seen| {
            let fails = request.uri().path() == "/once" && !failed.swap(true, Ordering::SeqCst);
            async move { text(status(fails), "blue") }
        });
        let green = Upstream::start(|request: Seen| {
            let fails = request.uri().path() == "/fail";
            async move { text(status(fails), "green") }
        });
        let upstreams = [blue.await, green.await];
        let gateway = Setup::new(&[("blue", &upstreams[0]), ("green", &upstreams[1])])
            .document(document("2.0.0"))
            .workers(2)
            .start(engine)
            .await;
        Self {
            name: if engine == Engine::Host {
                "host"
            } else {
                "envoy"
            },
            gateway,
            _upstreams: upstreams,
            answered: [0; 2],
        }
    }

    /// Sends what succeeds, what is refused, what is tried again and what fails over.
    async fn drill(&mut self) {
        for number in 0..REQUESTS {
            if number == 1 {
                // Probes begin with the first request, and green gets nothing before it is known to be healthy.
                let weight = self.gateway.metric("switchover_weight");
                weight.label("environment", "green").becomes(2_500.0).await;
            }
            // A connection of its own, so that both workers get some.
            let mut client = self.gateway.client();
            let reply = client.get("/").header("api-key", "key-a").send().await;
            assert_eq!(reply.status, 200);
            self.answered[usize::from(reply.header("x-deployment-mode") == "green")] += 1;
        }
        let mut client = self.gateway.client();
        for _ in 0..WRONG_KEYS {
            let reply = client.get("/").header("api-key", "wrong").send().await;
            assert_eq!(reply.status, 401);
        }
        let call = client.get("/").header("api-key", "key-b");
        let reply = call.header("x-deployment-mode", "green").send().await;
        self.answered[usize::from(reply.header("x-deployment-mode") == "green")] += 1;
        assert_eq!(self.to("/once", "blue").await, "blue");
        assert_eq!(self.to("/fail", "green").await, "blue");
        self.answered[0] += 1;
        self.answered[1] += 1;
    }

    /// Who answers a request that names its environment.
    async fn to(&self, path: &str, environment: &str) -> String {
        let mut client = self.gateway.client();
        let call = client.get(path).header("api-key", "key-a");
        let reply = call.header("x-deployment-mode", environment).send().await;
        assert_eq!(reply.status, 200);
        reply.text().to_owned()
    }

    /// Sends green what fails until its tripwire trips.
    async fn trip(&self, prometheus: &Prometheus) {
        let tripped = format!(r#"switchover_tripped{{engine="{}"}}"#, self.name);
        assert_eventually!(
            {
                self.to("/fail", "green").await;
                prometheus.sum(&tripped).await == 1.0
            },
            "{} did not trip",
            self.name
        );
    }
}

fn status(fails: bool) -> StatusCode {
    if fails {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

/// Waits until a query has this sum.
async fn becomes(prometheus: &Prometheus, query: &str, expected: f64) {
    assert_eventually!(
        prometheus.sum(query).await == expected,
        "{query} is {:?}, not {expected}",
        prometheus.query(query).await
    );
}

/// Names and labels of Switchover's series of an engine, without those that say which.
async fn series(prometheus: &Prometheus, engine: &str) -> BTreeSet<String> {
    let query = format!(
        r#"{{__name__=~"switchover_.*", __name__!~"switchover_host_.*", engine="{engine}"}}"#
    );
    let samples = prometheus.query(&query).await;
    let plain = samples.into_iter().map(|(mut labels, _)| {
        for own in ["engine", "instance", "job"] {
            labels.as_object_mut().unwrap().remove(own);
        }
        // Bounds are numbers, which each writes in its own way.
        if let Some(bound) = labels["le"].as_str() {
            labels["le"] = json!(bound.parse::<f64>().unwrap().to_string());
        }
        labels.to_string()
    });
    plain.collect()
}

/// Families as the page tells of them: kind and labels by name.
fn page() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(programs::root().join("host/METRICS.md")).unwrap();
    // Those of models are told where there are models: `models.rs` looks at them.
    let (before, models) = text.split_once("## Of models").unwrap();
    let (_, behind) = models.split_once("\n## ").unwrap();
    let rows = before.lines().chain(behind.lines());
    let rows = rows.filter(|line| line.starts_with("| `switchover_"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned());
        (
            cells[1].trim_matches('`').to_owned(),
            (cells[2].to_owned(), labels.collect()),
        )
    };
    rows.map(row).collect()
}

/// The same as an engine's text tells of them.
async fn told(gateway: &Gateway) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = gateway.admin("/stats/prometheus").await;
    let kinds = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE switchover_"));
    let mut families: BTreeMap<_, _> = kinds
        .map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            (
                format!("switchover_{name}"),
                (kind.to_owned(), BTreeSet::new()),
            )
        })
        .collect();
    for line in text.lines().filter(|line| line.starts_with("switchover_")) {
        // One without labels has no braces.
        let (name, labels) = line.split_once(['{', ' ']).unwrap();
        let parts = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|part| name.strip_suffix(part));
        let family = parts
            .chain([name])
            .find(|name| families.contains_key(*name));
        let (_, known) = families.get_mut(family.unwrap()).unwrap();
        let names = labels
            .split(['{', ','])
            .filter_map(|label| label.split_once("=\""));
        known.extend(
            names
                .map(|(name, _)| name.to_owned())
                .filter(|name| name != "le"),
        );
    }
    families
}

/// Every query of the dashboard, its variables replaced by what Grafana takes for all.
fn dashboard() -> Vec<String> {
    let file = programs::root().join("envoy/grafana/switchover.json");
    let text = std::fs::read_to_string(file).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let notes = dashboard["annotations"]["list"].as_array().unwrap();
    let queries = targets.chain(notes).map(|target| {
        let query = target["expr"].as_str().unwrap();
        let query = query.replace("$rollout", ".*").replace("$instance", ".*");
        query
            .replace("$__rate_interval", "1m")
            .replace("$__range", "1h")
    });
    let queries: Vec<_> = queries.collect();
    assert!(
        queries.iter().all(|query| !query.contains('$')),
        "{queries:?}"
    );
    assert!(queries.len() > 20, "{queries:?}");
    queries
}

async fn counted(prometheus: &Prometheus, proxy: &Proxy) {
    let of = |family: &str, labels: &str| {
        format!(
            r#"switchover_{family}{{engine="{}", rollout="drill-1", {labels}}}"#,
            proxy.name
        )
    };
    let [blue, green] = proxy.answered.map(|count| count as f64);
    for (query, expected) in [
        (
            of("requests", r#"environment="blue", version="1.0.0""#),
            blue,
        ),
        (
            of("requests", r#"environment="green", version="2.0.0""#),
            green,
        ),
        // The one that was tried again, and the one that failed over.
        (
            of("attempts", r#"environment="blue", version="1.0.0""#),
            blue + 2.0,
        ),
        (
            of("attempts", r#"environment="green", version="2.0.0""#),
            green,
        ),
        (
            of("failures", r#"environment="green", version="2.0.0""#),
            1.0,
        ),
        (of("retries", r#"environment="blue""#), 1.0),
        (of("retries", r#"environment="green""#), 0.0),
        (of("failovers", r#"environment="blue", from="green""#), 1.0),
        (of("failovers", r#"environment="green""#), 0.0),
        (
            of("auth", r#"consumer="team%20a", outcome="ok""#),
            blue + green - 1.0,
        ),
        (of("auth", r#"consumer="team%20b", outcome="ok""#), 1.0),
        (of("overrides_refused", ""), 1.0),
        (
            of("auth", r#"consumer="", outcome="wrong""#),
            WRONG_KEYS as f64,
        ),
        (
            of("request_duration_ms_count", r#"version!="""#),
            blue + green,
        ),
        (of("weight", r#"environment="green""#), 2_500.0),
        (of("schedule_step", ""), 2.0),
        (of("healthy", r#"environment="green""#), 1.0),
        (
            of("document", &format!(r#"document="{}""#, short("2.0.0"))),
            1.0,
        ),
    ] {
        becomes(prometheus, &query, expected).await;
    }
}

/// The digest of the drill's document.
fn short(version: &str) -> String {
    digest(document(version).to_string().as_bytes()).unwrap()
}

async fn drill() {
    let (host, envoy) = tokio::join!(Proxy::start(Engine::Host), Proxy::start(Engine::Envoy));
    let mut proxies = [host, envoy];
    let targets = proxies
        .each_ref()
        .map(|proxy| (proxy.name, proxy.gateway.admin_address()));
    let prometheus = Prometheus::start(&targets).await;
    for proxy in &mut proxies {
        proxy.drill().await;
    }
    for proxy in &proxies {
        counted(&prometheus, proxy).await;
    }
    let firing =
        r#"count(ALERTS{alertname="SwitchoverTripped", alertstate="firing", severity="critical"})"#;
    assert_eq!(prometheus.sum(firing).await, 0.0);
    for proxy in &proxies {
        proxy.trip(&prometheus).await;
    }
    becomes(&prometheus, firing, 2.0).await;
    for query in dashboard() {
        assert_eventually!(
            !prometheus.query(&query).await.is_empty(),
            "nothing for {query}"
        );
    }
    documents(&prometheus, &proxies).await;
    let (mut page, own) = (page(), |family: &str| {
        family.starts_with("switchover_host_")
    });
    assert_eventually!(
        told(&proxies[0].gateway).await == page,
        "the gateway tells {:#?}, host/METRICS.md {page:#?}",
        told(&proxies[0].gateway).await
    );
    page.retain(|family, _| !own(family));
    assert_eventually!(
        told(&proxies[1].gateway).await == page,
        "Envoy tells {:#?}, host/METRICS.md {page:#?}",
        told(&proxies[1].gateway).await
    );
    let [host, envoy] = ["host", "envoy"];
    assert_eventually!(
        series(&prometheus, host).await == series(&prometheus, envoy).await,
        "{:#?}",
        series(&prometheus, host)
            .await
            .symmetric_difference(&series(&prometheus, envoy).await)
            .collect::<Vec<_>>()
    );
}

/// A document that is refused and one that takes over are each counted once, however many VMs there are.
async fn documents(prometheus: &Prometheus, proxies: &[Proxy; 2]) {
    let each = async |query: &str, expected: f64| {
        for proxy in proxies {
            let query = query.replace("ENGINE", &format!(r#"engine="{}""#, proxy.name));
            becomes(prometheus, &query, expected).await;
        }
    };
    each(r#"switchover_reloads{ENGINE, outcome="accepted"}"#, 1.0).await;
    for proxy in proxies {
        proxy.gateway.replace_document(&json!({"routing": {}}));
    }
    each(r#"switchover_reloads{ENGINE, outcome="rejected"}"#, 1.0).await;
    let rejected = r#"count(ALERTS{alertname="SwitchoverDocumentRejected", alertstate="firing"})"#;
    becomes(prometheus, rejected, 2.0).await;
    for proxy in proxies {
        proxy.gateway.replace_document(&document("2.0.1"));
    }
    let of = |version| {
        format!(
            r#"switchover_document{{ENGINE, document="{}"}}"#,
            short(version)
        )
    };
    each(&of("2.0.1"), 1.0).await;
    each(&of("2.0.0"), 0.0).await;
    each("count(switchover_document{ENGINE})", 2.0).await;
    each(r#"switchover_reloads{ENGINE, outcome="accepted"}"#, 2.0).await;
    each(r#"switchover_reloads{ENGINE, outcome="rejected"}"#, 1.0).await;
}

#[test]
fn a_drill_as_prometheus_sees_it() {
    run(drill());
}

#[test]
fn promtool_takes_the_rules() {
    let folder = programs::root().join("envoy/prometheus");
    for arguments in [
        ["check", "rules", "rules.yaml"],
        ["check", "config", "prometheus.yaml"],
        ["test", "rules", "rules.test.yaml"],
    ] {
        let mut command = Command::new(programs::debian("promtool"));
        let output = command
            .current_dir(&folder)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}
