//! Whole requests: what goes upstream, what comes back, who decides.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{Edit, Reason, Surroundings};
use crate::Recent;
use crate::control::Control;
use crate::document::{Document, parse};
use crate::headers::Spans;
use crate::headers::tests::serialise;
use crate::{AuthOutcome, CookieId, Random, Reply, RoundRobin, Timestamp, sha256};

type Pairs = Vec<(String, Vec<u8>)>;

/// One worker with a document of one rollout.
struct Worker {
    control: Control,
    document: Document,
    recent: Recent,
    balancer: RoundRobin,
    random: Random,
    now: i64,
    address: Option<&'static str>,
}

struct Outcome {
    result: Result<Routed, Box<Reply>>,
    auth: Option<AuthOutcome>,
    override_refused: bool,
}

struct Routed {
    environment: String,
    reason: Reason,
    cookie: Option<CookieId>,
    upstream: Pairs,
}

impl Worker {
    fn new(document: &str) -> Self {
        let document =
            parse(document.as_bytes(), &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"));
        let control = Control::new(&document.rollouts()[0], Timestamp::from_millis(1_000_000));
        let balancer = RoundRobin::new(control.weights().to_vec());
        Self {
            document,
            control,
            recent: Recent::new((1, 2)),
            balancer,
            random: Random::new(1),
            now: 1_000_000,
            address: None,
        }
    }

    fn request(&mut self, headers: &[(&str, &[u8])]) -> Outcome {
        let map = serialise(headers);
        let mut spans = Spans::new();
        let indexed = self.document.index(&map, &mut spans).unwrap();
        let (_, rollout) = self.document.select(&indexed).unwrap();
        let mut asked = 0;
        let mut source_address = || {
            asked += 1;
            self.address.map(|address| address.as_bytes().to_vec())
        };
        let surroundings = Surroundings {
            model: None,
            now: Timestamp::from_millis(self.now),
            control: &self.control,
            recent: &mut self.recent,
            balancer: &mut self.balancer,
            random: &mut self.random,
            source_address: &mut source_address,
        };
        let decision = self.document.decide(rollout, &indexed, surroundings);
        assert!(asked <= 1);
        let result = decision.verdict.map(|route| {
            let mut upstream: Pairs = headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
                .collect();
            rollout.edit_request(
                &self.document,
                &route,
                &indexed,
                &mut Vec::new(),
                &mut |edit| apply(&mut upstream, edit),
            );
            let environment = rollout.environments()[route.environment]
                .name()
                .as_str()
                .to_owned();
            Routed {
                environment,
                reason: route.reason,
                cookie: route.cookie,
                upstream,
            }
        });
        Outcome {
            result,
            auth: decision.auth,
            override_refused: decision.override_refused,
        }
    }

    fn routed(&mut self, headers: &[(&str, &[u8])]) -> Routed {
        self.request(headers)
            .result
            .unwrap_or_else(|reply| panic!("{reply:?}"))
    }
}

/// As Envoy does it: `Set` changes the first of several values.
fn apply(headers: &mut Pairs, edit: Edit<'_>) {
    match edit {
        Edit::Set(name, value) => match headers.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = value.to_vec(),
            None => headers.push((name.to_owned(), value.to_vec())),
        },
        Edit::Add(name, value) => headers.push((name.to_owned(), value.to_vec())),
        Edit::Remove(name) => {
            let before = headers.len();
            headers.retain(|(own, _)| own != name);
            assert!(
                headers.len() < before,
                "{name} was not there: a hostcall for nothing"
            );
        }
    }
}

impl Routed {
    fn values(&self, name: &str) -> Vec<String> {
        let own = self.upstream.iter().filter(|(own, _)| own == name);
        own.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }
}

fn replace(extra: &str) -> Worker {
    let hex = |key: &str| {
        sha256(key.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    Worker::new(&format!(
        r#"{{"rollout": "r", {extra} "routing": {{
            "blue": {{"weight": 3, "version": "1", "credential": {{"header": "x-key", "scheme": "", "value": "B"}}}},
            "green": {{"weight": 1, "credential": {{"value": "G"}}}}}},
          "auth": {{"mode": "replace", "identity_header": "x-consumer",
            "accept": [{{"header": "authorization", "scheme": "Bearer"}}, {{"header": "api-key"}}, {{"query": "key"}}],
            "consumers": [{{"name": "team-a", "keys": [{{"sha256": "{}"}}]}},
                          {{"name": "ops", "override": true, "keys": [{{"sha256": "{}", "not_after": "1970-01-01T01:00:00Z"}},
                                                                     {{"sha256": "{}", "not_before": "1970-01-01T00:30:00Z"}}]}}],
            "exempt": [{{"method": "OPTIONS"}}, {{"method": "GET", "path": "/health"}}]}}}}"#,
        hex("ka"),
        hex("old"),
        hex("new")
    ))
}

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
fn overrides() {
    let routing = r#""routing": {"blue": {"weight": 1}, "green": {"weight": 0}}"#;
    let named: &[(&str, &[u8])] = &[("x-deployment-mode", b" Green ")];
    let refused = Worker::new(&format!("{{{routing}}}")).request(named);
    assert!(
        refused.override_refused
            && refused
                .result
                .is_ok_and(|routed| routed.environment == "blue")
    );
    let mut anyone = Worker::new(&format!(
        r#"{{{routing}, "override": {{"allow": "anyone", "header": "x-env"}}, "rollback": true}}"#
    ));
    assert_eq!(anyone.routed(&[]).reason, Reason::Stable);
    let routed = anyone.routed(&[("x-env", b"green"), ("x-deployment-mode", b"blue")]);
    assert_eq!(
        (routed.environment.as_str(), routed.reason),
        ("green", Reason::Override)
    );
    let Err(reply) = anyone.request(&[("x-env", b"pur\"ple\xff")]).result else {
        panic!("passed")
    };
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert!(
        reply.status == 400
            && body["error"]["message"]
                .as_str()
                .unwrap()
                .ends_with("The environments are: blue, green.")
    );

    let mut consumers = replace(r#""override": {"allow": "consumers"},"#);
    let not_allowed = consumers.request(&[("api-key", b"ka"), ("x-deployment-mode", b"nowhere")]);
    assert!(not_allowed.override_refused && not_allowed.result.is_ok());
    let routed = consumers.routed(&[("api-key", b"old"), ("x-deployment-mode", b"green")]);
    assert_eq!(
        (routed.environment.as_str(), routed.reason),
        ("green", Reason::Override)
    );
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

#[test]
fn sticky_sources_are_tried_in_order() {
    let mut worker = Worker::new(
        r#"{"routing": {"a": {"weight": 1}, "b": {"weight": 1}, "c": {"weight": 1}, "d": {"weight": 1}},
            "sticky": {"by": [{"header": "x-user"}, {"cookie": "session"}, "consumer", "source_address"]}}"#,
    );
    let place = |worker: &mut Worker, headers: &[(&str, &[u8])]| {
        let places: Vec<_> = (0..8).map(|_| worker.routed(headers).environment).collect();
        assert!(
            places.iter().all(|place| *place == places[0]),
            "{headers:?}"
        );
        places[0].clone()
    };
    for user in 0..50_u32 {
        let user = user.to_string();
        let key = user.as_bytes();
        let expected = place(&mut worker, &[("x-user", key)]);
        let cookie = format!("a=b; session={user}");
        assert_eq!(
            place(&mut worker, &[("cookie", cookie.as_bytes())]),
            expected
        );
        assert_eq!(
            place(
                &mut worker,
                &[("cookie", b"session=other"), ("x-user", key)]
            ),
            expected
        );
        let by_key = place(&mut worker, &[("api-key", key)]);
        assert_eq!(
            place(
                &mut worker,
                &[("authorization", format!("Bearer {user}").as_bytes())]
            ),
            by_key
        );
    }
    worker.address = Some("10.0.0.7:1111");
    let expected = place(&mut worker, &[]);
    worker.address = Some("10.0.0.7:2222");
    assert_eq!(place(&mut worker, &[("x-user", b"")]), expected);
    worker.address = None;
    assert_eq!(worker.routed(&[]).reason, Reason::Strategy);
}

#[test]
fn a_cookie_keeps_clients_where_they_began() {
    let by = r#""sticky": {"by": ["source_address"], "set_cookie": {"name": "s"}}"#;
    let mut worker = Worker::new(&format!(
        r#"{{"routing": {{"a": {{"weight": 1}}, "b": {{"weight": 1}}}}, {by}}}"#
    ));
    for address in [
        None,
        Some("10.0.0.1:1"),
        Some("10.0.0.2:1"),
        Some("10.0.0.3:1"),
    ] {
        worker.address = address;
        let first = worker.routed(&[]);
        assert_eq!(first.reason, Reason::Sticky);
        let cookie = [b"s=", first.cookie.unwrap().as_bytes()].concat();
        worker.address = Some("192.168.0.9:9");
        let next = worker.routed(&[("cookie", &cookie)]);
        assert_eq!((next.environment, next.cookie), (first.environment, None));
    }
}

#[test]
fn responses_say_who_answered() {
    let worker = replace("");
    let rollout = &worker.document.rollouts()[0];
    let edits = |answered| {
        let mut headers = vec![("x-deployment-mode".to_owned(), b"lie".to_vec())];
        rollout.edit_response(answered, None, &mut |edit| apply(&mut headers, edit));
        headers
            .into_iter()
            .map(|(name, value)| format!("{name}={}", String::from_utf8(value).unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        edits(Some(0)),
        ["x-deployment-mode=blue", "x-deployment-version=1"]
    );
    assert_eq!(edits(Some(1)), ["x-deployment-mode=green"]);
    assert_eq!(edits(None), ["x-deployment-mode=lie"]);
}

proptest! {
    #[test]
    fn no_client_bytes_get_where_they_do_not_belong(
        key in proptest::collection::vec(any::<u8>(), 0..12), path in proptest::collection::vec(any::<u8>(), 0..12),
        mode in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut normalize = Worker::new(r#"{"routing": {"blue": {"weight": 1}}, "override": {"allow": "anyone"}, "auth": {"mode": "normalize",
            "accept": [{"header": "authorization", "scheme": "Bearer"}, {"query": "k"}, {"header": "api-key"}]}}"#);
        let path = [b"/?k=", &path[..]].concat();
        let outcome = normalize.request(&[(":path", &path), ("api-key", &key), ("x-deployment-mode", &mode)]);
        if let Ok(routed) = outcome.result {
            prop_assert_eq!(routed.values("x-deployment-mode"), ["blue"]);
            for (name, value) in &routed.upstream {
                let own = name == "authorization";
                prop_assert!(!own || value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)));
            }
        }
        let outcome = replace("").request(&[(":path", &path), ("api-key", &key), ("authorization", &mode)]);
        prop_assert!(outcome.result.is_err());
    }
}
