//! Shares by the clock.

use std::time::Duration;

use serde_json::{Value, json};
use switchover_tests::story::{self, ROUTE, START, Story, TICK, and, get, with};

/// Minutes since the start.
const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

/// Blue and green with a schedule for green.
fn document(schedule: Value) -> Value {
    let schedule = and(json!({"environment": "green", "start": START}), schedule);
    json!({
        "rollout": "chat-api-2.1.0",
        "routing": {
            "blue": {"weight": 1, "clusters": ["blue-only"]},
            "green": {"weight": 0, "clusters": ["green-only"]},
        },
        "schedule": schedule,
        "attempts": true,
    })
}

/// The original's five phases.
fn phases() -> Value {
    json!({"steps": [
        {"at": "5m", "weight": 1}, {"at": "15m", "weight": 5}, {"at": "30m", "weight": 25},
        {"at": "60m", "weight": 50}, {"at": "90m", "weight": 100},
    ]})
}

#[test]
fn the_five_phases() {
    let story = Story::new(2, &document(phases()));
    let mut before = 0;
    for (step, (minute, share)) in [(5, 1), (15, 5), (30, 25), (60, 50), (90, 100)]
        .into_iter()
        .enumerate()
    {
        story.advance_to(minutes(minute) - Duration::from_millis(1));
        for worker in 0..2 {
            assert_eq!(story.green(worker, 100), before, "before minute {minute}");
        }
        // In force within a tick of the step.
        story.advance(TICK + Duration::from_millis(1));
        for worker in 0..2 {
            assert_eq!(
                story.green(worker, 200),
                2 * share,
                "from minute {minute} on"
            );
        }
        story.advance(TICK);
        let green = [("environment", "green"), ("rollout", "chat-api-2.1.0")];
        for family in ["weight", "weight_planned"] {
            assert_eq!(story.metric(family, &green), share as u64 * 100, "{family}");
        }
        assert_eq!(story.metric("schedule_step", &green[1..]), step as u64 + 1);
        before = share;
    }
    story.advance(minutes(600));
    assert_eq!(story.green(0, 100), 100, "the last share stays");
}

#[test]
fn nothing_before_the_first_step() {
    let story = Story::new(1, &document(phases()));
    assert_eq!(story.green(0, 300), 0);
    story.advance(TICK);
    assert_eq!(story.metric("weight", &[("environment", "green")]), 0);
    assert_eq!(story.metric("weight", &[("environment", "blue")]), 10_000);
    assert_eq!(story.metric("schedule_step", &[]), 0);
}

/// In force from `on_configure` on, not from the first tick on.
#[test]
fn a_fresh_worker_begins_where_the_clock_is() {
    let late = json!({"start": "2026-11-22T19:20:00Z"});
    let story = Story::new(1, &document(and(phases(), late)));
    assert_eq!(story.green(0, 100), 25);
}

#[test]
fn a_linear_ramp_rises_evenly() {
    let steps = json!({"ramp": "linear", "steps": [{"at": "10m", "weight": 10}, {"at": "20m", "weight": 60}]});
    let story = Story::new(1, &document(steps));
    assert_eq!(story.green(0, 100), 0);
    for (seconds, of_a_thousand) in [
        (150, 25),
        (300, 50),
        (600, 100),
        (900, 350),
        (1200, 600),
        (9000, 600),
    ] {
        // The share keeps rising while the tick has not come: look right after one.
        story.advance_to(Duration::from_secs(seconds));
        assert_eq!(story.green(0, 1000), of_a_thousand, "after {seconds} s");
    }
}

#[test]
fn a_hold_stops_the_schedules_clock() {
    let held = and(phases(), json!({"hold": "2026-11-22T20:20:00Z"}));
    let story = Story::new(1, &document(held));
    story.advance_to(minutes(16));
    assert_eq!(story.green(0, 100), 5);
    story.advance_to(minutes(200));
    assert_eq!(story.green(0, 100), 5);
    // Resumed: the schedule goes on where it stood.
    let shifted = json!({"start": "2026-11-22T23:00:00Z"});
    story.replace(&document(and(phases(), shifted))).unwrap();
    assert_eq!(story.green(0, 100), 5, "20 minutes after its start");
    story.advance_to(minutes(210) + TICK);
    assert_eq!(story.green(0, 100), 25, "30 minutes after its start");
}

/// A hold in the middle of a ramp holds the share that it had reached.
#[test]
fn a_hold_stops_a_ramp() {
    let ramp = json!({"ramp": "linear", "steps": [{"at": "10m", "weight": 50}], "hold": "2026-11-22T20:03:00Z"});
    let story = Story::new(1, &document(ramp));
    story.advance_to(minutes(9));
    assert_eq!(story.green(0, 200), 30);
}

#[test]
fn shares_may_fall() {
    let steps = json!({"steps": [{"at": "1m", "weight": 50}, {"at": "2m", "weight": 10}, {"at": "3m", "weight": 0}]});
    let story = Story::new(1, &document(steps));
    for (minute, share) in [(1, 50), (2, 10), (3, 0)] {
        story.advance_to(minutes(minute) + TICK);
        assert_eq!(story.green(0, 100), share, "from minute {minute} on");
    }
}

/// Two decimals.
#[test]
fn a_hundredth_of_a_percent() {
    let story = Story::new(
        1,
        &document(json!({"steps": [{"at": "1m", "weight": 0.25}]})),
    );
    story.advance_to(minutes(1) + TICK);
    assert_eq!(story.green(0, 1200), 3);
}

/// The turns go on: of a hundred requests around the change one is green's, not two or none.
#[test]
fn a_reload_in_the_middle_loses_no_turn() {
    let before = document(phases());
    let story = Story::new(1, &before);
    story.advance_to(minutes(6));
    for round in 0..10 {
        let mut next = before.clone();
        next["routing"]["green"]["version"] = json!(format!("2.1.{round}"));
        let first = story.green(0, 37);
        story.replace(&next).unwrap();
        assert_eq!(first + story.green(0, 63), 1, "round {round}");
    }
}

/// The turns go on across a step as well.
#[test]
fn a_step_keeps_the_credit() {
    let story = Story::new(
        1,
        &document(json!({"steps": [{"at": "1m", "weight": 1}, {"at": "2m", "weight": 2}]})),
    );
    story.advance_to(minutes(1) + TICK);
    let at_one = story.green(0, 50);
    story.advance_to(minutes(2) + TICK);
    // Half a turn of the first hundred and a whole one of the second: one or two in all, never none.
    let all = at_one + story.green(0, 50);
    assert!((1..=2).contains(&all), "{all} of 100 requests");
}

#[test]
fn the_others_share_the_rest_by_their_weights() {
    let mut document = document(json!({"steps": [{"at": "1m", "weight": 50}]}));
    document["routing"]["blue"]["weight"] = json!(3);
    document["routing"]["red"] = json!({"weight": 1, "clusters": ["red-only"]});
    let story = Story::new(1, &document);
    let counts = story.chosen(0, 80);
    assert_eq!((counts["blue"], counts["red"]), (60, 20));
    story.advance_to(minutes(1) + TICK);
    let counts = story.chosen(0, 80);
    assert_eq!(
        (counts["blue"], counts["green"], counts["red"]),
        (30, 40, 10)
    );
}

#[test]
fn a_clock_that_jumps_back_takes_the_share_back() {
    let story = Story::new(1, &document(phases()));
    story.advance_to(minutes(31));
    assert_eq!(story.green(0, 100), 25);
    story.simulation.set_wall_clock(story::start() + minutes(6));
    story.advance(TICK);
    assert_eq!(story.green(0, 100), 1);
    story
        .simulation
        .set_wall_clock(story::start() - minutes(60 * 24));
    story.advance(TICK);
    assert_eq!(story.green(0, 100), 0, "before the start");
    story
        .simulation
        .set_wall_clock(story::start() + minutes(61));
    story.advance(TICK);
    assert_eq!(story.green(0, 100), 50);
}

#[test]
fn a_rollback_is_above_the_schedule() {
    let story = Story::new(1, &document(phases()));
    story.advance_to(minutes(61));
    assert_eq!(story.green(0, 100), 50);
    story
        .replace(&and(document(phases()), json!({"rollback": true})))
        .unwrap();
    assert_eq!(story.green(0, 100), 0);
    story.advance_to(minutes(120));
    assert_eq!(story.green(0, 100), 0);
    story.replace(&document(phases())).unwrap();
    assert_eq!(story.green(0, 100), 100);
}

/// Nothing is kept in the worker: a rebuilt VM is where the others are.
#[test]
fn a_rebuilt_vm_goes_on() {
    let story = Story::new(1, &document(phases()));
    story.advance_to(minutes(31));
    assert!(story.simulation.trap(0, ROUTE));
    story.advance(TICK);
    assert_eq!(story.green(0, 100), 25);
    story.advance_to(minutes(61));
    assert_eq!(story.green(0, 100), 50, "its tick has begun again");
}

#[test]
fn an_impossible_schedule_is_refused_and_the_old_one_goes_on() {
    let story = Story::new(1, &document(phases()));
    for wrong in [
        json!({"steps": [{"at": "15m", "weight": 1}, {"at": "5m", "weight": 5}]}),
        json!({"steps": []}),
        json!({"steps": [{"at": "5m", "weight": 101}]}),
        json!({"environment": "blue", "steps": [{"at": "5m", "weight": 1}]}),
        json!({"start": "0001-01-01T00:00:00Z", "steps": [{"at": "5m", "weight": 1}]}),
    ] {
        let before = story.logged("schedule").len();
        let refused = story.replace(&document(wrong.clone()));
        refused.expect_err(&wrong.to_string());
        assert!(story.logged("schedule").len() > before, "{wrong}");
    }
    story.advance_to(minutes(31));
    assert_eq!(story.green(0, 100), 25);
}

/// The environment of each of these keys, in any worker.
fn environments(story: &Story, keys: usize) -> Vec<String> {
    let place = |key| {
        let request = || with(get("/"), "x-user-id", &format!("user-{key}"));
        let chosen = story.send(key % 2, request()).chosen;
        assert_eq!(
            chosen,
            story.send((key + 1) % 2, request()).chosen,
            "user-{key} in the other worker"
        );
        chosen
    };
    (0..keys).map(place).collect()
}

/// Keys move to green only, as many as the share says, and other proxies agree at every step.
#[test]
fn keys_move_one_way_and_everywhere_alike() {
    const KEYS: usize = 500;
    let sticky =
        json!({"strategy": "consistent_hash", "sticky": {"by": [{"header": "x-user-id"}]}});
    let document = and(document(phases()), sticky);
    let (one, other) = (Story::new(2, &document), Story::new(2, &document));
    let mut before = environments(&one, KEYS);
    for (minute, share) in [(5, 1), (15, 5), (30, 25), (60, 50), (90, 100)] {
        for story in [&one, &other] {
            story.advance_to(minutes(minute) + TICK);
        }
        let now = environments(&one, KEYS);
        assert_eq!(
            now,
            environments(&other, KEYS),
            "two proxies at minute {minute}"
        );
        let back = before
            .iter()
            .zip(&now)
            .filter(|(before, now)| *before == "green" && *now != "green");
        assert_eq!(back.count(), 0, "moved back at minute {minute}");
        let green = now.iter().filter(|place| *place == "green").count();
        let expected = KEYS * share / 100;
        assert!(
            green.abs_diff(expected) <= 5 + KEYS / 20,
            "{green} keys at {share} %"
        );
        before = now;
    }
    assert!(before.iter().all(|place| place == "green"));
}
