use proptest::prelude::*;

use super::*;

/// 2026-11-26T00:00:00Z
const NOW: u64 = 1_795_651_200 * SECOND;

fn limits(requests: u32, tokens: u32) -> Limits {
    Limits {
        requests: Some(requests),
        tokens: Some(tokens),
        day: None,
        month: None,
    }
}

fn tokens(input: u64, output: u64) -> Usage {
    Usage {
        input,
        cached: 0,
        output,
    }
}

#[test]
fn requests_are_refilled_evenly() {
    let limits = limits(3, 1_000);
    let mut ledger = Ledger::default();
    for _ in 0..3 {
        assert_eq!(ledger.admit(&limits, NOW), Ok(()));
    }
    let wait = 20 * SECOND;
    assert_eq!(
        ledger.admit(&limits, NOW),
        Err(Exceeded {
            limit: Limit::Requests,
            wait
        })
    );
    assert_eq!(
        ledger.admit(&limits, NOW + wait - 1),
        Err(Exceeded {
            limit: Limit::Requests,
            wait: 1
        })
    );
    assert_eq!(ledger.admit(&limits, NOW + wait), Ok(()));
    assert_eq!(ledger.headers(&limits, NOW + wait)[1].1, "0");
    assert_eq!(ledger.headers(&limits, NOW + 10 * MINUTE)[1].1, "3");
}

#[test]
fn tokens_count_once_they_are_known() {
    let limits = limits(100, 600);
    let mut ledger = Ledger::default();
    assert_eq!(ledger.admit(&limits, NOW), Ok(()));
    ledger.charge(&limits, &tokens(100, 500), Cost::default(), NOW);
    let exceeded = ledger.admit(&limits, NOW).unwrap_err();
    assert_eq!(
        (exceeded.limit, exceeded.wait),
        (Limit::Tokens, SECOND / 10)
    );
    assert_eq!(ledger.admit(&limits, NOW + SECOND), Ok(()));
    assert_eq!(
        ledger.headers(&limits, NOW + SECOND)[4..],
        [
            ("x-ratelimit-remaining-tokens", "10".to_owned()),
            ("x-ratelimit-reset-tokens", "59s".to_owned())
        ]
    );
    ledger.charge(&limits, &tokens(u64::MAX, u64::MAX), Cost::default(), NOW);
    assert!(ledger.admit(&limits, NOW + DAY).is_err());
}

#[test]
fn budgets_begin_anew() {
    let limits = Limits {
        requests: None,
        tokens: None,
        day: Some(100),
        month: Some(150),
    };
    let mut ledger = Ledger::default();
    let cost = Cost {
        own: 100 * CENT,
        reference: 0,
    };
    assert_eq!(ledger.admit(&limits, NOW), Ok(()));
    ledger.charge(&limits, &Usage::default(), cost, NOW);
    let exceeded = ledger.admit(&limits, NOW + DAY / 2).unwrap_err();
    assert_eq!((exceeded.limit, exceeded.wait), (Limit::Day, DAY / 2));
    assert_eq!(ledger.admit(&limits, NOW + DAY), Ok(()));
    ledger.charge(&limits, &Usage::default(), cost, NOW + DAY);
    let exceeded = ledger.admit(&limits, NOW + DAY).unwrap_err();
    // From the 27th to the 1st of December.
    assert_eq!((exceeded.limit, exceeded.wait), (Limit::Month, 4 * DAY));
    assert_eq!(ledger.admit(&limits, NOW + 5 * DAY), Ok(()));
    let reply = exceeded.reply(ledger.headers(&limits, NOW));
    assert_eq!(reply.status, 429);
    assert_eq!(reply.headers[1], ("retry-after", "345600".to_owned()));
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body["error"]["code"], "insufficient_quota");
}

#[test]
fn months_are_those_of_the_calendar() {
    let first = time::Date::from_calendar_date(2000, time::Month::January, 1).unwrap();
    for days in 0..40_000_i64 {
        let date = first + time::Duration::days(days);
        let expected =
            u64::try_from(date.year()).unwrap() * 12 + u64::from(u8::from(date.month())) - 1;
        let day = u64::try_from(days + 10_957).unwrap();
        assert_eq!(month(day), (expected, date.day().into()), "{date}");
    }
}

#[test]
fn spans() {
    assert_eq!(
        [0, 1, SECOND, 1_500_000_001, MINUTE].map(span),
        ["0ms", "1ms", "1s", "1.501s", "60s"]
    );
}

proptest! {
    #[test]
    fn survives_shared_data(requests: u64, tokens: u64, day: (u64, u64), month: (u64, u64)) {
        let ledger = Ledger { requests, tokens, day, month };
        prop_assert_eq!(Ledger::read(&ledger.write()), ledger);
        prop_assert_eq!(Ledger::read(b"other"), Ledger::default());
    }

    #[test]
    fn what_is_left_is_what_is_admitted(rate in 1_u32..100_000, taken: prop::sample::Index) {
        let limits = limits(rate, 1);
        let mut ledger = Ledger::default();
        let taken = u32::try_from(taken.index(2_000)).unwrap().min(rate);
        for left in (rate - taken..rate).rev() {
            prop_assert_eq!(ledger.admit(&limits, NOW), Ok(()));
            let headers = ledger.headers(&limits, NOW);
            prop_assert_eq!(&headers[1], &("x-ratelimit-remaining-requests", left.to_string()));
        }
        prop_assert_eq!(ledger.admit(&limits, NOW).is_ok(), taken < rate);
    }

    #[test]
    fn never_more_than_twice_as_many_in_a_minute(rate in 1_u32..500, gaps in proptest::collection::vec(0_u64..2_000_000_000, 1..2_000)) {
        let limits = limits(rate, 1);
        let mut ledger = Ledger::default();
        let mut now = NOW;
        let mut admitted = Vec::new();
        for gap in gaps {
            now += gap;
            if ledger.admit(&limits, now).is_ok() {
                admitted.push(now);
            }
        }
        for from in &admitted {
            let within = admitted.iter().filter(|at| (*from..from + MINUTE).contains(at)).count();
            prop_assert!(within <= 2 * usize::try_from(rate).unwrap());
        }
    }
}
