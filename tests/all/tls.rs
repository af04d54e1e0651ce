//! TLS between client and gateway.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use switchover_tests::certificates::{Authority, Certificate};
use switchover_tests::http2::{Http2, request};
use switchover_tests::{
    Engine, Gateway, PATIENCE, Setup, Upstream, assert_eventually, cases, python,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A `transport_socket` with these certificates and more fields of its context.
fn transport_socket(certificates: &[(&Certificate, &str)], directory: &Path, more: Value) -> Value {
    let certificate = |(certificate, name): &(&Certificate, &str)| {
        let (chain, key) = certificate.write(directory, name);
        json!({"certificate_chain": {"filename": chain}, "private_key": {"filename": key}})
    };
    let certificates: Vec<Value> = certificates.iter().map(certificate).collect();
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": certificates, "alpn_protocols": ["h2", "http/1.1"]},
    });
    merge(&mut context, more);
    json!({"name": "tls", "typed_config": context})
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

async fn gateway(engine: Engine, blue: &Upstream, socket: Value) -> Gateway {
    let setup = Setup::new(&[("blue", blue)]).without_filters();
    setup
        .edit(move |b| b.listeners()[0]["filter_chains"][0]["transport_socket"] = socket)
        .start(engine)
        .await
}

/// A client that trusts the authority and speaks what ALPN says.
fn client(authority: &Authority, alpn: &[&str], own: Option<&Certificate>) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::from_pem_slice(own.chain.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn connect(
    gateway: &Gateway,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    tokio::time::timeout(PATIENCE, connecting)
        .await
        .expect("a handshake in time")
}

/// What comes back to a request over HTTP/1.1 on such a connection; an error where the connection breaks.
async fn get(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer))
        .await
        .expect("an answer in time")
        .map(|_| answer)
}

cases! {
    async fn alpn_chooses_the_protocol(engine: Engine) {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let blue = Upstream::named("blue").await;
        let socket = transport_socket(&[(&authority.issue(&["a.test"]), "a")], directory.path(), json!({}));
        let gateway = gateway(engine, &blue, socket).await;
        for alpn in [&["http/1.1"][..], &[]] {
            let mut stream = connect(&gateway, client(&authority, alpn, None), "a.test").await.unwrap();
            assert!(get(&mut stream).await.unwrap().ends_with("blue"));
        }
        let stream = connect(&gateway, client(&authority, &["h2", "http/1.1"], None), "a.test").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let answer = Http2::over(stream).await.send(request("GET", "/", &[], &[])).await;
        assert_eq!(answer.reply.text(), "blue");
        for seen in blue.requests() {
            assert_eq!(seen.headers()["x-forwarded-proto"], "https");
        }
    }

    /// Python's `ssl`: another implementation than the gateway's.
    async fn another_implementation_is_served(engine: Engine) {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let blue = Upstream::named("blue").await;
        let socket = transport_socket(&[(&authority.issue(&["localhost"]), "a")], directory.path(), json!({}));
        let gateway = gateway(engine, &blue, socket).await;
        let trusted = directory.path().join("authority.pem");
        switchover_tests::put(&trusted, &authority.pem);
        let port = gateway.address().port().to_string();
        let told = python::client("tls.py", &[&port, trusted.to_str().unwrap()]).await;
        assert_eq!(told.lines().collect::<Vec<_>>(), ["TLSv1.2 200", "TLSv1.3 200", "resumed 200"]);
    }

    async fn the_server_name_chooses_the_certificate(engine: Engine) {
        let (one, other) = (Authority::new(), Authority::new());
        let directory = tempfile::tempdir().unwrap();
        let blue = Upstream::named("blue").await;
        let certificates = [(&one.issue(&["a.test"]), "a"), (&other.issue(&["b.test", "*.wild.test"]), "b")];
        let gateway = gateway(engine, &blue, transport_socket(&certificates, directory.path(), json!({}))).await;
        for (authority, name, good) in [(&one, "a.test", true), (&other, "b.test", true), (&other, "x.wild.test", true), (&other, "a.test", false)] {
            let connected = connect(&gateway, client(authority, &["http/1.1"], None), name).await;
            assert_eq!(connected.is_ok(), good, "{name}");
        }
    }

    async fn clients_may_have_to_show_a_certificate(engine: Engine) {
        let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
        let directory = tempfile::tempdir().unwrap();
        let blue = Upstream::named("blue").await;
        let more = json!({
            "require_client_certificate": true,
            "common_tls_context": {"validation_context": {
                "trusted_ca": {"inline_string": clients.pem},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"suffix": ".clients.test"}}],
            }},
        });
        let socket = transport_socket(&[(&authority.issue(&["a.test"]), "a")], directory.path(), more);
        let gateway = gateway(engine, &blue, socket).await;
        let (own, other) = (clients.issue(&["one.clients.test"]), clients.issue(&["elsewhere.test"]));
        let stranger = strangers.issue(&["one.clients.test"]);
        for (certificate, good) in [(Some(&own), true), (Some(&other), false), (Some(&stranger), false), (None, false)] {
            let config = client(&authority, &["http/1.1"], certificate);
            // With TLS 1.3 the refusal comes after the client's side of the handshake.
            let answer = match connect(&gateway, config, "a.test").await {
                Ok(mut stream) => get(&mut stream).await,
                Err(error) => Err(error),
            };
            assert_eq!(answer.is_ok_and(|answer| answer.ends_with("blue")), good);
        }
        assert_eq!(blue.count(), 1);
    }

    async fn versions_are_as_the_file_says(engine: Engine) {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let blue = Upstream::named("blue").await;
        let more = json!({"common_tls_context": {"tls_params": {"tls_minimum_protocol_version": "TLSv1_3"}}});
        let socket = transport_socket(&[(&authority.issue(&["localhost"]), "a")], directory.path(), more);
        let gateway = gateway(engine, &blue, socket).await;
        let trusted = directory.path().join("authority.pem");
        switchover_tests::put(&trusted, &authority.pem);
        let port = gateway.address().port().to_string();
        let told = python::client("tls.py", &[&port, trusted.to_str().unwrap()]).await;
        assert_eq!(told.lines().next(), Some("TLSv1.2 refused"));
    }

    async fn what_is_no_tls_is_closed(engine: Engine) {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let blue = Upstream::named("blue").await;
        let socket = transport_socket(&[(&authority.issue(&["a.test"]), "a")], directory.path(), json!({}));
        let gateway = gateway(engine, &blue, socket).await;
        let mut raw = switchover_tests::raw::Raw::connect(gateway.address()).await;
        raw.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(!raw.read_to_end().await.contains("HTTP/"));
        let mut stream = connect(&gateway, client(&authority, &["http/1.1"], None), "a.test").await.unwrap();
        assert!(get(&mut stream).await.unwrap().ends_with("blue"));
    }

    /// A new certificate by file-based SDS serves new connections; none fails meanwhile, and open ones go on.
    async fn certificates_are_renewed_without_a_failure(engine: Engine) {
        let (old, new) = (Authority::new(), Authority::new());
        let directory = tempfile::tempdir().unwrap();
        let blue = Upstream::named("blue").await;
        let secret = |authority: &Authority| {
            let certificate = authority.issue(&["a.test"]);
            json!({"resources": [{
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": "own",
                "tls_certificate": {
                    "certificate_chain": {"inline_string": certificate.chain},
                    "private_key": {"inline_string": certificate.key},
                },
            }]}).to_string()
        };
        let file = directory.path().join("secret.json");
        switchover_tests::put(&file, &secret(&old));
        let socket = json!({"name": "tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificate_sds_secret_configs": [
                {"name": "own", "sds_config": {"path_config_source": {"path": file}, "resource_api_version": "V3"}},
            ]},
        }});
        let gateway = gateway(engine, &blue, socket).await;
        let open = connect(&gateway, client(&old, &[], None), "a.test").await.unwrap();
        switchover_tests::put(&file, &secret(&new));
        assert_eventually!({
            let by_old = connect(&gateway, client(&old, &[], None), "a.test").await;
            let by_new = connect(&gateway, client(&new, &[], None), "a.test").await;
            match (by_old, by_new) {
                (Ok(mut stream), _) | (_, Ok(mut stream)) => assert!(get(&mut stream).await.unwrap().ends_with("blue")),
                (Err(one), Err(other)) => panic!("neither certificate is shown: {one}; {other}"),
            }
            connect(&gateway, client(&new, &[], None), "a.test").await.is_ok()
        }, "the new certificate is not shown");
        let mut open = open;
        assert!(get(&mut open).await.unwrap().ends_with("blue"));
    }

    /// What properties tell of the client's connection.
    async fn properties_tell_of_tls(engine: Engine) {
        let (authority, clients, directory) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
        let blue = Upstream::named("blue").await;
        let more = json!({"common_tls_context": {"validation_context": {"trusted_ca": {"inline_string": clients.pem}}}});
        let socket = transport_socket(&[(&authority.issue(&["a.test"]), "a")], directory.path(), more);
        let setup = Setup::new(&[("blue", &blue)]).without_filters().edit(crate::flow::install);
        let gateway = setup
            .edit(move |b| {
                b.listeners()[0]["filter_chains"][0]["transport_socket"] = socket;
                b.listeners()[0]["listener_filters"] = json!([{"name": "inspector", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
                }}]);
            })
            .start(engine).await;
        let own = clients.issue(&["one.clients.test"]);
        let mut stream = connect(&gateway, client(&authority, &["http/1.1"], Some(&own)), "a.test").await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nx-flow: L:tell-tls\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        crate::flow::told(&gateway, "L: tls TLSv1.3 a.test CN=rcgen self signed cert one.clients.test 1").await;
    }
}
