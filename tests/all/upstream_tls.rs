//! TLS to upstreams.

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::certificates::{Authority, Certificate};
use switchover_tests::upstream::{Handshake, Seen, Wire, text};
use switchover_tests::{Gateway, Reply, Setup, Upstream, assert_eventually, cases};

const NAME: &str = "blue.example.com";

/// An upstream that shows this certificate.
async fn secured(certificate: &Certificate, clients: Option<&Authority>) -> Upstream {
    let wire = Wire {
        tls: Some(certificate.server(&["h2", "http/1.1"], clients)),
        ..Wire::default()
    };
    Upstream::speaking(wire, |_| async { text(StatusCode::OK, "blue") }).await
}

/// A gateway without filters whose only cluster speaks TLS; what fails is not tried again.
fn over_tls(upstream: &Upstream, context: Value) -> Setup {
    Setup::new(&[("blue", upstream)])
        .without_filters()
        .edit(move |bootstrap| {
            bootstrap.secure("blue-only", context);
            bootstrap.route("blue")["route"]["retry_policy"] = Value::Null;
        })
}

/// Trusts this authority.
fn trusting(authority: &Authority) -> Value {
    json!({"sni": NAME, "common_tls_context": {"validation_context": {"trusted_ca": {"inline_string": authority.pem}}}})
}

fn matching(authority: &Authority, kind: &str, matcher: Value) -> Value {
    let mut context = trusting(authority);
    context["common_tls_context"]["validation_context"]["match_typed_subject_alt_names"] =
        json!([{"san_type": kind, "matcher": matcher}]);
    context
}

/// One of the cluster's `ssl` counters says 1.
async fn counted(gateway: &Gateway, name: &str) {
    let metric = gateway.metric(&format!("envoy_cluster_ssl_{name}"));
    metric
        .label("envoy_cluster_name", "blue-only")
        .becomes(1.0)
        .await;
}

/// The answer where an upstream is not trusted.
fn refused(reply: &Reply) -> bool {
    reply.status == 503
        && reply.text()
            == "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
}

cases! {
    async fn the_right_authority_is_trusted(engine: Engine) {
        let authority = Authority::new();
        let blue = secured(&authority.issue(&[NAME]), None).await;
        let gateway = over_tls(&blue, trusting(&authority)).start(engine).await;
        let mut client = gateway.client();
        for _ in 0..3 {
            assert_eq!(client.get("/").send().await.text(), "blue");
        }
        assert_eq!(blue.connections(), 1);
        counted(&gateway, "handshake").await;
    }

    async fn filters_are_told_of_the_connection(engine: Engine) {
        let authority = Authority::new();
        let blue = secured(&authority.issue(&[NAME]), None).await;
        let mut context = trusting(&authority);
        context["common_tls_context"]["tls_params"] =
            json!({"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"});
        let gateway = over_tls(&blue, context).edit(crate::flow::listen).start(engine).await;
        let mut client = gateway.client();
        for _ in 0..2 {
            assert_eq!(client.get("/").header("x-flow", "L:tell-upstream").send().await.text(), "blue");
        }
        let told = format!("flow L: upstream TLSv1.3 {NAME} 64 from 127.0.0.1:");
        assert_eventually!(gateway.output().matches(&told).count() == 2, "{}", gateway.output());
        assert_eq!(blue.connections(), 1);
    }

    async fn another_authority_is_not(engine: Engine) {
        let (authority, other) = (Authority::new(), Authority::new());
        let blue = secured(&other.issue(&[NAME]), None).await;
        let gateway = over_tls(&blue, trusting(&authority)).start(engine).await;
        let reply = gateway.client().get("/").send().await;
        assert!(refused(&reply), "{reply:?}");
        assert_eq!(blue.count(), 0);
        counted(&gateway, "fail_verify_error").await;
    }

    async fn an_expired_certificate_is_not(engine: Engine) {
        let authority = Authority::new();
        let blue = secured(&authority.issue_expired(&[NAME]), None).await;
        let gateway = over_tls(&blue, trusting(&authority)).start(engine).await;
        let reply = gateway.client().get("/").send().await;
        assert!(refused(&reply), "{reply:?}");
    }

    /// Envoy compares no names unless the file asks for it, and verifies nothing without a CA.
    async fn names_and_authorities_count_where_the_file_says(engine: Engine) {
        let authority = Authority::new();
        let blue = secured(&authority.issue(&["another.example.com"]), None).await;
        for context in [trusting(&authority), json!({"sni": NAME})] {
            let gateway = over_tls(&blue, context).start(engine).await;
            assert_eq!(gateway.client().get("/").send().await.text(), "blue");
        }
    }

    async fn alternative_names_are_matched(engine: Engine) {
        let authority = Authority::new();
        let blue = secured(&authority.issue(&["*.example.com", "127.0.0.1"]), None).await;
        for (kind, matcher, fits) in [
            ("DNS", json!({"exact": NAME}), true),
            ("DNS", json!({"suffix": ".example.com"}), true),
            ("DNS", json!({"prefix": "*."}), true),
            ("IP_ADDRESS", json!({"exact": "127.0.0.1"}), true),
            ("DNS", json!({"exact": "a.blue.example.com"}), false),
            ("DNS", json!({"prefix": "blue"}), false),
            ("URI", json!({"exact": NAME}), false),
            ("IP_ADDRESS", json!({"exact": "127.0.0.2"}), false),
        ] {
            let gateway = over_tls(&blue, matching(&authority, kind, matcher.clone())).start(engine).await;
            let reply = gateway.client().get("/").send().await;
            assert_eq!(reply.status == 200, fits, "{kind} {matcher}: {reply:?}");
            assert_eq!(refused(&reply), !fits, "{kind} {matcher}: {reply:?}");
            if !fits {
                counted(&gateway, "fail_verify_san").await;
            }
        }
    }

    async fn the_sni_may_have_to_match(engine: Engine) {
        let authority = Authority::new();
        for (issued, fits) in [(NAME, true), ("another.example.com", false)] {
            let blue = secured(&authority.issue(&[issued]), None).await;
            let mut context = trusting(&authority);
            context["auto_sni_san_validation"] = true.into();
            let gateway = over_tls(&blue, context).start(engine).await;
            let reply = gateway.client().get("/").send().await;
            assert_eq!(reply.status == 200, fits, "{issued}: {reply:?}");
        }
    }

    async fn the_gateway_shows_its_certificate(engine: Engine) {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let blue = secured(&authority.issue(&[NAME]), Some(&authority)).await;
        let gateway = over_tls(&blue, trusting(&authority)).start(engine).await;
        assert_eq!(gateway.client().get("/").send().await.status, 503, "it has none to show");

        let (chain, key) = authority.issue(&["gateway.example.com"]).write(directory.path(), "gateway");
        let mut context = trusting(&authority);
        context["common_tls_context"]["tls_certificates"] =
            json!([{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}]);
        let gateway = over_tls(&blue, context).start(engine).await;
        assert_eq!(gateway.client().get("/").send().await.text(), "blue");
    }

    /// What ALPN agrees on, with `auto_config`.
    async fn the_protocol_is_agreed_on(engine: Engine) {
        let authority = Authority::new();
        let certificate = authority.issue(&[NAME]);
        for (alpn, version) in [("h2", http::Version::HTTP_2), ("http/1.1", http::Version::HTTP_11)] {
            let wire = Wire { tls: Some(certificate.server(&[alpn], None)), ..Wire::default() };
            let blue = Upstream::speaking(wire, |_| async { text(StatusCode::OK, "blue") }).await;
            let gateway = over_tls(&blue, trusting(&authority))
                .edit(|bootstrap| bootstrap.speak("blue-only", json!({"auto_config": {}})))
                .start(engine)
                .await;
            let mut client = gateway.client();
            assert_eq!(client.get("/").send().await.text(), "blue");
            assert_eq!(client.get("/").send().await.text(), "blue");
            assert_eq!(blue.connections(), 1);
            for seen in blue.requests() {
                assert_eq!(seen.version(), version);
                assert_eq!(seen.uri().path(), "/");
            }
        }
    }

    /// By the document of a secret, as Envoy does it: a move onto it is noticed, and no request fails meanwhile.
    async fn a_certificate_is_renewed_under_traffic(engine: Engine) {
        let (old, new, directory) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
        let secret = directory.path().join("secret.json");
        let document = |authority: &Authority, at: usize| {
            let (chain, key) = authority.issue(&["gateway.example.com"]).write(directory.path(), &format!("gateway{at}"));
            json!({"resources": [{
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                "name": "gateway",
                "tls_certificate": {"certificate_chain": {"filename": chain}, "private_key": {"filename": key}},
            }]}).to_string()
        };
        switchover_tests::put(&secret, &document(&old, 0));
        let server = old.issue(&[NAME]);
        let before = secured(&server, Some(&old)).await;
        let mut context = trusting(&old);
        context["common_tls_context"]["tls_certificate_sds_secret_configs"] = json!([{
            "name": "gateway",
            "sds_config": {"path_config_source": {"path": secret, "watched_directory": {"path": directory.path()}}},
        }]);
        // A second cluster trusts the new authority only.
        let after = secured(&server, Some(&new)).await;
        let address = after.address();
        let gateway = over_tls(&before, context).edit(move |bootstrap| {
            // Each request has a connection, and so a handshake, of its own.
            let mut green = bootstrap.cluster("blue-only").clone();
            green["name"] = "green-only".into();
            green["load_assignment"] = json!({"cluster_name": "green-only", "endpoints": [{"lb_endpoints": [
                switchover_tests::setup::endpoint(address, "green")]}]});
            bootstrap.clusters().push(green);
            for cluster in ["blue-only", "green-only"] {
                bootstrap.speak(cluster, json!({
                    "explicit_http_config": {"http_protocol_options": {}},
                    "common_http_protocol_options": {"max_requests_per_connection": 1},
                }));
            }
            let mut green = bootstrap.route("blue").clone();
            green["name"] = "green".into();
            green["match"] = json!({"prefix": "/green"});
            green["route"]["cluster"] = "green-only".into();
            bootstrap.routes().insert(0, green);
        }).start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").send().await.status, 200);
        assert_eq!(client.get("/green").send().await.status, 503, "the new authority does not know the old one's");

        switchover_tests::put(&secret, &document(&new, 1));
        let mut green = gateway.client();
        assert_eventually!({
            let old = client.get("/").send().await.status;
            let new = green.get("/green").send().await.status;
            // At every moment one of them takes what the gateway shows.
            assert!(old == 200 || new == 200 , "old {old}, new {new}");
            new == 200
        }, "the new certificate is not shown");
    }

    /// One cluster, whose upstream takes the old certificate and the new one: no request fails while they change.
    async fn a_renewal_costs_no_request(engine: Engine) {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let secret = directory.path().join("secret.json");
        let (old, new) = (authority.issue(&["old.example.com"]), authority.issue(&["new.example.com"]));
        let document = |certificate: &Certificate| json!({"resources": [{
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": "gateway",
            "tls_certificate": {
                "certificate_chain": {"inline_string": certificate.chain},
                "private_key": {"inline_string": certificate.key},
            },
        }]}).to_string();
        switchover_tests::put(&secret, &document(&old));
        let renewed = new.der();
        let wire = Wire { tls: Some(authority.issue(&[NAME]).server(&["http/1.1"], Some(&authority))), ..Wire::default() };
        let blue = Upstream::speaking(wire, move |request: Seen| {
            let shown = request.extensions().get::<Handshake>().unwrap().certificate.clone();
            let answer = if shown.as_ref() == Some(&renewed) { "new" } else { "old" };
            async move { text(StatusCode::OK, answer) }
        }).await;
        let mut context = trusting(&authority);
        context["common_tls_context"]["tls_certificate_sds_secret_configs"] = json!([{
            "name": "gateway",
            "sds_config": {"path_config_source": {"path": secret, "watched_directory": {"path": directory.path()}}},
        }]);
        let gateway = over_tls(&blue, context).edit(|bootstrap| bootstrap.speak("blue-only", json!({
            "explicit_http_config": {"http_protocol_options": {}},
            // Each request has a connection, and so a handshake, of its own.
            "common_http_protocol_options": {"max_requests_per_connection": 1},
        }))).start(engine).await;
        let begun = std::sync::Arc::new(tokio::sync::Barrier::new(5));
        let loads: Vec<_> = (0..4).map(|_| {
            let (mut client, begun) = (gateway.client(), begun.clone());
            tokio::spawn(async move {
                let first = client.get("/").send().await;
                assert_eq!((first.status, first.text()), (StatusCode::OK, "old"));
                begun.wait().await;
                let until = std::time::Instant::now() + switchover_tests::PATIENCE;
                while std::time::Instant::now() < until {
                    let reply = client.get("/").send().await;
                    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
                    if reply.text() == "new" {
                        return;
                    }
                }
                panic!("the new certificate is not shown");
            })
        }).collect();
        begun.wait().await;
        switchover_tests::put(&secret, &document(&new));
        for load in loads {
            load.await.unwrap();
        }
    }

    /// `auto_host_sni`: the endpoint's name, over `sni`; none where the endpoint has an address only.
    async fn the_sni_is_the_endpoints_name(engine: Engine) {
        let authority = Authority::new();
        for (auto, expected) in [(true, "localhost"), (false, NAME)] {
            let blue = secured(&authority.issue(&[expected]), None).await;
            let mut context = trusting(&authority);
            context["auto_host_sni"] = auto.into();
            context["auto_sni_san_validation"] = true.into();
            let gateway = over_tls(&blue, context).edit(|bootstrap| {
                let leaf = bootstrap.cluster("blue-only");
                leaf["type"] = "STRICT_DNS".into();
                leaf["dns_lookup_family"] = "V4_ONLY".into();
                let endpoint = &mut leaf["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
                endpoint["address"]["socket_address"]["address"] = "localhost".into();
            }).start(engine).await;
            assert_eventually!(gateway.client().get("/").send().await.text() == "blue", "{}", gateway.output());
            let requests = blue.requests();
            let handshake = requests[0].extensions().get::<Handshake>().unwrap();
            assert_eq!(handshake.server_name.as_deref(), Some(expected));
        }
    }

    /// A certificate that is of no use is refused, and the one before is shown still.
    async fn a_broken_certificate_changes_nothing(engine: Engine) {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let secret = directory.path().join("secret.json");
        let document = |chain: &str, key: &str| json!({"resources": [{
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": "gateway",
            "tls_certificate": {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}},
        }]}).to_string();
        let good = authority.issue(&["gateway.example.com"]);
        switchover_tests::put(&secret, &document(&good.chain, &good.key));
        let blue = secured(&authority.issue(&[NAME]), Some(&authority)).await;
        let mut context = trusting(&authority);
        context["common_tls_context"]["tls_certificate_sds_secret_configs"] = json!([{
            "name": "gateway",
            "sds_config": {"path_config_source": {"path": secret, "watched_directory": {"path": directory.path()}}},
        }]);
        let gateway = over_tls(&blue, context).edit(|bootstrap| bootstrap.speak("blue-only", json!({
            "explicit_http_config": {"http_protocol_options": {}},
            "common_http_protocol_options": {"max_requests_per_connection": 1},
        }))).start(engine).await;
        let mut client = gateway.client();
        assert_eq!(client.get("/").send().await.status, 200);

        let other = authority.issue(&["gateway.example.com"]);
        switchover_tests::put(&secret, &document(&good.chain, &other.key));
        let rejected = "envoy_sds_update_rejected";
        assert_eventually!(gateway.metric(rejected).value().await >= 1.0, "not noticed");
        assert_eq!(client.get("/").send().await.status, 200);
    }
}
