//! Shares over time.

use proptest::prelude::*;

use crate::document::{Document, parse};
use crate::time::{Duration, Timestamp};

const START: i64 = 1_795_377_600_000; // 2026-11-22T20:00:00Z

fn document(schedule: &str) -> Document {
    let text = format!(
        r#"{{"routing": {{"blue": {{"weight": 95}}, "green": {{"weight": 5}}}},
            "schedule": {{"environment": "green", "start": "2026-11-22T20:00:00Z", {schedule}}}}}"#
    );
    parse(text.as_bytes(), &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn at(minutes: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "a test's minutes are few")]
    let millis = (minutes * 60_000.0) as i64;
    Timestamp::from_millis(START + millis)
}

/// The five phases of the original.
const PHASES: &str = r#""steps": [{"at": "5m", "weight": 1}, {"at": "15m", "weight": 5}, {"at": "30m", "weight": 25},
    {"at": "60m", "weight": 50}, {"at": "90m", "weight": 100}]"#;

#[test]
fn five_phases() {
    let document = document(PHASES);
    let rollout = &document.rollouts()[0];
    for (minute, weights) in [
        (-1e6, [1, 0]),
        (0.0, [1, 0]),
        (4.999, [1, 0]),
        (5.0, [99, 1]),
        (14.999, [99, 1]),
        (15.0, [19, 1]),
        (30.0, [3, 1]),
        (60.0, [1, 1]),
        (89.999, [1, 1]),
        (90.0, [0, 1]),
        (1e6, [0, 1]),
    ] {
        assert_eq!(
            rollout.weights_at(at(minute)),
            weights,
            "at minute {minute}"
        );
    }
    let schedule = rollout.schedule().unwrap();
    assert_eq!(schedule.next_step(at(-10.0)), Some((0, at(5.0))));
    assert_eq!(schedule.next_step(at(5.0)), Some((1, at(15.0))));
    assert_eq!(schedule.next_step(at(90.0)), None);
    assert_eq!(
        (schedule.step(at(4.0)), schedule.step(at(60.0))),
        (None, Some(3))
    );
}

#[test]
fn a_linear_ramp_rises_from_the_start() {
    let document = document(
        r#""ramp": "linear", "steps": [{"at": "10m", "weight": 10}, {"at": "20m", "weight": 50}, {"at": "30m", "weight": 0.5}]"#,
    );
    let schedule = document.rollouts()[0].schedule().unwrap();
    for (minute, hundredths) in [
        (-1.0, 0),
        (0.0, 0),
        (5.0, 500),
        (10.0, 1_000),
        (15.0, 3_000),
        (20.0, 5_000),
        (25.0, 2_525),
        (30.0, 50),
        (99.0, 50),
    ] {
        assert_eq!(
            schedule.share(at(minute)).hundredths(),
            hundredths,
            "at minute {minute}"
        );
    }
}

#[test]
fn the_clock_stands_still_at_hold() {
    let document = document(&format!("{PHASES}, \"hold\": \"2026-11-22T20:20:00Z\""));
    let schedule = document.rollouts()[0].schedule().unwrap();
    assert_eq!(schedule.share(at(14.0)).hundredths(), 100);
    assert_eq!(schedule.next_step(at(14.0)), Some((1, at(15.0))));
    assert_eq!(schedule.share(at(1_000.0)).hundredths(), 500);
    assert_eq!(
        schedule.next_step(at(20.0)),
        None,
        "the third step never comes"
    );
}

#[test]
fn the_rest_is_shared_by_weights_or_goes_to_stable() {
    let weights = |routing: &str, weight: &str| {
        let text = format!(
            r#"{{"stable": "a", "routing": {{{routing}}}, "schedule": {{"environment": "c",
                "start": "2026-11-22T20:00:00Z", "steps": [{{"at": "0s", "weight": {weight}}}]}}}}"#
        );
        let document = parse(text.as_bytes(), &|_| None).unwrap();
        document.rollouts()[0].weights_at(at(1.0))
    };
    let three = r#""a": {"weight": 3}, "b": {"weight": 1}, "c": {"weight": 77}"#;
    assert_eq!(weights(three, "20"), [3, 1, 1]);
    assert_eq!(weights(three, "0.01"), [29_997, 9_999, 4]);
    assert_eq!(weights(three, "100"), [0, 0, 1]);
    let nothing_else = r#""a": {"weight": 0}, "b": {"weight": 0}, "c": {"weight": 1}"#;
    assert_eq!(weights(nothing_else, "25"), [3, 0, 1]);
    let heavy = r#""a": {"weight": 999999}, "b": {"weight": 1000000}, "c": {"weight": 1}"#;
    let shares = weights(heavy, "33.33");
    let sum: u64 = shares.iter().map(|weight| u64::from(*weight)).sum();
    assert!(sum <= u64::from(u32::MAX));
    assert_eq!((u64::from(shares[2]) * 10_000 + sum / 2) / sum, 3_333);
}

proptest! {
    #[test]
    fn is_total_and_monotone_where_steps_are(
        steps in proptest::collection::vec((1_u64..1_000_000, 0_u32..=10_000), 1..8),
        linear: bool, moments in proptest::collection::vec(any::<i64>(), 2..20), near in -1_000_000_i64..9_000_000
    ) {
        let mut offset = 0;
        let mut shares: Vec<u32> = steps.iter().map(|(_, share)| *share).collect();
        shares.sort_unstable();
        let steps: Vec<String> = steps.iter().zip(&shares).map(|((gap, _), share)| {
            offset += gap;
            format!(r#"{{"at": "{offset}ms", "weight": {}}}"#, f64::from(*share) / 100.0)
        }).collect();
        let ramp = if linear { "linear" } else { "step" };
        let document = document(&format!(r#""ramp": "{ramp}", "steps": [{}]"#, steps.join(",")));
        let rollout = &document.rollouts()[0];
        let schedule = rollout.schedule().unwrap();
        let mut moments: Vec<i64> = moments.into_iter().chain([START + near, START + near + 1]).collect();
        moments.sort_unstable();
        let mut before = 0;
        for moment in moments {
            let now = Timestamp::from_millis(moment);
            let share = schedule.share(now).hundredths();
            prop_assert!(share >= before, "{share} after {before}");
            before = share;
            let weights = rollout.weights_at(now);
            let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            prop_assert_eq!(u64::from(weights[1]) * 10_000, u64::from(share) * sum);
        }
        prop_assert_eq!(schedule.share(Timestamp::from_millis(START).after(Duration::from_millis(offset))).hundredths(), *shares.last().unwrap());
    }

    #[test]
    fn keys_only_move_to_the_rising_environment(shares in proptest::collection::vec(0_u32..=10_000, 2..6), keys in 0_u32..10_000) {
        let mut shares = shares;
        shares.sort_unstable();
        let steps: Vec<String> = shares.iter().enumerate().map(|(index, share)| format!(r#"{{"at": "{index}m", "weight": {}}}"#, f64::from(*share) / 100.0)).collect();
        let document = document(&format!(r#""steps": [{}]"#, steps.join(",")));
        let rollout = &document.rollouts()[0];
        for key in keys..keys + 100 {
            let key = key.to_string();
            let mut on_green = false;
            for minute in 0..shares.len() {
                let weights = rollout.weights_at(at(f64::from(u32::try_from(minute).unwrap())));
                let green = rollout.environment_of_key(&weights, key.as_bytes()) == 1;
                prop_assert!(green || !on_green, "{key} came back");
                on_green = green;
            }
        }
    }
}
