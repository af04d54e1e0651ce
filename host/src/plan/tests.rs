use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::rollout::Loaded;

/// The original's five phases over 90 minutes.
fn phases() -> serde_json::Value {
    json!({"rollout": "r", "routing": {"blue": {"weight": 1}, "green": {"weight": 0}}, "schedule": {"environment": "green",
        "start": "2026-11-22T20:00:00Z", "steps": [{"at": "5m", "weight": 1}, {"at": "15m", "weight": 5}, {"at": "30m", "weight": 25},
        {"at": "60m", "weight": 50}, {"at": "90m", "weight": 100}]}})
}

fn planned(document: &serde_json::Value, keys: usize, span: Span) -> (Plan, Loaded) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("r.json");
    std::fs::write(&path, document.to_string()).expect("written");
    let loaded = Loaded::read(&path).unwrap_or_else(|e| panic!("{e}: {document}"));
    let keys: Vec<_> = (0..keys)
        .map(|n| format!("user-{n}").into_bytes())
        .collect();
    let plan = simulate(&loaded.named(None).expect("one"), &keys, span);
    (plan, loaded)
}

const WHOLE: Span = Span {
    from: None,
    length: None,
    now: Timestamp::from_millis(0),
};

#[test]
fn the_five_phases() {
    let (plan, loaded) = planned(&phases(), 10_000, WHOLE);
    let whats: Vec<_> = plan
        .rows
        .iter()
        .map(|r| (r.what.as_str(), r.after.as_secs() / 60))
        .collect();
    let expected = [
        ("start", 0),
        ("step 1", 5),
        ("step 2", 15),
        ("step 3", 30),
        ("step 4", 60),
        ("step 5", 90),
        ("end", 99),
    ];
    assert_eq!(whats, expected);
    let green: Vec<_> = plan.rows.iter().map(|r| r.keys[1]).collect();
    for (keys, percent) in green.iter().zip([0, 1, 5, 25, 50, 100, 100]) {
        // Four standard deviations of 10,000 draws are 200 at most.
        assert!(keys.abs_diff(percent * 100) <= 200, "{green:?}");
    }
    assert!(plan.rows.iter().all(|r| r.left == 0 && r.against == 0));
    assert_eq!(plan.rows.iter().map(|r| r.came).sum::<usize>(), 10_000);
    assert!(
        plan.violations.is_empty() && plan.warnings.is_empty(),
        "{plan:?}"
    );

    let rollout = &loaded.document().rollouts()[0];
    assert_eq!(plan.curve(rollout, 100).last(), Some(&100.0));
    let drawn = chart::terminal(&plan, rollout);
    assert!(
        drawn.contains("100.00") && drawn.contains("1h39m"),
        "{drawn}"
    );
    let svg = chart::svg(&plan).expect("drawn");
    assert!(
        svg.starts_with("<svg") && svg.contains("green") && svg.trim_end().ends_with("</svg>"),
        "{svg}"
    );
}

#[test]
fn a_schedule_that_falls_is_told() {
    let mut document = phases();
    document["schedule"]["steps"] = json!([{"at": "1m", "weight": 50}, {"at": "2m", "weight": 10}]);
    let (plan, _) = planned(&document, 1000, WHOLE);
    assert!(
        plan.rows[2].left > 300 && plan.rows[2].against == 0,
        "{plan:?}"
    );
    assert!(plan.violations.is_empty());
    assert!(
        plan.warnings[0].contains("ends with green at 10 %, below the 50 %"),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn a_part_of_a_linear_ramp() {
    let mut document = phases();
    document["schedule"]["ramp"] = "linear".into();
    document["schedule"]["steps"] = json!([{"at": "100m", "weight": 100}]);
    let from = Timestamp::parse("2026-11-22T20:20:00Z");
    let span = Span {
        from,
        length: Duration::parse("40m"),
        ..WHOLE
    };
    let (plan, _) = planned(&document, 1000, span);
    let shares: Vec<_> = plan
        .rows
        .iter()
        .map(|r| (r.after.as_secs() / 60, r.shares[1].hundredths()))
        .collect();
    assert_eq!(shares, [(0, 2000), (5, 2500), (30, 5000), (40, 6000)]);
    assert!(plan.violations.is_empty());
}

#[test]
fn without_a_schedule_nothing_moves() {
    let document = json!({"routing": {"blue": {"weight": 3}, "green": {"weight": 1}}});
    let (plan, _) = planned(&document, 100, WHOLE);
    assert_eq!(plan.rows.len(), 2);
    assert_eq!(plan.rows[1].came + plan.rows[1].left, 0);
    assert_eq!(plan.environment, "green");
}

/// A decision against the shares is seen.
#[test]
fn moves_without_a_reason_are_violations() {
    for (before, after, from, to, expected) in [
        ([95, 5], [75, 25], 0, 1, Ordering::Greater),
        ([95, 5], [75, 25], 1, 0, Ordering::Less),
        ([95, 5], [19, 1], 0, 1, Ordering::Equal),
        ([1, 0], [0, 1], 0, 1, Ordering::Greater),
    ] {
        assert_eq!(proportion(&before, &after, from, to), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the steps, keys move only as the shares give reason to.
    #[test]
    fn no_schedule_moves_keys_against_the_shares(
        steps in proptest::collection::vec((1_u64..100_000, 0_u32..=10_000), 1..6),
        weights in (1_u32..100, 0_u32..100, 0_u32..100),
        linear in any::<bool>(),
    ) {
        let mut at = 0;
        let steps: Vec<_> = steps.iter().map(|(wait, weight)| {
            at += wait;
            json!({"at": format!("{at}ms"), "weight": f64::from(*weight) / 100.0})
        }).collect();
        let document = json!({"routing": {"blue": {"weight": weights.0}, "green": {"weight": weights.1}, "amber": {"weight": weights.2}},
            "schedule": {"environment": "green", "start": "2026-11-22T20:00:00Z", "steps": steps, "ramp": if linear { "linear" } else { "step" }}});
        let (plan, _) = planned(&document, 200, WHOLE);
        prop_assert!(plan.violations.is_empty(), "{:?}", plan.violations);
    }
}
