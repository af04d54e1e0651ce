//! Who may pass, and with which credential a request goes on.

use super::*;

#[test]
fn replace_sends_the_environments_credential_and_no_other() {
    let mut worker = replace("");
    let mut seen = [0, 0];
    for _ in 0..40 {
        let routed = worker.routed(&[
            (":path", b"/v1?key=ka&x=1"),
            ("authorization", b"Bearer ka"),
            ("authorization", b"Basic Zm9v"),
            ("api-key", b"ka"),
            ("x-key", b"mine"),
            ("x-key", b"too"),
            ("x-consumer", b"ops"),
            ("x-consumer", b"root"),
            ("x-deployment-mode", b"green"),
            ("x-deployment-mode", b"blue"),
            ("x-bytes", b"\xff"),
        ]);
        let green = routed.environment == "green";
        seen[usize::from(green)] += 1;
        assert_eq!(routed.reason, Reason::Strategy);
        assert_eq!(
            routed.values("authorization"),
            if green { vec!["Bearer G"] } else { vec![] }
        );
        assert_eq!(
            routed.values("x-key"),
            if green { vec![] } else { vec!["B"] }
        );
        assert_eq!(
            routed.values("x-deployment-mode"),
            [routed.environment.as_str()]
        );
        assert_eq!(routed.values("x-consumer"), ["team-a"]);
        assert_eq!(
            (routed.values("api-key"), routed.values(":path")),
            (vec![], vec!["/v1?x=1".to_owned()])
        );
    }
    assert_eq!(seen, [30, 10]);
}

#[test]
fn with_attempts_the_route_role_sends_no_credential() {
    let routed = replace(r#""attempts": true,"#).routed(&[("api-key", b"ka"), ("x-key", b"mine")]);
    assert_eq!(routed.upstream.len(), 2, "{:?}", routed.upstream);
    assert_eq!(
        (
            routed.values("x-consumer"),
            routed.values("x-deployment-mode").len()
        ),
        (vec!["team-a".to_owned()], 1)
    );
}

#[test]
fn refusals_tell_the_cases_apart() {
    let mut worker = replace("");
    let mut refusal = |headers: &[(&str, &[u8])], outcome, words: &str| {
        let decision = worker.request(headers);
        let Err(reply) = decision.result else {
            panic!("{words}: it passed")
        };
        assert_eq!(
            (decision.auth, reply.status),
            (Some(outcome), 401),
            "{words}"
        );
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(body["error"]["code"], "invalid_api_key");
        assert!(
            body["error"]["param"].is_null() && body["error"]["type"] == "invalid_request_error"
        );
        assert!(
            body["error"]["message"].as_str().unwrap().contains(words),
            "{}",
            reply.body
        );
        let (_, challenge) = reply
            .headers
            .iter()
            .find(|(name, _)| *name == "www-authenticate")
            .unwrap();
        assert!(challenge.starts_with("Bearer realm=\"r\""));
        assert!(!reply.body.contains("sekret"));
    };
    refusal(&[], AuthOutcome::Missing, "`authorization: Bearer KEY`");
    refusal(
        &[("authorization", b"Basic ka")],
        AuthOutcome::Missing,
        "header `api-key: KEY`",
    );
    refusal(&[("api-key", b"sekret")], AuthOutcome::Wrong, "Incorrect");
    refusal(&[("api-key", b"\xff\xfe")], AuthOutcome::Wrong, "Incorrect");
    refusal(
        &[("api-key", b"new")],
        AuthOutcome::NotYetValid,
        "not valid yet",
    );
    refusal(
        &[("api-key", b"ka"), ("authorization", b"Bearer sekret")],
        AuthOutcome::Conflict,
        "different API keys",
    );
    refusal(
        &[(":path", b"/?key=%0a")],
        AuthOutcome::Malformed,
        "characters",
    );
    refusal(
        &[(":path", b"/health"), (":method", b"POST")],
        AuthOutcome::Missing,
        "provide",
    );
    refusal(
        &[(":path", b"/health/x"), (":method", b"GET")],
        AuthOutcome::Missing,
        "provide",
    );
    worker.now = 3_600_000;
    let expired = worker.request(&[("api-key", b"old")]);
    assert_eq!(
        (expired.auth, expired.result.is_err()),
        (Some(AuthOutcome::Expired), true)
    );
    assert!(worker.request(&[("api-key", b"new")]).result.is_ok());
}

#[test]
fn exempt_requests_carry_no_credential_at_all() {
    for headers in [
        [(":method", &b"OPTIONS"[..]), (":path", &b"/any"[..])],
        [(":method", b"GET"), (":path", b"/health?x")],
    ] {
        let mut headers = headers.to_vec();
        headers.extend([
            ("api-key", &b"wrong"[..]),
            ("x-key", b"mine"),
            ("x-consumer", b"ops"),
        ]);
        let outcome = replace("").request(&headers);
        assert_eq!(outcome.auth, Some(AuthOutcome::Exempt));
        let routed = outcome.result.unwrap_or_else(|reply| panic!("{reply:?}"));
        for name in ["api-key", "x-key", "authorization", "x-consumer"] {
            assert_eq!(routed.values(name), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn normalize_writes_the_first_form() {
    let mut worker =
        Worker::new(r#"{"routing": {"blue": {"weight": 1}}, "auth": {"mode": "normalize"}}"#);
    let authorization = |worker: &mut Worker, headers: &[(&str, &[u8])]| {
        let routed = worker.routed(headers);
        assert!(routed.values("api-key").is_empty() && routed.values("x-api-key").is_empty());
        routed.values("authorization")
    };
    assert_eq!(
        authorization(&mut worker, &[("api-key", b"k")]),
        ["Bearer k"]
    );
    assert_eq!(
        authorization(
            &mut worker,
            &[("authorization", b"bearer  k"), ("x-api-key", b"k")]
        ),
        ["Bearer k"]
    );
    assert_eq!(
        authorization(
            &mut worker,
            &[("authorization", b"Basic x"), ("api-key", b"k")]
        ),
        ["Bearer k"]
    );
    assert_eq!(
        authorization(&mut worker, &[("authorization", b"Basic x")]),
        ["Basic x"]
    );
    assert_eq!(
        authorization(
            &mut worker,
            &[
                ("authorization", b"Bearer k"),
                ("authorization", b"Bearer k")
            ]
        ),
        ["Bearer k"]
    );
    assert_eq!(authorization(&mut worker, &[]), Vec::<String>::new());
    assert_eq!(
        worker
            .request(&[("api-key", b"k"), ("x-api-key", b"l")])
            .auth,
        Some(AuthOutcome::Conflict)
    );
}
