use super::*;
use crate::rollout::status::{Environment, Phase};

fn status() -> Status {
    let environment = |name: &str, stable, percent: u32| Environment {
        name: name.to_owned(),
        stable,
        version: None,
        share: Share::from_hundredths(percent * 100),
        about: (
            Share::from_hundredths(percent * 100),
            Share::from_hundredths(percent * 100),
        ),
    };
    Status {
        rollout: "r-2".to_owned(),
        phase: Phase::Fixed,
        environments: vec![
            environment("blue", true, 95),
            environment("green", false, 5),
        ],
        schedule: None,
        rollback: false,
        resume: 0,
        guard: true,
    }
}

const TEXT: &str = r#"# TYPE envoy_switchover_weight gauge
envoy_switchover_weight{environment="blue",rollout="r-1"} 10000
envoy_switchover_weight{environment="blue",rollout="r-2"} 10000
envoy_switchover_weight{environment="green",rollout="r-2"} 0
envoy_switchover_weight_planned{environment="blue",rollout="r-2"} 9500
envoy_switchover_weight_planned{environment="green",rollout="r-2"} 500
envoy_switchover_tripped{rollout="r-2"} 1
envoy_switchover_tripped{rollout="r-1"} 0
envoy_switchover_requests{environment="green",reason="weight",rollout="r-2"} 40
envoy_switchover_requests{environment="green",reason="sticky",rollout="r-2"} 2
envoy_switchover_failures{environment="green",rollout="r-2"} 41
envoy_switchover_latency_p99_ms{environment="green",rollout="r-2"} 120.5
"#;

fn read(text: &str) -> Figures {
    Figures::read("a", &text::samples(text, &FAMILIES), &status())
}

#[test]
fn figures_are_those_of_the_rollout() {
    let figures = read(TEXT);
    assert!(figures.follows);
    assert_eq!(figures.tripped, Some(true));
    let [blue, green] = figures.environments.as_slice() else {
        panic!("{figures:?}");
    };
    assert_eq!(blue.in_force, Some(Percent(Share::ALL)));
    assert_eq!(green.in_force, Some(Percent(Share::NONE)));
    assert_eq!((green.requests, green.failures), (42, 41));
    assert_eq!(
        (green.p50_ms, green.p99_ms, green.healthy),
        (None, Some(120.5), None)
    );
}

#[test]
fn a_proxy_that_plans_otherwise_does_not_follow() {
    let other = TEXT.replace(" 500\n", " 600\n");
    assert!(!read(&other).follows);
    let unknown = read("");
    assert!(!unknown.follows);
    assert_eq!(unknown.tripped, None);
}

#[test]
fn admin_servers_are_named_by_url() {
    for (text, authority) in [
        ("http://127.0.0.1:9901", "127.0.0.1:9901"),
        ("127.0.0.1:9901", "127.0.0.1:9901"),
        ("http://[::1]:9901/", "[::1]:9901"),
        ("http://envoy.internal", "envoy.internal:80"),
    ] {
        assert_eq!(Admin::parse(text).expect(text).authority, authority);
    }
    for text in [
        "",
        "https://a:1",
        "http://",
        "http://a:1/stats",
        "a b",
        "ftp",
        "http://u:p@a:1",
    ] {
        assert!(Admin::parse(text).is_err(), "{text}");
    }
}

#[test]
fn no_answer_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind("127.0.0.1:0".parse().expect("an address"))
            .expect("bound");
        let address = socket.local_addr().expect("an address").to_string();
        let admin = Admin::parse(&address).expect("an address");
        let refused = admin
            .figures(&[])
            .await
            .expect_err("nobody listens")
            .to_string();
        assert!(
            refused.contains(&format!("{address} cannot be reached")),
            "{refused}"
        );
        let listener = socket.listen(1).expect("listens");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            stream.readable().await.expect("a request");
            drop(stream);
        });
        let broken = admin.figures(&[]).await.expect_err("it closes").to_string();
        assert!(broken.contains("is no admin server"), "{broken}");
    });
}
