//! What each verb does, one after the other, and what it refuses.

use super::*;

#[test]
fn from_deploy_to_finish() {
    let mut desk = Desk::new(DOCUMENT);
    desk.verb(deploy("green", "2.1.0"));
    let json = desk.json();
    assert_eq!(json["rollout"], "chat-api-2.1.0");
    assert_eq!(json["routing"]["green"]["version"], "2.1.0");
    assert_eq!((desk.share("blue"), desk.share("green")), (100.0, 0.0));

    desk.verb(start(None));
    for (minutes, expected) in [
        (0, 0.0),
        (5, 1.0),
        (15, 5.0),
        (30, 25.0),
        (60, 50.0),
        (90, 100.0),
    ] {
        desk.now = UNIX_EPOCH + Span::from_millis(T0) + Span::from_secs(minutes * 60);
        assert_eq!(desk.share("green"), expected, "after {minutes} minutes");
    }
    let outcome = desk.verb(FINISH);
    let json = desk.json();
    assert_eq!(json["stable"], "green");
    assert_eq!(json["routing"]["green"]["weight"], 100);
    assert_eq!(json["routing"]["blue"]["weight"], 0);
    assert_eq!(json.get("schedule"), None);
    assert!(
        outcome.notes.iter().any(|n| n.contains("last route")),
        "{:?}",
        outcome.notes
    );
    assert_eq!(desk.audit().len(), 3);

    // And back the other way.
    desk.verb(deploy("blue", "2.2.0"));
    assert_eq!(desk.json()["rollout"], "chat-api-2.2.0");
    desk.verb(set("blue", 10));
    assert_eq!((desk.share("blue"), desk.share("green")), (10.0, 90.0));
}

#[test]
fn what_a_verb_does_not_change_keeps_its_form() {
    let desk = Desk::new(DOCUMENT);
    desk.verb(set("green", 25));
    let expected = DOCUMENT
        .replace("\"weight\": 95", "\"weight\": 75")
        .replace("\"weight\": 5", "\"weight\": 25");
    assert_eq!(desk.text(), expected);
    desk.verb(start(Some("3m")));
    let schedule = r#",
  "schedule": {"environment": "green", "start": "2026-11-22T20:00:00.000Z", "steps": [{"at": "10s", "weight": 1}, {"at": "30s", "weight": 5}, {"at": "1m", "weight": 25}, {"at": "2m", "weight": 50}, {"at": "3m", "weight": 100}]}"#;
    assert_eq!(
        desk.text(),
        expected.replace(
            "\"attempts\": true",
            &format!("\"attempts\": true{schedule}")
        )
    );
    desk.verb(set("green", 25));
    assert_eq!(
        desk.text(),
        expected,
        "the schedule is gone without a trace"
    );
}

#[test]
fn shares_of_three() {
    let text = DOCUMENT
        .replace(
            "\"green\": {",
            "\"amber\": {\"weight\": 20},\n    \"green\": {",
        )
        .replace("95", "75");
    let desk = Desk::new(&text);
    desk.verb(set("green", 30));
    assert_eq!(
        (desk.share("amber"), desk.share("blue"), desk.share("green")),
        (20.0, 50.0, 30.0)
    );
    let refused = desk.refusal(set("green", 81));
    assert!(refused.contains("green can have at most 80 %"), "{refused}");
    assert!(
        desk.refusal(start(None))
            .contains("name the environment with `--environment`: amber, green")
    );
    let fine = Verb::Set {
        environment: "green".to_owned(),
        share: Share::from_hundredths(1),
    };
    desk.verb(fine);
    assert_eq!(desk.json()["routing"]["blue"]["weight"], 7999);
}

#[test]
fn paused_and_resumed() {
    let mut desk = Desk::new(DOCUMENT);
    desk.verb(start(None));
    desk.pass("20m");
    desk.verb(Verb::Pause);
    assert_eq!(desk.status().phase, status::Phase::Paused);
    desk.pass("5h");
    assert_eq!(desk.share("green"), 5.0);
    let again = desk.verb(Verb::Pause);
    assert!(again.changes.is_empty(), "{again:?}");
    assert!(
        again.notes[0].contains("paused already, since 2026-11-22T20:20:00.000Z"),
        "{again:?}"
    );
    let outcome = desk.verb(RESUME);
    assert!(
        outcome
            .notes
            .iter()
            .any(|n| n.contains("it was paused for 5h")),
        "{:?}",
        outcome.notes
    );
    assert_eq!(desk.json()["schedule"]["start"], "2026-11-23T01:00:00.000Z");
    assert_eq!(desk.json()["resume"], 1);
    assert_eq!(desk.share("green"), 5.0);
    desk.pass("9m");
    assert_eq!(desk.share("green"), 5.0);
    desk.pass("1m");
    assert_eq!(desk.share("green"), 25.0);
}

#[test]
fn promoted_step_by_step() {
    let mut desk = Desk::new(DOCUMENT);
    assert!(
        desk.refusal(Verb::Promote)
            .contains("there is no schedule to promote")
    );
    assert!(
        desk.refusal(Verb::Pause)
            .contains("there is no schedule to pause")
    );
    desk.verb(start(None));
    for expected in [1.0, 5.0] {
        desk.verb(Verb::Promote);
        assert_eq!(desk.share("green"), expected);
    }
    assert_eq!(
        desk.status()
            .schedule
            .expect("one")
            .next
            .expect("one")
            .after,
        "15m"
    );
    desk.verb(Verb::Pause);
    let outcome = desk.verb(Verb::Promote);
    assert!(
        outcome.notes.iter().any(|n| n.contains("still paused")),
        "{:?}",
        outcome.notes
    );
    assert_eq!(desk.share("green"), 25.0);
    desk.pass("1h");
    assert_eq!(desk.share("green"), 25.0);
    desk.verb(RESUME);
    desk.pass("30m");
    assert_eq!(desk.share("green"), 50.0);
    desk.verb(Verb::Promote);
    assert_eq!(desk.share("green"), 100.0);
    assert!(
        desk.refusal(Verb::Promote)
            .contains("`finish` makes it stable")
    );
    assert!(desk.refusal(Verb::Pause).contains("at its end"));
    assert!(desk.refusal(start(None)).contains("at its end"));
}

#[test]
fn a_schedule_that_waits() {
    let mut desk = Desk::new(DOCUMENT);
    desk.verb(start(None));
    let later = desk.text().replace("20:00:00.000Z", "23:00:00Z");
    fs::write(&desk.path, later).expect("written");
    assert_eq!(desk.status().phase, status::Phase::Waiting);
    desk.verb(Verb::Pause);
    assert_eq!(desk.status().phase, status::Phase::Paused);
    desk.verb(Verb::Promote);
    assert_eq!(desk.share("green"), 1.0);
    desk.pass("1h");
    assert_eq!(desk.share("green"), 1.0, "still paused");
    desk.verb(RESUME);
    desk.pass("10m");
    assert_eq!(desk.share("green"), 5.0);
}

/// The schedule's clock stands still while all goes to stable.
#[test]
fn rolled_back_and_resumed() {
    let mut desk = Desk::new(DOCUMENT);
    desk.verb(start(None));
    desk.pass("31m");
    desk.verb(ROLLBACK);
    assert_eq!(desk.share("blue"), 100.0);
    assert_eq!(desk.status().phase, status::Phase::RolledBack);
    let lines = desk.audit().len();
    let again = desk.verb(ROLLBACK);
    assert!(again.changes.is_empty() && !again.written, "{again:?}");
    assert_eq!(desk.audit().len(), lines);
    for verb in [Verb::Promote, Verb::Pause, start(None), FINISH] {
        assert!(
            desk.refusal(verb)
                .contains("since a rollback; `resume` ends it")
        );
    }
    desk.pass("3h");
    desk.verb(RESUME);
    assert_eq!(desk.json()["rollback"], false);
    assert_eq!(desk.share("green"), 25.0);
    desk.pass("29m");
    assert_eq!(desk.share("green"), 50.0);
    desk.verb(ROLLBACK);
    desk.verb(deploy("green", "2.1.1"));
    assert_eq!(desk.status().phase, status::Phase::Fixed);
    assert_eq!(desk.share("green"), 0.0);
}

#[test]
fn a_share_set_while_rolled_back_waits() {
    let desk = Desk::new(DOCUMENT);
    desk.verb(ROLLBACK);
    let outcome = desk.verb(set("green", 25));
    assert!(
        outcome
            .notes
            .iter()
            .any(|n| n.contains("still goes to blue")),
        "{:?}",
        outcome.notes
    );
    assert_eq!(desk.share("green"), 0.0);
    desk.verb(RESUME);
    assert_eq!(desk.share("green"), 25.0);
}

#[test]
fn a_new_rollout_gets_a_new_id() {
    let desk = Desk::new(DOCUMENT);
    let id = |version: &str| {
        let outcome = desk.verb(deploy("green", version));
        assert_eq!(desk.json()["rollout"], outcome.rollout.as_str());
        outcome.rollout
    };
    assert_eq!(id("2.1.0"), "chat-api-2.1.0");
    assert_eq!(
        id("2.1.0"),
        "chat-api-2.1.0-r2",
        "the same version once more is another rollout"
    );
    assert_eq!(
        id("2.1.0"),
        "chat-api-2.1.0-r3",
        "the audit log knows the ones before"
    );
    assert_eq!(id("2.0.3"), "chat-api-2.0.3-r2", "the first one too");
    assert_eq!(id("2.1.0"), "chat-api-2.1.0-r4");
    assert_eq!(desk.json()["resume"], 5, "no latch is inherited");
    assert_eq!(id("3 (e)"), "chat-api-3--e-");
    assert_eq!(id("4"), "chat-api-4");
    let long = "v".repeat(64);
    assert_eq!(id(&long).len(), 64);
    for (version, rollout, expected) in [
        ("", None, "is no version"),
        ("ü", None, "is no version"),
        ("5", Some("a b"), "cannot be the new rollout's id: expected"),
        (
            "5",
            Some("chat-api-2.1.0"),
            "an earlier rollout in the audit log had it",
        ),
    ] {
        let verb = Verb::Deploy {
            environment: "green".to_owned(),
            version: version.to_owned(),
            rollout: rollout.map(str::to_owned),
        };
        let refused = desk.refusal(verb);
        assert!(refused.contains(expected), "{refused}");
    }
    let unnamed = Desk::new("{\"routing\":{\"blue\":{\"weight\":95},\"green\":{\"weight\":5}}}");
    let outcome = unnamed.verb(deploy("green", "2"));
    assert_eq!(outcome.rollout, "default-2");
    assert!(
        outcome
            .notes
            .iter()
            .any(|n| n.contains("there was no audit log"))
    );
    assert_eq!(
        unnamed.text(),
        "{\"routing\":{\"blue\":{\"weight\":100},\"green\":{\"weight\":0,\"version\":\"2\"}},\"rollout\":\"default-2\",\"resume\":1}"
    );
}

#[test]
fn nonsense_is_refused_with_what_would_be_right() {
    let desk = Desk::new(DOCUMENT);
    for (verb, expected) in [
        (
            set("blue", 75),
            "blue is stable, and takes what the others leave; name another environment: green",
        ),
        (deploy("blue", "3"), "blue is stable"),
        (set("red", 5), "no environment \"red\", only blue, green"),
        (
            FINISH,
            "green gets 5 % of the traffic; `promote` it to 100 %, or `set green=100`",
        ),
        (start(Some("4ms")), "4ms is too short for 5 steps"),
        (start(Some("0s")), "too short"),
        (
            Verb::Start {
                environment: Some("blue".to_owned()),
                over: None,
            },
            "blue is stable",
        ),
    ] {
        let refused = desk.refusal(verb);
        assert!(refused.contains(expected), "{refused}");
    }
    desk.verb(start(None));
    assert!(
        desk.refusal(start(None))
            .contains("runs already: green gets 0 %")
    );
    let alone = Desk::new("{\"routing\": {\"blue\": {\"weight\": 1}}}");
    assert!(
        alone
            .refusal(start(None))
            .contains("blue is the only environment")
    );
}

/// What watched or copied the new version does so no more once it is stable.
#[test]
fn finish_leaves_a_sensible_document() {
    let text = DOCUMENT.replace(
        "\"attempts\": true",
        "\"guard\": {\"environment\": \"green\", \"max_error_rate\": 0.05},\n  \"shadow\": {\"environment\": \"green\", \"percent\": 5},\n  \"health\": {\"path\": \"/health\"},\n  \"attempts\": true",
    );
    let desk = Desk::new(&text);
    desk.verb(set("green", 100));
    let outcome = desk.verb(FINISH);
    let again = desk.verb(FINISH);
    assert!(again.changes.is_empty() && !again.written, "{again:?}");
    assert_eq!(again.notes, ["green is stable already and gets everything"]);
    let json = desk.json();
    assert_eq!(
        json["guard"],
        json!({"environment": "blue", "max_error_rate": 0.05})
    );
    assert_eq!(json.get("shadow"), None);
    assert_eq!(json["health"], json!({"path": "/health"}));
    for word in [
        "guard watches blue",
        "no shadow copies",
        "green (2.0.3) is stable",
    ] {
        assert!(
            outcome.notes.iter().any(|n| n.contains(word)),
            "{word}: {:?}",
            outcome.notes
        );
    }
}

/// Of three environments the one that gets everything is meant; copies to a third go on.
#[test]
fn finish_of_three() {
    let text = DOCUMENT
        .replace(
            "\"green\": {",
            "\"amber\": {\"weight\": 0},\n    \"green\": {",
        )
        .replace(
            "\"attempts\": true",
            "\"shadow\": {\"environment\": \"amber\", \"percent\": 5},\n  \"attempts\": true",
        );
    let desk = Desk::new(&text);
    desk.verb(set("green", 100));
    let outcome = desk.verb(FINISH);
    assert_eq!(desk.json()["stable"], "green");
    assert!(
        outcome
            .notes
            .iter()
            .any(|n| n == "shadow copies to amber go on"),
        "{:?}",
        outcome.notes
    );
}

/// A trip that nobody wrote down leaves the schedule's clock running: `resume` does not jump to where it leads.
#[test]
fn resumed_after_a_trip_that_nobody_wrote_down() {
    let guarded = DOCUMENT.replace(
        "\"attempts\": true",
        "\"guard\": {\"environment\": \"green\", \"max_error_rate\": 0.05},\n  \"attempts\": true",
    );
    let mut desk = Desk::new(&guarded);
    let from = |percent: u32| Verb::Resume {
        from: Some(Share::from_hundredths(percent * 100)),
    };
    assert!(desk.refusal(from(5)).contains("there is no schedule"));
    desk.verb(start(None));
    desk.pass("65m");
    let refused = desk.refusal(RESUME);
    assert!(
        refused.contains("green would get 50 % at once") && refused.contains("`resume --from 5`"),
        "{refused}"
    );
    let outcome = desk.verb(from(7));
    assert!(outcome.notes[0].contains("from step 2 of 5"), "{outcome:?}");
    assert_eq!(
        (desk.share("green"), &desk.json()["resume"]),
        (5.0, &json!(1))
    );
    desk.pass("15m");
    assert_eq!(desk.share("green"), 25.0);
    desk.verb(from(0));
    assert_eq!(desk.share("green"), 0.0);
    desk.pass("5m");
    assert_eq!(desk.share("green"), 1.0);
    desk.verb(Verb::Pause);
    desk.verb(from(100));
    assert_eq!(desk.share("green"), 100.0);
    assert!(desk.refusal(RESUME).contains("100 % at once"));
    // What was written down says where it stood.
    desk.verb(from(5));
    desk.verb(ROLLBACK);
    desk.pass("5h");
    desk.verb(RESUME);
    assert_eq!(desk.share("green"), 5.0);
}

/// The schedule of the document itself, if it waits, is started as it is written, or stretched.
#[test]
fn the_documents_own_steps() {
    let own = DOCUMENT.replace(
        "\"attempts\": true",
        "\"schedule\": {\"environment\": \"green\", \"start\": \"2030-01-01T00:00:00Z\", \"steps\": [{\"at\": \"10s\", \"weight\": 12.5}, {\"at\": \"40s\", \"weight\": 80}], \"ramp\": \"linear\"},\n  \"attempts\": true",
    );
    let desk = Desk::new(&own);
    desk.verb(start(Some("20s")));
    let expected = json!({"environment": "green", "start": "2026-11-22T20:00:00.000Z", "ramp": "linear",
        "steps": [{"at": "5s", "weight": 12.5}, {"at": "20s", "weight": 80}]});
    assert_eq!(desk.json()["schedule"], expected);
}

/// With all of its weight on green, the document leaves stable something to give back.
#[test]
fn a_schedule_needs_somewhere_else_to_go() {
    let desk = Desk::new(&DOCUMENT.replace("\"weight\": 95", "\"weight\": 0"));
    desk.verb(start(None));
    assert_eq!(desk.json()["routing"]["blue"]["weight"], 100);
    assert_eq!(desk.share("blue"), 100.0);
}
