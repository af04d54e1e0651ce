//! The order in which guests' contexts end.

use switchover_tests::raw::Raw;
use switchover_tests::{Setup, Upstream, assert_eventually, cases, guest};

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
        let ended = || words(&gateway.output()).iter().filter(|word| word.ends_with("delete")).count() == 2;
        assert_eventually!(ended(), "{}", gateway.output());
        let expected = [
            "route request", "attempt request",
            "route done", "route log", "route delete", "attempt done", "attempt delete",
        ];
        let seen = words(&gateway.output());
        // When Envoy writes its access log relative to the others is no matter here.
        let ends = |words: &[String]| words.iter().filter(|word| !word.ends_with("log")).cloned().collect::<Vec<_>>();
        assert_eq!(ends(&seen), ends(&expected.map(String::from)));
    }
}
