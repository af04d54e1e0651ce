//! The order in which guests' contexts end.

use switchover_tests::raw::Raw;
use switchover_tests::{Gateway, Setup, Upstream, assert_eventually, cases, guest};

/// Who saw what in a gateway's log, in order, from the first request on: roots that were tried have ended before.
fn words(output: &str) -> Vec<String> {
    let lines = output.lines().filter_map(|line| {
        let word = line.split("saw ").nth(1)?.split_whitespace().next()?;
        let role = match line.contains("switchover.attempt") {
            true => "attempt",
            false => "route",
        };
        Some(format!("{role} {word}"))
    });
    lines.skip_while(|word| word != "route request").collect()
}

/// Waits until both contexts have ended; the listener's must have been the first.
async fn listeners_first(gateway: &Gateway) {
    let deleted = |word: &&String| word.ends_with("delete");
    let ended = || words(&gateway.output()).iter().filter(deleted).count() == 2;
    assert_eventually!(ended(), "{}", gateway.output());
    let mut seen = words(&gateway.output());
    // When an engine writes its log relative to the others is no matter here.
    seen.retain(|word| !word.ends_with("log"));
    let ends = [
        "route done",
        "route delete",
        "attempt done",
        "attempt delete",
    ];
    let begins = ["route request", "attempt request"];
    let expected = [&begins[..], &ends].concat();
    assert_eq!(seen, expected);
}

cases! {
    /// By this order a filter tells an attempt that failed from one that nobody waits for any more.
    async fn a_client_that_leaves_ends_the_listeners_first(engine: Engine) {
        let directory = tempfile::tempdir().unwrap();
        let witness = guest::compile("witness", include_str!("../guests/witness.wat"), directory.path());
        let blue = Upstream::start(|_| std::future::pending()).await;
        let gateway = Setup::new(&[("blue", &blue)])
            .route_guest(&witness)
            .attempt_guest(&witness)
            .start(engine)
            .await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eventually!(blue.count() == 1, "nothing arrived");
        drop(client);
        listeners_first(&gateway).await;
    }

    /// The same in the middle of the request's body.
    async fn a_client_that_leaves_its_body_ends_the_listeners_first(engine: Engine) {
        let directory = tempfile::tempdir().unwrap();
        let witness = guest::compile("witness", include_str!("../guests/witness.wat"), directory.path());
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)])
            .route_guest(&witness)
            .attempt_guest(&witness)
            .start(engine)
            .await;
        let mut client = Raw::connect(gateway.address()).await;
        client.write("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nthree").await;
        assert_eventually!(words(&gateway.output()).contains(&"attempt request".to_owned()), "nothing began");
        assert_eventually!(blue.connections() == 1, "no connection");
        drop(client);
        listeners_first(&gateway).await;
        assert_eq!(blue.count(), 0);
    }
}
