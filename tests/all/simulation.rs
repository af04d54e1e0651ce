//! The runner of simulations itself: clock, ticks, workers, documents, traps, callouts, ends of contexts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use switchover_host::config::WasmPlugin;
use switchover_host::config::plugin::Code;
use switchover_host::simulation::{
    self, Answer, Held, Modules, Outcome, Outgoing, Reply, Response, RetryOn, Route, Sent, Setup,
    Simulation, World,
};
use switchover_host::stream::RequestHead;
use switchover_tests::story::{self, ATTEMPT, Behaviour, ROUTE, Story, TICK, get, plugin, with};
use switchover_tests::{programs, story::request};

fn document(green: u32) -> Value {
    json!({
        "routing": {
            "blue": {"weight": 100 - green, "clusters": ["blue-only"], "credential": {"env": "BLUE_KEY"}},
            "green": {"weight": green, "clusters": ["green-only"],
                      "credential": {"header": "x-green-key", "scheme": "", "env": "GREEN_KEY"}},
        },
        "attempts": true,
    })
}

const KEYS: [(&str, &str); 2] = [("BLUE_KEY", "of-blue"), ("GREEN_KEY", "of-green")];

fn story(workers: usize, green: u32) -> Story {
    Story::with_variables(workers, &document(green), &KEYS)
}

/// One cluster, `upstream`, and what it answers; callouts wait.
struct Single(Reply);

impl World for Single {
    fn route(&mut self, _: &RequestHead) -> Option<Route> {
        Some(Route {
            name: Arc::from("only"),
            cluster: Arc::from("aggregate"),
            hosts: vec![simulation::host("upstream", BTreeMap::new())],
            retry_on: RetryOn::default(),
            timeout: Duration::from_secs(15),
        })
    }

    fn reply(&mut self, _: &Sent) -> Reply {
        self.0.clone()
    }

    fn callout(&mut self, _: &Outgoing) -> Answer {
        Answer::never()
    }
}

/// A simulation of another guest alone, whose upstream answers 200.
fn simulation(guest: Code, callouts: &[&str]) -> Simulation {
    answering(guest, callouts, Reply::status(StatusCode::OK))
}

fn answering(guest: Code, callouts: &[&str], reply: Reply) -> Simulation {
    let of = |root_id| {
        let plugin = plugin(root_id, &json!({}), &[]);
        let mut vm = plugin.vm.clone();
        vm.code = guest.clone();
        WasmPlugin { vm, ..plugin }
    };
    let setup = Setup {
        modules: Modules::new().unwrap(),
        workers: 1,
        listener: vec![of("listener")],
        // A guest that asks others asks for each attempt too.
        upstream: match callouts {
            [] => vec![of("upstream")],
            _ => Vec::new(),
        },
        clusters: callouts.iter().map(|name| (*name).to_owned()).collect(),
        start: story::start(),
        seed: 1,
        deadline: simulation::DEADLINE,
    };
    Simulation::start(setup, Rc::new(RefCell::new(Single(reply)))).unwrap()
}

fn witness() -> Code {
    let bytes = wat::parse_str(include_str!("../guests/witness.wat")).unwrap();
    Code::Inline(bytes.into())
}

/// Who said what, in order, and nothing of what the roots did before.
fn words(simulation: &Simulation) -> Vec<String> {
    let lines = simulation.logs().into_iter();
    lines
        .map(|line| format!("{} {}", line.plugin, line.text))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_story() {
    let tell = || -> Vec<String> {
        let story = story(2, 30);
        let requests = (0..40).map(|i| story.send(i % 2, get("/")).chosen);
        requests.collect()
    };
    let first = tell();
    assert_eq!(first, tell());
    let green = first.iter().filter(|chosen| *chosen == "green");
    assert_eq!(green.count(), 12);
}

#[test]
fn ticks_fire_by_virtual_time() {
    let story = story(1, 0);
    story.send(0, get("/"));
    story.advance(TICK - Duration::from_millis(1));
    assert_eq!(
        story.metric("requests", &[]),
        0,
        "counts are handed over on the tick"
    );
    story.advance(Duration::from_millis(1));
    assert_eq!(story.metric("requests", &[("environment", "blue")]), 1);
}

#[test]
fn a_long_time_passes_quickly() {
    let story = story(4, 10);
    let began = Instant::now();
    story.advance(Duration::from_secs(90 * 60));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "90 minutes took {took:?}");
}

#[test]
fn durations_are_measured_by_the_virtual_clock() {
    let story = story(1, 0);
    let slow = Behaviour::Answers(StatusCode::OK, Duration::from_secs(7));
    story.behave("blue", slow);
    story.send(0, get("/"));
    assert_eq!(
        story.metric("request_duration_ms", &[("environment", "blue")]),
        1
    );
    assert_eq!(story.simulation.elapsed(), Duration::from_secs(7));
    assert_eq!(
        story.simulation.now(),
        story::start() + Duration::from_secs(7)
    );
}

#[test]
fn workers_have_their_own_vms_and_common_metrics() {
    let story = story(3, 50);
    for worker in 0..3 {
        let counts = story.chosen(worker, 10);
        assert_eq!(
            counts,
            BTreeMap::from([("blue".into(), 5), ("green".into(), 5)])
        );
    }
    story.advance(TICK);
    assert_eq!(story.metric("requests", &[]), 30);
    assert_eq!(story.metric("attempts", &[("environment", "green")]), 15);
}

#[test]
fn a_failover_changes_the_credential() {
    let story = story(1, 100);
    story.answers("green", 503);
    let told = story.send(0, get("/"));
    assert_eq!(
        (told.status, told.chosen.as_str()),
        (StatusCode::OK, "green")
    );
    let [(first, greens), (second, blues)] = &told.attempts[..] else {
        panic!("{told:?}")
    };
    assert_eq!((first.as_str(), second.as_str()), ("green", "blue"));
    assert_eq!(greens["x-green-key"], "of-green");
    assert_eq!(blues["authorization"], "Bearer of-blue");
    assert!(!blues.contains_key("x-green-key"), "{blues:?}");
    assert_eq!(told.headers["x-deployment-mode"], "blue");
}

#[test]
fn an_attempt_without_an_answer_is_retried() {
    let story = story(1, 100);
    story.behave("green", Behaviour::Breaks(Duration::from_secs(1)));
    let told = story.send(0, get("/"));
    assert_eq!((told.status, told.attempts.len()), (StatusCode::OK, 2));
    story.behave("blue", Behaviour::Breaks(Duration::ZERO));
    assert_eq!(
        story.send(0, get("/")).status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[test]
fn a_new_document_is_in_force_at_once_and_a_bad_one_never() {
    let story = story(2, 0);
    story
        .replace(&json!({"routing": {"blue": {"weight": 0}, "green": {"weight": 1}}}))
        .unwrap();
    for worker in 0..2 {
        assert_eq!(story.send(worker, get("/")).chosen, "green");
    }
    let error = story
        .replace(&json!({"routing": {"blue": {"weight": -1}}}))
        .unwrap_err();
    assert!(error.to_string().contains("proxy_on_configure"), "{error}");
    assert!(
        !story.logged("weight").is_empty(),
        "{:?}",
        story.simulation.logs()
    );
    assert_eq!(story.send(0, get("/")).chosen, "green");
}

/// As in Envoy under FAIL_RELOAD: at once the first time, then after the back-off.
#[test]
fn a_trapped_vm_is_rebuilt() {
    let story = story(1, 100);
    assert!(story.simulation.trap(0, ROUTE));
    assert_eq!(
        story.send(0, get("/")).status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let told = story.send(0, get("/"));
    assert_eq!(
        (told.status, told.chosen.as_str()),
        (StatusCode::OK, "green")
    );
    assert_eq!(
        told.attempts[0].1["x-green-key"], "of-green",
        "the attempt role follows"
    );

    assert!(
        story.simulation.trap(0, ATTEMPT),
        "both roles are in that VM"
    );
    story.advance(TICK);
    assert_eq!(
        story.send(0, get("/")).status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    story.advance(Duration::from_secs(1));
    assert_eq!(story.send(0, get("/")).status, StatusCode::OK);
}

#[test]
fn the_filter_answers_by_itself() {
    let mut document = document(0);
    document["auth"] = json!({"mode": "replace", "consumers": []});
    document["auth"]["consumers"] = json!([switchover_tests::keys::consumer("a", "key")]);
    let story = Story::with_variables(1, &document, &KEYS);
    let told = story.send(0, get("/"));
    assert_eq!(
        (told.status, told.attempts.len()),
        (StatusCode::UNAUTHORIZED, 0)
    );
    let told = story.send(0, with(get("/"), "api-key", "key"));
    assert_eq!(told.status, StatusCode::OK);
}

/// The SDK's guest asks `auth` while the request waits.
#[test]
fn a_callout_decides_while_the_request_waits() {
    let simulation = simulation(Code::File(programs::guest("sdk")), &["auth"]);
    let ask = || with(get("/callout"), "x-ask", "/allow");
    let exchange = simulation.request(0, ask()).unwrap();
    let held = Held {
        plugin: "listener".to_owned(),
        what: "the request's headers",
    };
    assert_eq!(exchange.record().held.as_ref(), Some(&held));
    let callout = simulation.callouts().pop().unwrap();
    assert_eq!(
        (callout.callout.cluster.as_str(), callout.header("host")),
        ("auth", "auth.example.com")
    );
    assert!(simulation.is_open(&callout));
    assert!(simulation.answer(&callout, Answer::status(StatusCode::OK).into_response()));
    assert!(exchange.is_over());
    assert_eq!(exchange.record().held, None);
    assert!(!simulation.answer(&callout, None), "it has its answer");

    // Left alone it times out after its 500 ms.
    let exchange = simulation.request(0, ask()).unwrap();
    simulation.advance(Duration::from_millis(499));
    assert!(!exchange.is_over());
    simulation.advance(Duration::from_millis(1));
    let response = exchange.record().response.clone().unwrap();
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!(
        exchange.record().ended,
        Some(Duration::from_millis(500)),
        "by the virtual clock"
    );
}

/// In parts, both ways, and trailers behind them.
#[test]
fn bodies_pass_the_filters() {
    let trailers = HeaderMap::from_iter([("x-end".parse().unwrap(), "1".parse().unwrap())]);
    let reply = Reply {
        after: Duration::ZERO,
        outcome: Outcome::Response(Box::new(Response {
            status: StatusCode::CREATED,
            body: vec![Bytes::from("got "), Bytes::from("it")],
            trailers: Some(trailers.clone()),
            ..Response::default()
        })),
    };
    let simulation = answering(Code::File(programs::guest("sdk")), &[], reply);
    let mut request = request("POST", "/", "a body");
    request.body.push(Bytes::from(" in parts"));
    let exchange = simulation.request(0, request).unwrap();
    assert!(exchange.is_over());
    let record = exchange.record();
    assert_eq!(record.attempts[0].body, "A BODY IN PARTS");
    let response = record.response.as_ref().unwrap();
    assert_eq!(response.status, StatusCode::CREATED);
    assert_eq!(response.trailers, Some(trailers));
    // The guest waits for the end, which trailers are not: it sees no part that is the last.
    assert_eq!(response.whole_body(), "got it");
}

#[test]
fn contexts_of_a_served_request_end_in_order() {
    let simulation = simulation(witness(), &[]);
    let before = words(&simulation).len();
    assert!(simulation.request(0, get("/")).unwrap().is_over());
    let expected = [
        "listener saw request",
        "upstream saw request",
        "upstream saw response",
        "upstream saw done",
        "upstream saw delete",
        "listener saw response",
        "listener saw done",
        "listener saw log",
        "listener saw delete",
    ];
    assert_eq!(words(&simulation)[before..], expected);
}

#[test]
fn a_client_that_leaves_ends_the_listeners_context_first() {
    let hangs = Reply {
        after: Duration::ZERO,
        outcome: Outcome::Never,
    };
    let simulation = answering(witness(), &[], hangs);
    let before = words(&simulation).len();
    let exchange = simulation.request(0, get("/")).unwrap();
    assert!(!exchange.is_over());
    drop(exchange);
    let expected = [
        "listener saw request",
        "upstream saw request",
        "listener saw done",
        "listener saw log",
        "listener saw delete",
        "upstream saw done",
        "upstream saw delete",
    ];
    assert_eq!(words(&simulation)[before..], expected);
}

/// The route's time is up.
#[test]
fn an_upstream_that_never_answers_is_a_504() {
    let hangs = Reply {
        after: Duration::ZERO,
        outcome: Outcome::Never,
    };
    let simulation = answering(Code::File(programs::guest("empty")), &[], hangs);
    let exchange = simulation.request(0, get("/")).unwrap();
    assert!(simulation.run(&exchange, Duration::from_secs(60)));
    let record = exchange.record();
    assert_eq!(
        record.response.as_ref().unwrap().status,
        StatusCode::GATEWAY_TIMEOUT
    );
    assert_eq!(record.ended, Some(Duration::from_secs(15)));
}
