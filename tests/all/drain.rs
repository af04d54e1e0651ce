//! The end of a gateway.

use std::sync::Arc;

use http::StatusCode;
use rustix::process::Signal;
use switchover_tests::upstream::text;
use switchover_tests::{Setup, Upstream, assert_eventually, cases};
use tokio::net::TcpStream;
use tokio::sync::Notify;

cases! {
    /// Host only: on SIGTERM Envoy ends at once; its drain is asked for over its admin's `/drain_listeners`.
    host async fn sigterm_lets_requests_finish(engine: Engine) {
        let gate = Arc::new(Notify::new());
        let opened = Arc::clone(&gate);
        let blue = Upstream::start(move |_| {
            let gate = Arc::clone(&opened);
            async move {
                gate.notified().await;
                text(StatusCode::OK, "blue")
            }
        }).await;
        let mut gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut client = gateway.client();
        let request = tokio::spawn(async move { client.get("/").send().await });
        assert_eventually!(blue.count() == 1, "the request did not arrive");
        gateway.terminate();
        let address = gateway.address();
        assert_eventually!(TcpStream::connect(address).await.is_err(), "still takes new connections");
        assert!(gateway.runs(), "it ended before the request did");
        gate.notify_one();
        let reply = request.await.unwrap();
        assert_eq!(reply.text(), "blue");
        assert_eq!(reply.header("connection"), "close");
        assert!(gateway.ended().await.success());
    }

    /// A person at a terminal need not wait for a request that never ends.
    host async fn another_ctrl_c_cuts_requests_off(engine: Engine) {
        let blue = Upstream::start(|_| std::future::pending()).await;
        let mut gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut client = gateway.client();
        let request = tokio::spawn(async move { client.get("/").try_send().await.is_ok() });
        assert_eventually!(blue.count() == 1, "the request did not arrive");
        gateway.signal(Signal::INT);
        assert_eventually!(gateway.output().contains("draining"), "it does not drain");
        assert!(gateway.runs(), "it ended before the request did");
        gateway.signal(Signal::INT);
        assert_eq!(gateway.ended().await.code(), Some(1));
        assert!(gateway.output().contains("cut off by another Ctrl-C"), "{}", gateway.output());
        assert!(!request.await.unwrap());
    }

    async fn sigterm_ends_an_idle_gateway(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let mut gateway = Setup::new(&[("blue", &blue)]).without_filters().start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").send().await.text(), "blue");
        gateway.terminate();
        assert!(gateway.ended().await.success());
    }
}
