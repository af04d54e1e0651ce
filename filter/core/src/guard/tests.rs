//! When the tripwire is crossed.

use proptest::prelude::*;

use super::*;
use crate::document::{Document, parse};

fn document_with(guard: &str) -> Document {
    let text = format!(
        r#"{{"routing": {{"blue": {{"weight": 95}}, "green": {{"weight": 5}}}}, "guard": {{"environment": "green", {guard}}}}}"#
    );
    parse(text.as_bytes(), &|_| None).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn figures(total: u32, failed: u32, slow: [u32; 3]) -> Figures {
    Figures {
        total,
        failed,
        slow,
    }
}

fn judged(guard: &str, guarded: Figures, stable: Figures) -> Option<&'static str> {
    let document = document_with(guard);
    let guard = document.rollouts()[0].guard().unwrap();
    guard.judge(&Both { guarded, stable }).map(Cause::label)
}

#[test]
fn error_rates() {
    let guard = r#""min_requests": 20, "max_error_rate": 0.05"#;
    let none = Figures::default();
    assert_eq!(
        judged(guard, figures(19, 19, [0; 3]), none),
        None,
        "too few"
    );
    assert_eq!(
        judged(guard, figures(20, 1, [0; 3]), none),
        None,
        "just the limit"
    );
    assert_eq!(
        judged(guard, figures(20, 2, [0; 3]), none),
        Some("max_error_rate")
    );
    assert_eq!(
        judged(r#""max_error_rate": 0"#, figures(50, 1, [0; 3]), none),
        Some("max_error_rate")
    );
}

#[test]
fn compared_with_stable() {
    let guard = r#""min_requests": 50, "worse_than_stable_by": 0.02"#;
    let judged = |guarded, stable| judged(guard, guarded, stable);
    assert_eq!(
        judged(figures(100, 12, [0; 3]), figures(1_000, 100, [0; 3])),
        None
    );
    assert_eq!(
        judged(figures(100, 13, [0; 3]), figures(1_000, 100, [0; 3])),
        Some("worse_than_stable_by")
    );
    assert_eq!(
        judged(figures(100, 0, [0; 3]), figures(1_000, 1_000, [0; 3])),
        None
    );
    assert_eq!(
        judged(figures(100, 100, [0; 3]), figures(49, 0, [0; 3])),
        None,
        "stable has too few"
    );
}

#[test]
fn latencies() {
    let guard = r#""max_p50": "10ms", "max_p95": "100ms", "max_p99": "2s""#;
    let judged = |slow| judged(guard, figures(1_000, 0, slow), Figures::default());
    assert_eq!(judged([500, 50, 10]), None);
    assert_eq!(judged([501, 0, 0]), Some("max_p50"));
    assert_eq!(judged([500, 51, 0]), Some("max_p95"));
    assert_eq!(judged([500, 50, 11]), Some("max_p99"));
}

#[test]
fn failures() {
    let document = document_with(r#""max_error_rate": 0.1"#);
    let guard = document.rollouts()[0].guard().unwrap();
    for (status, failed) in [
        (None, true),
        (Some(200), false),
        (Some(404), false),
        (Some(429), false),
        (Some(499), false),
        (Some(500), true),
        (Some(503), true),
    ] {
        assert_eq!(guard.is_failure(status), failed, "{status:?}");
    }
    let document = document_with(r#""max_error_rate": 0.1, "count_429": true"#);
    assert!(
        document.rollouts()[0]
            .guard()
            .unwrap()
            .is_failure(Some(429))
    );
}

#[test]
fn outcomes_leave_the_window() {
    let document = document_with(r#""window": "10s", "max_error_rate": 0.1, "max_p99": "1s""#);
    let guard = document.rollouts()[0].guard().unwrap();
    let mut window = Window::new(guard);
    let outcome = |status, millis| Outcome {
        environment: 1,
        status,
        millis,
    };
    window.record(guard, Side::Guarded, &outcome(None, 1_500), 100_000);
    window.record(guard, Side::Stable, &outcome(Some(200), 7), 100_500);
    assert_eq!(window.figures().guarded, figures(1, 1, [0, 0, 1]));
    assert_eq!(window.figures().stable, figures(1, 0, [0; 3]));
    assert_eq!(window.latency(Side::Guarded, Quantile::P50), 1_535);
    window.advance(109_999);
    assert_eq!(window.figures().guarded.total, 1);
    window.advance(110_000);
    assert_eq!(
        (
            window.figures(),
            window.latency(Side::Guarded, Quantile::P99)
        ),
        (&Both::default(), 0)
    );
    // A clock that is set back a little goes on, one that is set back far starts anew.
    window.record(guard, Side::Guarded, &outcome(Some(200), 7), 110_000);
    window.record(guard, Side::Guarded, &outcome(Some(200), 7), 104_000);
    assert_eq!(window.figures().guarded.total, 2);
    window.record(guard, Side::Guarded, &outcome(Some(200), 7), 50_000);
    assert_eq!(window.figures().guarded.total, 1);
}

#[test]
fn guards_that_count_differently_have_their_own_fingerprints() {
    let fingerprint = |guard: &str| {
        let document = document_with(guard);
        let rollout = &document.rollouts()[0];
        rollout.guard().unwrap().fingerprint(rollout)
    };
    let one = fingerprint(r#""max_p99": "1s""#);
    assert_eq!(
        fingerprint(r#""max_p99": "1s", "min_requests": 7, "max_error_rate": 0.1"#),
        one
    );
    for other in [
        r#""max_p99": "2s""#,
        r#""max_p95": "1s""#,
        r#""max_p99": "1s", "window": "5s""#,
        r#""max_p99": "1s", "count_429": true"#,
    ] {
        assert_ne!(fingerprint(other), one, "{other}");
    }
}

#[test]
fn the_story_has_the_figures() {
    let document = document_with(r#""max_error_rate": 0.1"#);
    let rollout = &document.rollouts()[0];
    let guard = rollout.guard().unwrap();
    let both = Both {
        guarded: figures(60, 30, [0; 3]),
        stable: figures(1_000, 1, [0; 3]),
    };
    assert_eq!(
        guard.story(rollout, Cause::ErrorRate, &both, &Window::new(guard)),
        "rollout `default` tripped on `max_error_rate`: everything goes to `blue`. Within 30 s at `green` 30 of 60 failed (50.00 %), p50 0 ms, p95 0 ms, p99 0 ms; at `blue` 1 of 1000 failed (0.10 %)"
    );
}

/// The slot, the side, whether it failed, and how long it took.
type Event = (u64, Side, bool, u64);

proptest! {
    #[test]
    fn the_window_counts_what_is_within_it(events in proptest::collection::vec((0_u64..3_000, any::<bool>(), 0_u64..5_000, any::<bool>()), 0..200)) {
        let document = document_with(r#""window": "10s", "max_error_rate": 0.1, "max_p95": "1s""#);
        let guard = document.rollouts()[0].guard().unwrap();
        let mut window = Window::new(guard);
        let mut now = 1_000_000;
        let mut all: Vec<Event> = Vec::new();
        for (gap, failed, millis, stable) in events {
            now += gap;
            let side = if stable { Side::Stable } else { Side::Guarded };
            let status = if failed { Some(500) } else { Some(200) };
            window.record(guard, side, &Outcome { environment: 0, status, millis }, now);
            all.push((now / 1_000, side, failed, millis));
            let within: Vec<_> = all.iter().filter(|(slot, own, ..)| *slot + 10 > now / 1_000 && *own == side).collect();
            let counted = match side { Side::Stable => window.figures().stable, Side::Guarded => window.figures().guarded };
            let count = |keep: fn(&Event) -> bool| u32::try_from(within.iter().filter(|event| keep(event)).count()).unwrap();
            prop_assert_eq!(counted.total, count(|_| true));
            prop_assert_eq!(counted.failed, count(|(_, _, failed, _)| *failed));
            prop_assert_eq!(counted.slow, [0, count(|(_, _, _, millis)| *millis > 1_000), 0]);
            let mut latencies: Vec<u64> = within.iter().map(|(.., millis)| *millis).collect();
            latencies.sort_unstable();
            let exact = latencies[(latencies.len() * 95).div_ceil(100) - 1];
            let told = window.latency(side, Quantile::P95);
            prop_assert!(told >= exact && told <= exact + exact / 4, "{told} for {exact}");
        }
    }

    #[test]
    fn never_trips_below_the_volume_and_always_above_the_limits(total in 0_u32..10_000, failed in 0_u32..10_000, min in 1_u32..1_000, millionths in 0_u32..1_000_000) {
        let failed = failed.min(total);
        let guard = format!(r#""min_requests": {min}, "max_error_rate": {}"#, f64::from(millionths) / 1e6);
        let tripped = judged(&guard, figures(total, failed, [0; 3]), Figures::default()).is_some();
        let above = u64::from(failed) * 1_000_000 > u64::from(total) * u64::from(millionths);
        prop_assert_eq!(tripped, total >= min && above);
    }
}
