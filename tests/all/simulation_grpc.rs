//! gRPC callouts in a simulation: the scenario is the server.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use switchover_host::config::plugin::Code;
use switchover_host::simulation::{
    Answer, DEADLINE, GrpcAnswer, GrpcCall, GrpcEvent, Modules, Outgoing, Reply, Request, Route,
    Sending, Sent, Setup, Simulation, World,
};
use switchover_host::stream::RequestHead;
use switchover_tests::programs;
use switchover_tests::story::{plugin, start};

const MOMENT: Duration = Duration::from_millis(10);

/// Answers `Unary` in capitals after a moment, echoes on streams, and leaves everything else open.
struct Echo;

impl World for Echo {
    fn route(&mut self, _head: &RequestHead) -> Option<Route> {
        None
    }

    fn reply(&mut self, _sent: &Sent) -> Reply {
        Reply::reset()
    }

    fn callout(&mut self, _callout: &Outgoing) -> Answer {
        Answer::never()
    }

    fn grpc(&mut self, call: &GrpcCall) -> GrpcAnswer {
        match (call.start.path.as_str(), &call.start.message) {
            ("/test.Echo/Unary", Some(message)) => {
                let answer = message.to_ascii_uppercase().into();
                GrpcAnswer::never().then(MOMENT, GrpcEvent::Message(answer))
            }
            ("/test.Echo/Bidi", None) => {
                let mut headers = HeaderMap::new();
                headers.insert("x-initial", HeaderValue::from_static("scenario"));
                GrpcAnswer::never().then(Duration::ZERO, GrpcEvent::Initial(Some(headers)))
            }
            _ => GrpcAnswer::never(),
        }
    }

    fn grpc_sent(&mut self, _call: &GrpcCall, message: &Bytes) -> GrpcAnswer {
        GrpcAnswer::never().then(MOMENT, GrpcEvent::Message(message.clone()))
    }
}

fn simulation() -> Simulation {
    let code = Code::File(programs::guest("grpc"));
    let guest = plugin("grpc", code, &json!({}));
    let setup = Setup {
        modules: Modules::new().unwrap(),
        workers: 1,
        listener: vec![guest],
        upstream: Vec::new(),
        clusters: ["grpc".to_owned()].into_iter().collect(),
        start: start(),
        seed: 1,
        deadline: DEADLINE,
        abi: Default::default(),
    };
    Simulation::start(setup, Rc::new(RefCell::new(Echo))).unwrap()
}

fn request(path: &'static str, headers: &[(&'static str, &'static str)]) -> Request {
    let header = |(name, value): &(&'static str, &'static str)| {
        (name.parse().unwrap(), HeaderValue::from_static(value))
    };
    let upstream = [("x-upstream", "grpc")];
    Request {
        method: Method::GET,
        path: Bytes::from_static(path.as_bytes()),
        scheme: HeaderValue::from_static("http"),
        headers: upstream.iter().chain(headers).map(header).collect(),
        body: Vec::new(),
        trailers: None,
        client: switchover_host::simulation::CLIENT,
    }
}

/// What the guest answers after this time; `None` where it still waits.
fn answer(simulation: &Simulation, request: Request, after: Duration) -> Option<String> {
    let exchange = simulation.request(0, request).unwrap();
    simulation.advance(after);
    let response = exchange.record().response.clone()?;
    Some(String::from_utf8(response.whole_body().to_vec()).unwrap())
}

#[test]
fn a_call_is_answered_when_the_scenario_says() {
    let simulation = simulation();
    let unary = || request("/call", &[("x-method", "Unary"), ("x-message", "hello")]);
    assert_eq!(answer(&simulation, unary(), MOMENT / 2), None);
    assert_eq!(
        answer(&simulation, unary(), MOMENT).unwrap(),
        "answer \"HELLO\""
    );
    let calls = simulation.grpc_calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        (calls[0].start.cluster.as_str(), &*calls[0].sent()[0]),
        ("grpc", &b"hello"[..])
    );
    assert_eq!(calls[0].start.metadata["x-hello"], "guest");
}

#[test]
fn a_call_without_an_answer_times_out() {
    let simulation = simulation();
    let slow = request(
        "/call",
        &[
            ("x-method", "Slow"),
            ("x-message", ""),
            ("x-timeout", "200"),
        ],
    );
    assert_eq!(
        answer(&simulation, slow, Duration::from_millis(200)).unwrap(),
        "status 14 14 Some(\"upstream request timeout{response_timeout}\")"
    );
}

#[test]
fn a_stream_goes_on_until_the_scenario_closes_it() {
    let simulation = simulation();
    let bidi = request(
        "/stream",
        &[("x-method", "Bidi"), ("x-messages", "one,two")],
    );
    assert_eq!(answer(&simulation, bidi, Duration::from_secs(1)), None);
    let [call] = &simulation.grpc_calls()[..] else {
        panic!("one stream was opened");
    };
    assert_eq!(call.sent(), [&b"one"[..], b"two"]);
    assert_eq!(call.sending(), Sending::Closed, "the last message ends it");
    let cancelled = request("/cancel", &[("x-method", "Bidi")]);
    let told = answer(&simulation, cancelled, Duration::ZERO).unwrap();
    assert_eq!(told, "cancelled, then [Err(NotFound), Err(NotFound)]");
    assert_eq!(simulation.grpc_calls()[2].sending(), Sending::Cancelled);
}
