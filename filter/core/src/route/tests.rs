//! Whole requests: what goes upstream, what comes back, who decides.

mod choice;
mod credentials;

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
            verified: None,
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
