//! Addresses, and the names that Kubernetes gives them.

use super::Upstream;
use super::kubernetes::{full_name, service};

#[test]
fn upstreams_are_read() {
    let parse = |text: &str| {
        let upstream = Upstream::parse(text).ok()?;
        Some((
            upstream.name,
            upstream.endpoint.host,
            upstream.endpoint.port,
        ))
    };
    let read = |name: &str, host: &str, port| Some((name.to_owned(), host.to_owned(), port));
    assert_eq!(parse("blue=10.0.0.1:80"), read("blue", "10.0.0.1", 80));
    assert_eq!(parse("blue=[::1]:8080"), read("blue", "::1", 8080));
    assert_eq!(parse("a=b=c:1"), None);
    assert_eq!(
        parse("blue=API.example.com:65535"),
        read("blue", "api.example.com", 65535)
    );
    for wrong in [
        "",
        "blue",
        "=h:1",
        "blue=h",
        "blue=h:0",
        "blue=h:65536",
        "blue=:1",
        "blue=a b:1",
        "blue=::1:80",
        "blue=[h]:1",
        "blue=a..b:1",
    ] {
        assert_eq!(parse(wrong), None, "{wrong}");
    }
}

#[test]
fn short_names_are_services_of_the_namespace() {
    for (host, expected, namespace) in [
        ("blue", "blue.shop.svc.cluster.local", Some("shop")),
        (
            "blue.other.svc",
            "blue.other.svc.cluster.local",
            Some("other"),
        ),
        (
            "blue.other.svc.cluster.local",
            "blue.other.svc.cluster.local",
            Some("other"),
        ),
        ("api.example.com", "api.example.com", None),
        ("10.0.0.1", "10.0.0.1", None),
        ("::1", "::1", None),
    ] {
        let whole = full_name(host, "shop");
        assert_eq!(whole, expected);
        let found = service(&whole).map(|service| service.namespace);
        assert_eq!(found.as_deref(), namespace, "{whole}");
    }
}
