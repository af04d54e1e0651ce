//! Guests that mean harm: each has a defined answer, and costs nobody else anything.

mod callbacks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use switchover_tests::probe::{Message, Probe};
use switchover_tests::setup::{Bootstrap, endpoint};
use switchover_tests::{
    Client, Engine, GLANCE, Gateway, Setup, Upstream, assert_eventually, cases, guest,
};

/// Engines that start at a time.
const AT_A_TIME: usize = 4;

/// Guests that cannot serve, and what the host says of each.
const REFUSED: [(&str, &str); 20] = [
    ("no_marker", "ABI marker"),
    ("unknown_marker", "ABI marker"),
    ("unknown_import", "proxy_launch_rocket"),
    ("unknown_module", "wasi_snapshot_preview9"),
    ("wrong_signature", "proxy_log"),
    ("allocator_none", "malloc"),
    ("start_traps", "trapped while it started"),
    ("start_recurses", "trapped while it started"),
    ("start_loops", "trapped while it started"),
    ("start_calls", "trapped while it started"),
    ("initialize_traps", "trapped while it started"),
    ("initialize_calls", "trapped while it started"),
    ("initialize_recurses", "trapped while it started"),
    ("configure_traps", "trapped while it started"),
    ("vm_start_refuses", "proxy_on_vm_start"),
    ("large_memory", "memory"),
    ("large_table", "table"),
    ("data_outside", "trapped while it started"),
    ("exit", "proc_exit"),
    ("initialize_loops", "trapped while it started"),
];

/// Files that are no modules.
const NO_MODULES: [(&str, &[u8]); 4] = [
    ("empty", b""),
    ("text", b"this is no WebAssembly"),
    ("cut off", b"\0asm\x01\0\0\0\x01"),
    ("a component", b"\0asm\x0d\0\x01\0"),
];

/// What guests do to their host in one callback.
const ATTACKS: [&str; 16] = [
    "request_headers: trap",
    "request_headers: loop",
    "response_headers: loop",
    "log: loop",
    "request_headers: recurse",
    "request_headers: grow 100000",
    "request_headers: times 20000 proxy_log 2 'flood#",
    "request_headers: times 20000 proxy_define_metric 0 'flood.# >4",
    "request_headers: times 20000 proxy_set_shared_data 'flood# ~1000:a 0",
    "request_headers: proxy_register_shared_queue 'q >4 =q; times 20000 proxy_enqueue_shared_queue $q ~1000:a",
    "request_headers: times 200 proxy_http_call 'blue {:method=GET,:path=/call,:authority=a} ' {} 5000 >4",
    "request_headers: times 1000 proxy_set_property 'kept.# ~100000:a",
    "request_headers: times 1000 proxy_set_tick_period_milliseconds 1",
    "request_headers: times 100 proxy_call_foreign_function 'compress ~20000000:a >; trap",
    "request_headers: times 40000 proxy_add_header_map_value 0 'x-# 'a",
    "request_headers: times 5000 proxy_add_header_map_value 0 'x-# ~100:a",
];

/// Has a VM that failed replaced after next to nothing.
fn quick_rebuild(plugin: &mut Value) {
    plugin["reload_config"] = json!({"backoff": {"base_interval": "0.01s"}});
}

/// Adds the listener `calm`, without the guest.
fn calm(bootstrap: &mut Bootstrap) {
    let listener = bootstrap.copy_listener("calm");
    let filters = &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
    let filters = filters.as_array_mut().unwrap();
    filters.retain(|filter| filter["name"] != "switchover.route");
}

/// A gateway with the guest that does what its scripts say and a back-off of next to nothing, and a listener
/// beside it without the guest.
async fn probe(engine: Engine, program: &str, workers: u32) -> Probe {
    Probe::start(
        engine,
        Probe::setup(engine, program, |setup| {
            setup.plugin(quick_rebuild).edit(calm).workers(workers)
        }),
    )
    .await
}

/// Waits until the guest's listener serves again.
async fn served_again(gateway: &Gateway, after: &str) {
    assert_eventually!(
        matches!(gateway.client().get("/probe").try_send().await, Ok(reply) if reply.status == 200),
        "nothing is served after {after:?}"
    );
}

/// Sends requests one after another until told to stop; each must be answered. Gives their number and the slowest.
async fn neighbour(
    address: SocketAddr,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> (u32, Duration) {
    let mut client = Client::new(address);
    let (mut requests, mut slowest) = (0, Duration::ZERO);
    while !*stopped.borrow() {
        let start = Instant::now();
        assert_eq!(client.get("/probe").send().await.status, 200);
        slowest = slowest.max(start.elapsed());
        requests += 1;
        tokio::time::sleep(GLANCE).await;
    }
    (requests, slowest)
}

fn setup(guest: &Path, upstream: &Upstream) -> Setup {
    Setup::new(&[("blue", upstream)])
        .route_guest(guest)
        .without_attempt_role()
        .inline()
}

/// Starts the engine with each guest; each must refuse it, the host with these words.
async fn refuses(engine: Engine, guests: Vec<(String, PathBuf, &str)>) {
    let blue = Upstream::named("blue").await;
    let tried = stream::iter(guests).map(|(name, file, words)| {
        let setup = setup(&file, &blue);
        async move {
            match setup.try_start(engine).await {
                Ok(_) => Some(format!("{name}: it serves")),
                Err(refused) if refused.status.success() => {
                    Some(format!("{name}: {}", refused.status))
                }
                Err(refused) if engine == Engine::Host && !refused.output.contains(words) => {
                    Some(format!("{name}: not {words:?}: {}", refused.output))
                }
                Err(_) => None,
            }
        }
    });
    let wrong: Vec<String> = tried
        .buffer_unordered(AT_A_TIME)
        .filter_map(async |wrong| wrong)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What comes of a request to a guest.
async fn status(engine: Engine, name: &str) -> u16 {
    let (directory, blue) = (tempfile::tempdir().unwrap(), Upstream::named("blue").await);
    let gateway = setup(&guest::hostile(name, directory.path()), &blue)
        .start(engine)
        .await;
    gateway.client().get("/").send().await.status.as_u16()
}

cases! {
    async fn what_is_no_module_is_refused(engine: Engine) {
        let directory = tempfile::tempdir().unwrap();
        let file = |(name, bytes): (&str, &[u8])| {
            let file = directory.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            (name.to_owned(), file, "")
        };
        refuses(engine, NO_MODULES.into_iter().map(file).collect()).await;
    }

    async fn what_cannot_start_is_refused(engine: Engine) {
        let directory = tempfile::tempdir().unwrap();
        // Envoy waits for ever where a guest loops, and crashes later where a start section has asked for ticks.
        let only_here = ["initialize_loops", "start_loops", "start_calls"];
        let tried = REFUSED.into_iter().filter(|(name, _)| engine == Engine::Host || !only_here.contains(name));
        let guests = tried.map(|(name, words)| (name.to_owned(), guest::hostile(name, directory.path()), words));
        refuses(engine, guests.collect()).await;
    }

    /// Envoy gives a guest the memory that it imports.
    host async fn memory_is_the_guests_own(engine: Engine) {
        let directory = tempfile::tempdir().unwrap();
        let guest = guest::hostile("imported_memory", directory.path());
        refuses(engine, vec![("imported_memory".to_owned(), guest, "memory")]).await;
    }

    async fn allocators_that_fail_are_told(engine: Engine) {
        const INVALID_MEMORY_ACCESS: u16 = 6;
        for (name, expected) in [
            ("allocator_outside", 200 + INVALID_MEMORY_ACCESS),
            ("allocator_null", 200 + INVALID_MEMORY_ACCESS),
            // The allocator asks for what it is asked to make room for: nothing but the log may be called there.
            ("allocator_calls", 503),
        ] {
            assert_eq!(status(engine, name).await, expected, "{name}");
        }
    }

    /// Envoy crashes at the first call.
    host async fn a_guest_without_memory_is_answered(engine: Engine) {
        assert_eq!(status(engine, "no_memory").await, 200);
    }

    async fn tables_grow_to_a_limit(engine: Engine) {
        assert_eq!(status(engine, "grows_tables").await, 200);
    }

    async fn a_trap_outside_streams_leaves_the_others_alone(engine: Engine) {
        let call = "proxy_http_call 'blue {:method=GET,:path=/call,:authority=a} ' {} 5000 >4";
        let tick = "configure: proxy_set_tick_period_milliseconds 10";
        for program in [
            "first stream_create: trap".to_owned(),
            format!("first tick: trap\n{tick}"),
            format!("first tick: {call}\n{tick}\nfirst http_call_response: trap"),
            "configure: proxy_register_shared_queue 'q >4 =q\nfirst queue_ready: trap".to_owned(),
            "done: trap\ndelete: trap".to_owned(),
        ] {
            let mut probe = probe(engine, &program, 1).await;
            let mut calm = Client::new(probe.gateway.listener("calm"));
            for round in 0..5 {
                probe.exchange("request_headers: proxy_enqueue_shared_queue $q 'item | delete: trap", Message::default()).await;
                assert_eq!(calm.get("/probe").send().await.status, 200, "{program}, round {round}");
            }
            assert!(probe.gateway.runs(), "{program}");
        }
    }

    /// Messages of many streams, one for each stream and each callback. Envoy keeps all of them.
    host async fn messages_that_nobody_takes_have_a_limit(engine: Engine) {
        // The kernel takes the connection; nobody reads from it.
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = mute.local_addr().unwrap();
        let mut probe = Probe::start(engine, Probe::setup(engine, "", |setup| {
            setup.edit(move |bootstrap| {
                bootstrap.cluster("grpc")["load_assignment"]["endpoints"][0]["lb_endpoints"] = json!([endpoint(address, "blue")]);
            })
        })).await;
        let send = "proxy_grpc_send $call ~10000000:m 0";
        let open = format!("request_headers: proxy_grpc_stream 'grpc 'a.Service 'Method {{}} >4 =call; {send}");
        let mut answers = Vec::new();
        for _ in 0..8 {
            let outcome = probe.exchange(&open, Message::default()).await;
            assert_eq!(outcome.status(), 200);
            answers.extend(outcome.answers("request_headers").last().map(|&answer| answer.to_owned()));
        }
        // As much as a guest may have memory.
        let (taken, refused) = answers.split_at(6);
        assert!(taken.iter().all(|answer| answer.starts_with("OK")), "{answers:?}");
        assert!(refused.iter().all(|answer| answer.starts_with("INTERNAL_FAILURE")), "{answers:?}");
    }

    async fn neighbours_serve_on(engine: Engine) {
        let mut probe = probe(engine, "", 2).await;
        let calm = probe.gateway.listener("calm");
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let neighbours: Vec<_> = (0..4).map(|_| tokio::spawn(neighbour(calm, stopped.clone()))).collect();
        // Envoy sets no end to them.
        let endless = |attack: &&str| attack.contains("loop") || attack.contains("compress");
        for attack in ATTACKS.iter().filter(|attack| engine == Engine::Host || !endless(attack)) {
            probe.exchange(attack, Message { body: true, trailers: false }).await;
            assert!(probe.gateway.runs(), "{attack}");
            probe.recovered(attack).await;
        }
        stop.send(true).unwrap();
        for neighbour in neighbours {
            let (requests, slowest) = neighbour.await.unwrap();
            assert!(requests > 10, "{requests}");
            // Those of the same worker wait for a callback to end: it may run for a second.
            assert!(slowest < Duration::from_secs(5), "{slowest:?}");
        }
    }
}
