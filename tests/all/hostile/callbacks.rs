//! Every callback traps, loops, recurses and asks for memory: what its exchange, its neighbours and the next one get.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use switchover_tests::probe::{Message, Probe};
use switchover_tests::{
    Engine, Gateway, Setup, Upstream, assert_eventually, cases, guest, programs,
};

use super::{AT_A_TIME, calm, neighbour, quick_rebuild, served_again};

/// How long a callback may run in these tests, and what it is called on the command line.
const DEADLINE: &str = "0.2s";

/// Longest time that a neighbour of the same worker waits: a deadline, a tick of its clock, and a busy machine.
const NEIGHBOUR: Duration = Duration::from_secs(3);

/// What a callback does that it does not survive. In Envoy a loop has no end.
const FATAL: [&str; 3] = ["trap", "recurse", "loop"];

/// What it asks for that it does not get: four times the memory that a VM may have. Envoy gives it while it has any.
const GROW: &str = "grow 4096";

/// A callback, a script in which it acts (`ACT`), and what the client of that exchange may see when the guest fails.
struct Callback(&'static str, &'static str, &'static [&'static str]);

/// The answer has not begun.
const REFUSED: &[&str] = &["503"];
/// It has, or not, as the upstream's bytes came.
const BROKEN: &[&str] = &["reset", "200 cut"];
/// Nobody notices.
const SERVED: &[&str] = &["200"];
/// The stream is held: the host ends it, Envoy forgets it until its idle time is over.
const HELD: &[&str] = &["503", "504"];
/// It happens beside the exchange, which may be over or not.
const BESIDE: &[&str] = &["200", "503", "reset", "200 cut"];

/// Callbacks of streams and, while the gateway serves, of roots.
const CALLBACKS: [Callback; 17] = [
    Callback("request_headers", "request_headers: ACT", REFUSED),
    Callback("request_body", "request_body: ACT", REFUSED),
    Callback("request_trailers", "request_trailers: ACT", REFUSED),
    Callback("response_headers", "response_headers: ACT", REFUSED),
    Callback("response_body", "response_body: ACT", BROKEN),
    Callback("response_trailers", "response_trailers: ACT", BROKEN),
    Callback("log", "log: ACT", SERVED),
    Callback("done", "done: ACT", SERVED),
    Callback("delete", "delete: ACT", SERVED),
    Callback(
        "http_call_response",
        "request_headers: proxy_http_call 'blue {:method=GET,:path=/call,:authority=a} ' {} 5000 >4; pause | \
         http_call_response: ACT; GO",
        HELD,
    ),
    Callback(
        "grpc_receive_initial_metadata",
        "request_headers: GRPC; pause | grpc_receive_initial_metadata: ACT; GO",
        HELD,
    ),
    Callback(
        "grpc_receive",
        "request_headers: GRPC; pause | grpc_receive: ACT; GO",
        HELD,
    ),
    Callback(
        "grpc_receive_trailing_metadata",
        "request_headers: GRPC; pause | grpc_receive_trailing_metadata: ACT; GO",
        HELD,
    ),
    Callback(
        "grpc_close",
        "request_headers: GRPC; pause | grpc_close: ACT; GO",
        HELD,
    ),
    Callback(
        "tick",
        "request_headers: next tick ACT; proxy_set_tick_period_milliseconds 10",
        BESIDE,
    ),
    Callback(
        "queue_ready",
        "request_headers: next queue_ready ACT; proxy_register_shared_queue 'q >4 =q; proxy_enqueue_shared_queue $q 'item",
        BESIDE,
    ),
    // Of the next stream, on the same worker.
    Callback(
        "context_create",
        "request_headers: next stream_create ACT",
        SERVED,
    ),
];

/// Callbacks of roots before the gateway serves.
const STARTING: [&str; 3] = ["context_create", "vm_start", "configure"];

// === impl Callback ===

impl Callback {
    /// A stream is held best by its headers, without a body that goes on.
    fn message(&self) -> Message {
        let whole = self.2 != HELD;
        Message {
            body: whole,
            trailers: whole,
        }
    }

    fn script(&self, act: &str) -> String {
        self.1
            .replace(
                "GRPC",
                "proxy_grpc_stream 'grpc 'a.Service 'Method {} >4 =call; proxy_grpc_send $call 'question 1",
            )
            .replace("GO", "proxy_set_effective_context self; proxy_continue_stream 0")
            .replace("ACT", act)
    }
}

/// A gateway with one worker, which the guest and a listener without it share.
async fn gateway(engine: Engine) -> Probe {
    let setup = Probe::setup(engine, "", |setup| {
        bounded(engine, setup)
            .plugin(quick_rebuild)
            .edit(calm)
            .edit(|bootstrap| bootstrap.http()["stream_idle_timeout"] = "1s".into())
    });
    Probe::start(engine, setup).await
}

fn bounded(engine: Engine, setup: Setup) -> Setup {
    match engine {
        Engine::Host => setup.argument("--callback-deadline").argument(DEADLINE),
        Engine::Envoy => setup,
    }
}

/// How often a guest has failed, by the engine's log.
fn failures(engine: Engine, gateway: &Gateway) -> usize {
    let words = match engine {
        Engine::Host => "a filter trapped",
        Engine::Envoy => "failed: Uncaught",
    };
    gateway.output().matches(words).count()
}

/// Has each callback do something fatal, one after another. The neighbour has the same worker: what waits for a callback
/// waits for no more than its deadline.
async fn try_fatal(engine: Engine, act: &str) {
    let mut probe = gateway(engine).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let neighbour = tokio::spawn(neighbour(probe.gateway.listener("calm"), stopped));
    for callback in &CALLBACKS {
        let Callback(name, _, expected) = callback;
        let before = failures(engine, &probe.gateway);
        let outcome = probe
            .exchange(&callback.script(act), callback.message())
            .await;
        let shown = outcome.shown();
        assert!(
            expected.contains(&shown.as_str()),
            "{name}: {act}: {shown}, not {expected:?}"
        );
        // Where it has not happened yet, it happens now.
        served_again(&probe.gateway, name).await;
        assert_eventually!(
            failures(engine, &probe.gateway) > before,
            "{name}: {act}: nothing failed"
        );
        served_again(&probe.gateway, name).await;
    }
    stop.send(true).unwrap();
    let (requests, slowest) = neighbour.await.unwrap();
    assert!(requests > 10, "{requests}");
    assert!(slowest < NEIGHBOUR, "{act}: {slowest:?}");
}

/// Has each callback ask for memory.
async fn try_grow(engine: Engine) {
    let mut probe = gateway(engine).await;
    for callback in &CALLBACKS {
        let Callback(name, ..) = callback;
        let asked = |probe: &Probe| {
            probe
                .lines()
                .into_iter()
                .filter(|line| line.command == GROW)
        };
        let before = asked(&probe).count();
        let outcome = probe
            .exchange(&callback.script(GROW), callback.message())
            .await;
        assert_eq!(outcome.shown(), "200", "{name}: {GROW}");
        served_again(&probe.gateway, name).await;
        assert_eventually!(
            asked(&probe).count() > before,
            "{name}: {GROW}: nothing happened"
        );
        let line = asked(&probe).nth(before).unwrap();
        assert_eq!(line.callback, *name);
        assert!(
            engine == Engine::Envoy || line.answer == "REFUSED",
            "{name}: {}",
            line.answer
        );
    }
}

/// Starts an engine whose guest acts in a callback of its root: what it answers, or what it says where it does not start.
async fn starts(engine: Engine, callback: &str, act: &str) -> Result<u16, String> {
    let blue = Upstream::named("blue").await;
    let setup = Setup::new(&[("blue", &blue)])
        .route_guest(&programs::guest("probe"))
        .without_attempt_role()
        .inline()
        .variable("PROBE", &format!("{callback}: {act}"));
    match bounded(engine, setup).try_start(engine).await {
        Ok(gateway) => Ok(gateway.client().get("/").send().await.status.as_u16()),
        Err(refused) if refused.status.success() => panic!("{callback}: {act}: {}", refused.status),
        Err(refused) => Err(refused.output),
    }
}

/// What is fatal to a guest that leaves the engine alive.
fn fatal(engine: Engine) -> impl Iterator<Item = &'static str> {
    FATAL
        .into_iter()
        .filter(move |act| engine == Engine::Host || *act != "loop")
}

cases! {
    async fn a_failure_costs_its_exchange(engine: Engine) {
        futures_util::future::join_all(fatal(engine).map(|act| try_fatal(engine, act))).await;
    }

    async fn memory_has_a_limit_in_each(engine: Engine) {
        try_grow(engine).await;
    }

    async fn a_failure_at_the_start_is_refused(engine: Engine) {
        let tries = STARTING.into_iter().flat_map(|callback| fatal(engine).map(move |act| (callback, act)));
        let refused = stream::iter(tries).map(async |(callback, act)| {
            match starts(engine, callback, act).await {
                // Envoy starts where the root's creation fails, and refuses all requests.
                Ok(status) => assert_eq!((engine, status), (Engine::Envoy, 503), "{callback}: {act}"),
                Err(said) if engine == Engine::Host => {
                    assert!(said.contains("trapped while it started"), "{callback}: {act}: {said}");
                }
                Err(_) => {}
            }
        });
        refused.buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await;
        let grown = stream::iter(STARTING).map(|callback| starts(engine, callback, GROW));
        let grown: Vec<_> = grown.buffer_unordered(AT_A_TIME).collect().await;
        assert!(grown.iter().all(|status| *status == Ok(200)), "{grown:?}");
    }

    /// The guest's own allocator runs within a hostcall.
    async fn an_allocator_may_not_either(engine: Engine) {
        let directory = tempfile::tempdir().unwrap();
        let blue = Upstream::named("blue").await;
        for (act, expected) in [("traps", 503), ("recurses", 503), ("loops", 503), ("grows", 200)] {
            if engine == Engine::Envoy && act == "loops" {
                continue;
            }
            let guest = guest::hostile(&format!("allocator_{act}"), directory.path());
            let setup = Setup::new(&[("blue", &blue)]).route_guest(&guest).without_attempt_role().inline();
            let gateway = bounded(engine, setup).plugin(quick_rebuild).edit(calm).start(engine).await;
            for _ in 0..2 {
                assert_eventually!(gateway.client().get("/").send().await.status == expected, "{act}: not {expected}");
                let calm = switchover_tests::Client::new(gateway.listener("calm")).get("/").send().await;
                assert_eq!(calm.text(), "blue", "{act}");
            }
        }
    }
}
