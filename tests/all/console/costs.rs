//! What models took and cost, as the page shows it beside `switchover report`.

use serde_json::Value;
use switchover_tests::{Browser, Console, assert_eventually, cases};

use super::limits::violations;
use super::{file, looking};
use crate::report::{as_json, chat, document, start};

/// Everything of the report but the rate, which goes on with the clock.
fn so_far(mut report: Value) -> Value {
    let rows = report["rows"].take();
    let mut all: Vec<Value> = rows.as_array().unwrap().clone();
    all.push(report["total"].take());
    for row in &mut all {
        row["per_month"] = Value::Null;
    }
    all.into()
}

async fn hidden(browser: &mut Browser) -> bool {
    let script = "return document.querySelector('#costs-card').checkVisibility()";
    browser.run(script).await == false
}

cases! {
    async fn costs_are_those_of_the_report(engine: Engine) {
        let gateway = start(engine).await;
        let console = Console::start(&file(&gateway), &[gateway.admin_address()]).await;
        let mut browser = looking(&console).await;
        assert_eventually!(browser.rows("#costs").await.len() == 3, "{}", browser.text("#costs-card").await);
        assert_eq!(browser.rows("#costs").await[0][7], "$0.00", "nobody has asked yet");
        for _ in 0..10 {
            chat(&gateway, "big", false).await;
        }
        chat(&gateway, "small", false).await;
        // Of each: one word of the prompt cached, one not; six words of answer.
        let expected = [
            ["large", "200 / 50 / 800", "1000", "10", "20", "10", "60", "$0.050500", "$0.029500 (36.9 %)"],
            ["small", "1", "–", "1", "2", "1", "6", "$0.000008", "$0.00 (0.0 %)"],
            ["all", "–", "–", "11", "22", "11", "66", "$0.050508", "$0.029500 (36.9 %)"],
        ];
        let is_shown = |rows: &[Vec<String>]| rows.iter().map(|row| &row[..9]).eq(expected);
        assert_eventually!(is_shown(&browser.rows("#costs").await), "{:?}", browser.rows("#costs").await);
        // A rate needs a time: uptimes are told in whole seconds.
        let month = async |browser: &mut Browser| browser.rows("#costs").await[2][9].clone();
        assert_eventually!(month(&mut browser).await.len() > "$0.050508".len(), "{}", month(&mut browser).await);
        let shown = console.state().await["costs"].take();
        assert_eq!(so_far(shown), so_far(as_json(&gateway, &[]).await));
        for (width, scheme) in [(1200, "light"), (360, "dark")] {
            browser.appear(width, 800, scheme).await;
            let found = violations(&mut browser).await;
            assert!(found.is_empty(), "{scheme} at {width}: {found:#?}");
            let over = browser.run("return document.documentElement.scrollWidth - innerWidth").await;
            assert!(over.as_i64().unwrap() <= 0, "{over} px too wide at {width}");
        }
        let mut without = document();
        without.as_object_mut().unwrap().remove("models");
        gateway.replace_document(&without);
        assert_eventually!(hidden(&mut browser).await, "{}", browser.text("#costs-card").await);
        assert_eq!(console.state().await["costs"], Value::Null);
    }
}
