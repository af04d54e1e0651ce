//! The runner of simulations itself; what filters do in it is said in `tests/scenarios`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use switchover_host::config::plugin::Code;
use switchover_host::process::Clusters;
use switchover_host::simulation::{
    self, Answer, Modules, Outcome, Outgoing, Reply, RetryOn, Route, Sent, Setup, Simulation, World,
};
use switchover_host::stream::RequestHead;
use switchover_tests::programs;
use switchover_tests::story::{self, START, Story, TICK, get, plugin, with};

/// One host, and what it does.
struct Single(Outcome);

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
        Reply {
            after: Duration::ZERO,
            outcome: self.0.clone(),
        }
    }

    fn callout(&mut self, _: &Outgoing) -> Answer {
        Answer::never()
    }
}

/// A guest in both chains.
fn simulation(guest: Code, outcome: Outcome) -> Simulation {
    let setup = Setup {
        modules: Modules::new().unwrap(),
        workers: 4,
        listener: vec![plugin("listener", guest.clone(), &json!({}))],
        upstream: vec![plugin("upstream", guest, &json!({}))],
        clusters: Clusters::Any,
        start: story::start(),
        seed: 1,
        deadline: simulation::DEADLINE,
        abi: Default::default(),
    };
    Simulation::start(setup, Rc::new(RefCell::new(Single(outcome)))).unwrap()
}

fn witness() -> Code {
    let bytes = wat::parse_str(include_str!("../guests/witness.wat")).unwrap();
    Code::Inline(bytes.into())
}

fn answers() -> Outcome {
    Reply::status(StatusCode::OK).outcome
}

/// Who said what, in order.
fn words(simulation: &Simulation, from: usize) -> Vec<String> {
    let lines = simulation.logs().into_iter().skip(from);
    lines
        .map(|line| format!("{} {}", line.plugin, line.text))
        .collect()
}

#[test]
fn contexts_of_a_served_request_end_in_order() {
    let simulation = simulation(witness(), answers());
    let before = simulation.log_len();
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
    assert_eq!(words(&simulation, before), expected);
}

#[test]
fn a_client_that_leaves_ends_the_listeners_context_first() {
    let simulation = simulation(witness(), Outcome::Never);
    let before = simulation.log_len();
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
    assert_eq!(words(&simulation, before), expected);
}

#[test]
fn a_long_time_passes_quickly() {
    let simulation = simulation(Code::File(programs::guest("sdk")), answers());
    let began = Instant::now();
    // The guest ticks each 10 ms in both chains of four workers.
    simulation.advance(Duration::from_secs(300));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "5 minutes took {took:?}");
    assert_eq!(simulation.elapsed(), Duration::from_secs(300));
}

/// The environment of each of these keys, in any worker.
fn environments(story: &Story, keys: usize) -> Vec<String> {
    let place = |key| {
        let request = || with(get("/"), "x-user-id", &format!("user-{key}"));
        let chosen = story.chosen(key % 2, request());
        assert_eq!(
            chosen,
            story.chosen((key + 1) % 2, request()),
            "user-{key} in the other worker"
        );
        chosen
    };
    (0..keys).map(place).collect()
}

/// Keys move to green only, as many as the share says, and other proxies agree at every step.
#[test]
fn keys_move_one_way_and_everywhere_alike() {
    const KEYS: usize = 500;
    let phases = [(5, 1), (15, 5), (30, 25), (60, 50), (90, 100)];
    let steps = phases.map(|(minute, share)| json!({"at": format!("{minute}m"), "weight": share}));
    let document = json!({
        "rollout": "chat-api-2.1.0",
        "routing": {"blue": {"weight": 1}, "green": {"weight": 0}},
        "strategy": "consistent_hash",
        "sticky": {"by": [{"header": "x-user-id"}]},
        "schedule": {"environment": "green", "start": START, "steps": steps},
        "attempts": true,
    });
    let (one, other) = (Story::new(2, &document), Story::new(2, &document));
    let mut before = environments(&one, KEYS);
    for (minute, share) in phases {
        for story in [&one, &other] {
            story.advance_to(Duration::from_secs(minute * 60) + TICK);
        }
        let now = environments(&one, KEYS);
        assert_eq!(
            now,
            environments(&other, KEYS),
            "two proxies at minute {minute}"
        );
        let back = before
            .iter()
            .zip(&now)
            .filter(|(before, now)| *before == "green" && *now != "green");
        assert_eq!(back.count(), 0, "moved back at minute {minute}");
        let green = now.iter().filter(|place| *place == "green").count();
        let expected = KEYS * share / 100;
        assert!(
            green.abs_diff(expected) <= 5 + KEYS / 20,
            "{green} keys at {share} %"
        );
        before = now;
    }
    assert!(before.iter().all(|place| place == "green"));
}
