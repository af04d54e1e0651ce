//! Probes and their thresholds, what is shared, and the lease.

use proptest::prelude::*;

use super::*;
use crate::document::{Document, parse};

fn document() -> Document {
    let text = r#"{"routing": {"blue": {"weight": 1}, "green": {"weight": 1}}, "health": {"interval": "1s"}}"#;
    parse(text.as_bytes(), &|_| None).unwrap()
}

#[test]
fn thresholds_hold_both_ways() {
    let document = document();
    let health = document.rollouts()[0].health().unwrap();
    let mut probe = Probe::default();
    let mut states = Vec::new();
    let statuses = [200, 200, 500, 503, 204, 404, 301, 0, 200, 500, 200, 200];
    for status in statuses {
        probe.end(health, Some(status).filter(|status| *status > 0));
        states.push(probe.state() == State::Healthy);
    }
    let expected = [
        true, true, true, true, true, true, true, false, false, false, false, true,
    ];
    assert_eq!(states, expected);
    let mut probe = Probe::default();
    probe.end(health, None);
    assert_eq!(probe.state(), State::Unhealthy, "the first answer decides");
}

#[test]
fn one_probe_at_a_time_each_interval() {
    let document = document();
    let health = document.rollouts()[0].health().unwrap();
    let mut probe = Probe::default();
    assert!(probe.begin(health, 100_000));
    assert!(!probe.begin(health, 105_000), "it is on its way");
    probe.end(health, Some(200));
    assert!(probe.begin(health, 105_000));
    probe.end(health, Some(200));
    assert!(!probe.begin(health, 105_999));
    assert!(probe.begin(health, 106_000));
    probe.end(health, Some(200));
    assert!(probe.begin(health, 50_000), "the clock was set back");
}

#[test]
fn states_are_shared_by_name() {
    let document = document();
    let rollout = &document.rollouts()[0];
    let text = write(rollout, [State::Healthy, State::Unhealthy].into_iter());
    assert_eq!(text, b"blue=+;green=-;");
    assert_eq!(read(rollout, &text), [State::Healthy, State::Unhealthy]);
    assert_eq!(
        read(rollout, b"green=+;gray=+;"),
        [State::Unknown, State::Healthy]
    );
}

#[test]
fn one_worker_holds_the_lease() {
    let first = lease(None, 1, 10_000).unwrap();
    assert_eq!(lease(Some(&first), 2, 11_999), None);
    let renewed = lease(Some(&first), 1, 11_000).unwrap();
    assert_eq!(lease(Some(&renewed), 2, 12_500), None);
    assert!(lease(Some(&renewed), 2, 13_000).is_some(), "it has run out");
    assert!(
        lease(Some(&renewed), 2, 1_000).is_some(),
        "it is of a clock that was set back"
    );
}

proptest! {
    #[test]
    fn any_text_and_lease_are_read(text in proptest::collection::vec(any::<u8>(), 0..64), now: u64) {
        let document = document();
        prop_assert_eq!(read(&document.rollouts()[0], &text).len(), 2);
        if let Some(lease) = lease(Some(&text), 3, now) {
            prop_assert_eq!(super::lease(Some(&lease), 3, now), Some(lease));
        }
    }
}
