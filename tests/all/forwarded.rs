//! What upstreams are told of where requests come from, by Envoy's fields.

use http::HeaderMap;
use serde_json::{Value, json};
use switchover_tests::raw::{Raw, status};
use switchover_tests::{Client, Engine, Gateway, Setup, Upstream, cases};

async fn gateway(engine: Engine, blue: &Upstream, fields: Value) -> Gateway {
    let setup = Setup::new(&[("blue", blue)]).without_filters();
    setup
        .edit(move |bootstrap| {
            for (name, value) in fields.as_object().unwrap() {
                bootstrap.http()[name] = value.clone();
            }
        })
        .start(engine)
        .await
}

/// What the upstream sees of a request with these headers.
async fn seen(client: &mut Client, blue: &Upstream, headers: &[(&str, &str)]) -> HeaderMap {
    blue.forget();
    let mut call = client.get("/");
    for (name, value) in headers {
        call = call.header(name, value);
    }
    assert_eq!(call.send().await.status, 200);
    blue.request().headers().clone()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

cases! {
    async fn the_edge_says_who_the_client_is(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = gateway(engine, &blue, json!({"use_remote_address": true})).await;
        let mut client = gateway.client();
        let plain = seen(&mut client, &blue, &[]).await;
        let own = text(&plain, "x-forwarded-for").to_owned();
        assert_eq!((text(&plain, "x-forwarded-proto"), text(&plain, "x-envoy-external-address")), ("http", "127.0.0.1"));
        let given = [
            ("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("x-request-id", "mine"), ("x-envoy-internal", "true"),
            ("x-envoy-max-retries", "99"), ("x-envoy-external-address", "9.9.9.9"), ("x-forwarded-client-cert", "By=me"),
        ];
        let headers = seen(&mut client, &blue, &given).await;
        assert_eq!(text(&headers, "x-forwarded-for"), format!("1.2.3.4,{own}"));
        assert_eq!((text(&headers, "x-forwarded-proto"), text(&headers, "x-envoy-external-address")), ("http", "127.0.0.1"));
        assert_ne!(text(&headers, "x-request-id"), "mine");
        for name in ["x-envoy-internal", "x-envoy-max-retries", "x-forwarded-client-cert"] {
            assert_eq!(text(&headers, name), "", "{name}");
        }
    }

    async fn behind_another_proxy_its_word_counts(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = gateway(engine, &blue, json!({"use_remote_address": false})).await;
        let given = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("x-request-id", "mine")];
        let headers = seen(&mut gateway.client(), &blue, &given).await;
        for (name, value) in given {
            assert_eq!(text(&headers, name), value);
        }
    }

    async fn trusted_hops_are_passed_over(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let fields = json!({"use_remote_address": true, "xff_num_trusted_hops": 1, "skip_xff_append": true, "preserve_external_request_id": true});
        let gateway = gateway(engine, &blue, fields).await;
        let given = [("x-forwarded-for", "1.2.3.4, 5.6.7.8"), ("x-forwarded-proto", "https"), ("x-request-id", "mine")];
        let headers = seen(&mut gateway.client(), &blue, &given).await;
        assert_eq!(text(&headers, "x-envoy-external-address"), "5.6.7.8");
        for (name, value) in given {
            assert_eq!(text(&headers, name), value, "{name}");
        }
    }

    async fn clients_of_ones_own_are_marked(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let fields = json!({
            "use_remote_address": true,
            "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
        });
        let gateway = gateway(engine, &blue, fields).await;
        let headers = seen(&mut gateway.client(), &blue, &[("x-request-id", "mine")]).await;
        assert_eq!((text(&headers, "x-envoy-internal"), text(&headers, "x-request-id")), ("true", "mine"));
        assert_eq!(text(&headers, "x-envoy-external-address"), "");
        let headers = seen(&mut gateway.client(), &blue, &[("x-forwarded-for", "1.2.3.4")]).await;
        assert_eq!(text(&headers, "x-envoy-internal"), "");
    }

    async fn paths_are_normalized(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = gateway(engine, &blue, json!({"normalize_path": true, "merge_slashes": true})).await;
        for (path, normal) in [
            ("/a/../b?c=/../d", "/b?c=/../d"), ("/a/./b//c", "/a/b/c"), ("/%2e%2e/x", "/x"), ("/%41%2d%7e", "/A-~"), ("/a%2Fb", "/a%2Fb"), ("/a/..", "/"),
        ] {
            blue.forget();
            gateway.client().get(path).send().await;
            assert_eq!(blue.request().uri().to_string(), normal, "{path}");
        }
    }

    async fn escaped_slashes_are_as_the_file_says(engine: Engine) {
        let blue = Upstream::named("blue").await;
        for (action, code, path) in [("REJECT_REQUEST", 400, ""), ("UNESCAPE_AND_FORWARD", 200, "/a/b"), ("KEEP_UNCHANGED", 200, "/a%2Fb")] {
            let gateway = gateway(engine, &blue, json!({"path_with_escaped_slashes_action": action})).await;
            blue.forget();
            assert_eq!(status(gateway.address(), "GET /a%2Fb HTTP/1.1\r\nhost: a\r\n\r\n").await, code, "{action}");
            if code == 200 {
                assert_eq!(blue.request().uri().path(), path);
            }
        }
    }

    async fn ports_of_hosts_are_stripped(engine: Engine) {
        let blue = Upstream::named("blue").await;
        for (field, host, stripped) in [
            ("strip_any_host_port", "a.test:1", "a.test"), ("strip_any_host_port", "[::1]:1", "[::1]"), ("strip_any_host_port", "[::1]", "[::1]"),
            ("strip_matching_host_port", "a.test:1", "a.test:1"),
        ] {
            let gateway = gateway(engine, &blue, json!({field: true})).await;
            blue.forget();
            assert_eq!(status(gateway.address(), format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await, 200);
            assert_eq!(text(blue.request().headers(), "host"), stripped);
        }
    }

    async fn responses_name_whom_the_file_says(engine: Engine) {
        let blue = Upstream::start(|_| async {
            http::Response::builder().header("server", "blue").body(switchover_tests::upstream::full("")).unwrap()
        }).await;
        for (action, server) in [("OVERWRITE", "envoy"), ("APPEND_IF_ABSENT", "blue"), ("PASS_THROUGH", "blue")] {
            let fields = json!({"server_header_transformation": action, "always_set_request_id_in_response": true, "via": "gateway"});
            let gateway = gateway(engine, &blue, fields).await;
            blue.forget();
            let reply = gateway.client().get("/").send().await;
            assert_eq!(reply.header("server"), server, "{action}");
            let seen = blue.request();
            assert_eq!(reply.header("x-request-id"), text(seen.headers(), "x-request-id"));
            assert_eq!((text(seen.headers(), "via"), reply.header("via")), ("gateway", "gateway"));
        }
    }

    async fn one_head_tells_nothing_of_the_next(engine: Engine) {
        let blue = Upstream::named("blue").await;
        let gateway = gateway(engine, &blue, json!({"use_remote_address": true})).await;
        let mut raw = Raw::connect(gateway.address()).await;
        for value in ["1.2.3.4", "5.6.7.8"] {
            raw.write(format!("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {value}\r\n\r\n")).await;
            raw.read_until("blue").await;
        }
        let second = blue.requests().remove(1);
        assert!(text(second.headers(), "x-forwarded-for").starts_with("5.6.7.8,"));
    }
}
