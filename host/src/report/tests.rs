use super::*;

const TEXT: &str = r#"# TYPE switchover_input_tokens counter
switchover_input_tokens{consumer="a",environment="blue",model="large",rollout="r"} 1000000
switchover_cached_input_tokens{consumer="a",environment="blue",model="large",rollout="r"} 400000
switchover_output_tokens{consumer="a",environment="blue",model="large",rollout="r"} 200000
switchover_cost_microdollars{consumer="a",environment="blue",model="large",rollout="r"} 3000000
switchover_reference_cost_microdollars{consumer="a",environment="blue",model="large",rollout="r"} 4000000
switchover_answers{consumer="a",environment="blue",model="large",rollout="r",usage="told"} 10
switchover_answers{consumer="a",environment="blue",model="large",rollout="r",usage="untold"} 2
envoy_switchover_input_tokens{consumer="b",environment="green",model="large",rollout="r"} 5
envoy_switchover_cost_microdollars{consumer="b",environment="green",model="large",rollout="r"} 7
switchover_input_tokens{environment="green",model="other",rollout="r"} 1
"#;

const DOCUMENT: &str = r#"{
  "routing": {"blue": {"weight": 1}},
  "models": {"catalogue": [
    {"id": "small", "usd_per_million": 0.5},
    {"id": "large", "usd_per_million": {"input": 2.0, "cached_input": 0.5, "output": 8.0}, "reference_usd_per_million": 10}
  ]}
}"#;

fn document() -> Document {
    switchover_core::document::parse(DOCUMENT.as_bytes(), &|_| None).expect("a document")
}

fn counted(text: &str, time: u64) -> Counted {
    Counted {
        so_far: Ledger::read(text),
        lately: Ledger::read(text),
        time: Duration::from_secs(time),
    }
}

#[test]
fn models_have_prices_and_sums_over_proxies() {
    let day = 24 * 60 * 60;
    let document = document();
    let proxies = [counted(TEXT, day), counted(TEXT, 2 * day)];
    let report = Report::new(&proxies, By::Model, Some(&document));
    let names: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["large", "other", "small"]);
    let large = &report.rows[0];
    assert_eq!(large.amounts.input_tokens, 2 * 1_000_005);
    assert_eq!(large.amounts.cost_microdollars, 2 * 3_000_007);
    assert_eq!(
        (large.amounts.answers, large.amounts.untold_answers),
        (20, 4)
    );
    let price = large.usd_per_million.expect("a price");
    assert_eq!(
        (price.input, price.cached_input, price.output),
        (2.0, 0.5, 8.0)
    );
    assert_eq!(large.reference_usd_per_million.expect("one").output, 10.0);
    // 30 days of the first proxy's day, 15 of the second's two.
    let month = large.per_month.expect("a rate");
    assert_eq!(month.cost_microdollars, 45 * 3_000_007);
    assert_eq!(report.total.amounts.input_tokens, 2 * 1_000_006);
    assert_eq!(report.rows[2].amounts, Amounts::default());
}

#[test]
fn a_saving_is_a_part_of_the_reference() {
    let row = &Report::new(&[counted(TEXT, 0)], By::Consumer, None).rows[0];
    assert_eq!(row.name, "a");
    assert_eq!(row.amounts.saved_microdollars(), 1_000_000);
    assert_eq!(row.amounts.saving(), Some(0.25));
    assert_eq!(row.per_month, None, "no time, no rate");
    assert_eq!(Amounts::default().saving(), None);
}

#[test]
fn a_rate_is_of_what_came_since() {
    let before = Ledger::read(TEXT);
    let after = Ledger::read(&TEXT.replace("} 3000000", "} 3000500"));
    let lately = after.since(&before);
    let proxy = Counted {
        so_far: after.clone(),
        lately,
        time: Duration::from_secs(1),
    };
    let report = Report::new(&[proxy], By::Rollout, None);
    let month = report.total.per_month.expect("a rate");
    assert_eq!(month.cost_microdollars, 500 * MONTH.as_secs());
    assert_eq!(month.input_tokens, 0);
    // The process has begun anew: what it has counted came since.
    let again = Ledger::read(
        "switchover_input_tokens{model=\"large\",consumer=\"a\",environment=\"blue\",rollout=\"r\"} 3\n",
    );
    let new = Report::new(
        &[Counted {
            so_far: again.clone(),
            lately: again.since(&before),
            time: Duration::from_secs(1),
        }],
        By::Model,
        None,
    );
    assert_eq!(
        new.total.per_month.expect("a rate").input_tokens,
        3 * MONTH.as_secs()
    );
}

/// Two rollouts with the same model at different prices: a line for each price, and of a rollout that is gone only what is
/// the same in all.
#[test]
fn each_price_has_its_line() {
    let of = |id: &str, price: u32| {
        format!(
            r#"{{"rollout": "{id}", "match": {{"path_prefix": "/{id}"}}, "routing": {{"blue": {{"weight": 1}}}}, "models": {{"catalogue": [
                {{"id": "large", "usd_per_million": {price}}}, {{"id": "small", "usd_per_million": 1}}]}}}}"#
        )
    };
    let text = format!(
        r#"{{"rollouts": [{}, {}, {}]}}"#,
        of("r", 2),
        of("s", 3),
        of("t", 2)
    );
    let document =
        switchover_core::document::parse(text.as_bytes(), &|_| None).expect("a document");
    let counts = ["r", "s", "t", "gone"].map(|rollout| {
        let of = |model: &str| {
            format!("switchover_cost_microdollars{{model=\"{model}\",rollout=\"{rollout}\"}} 100\n")
        };
        of("large") + &of("small")
    });
    let report = Report::new(&[counted(&counts.concat(), 0)], By::Model, Some(&document));
    let line = |row: &Row| {
        let price = row.usd_per_million.map(|price| price.input);
        (row.name.clone(), price, row.amounts.cost_microdollars)
    };
    let mut lines: Vec<_> = report.rows.iter().map(line).collect();
    lines.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    let expected = [
        ("large", None, 100),
        ("large", Some(2.0), 200),
        ("large", Some(3.0), 100),
        ("small", Some(1.0), 400),
    ];
    assert_eq!(
        lines,
        expected.map(|(name, price, cost)| (name.to_owned(), price, cost))
    );
    let by_rollout = Report::new(
        &[counted(&counts.concat(), 0)],
        By::Rollout,
        Some(&document),
    );
    assert_eq!(by_rollout.rows.len(), 4);
}
