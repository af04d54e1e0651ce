use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration as Span;

use proptest::prelude::*;

use super::*;

mod stories;

/// 2026-11-22T20:00:00Z.
const T0: u64 = 1_795_377_600_000;

const DOCUMENT: &str = r#"{
  "rollout": "chat-api-2.0.3",
  "stable": "blue",
  "routing": {
    "blue": {"weight": 95, "version": "2.0.2", "clusters": ["blue-only"], "credential": {"value": "secret-of-blue"}},
    "green": {"weight": 5, "version": "2.0.3", "clusters": ["green-only"], "credential": {"env": "GREEN_API_KEY"}}
  },
  "auth": {"mode": "replace", "consumers": [{"name": "a", "keys": [{"sha256": "c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c"}]}]},
  "attempts": true
}
"#;

/// A document's file in a directory of its own, and a clock.
struct Desk {
    directory: tempfile::TempDir,
    path: PathBuf,
    now: SystemTime,
}

impl Desk {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rollout.json");
        fs::write(&path, text).expect("written");
        let now = UNIX_EPOCH + Span::from_millis(T0);
        Self {
            directory,
            path,
            now,
        }
    }

    fn pass(&mut self, time: &str) {
        let time = Duration::parse(time).expect("a duration");
        self.now += Span::from_millis(time.as_millis());
    }

    fn request(&self, verb: Verb) -> Request {
        Request {
            rollout: None,
            verb,
            now: self.now,
            who: "tester".to_owned(),
            audit: None,
            dry_run: false,
            expected: None,
        }
    }

    fn try_verb(&self, verb: Verb) -> Result<Outcome, RolloutError> {
        change(&self.path, &self.request(verb))
    }

    fn verb(&self, verb: Verb) -> Outcome {
        self.try_verb(verb)
            .unwrap_or_else(|e| panic!("{e}\n{}", self.text()))
    }

    /// Why a verb is refused; the file is as it was.
    fn refusal(&self, verb: Verb) -> String {
        let (before, lines) = (self.text(), self.audit().len());
        let refused = self.try_verb(verb).expect_err("refused").to_string();
        assert_eq!(self.text(), before);
        assert_eq!(self.audit().len(), lines);
        refused
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).expect("read")
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text()).expect("JSON")
    }

    fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(audit::beside(&self.path)).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    fn status(&self) -> status::Status {
        let loaded = Loaded::read(&self.path).expect("a document");
        status::Status::at(&loaded.named(None).expect("one"), timestamp(self.now))
    }

    /// An environment's share in percent.
    fn share(&self, name: &str) -> f64 {
        let environments = self.status().environments;
        let found = environments
            .iter()
            .find(|e| e.name == name)
            .expect("an environment");
        f64::from(found.share.hundredths()) / 100.0
    }
}

fn set(environment: &str, percent: u32) -> Verb {
    Verb::Set {
        environment: environment.to_owned(),
        share: Share::from_hundredths(percent * 100),
    }
}

fn start(over: Option<&str>) -> Verb {
    Verb::Start {
        environment: None,
        over: over.map(|o| Duration::parse(o).expect("a duration")),
    }
}

fn deploy(environment: &str, version: &str) -> Verb {
    Verb::Deploy {
        environment: environment.to_owned(),
        version: version.to_owned(),
        rollout: None,
    }
}

const RESUME: Verb = Verb::Resume { from: None };
const FINISH: Verb = Verb::Finish { environment: None };
const ROLLBACK: Verb = Verb::Rollback {
    reason: Value::Null,
};

/// Any verb, sensible or not.
fn verbs() -> impl Strategy<Value = Verb> {
    let name = || {
        prop_oneof![Just("blue"), Just("green"), Just("amber"), Just("red")].prop_map(str::to_owned)
    };
    let over = proptest::option::of((0_u64..1_000_000_000).prop_map(Duration::from_millis));
    prop_oneof![
        (name(), "[ -~]{0,5}", proptest::option::of("[a-z.]{0,3}")).prop_map(
            |(environment, version, rollout)| Verb::Deploy {
                environment,
                version,
                rollout
            }
        ),
        (proptest::option::of(name()), over)
            .prop_map(|(environment, over)| Verb::Start { environment, over }),
        (name(), 0_u32..=10_000).prop_map(|(environment, h)| Verb::Set {
            environment,
            share: Share::from_hundredths(h)
        }),
        Just(Verb::Promote),
        Just(Verb::Pause),
        proptest::option::of((0_u32..=10_000).prop_map(Share::from_hundredths))
            .prop_map(|from| Verb::Resume { from }),
        Just(ROLLBACK),
        proptest::option::of(name()).prop_map(|environment| Verb::Finish { environment }),
    ]
}

/// Documents of two or three environments.
fn documents() -> impl Strategy<Value = String> {
    let weights = (0_u32..100, 0_u32..100, proptest::option::of(0_u32..100));
    let guards = proptest::option::of(prop_oneof![Just("green"), Just("amber")]);
    let schedule =
        proptest::option::of((-10_000_000_i64..10_000_000, any::<bool>(), any::<bool>()));
    (weights, guards, schedule, any::<bool>(), any::<bool>()).prop_map(|((blue, green, amber), guard, schedule, rollback, pretty)| {
        let mut document = json!({"rollout": "r-1", "routing": {"blue": {"weight": blue}, "green": {"weight": green, "version": "1"}}});
        if let Some(amber) = amber {
            document["routing"]["amber"] = json!({"weight": amber});
            document["stable"] = "blue".into();
        }
        if let Some(guard) = guard {
            document["guard"] = json!({"environment": guard, "max_error_rate": 0.1});
        }
        if let Some((offset, hold, linear)) = schedule {
            let instant = |millis: i64| rfc3339(Timestamp::from_millis(i64::try_from(T0).expect("small") + millis));
            document["schedule"] = json!({"environment": "green", "start": instant(offset),
                "steps": [{"at": "1m", "weight": 2.5}, {"at": "1h", "weight": 50}, {"at": "2h", "weight": 100}]});
            if hold {
                document["schedule"]["hold"] = instant(offset + 100_000).into();
            }
            if linear {
                document["schedule"]["ramp"] = "linear".into();
            }
        }
        if rollback {
            document["rollback"] = true.into();
        }
        if pretty { format!("{document:#}\n") } else { document.to_string() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any verb on any document: it is refused and the file is untouched, or the new document is one that the filter
    /// takes and its shares are the whole; the same in a literal block, whose surroundings stay.
    #[test]
    fn every_verb_writes_what_the_filter_takes(text in documents(), verbs in proptest::collection::vec((verbs(), 0_u64..10_000_000), 1..4)) {
        let mut desk = Desk::new(&text);
        prop_assume!(Loaded::read(&desk.path).is_ok());
        let block = Desk::new("");
        let block_path = block.directory.path().join("ecds.yaml");
        let around = |text: &str| {
            let lines: String = text.lines().map(|l| format!("          {l}\n")).collect();
            format!("# Ä comment\nresources:\n- \"@type\": type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig\n  name: r\n  typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n    config:\n      root_id: switchover.route\n      configuration:\n        \"@type\": type.googleapis.com/google.protobuf.StringValue\n        value: |  # here\n{lines}\n      # after\n      vm_config: {{code: {{local: {{filename: f.wasm}}}}}}\n")
        };
        fs::write(&block_path, around(&text)).expect("written");
        for (verb, passed) in verbs {
            desk.pass(&format!("{passed}ms"));
            let before = desk.text();
            let request = desk.request(verb);
            let changed = change(&desk.path, &request);
            let in_block = change(&block_path, &request);
            prop_assert_eq!(changed.is_ok(), in_block.is_ok());
            match changed {
                Ok(outcome) => {
                    let status = desk.status();
                    prop_assert_eq!(status.environments.iter().map(|e| e.share.hundredths()).sum::<u32>(), 10_000);
                    prop_assert_eq!(outcome.changes.is_empty(), desk.text() == before);
                    prop_assert_eq!(status.rollout, outcome.rollout);
                }
                Err(RolloutError::Nonsense(_)) => prop_assert_eq!(desk.text(), before),
                Err(other) => prop_assert!(false, "{}: {}", other, before),
            }
            prop_assert_eq!(fs::read_to_string(&block_path).expect("read"), around(&desk.text()));
        }
    }
}

/// What is no document, or a wrong one, stays as it is, and no audit log is begun.
#[test]
fn a_file_that_cannot_be_operated_is_left_alone() {
    let broken = DOCUMENT.get(..DOCUMENT.len() / 2).expect("ASCII");
    let negative = DOCUMENT.replace("\"weight\": 5", "\"weight\": -5");
    for (text, expected) in [
        (broken, "EOF"),
        ("{\"static_resources\": {}}", "name the ECDS document"),
        ("[1, 2]", "neither a rollout document"),
        (negative.as_str(), "rollout.json:6: routing.green.weight"),
        ("", "not JSON"),
    ] {
        let desk = Desk::new(text);
        let refused = desk.refusal(ROLLBACK);
        assert!(refused.contains(expected), "{expected}: {refused}");
        assert_eq!(
            fs::read_dir(desk.directory.path())
                .expect("a directory")
                .count(),
            1
        );
    }
    let gone = change(
        Path::new("none/rollout.json"),
        &Desk::new("").request(ROLLBACK),
    );
    assert!(
        gone.expect_err("refused")
            .to_string()
            .contains("none cannot be read")
    );
}

/// A change that cannot be told is not made.
#[test]
fn without_an_audit_log_nothing_is_written() {
    let desk = Desk::new(DOCUMENT);
    let request = Request {
        audit: Some(desk.directory.path().join("none/audit.jsonl")),
        ..desk.request(ROLLBACK)
    };
    let refused = change(&desk.path, &request)
        .expect_err("refused")
        .to_string();
    assert!(
        refused.contains("none/audit.jsonl cannot be written"),
        "{refused}"
    );
    assert_eq!(desk.text(), DOCUMENT);
}

/// A log is never written into the document, nor into a file of another kind.
#[test]
fn a_file_of_another_kind_is_no_audit_log() {
    let desk = Desk::new(DOCUMENT);
    let other = desk.directory.path().join("notes.txt");
    let refused = |audit: &Path| {
        let request = Request {
            audit: Some(audit.to_owned()),
            ..desk.request(ROLLBACK)
        };
        let refused = change(&desk.path, &request).expect_err("refused");
        assert_eq!(desk.text(), DOCUMENT);
        refused.to_string()
    };
    assert!(refused(&desk.path).contains("is the document itself"));
    let same = desk.directory.path().join("link.json");
    fs::hard_link(&desk.path, &same).expect("a link");
    assert!(refused(&same).contains("is the document itself"));
    for text in [
        "notes\n",
        "{}\n",
        "[1]\n",
        "{\"before\": {\"rollout\": \"a\"}, ",
    ] {
        fs::write(&other, text).expect("written");
        assert!(refused(&other).contains("does not end with a line of an audit log"));
        assert_eq!(fs::read_to_string(&other).expect("read"), text);
    }
}

#[test]
fn the_audit_log_tells_without_secrets() {
    let desk = Desk::new(DOCUMENT);
    desk.verb(set("green", 25));
    desk.verb(ROLLBACK);
    let log = desk.audit();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0]["who"], "tester");
    assert_eq!(log[0]["time"], "2026-11-22T20:00:00.000Z");
    assert_eq!(log[0]["verb"], "set");
    assert_eq!(
        log[0]["arguments"],
        json!({"environment": "green", "percent": 25})
    );
    assert_eq!(log[0]["before"]["rollout"], "chat-api-2.0.3");
    assert_eq!(log[0]["after"]["sha256"], log[1]["before"]["sha256"]);
    let expected = json!([
        {"path": "routing.blue.weight", "before": 95, "after": 75},
        {"path": "routing.green.weight", "before": 5, "after": 25},
    ]);
    assert_eq!(log[0]["changes"], expected);
    let text = fs::read_to_string(audit::beside(&desk.path)).expect("read");
    assert!(
        !text.contains("secret-of-blue") && !text.contains("c48a01f4"),
        "{text}"
    );
}

#[test]
fn a_dry_run_writes_nothing() {
    let desk = Desk::new(DOCUMENT);
    let request = Request {
        dry_run: true,
        ..desk.request(set("green", 25))
    };
    let outcome = change(&desk.path, &request).expect("possible");
    assert!(
        !outcome.written && outcome.changes.len() == 2,
        "{outcome:?}"
    );
    assert_eq!(desk.text(), DOCUMENT);
    assert!(desk.audit().is_empty());
}

#[test]
fn one_of_several_rollouts() {
    let several = r#"{"rollouts": [
        {"rollout": "a-1", "match": {"path_prefix": "/a"}, "routing": {"blue": {"weight": 1}, "green": {"weight": 1, "version": "1"}}},
        {"rollout": "b-1", "routing": {"blue": {"weight": 1}, "green": {"weight": 0, "version": "1"}}}]}"#;
    let desk = Desk::new(several);
    assert!(
        desk.refusal(ROLLBACK)
            .contains("choose one with `--rollout`: a-1, b-1")
    );
    let named = |id: &str, verb| {
        let request = Request {
            rollout: Some(id.to_owned()),
            ..desk.request(verb)
        };
        change(&desk.path, &request)
    };
    assert!(
        named("c", ROLLBACK)
            .expect_err("refused")
            .to_string()
            .contains("no rollout \"c\", only a-1, b-1")
    );
    named("b-1", set("green", 25)).expect("changed");
    let expected = several.replace(
        "{\"blue\": {\"weight\": 1}, \"green\": {\"weight\": 0",
        "{\"blue\": {\"weight\": 75}, \"green\": {\"weight\": 25",
    );
    assert_eq!(desk.text(), expected);
    let taken = Verb::Deploy {
        environment: "green".to_owned(),
        version: "2".to_owned(),
        rollout: Some("a-1".to_owned()),
    };
    assert!(
        named("b-1", taken)
            .expect_err("refused")
            .to_string()
            .contains("a rollout of this document has it")
    );
}
