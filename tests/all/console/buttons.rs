//! Each button, against its effect on traffic.

use std::process::Command;

use serde_json::{Value, json};
use switchover_tests::browser::key;
use switchover_tests::{Browser, Console, Engine, assert_eventually, cases, programs};

use super::{both, closed, document, file, greens, looking, may_confirm, opened, scheduled, start};

/// Presses a button and agrees; gives what the dialog said.
async fn press(browser: &mut Browser, verb: &str) -> String {
    browser.click(&format!("#{verb}")).await;
    may_confirm(browser).await;
    let said = browser.text("#ask").await;
    browser.click("#ask-yes").await;
    closed(browser).await;
    said
}

/// Sets green's share with mouse and keys.
async fn set(browser: &mut Browser, percent: &str) -> String {
    browser.click("#set").await;
    assert_eventually!(
        browser.focus().await == "ask-percent",
        "{}",
        browser.text("#ask").await
    );
    browser.press(percent).await;
    let then = format!(
        "return document.querySelector('#ask-shares tbody tr:last-child').innerText.endsWith('{percent} %')"
    );
    assert_eventually!(
        browser.run(&then).await == true,
        "{}",
        browser.text("#ask").await
    );
    may_confirm(browser).await;
    let said = browser.text("#ask").await;
    browser.click("#ask-yes").await;
    closed(browser).await;
    said
}

async fn configured(browser: &mut Browser) -> String {
    let text = browser
        .run("return document.getElementById('configured-text').textContent")
        .await;
    text.as_str().unwrap().to_owned()
}

cases! {
    async fn each_button_changes_the_traffic(engine: Engine) {
        let upstreams = both().await;
        let (gateway, _console, mut browser) = opened(engine, scheduled(), &upstreams).await;
        let said = press(&mut browser, "promote").await;
        assert!(said.contains("green gets 10 % (step 1 of 3) now; before, it got 0 %"), "{said}");
        assert!(said.contains("green\t0 %\t10 %"), "{said}");
        assert_eventually!(greens(&gateway).await == 10, "promote: green did not get 10 %");
        press(&mut browser, "pause").await;
        assert_eventually!(browser.text("#phase-pill").await == "paused", "{}", browser.text("#phase").await);
        press(&mut browser, "promote").await;
        assert_eventually!(greens(&gateway).await == 50, "promote: green did not get 50 %");
        assert_eventually!(configured(&mut browser).await == "blue 50 %, green 50 %", "{}", configured(&mut browser).await);
        let said = press(&mut browser, "resume").await;
        assert!(said.contains("the schedule goes on where it stood"), "{said}");
        assert_eventually!(browser.text("#phase-pill").await == "the schedule runs", "{}", browser.text("#phase").await);
        let said = press(&mut browser, "rollback").await;
        assert!(said.contains("everything goes to blue") && said.contains("green\t50 %\t0 %"), "{said}");
        assert_eventually!(greens(&gateway).await == 0, "rollback: green still got requests");
        assert_eventually!(browser.text("#alerts").await.contains("api-1 is rolled back by ada (console)"), "{}", browser.text("#alerts").await);
        press(&mut browser, "resume").await;
        assert_eventually!(greens(&gateway).await == 50, "resume: green did not get its share back");
        assert_eventually!(browser.text("#alerts").await.is_empty(), "{}", browser.text("#alerts").await);
        let said = set(&mut browser, "25").await;
        assert!(said.contains("the schedule is ended"), "{said}");
        assert_eventually!(greens(&gateway).await == 25, "set: green did not get 25 %");
        set(&mut browser, "100").await;
        assert_eventually!(greens(&gateway).await == 100, "set: green did not get everything");
        press(&mut browser, "finish").await;
        assert_eventually!(browser.rows("#environments").await[1][0] == "green (stable)", "{:?}", browser.rows("#environments").await);
        assert_eq!(greens(&gateway).await, 100);
        assert_eventually!(browser.rows("#proxies").await[0][1] == "current", "{:?}", browser.rows("#proxies").await);
        let verbs = browser.run("return [...document.querySelectorAll('#audit b')].map((b) => b.textContent)").await;
        assert_eq!(verbs, Value::from(vec!["finish", "set", "set", "resume", "rollback", "resume", "promote", "pause", "promote"]));
        let complaints = browser.complaints().await;
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_its_reason() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let gateway = start(Engine::Host, document(20), &upstreams).await;
        let console = Console::start(&file(&gateway), &[gateway.admin_address()]).await;
        let before = std::fs::read(file(&gateway)).unwrap();
        let mut browser = looking(&console).await;
        let off = "return document.getElementById('pause').getAttribute('aria-disabled')";
        assert_eventually!(
            browser.run(off).await == "true",
            "{}",
            browser.text("body").await
        );
        browser.click("#pause").await;
        assert_eventually!(
            browser.text("#ask-error").await
                == "there is no schedule to pause; `start` one, or `set` a share",
            "{}",
            browser.text("#ask").await
        );
        assert_eq!(
            browser
                .run("return document.getElementById('ask-yes').disabled")
                .await,
            true
        );
        browser.press(key::ESCAPE).await;
        closed(&mut browser).await;
        assert_eq!(std::fs::read(file(&gateway)).unwrap(), before);
    });
}

/// Whoever asked a moment too early, or before somebody else did what was missing, need not ask again.
#[test]
fn an_open_dialog_follows_what_becomes_possible() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let (gateway, _console, mut browser) = opened(Engine::Host, document(25), &upstreams).await;
        browser.click("#finish").await;
        assert_eventually!(
            browser
                .text("#ask-error")
                .await
                .starts_with("green gets 25 %"),
            "{}",
            browser.text("#ask").await
        );
        let mut command = Command::new(programs::switchover());
        command
            .args(["rollout", "set", "green=100"])
            .arg(file(&gateway));
        assert!(command.output().unwrap().status.success());
        may_confirm(&mut browser).await;
        browser.click("#ask-yes").await;
        closed(&mut browser).await;
        assert_eventually!(
            browser.rows("#environments").await[1][0] == "green (stable)",
            "{:?}",
            browser.rows("#environments").await
        );
    });
}

/// From the page's begin to a rollback without a mouse, and the focus is never lost.
#[test]
fn keys_are_enough() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let (gateway, _console, mut browser) = opened(Engine::Host, document(20), &upstreams).await;
        let mut visited = Vec::new();
        while browser.focus().await != "rollback" {
            assert!(visited.len() < 20, "{visited:?}");
            browser.press(key::TAB).await;
            visited.push(browser.focus().await);
        }
        assert_eq!(
            visited,
            [
                "", "promote", "pause", "resume", "set", "finish", "rollback"
            ],
            "after the link to the rollout"
        );
        browser.press(key::ENTER).await;
        may_confirm(&mut browser).await;
        assert_eventually!(
            browser.focus().await == "ask-yes",
            "{}",
            browser.focus().await
        );
        browser.press(key::ESCAPE).await;
        closed(&mut browser).await;
        assert_eq!(browser.focus().await, "rollback");
        assert_eq!(greens(&gateway).await, 20, "nothing was agreed to");
        browser.press(key::ENTER).await;
        may_confirm(&mut browser).await;
        assert_eventually!(
            browser.focus().await == "ask-yes",
            "{}",
            browser.focus().await
        );
        browser.press(key::ENTER).await;
        closed(&mut browser).await;
        assert_eventually!(greens(&gateway).await == 0, "green still got requests");
        assert_eq!(
            browser.focus().await,
            "rollback",
            "states have come meanwhile"
        );
        let told = browser
            .run("return document.getElementById('told').textContent")
            .await;
        assert!(
            told.as_str()
                .unwrap()
                .starts_with("Done: everything goes to blue"),
            "for readers of the screen: {told}"
        );
    });
}

/// After a trip that nobody wrote down, the dialog asks where the schedule goes on.
#[test]
fn after_a_trip_the_operator_says_where_it_goes_on() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let mut document = scheduled();
        document["guard"] = json!({"environment": "green", "max_error_rate": 0.1});
        document["rollback"] = true.into();
        let (gateway, _console, mut browser) = opened(Engine::Host, document, &upstreams).await;
        browser.click("#resume").await;
        assert_eventually!(
            browser
                .text("#ask-error")
                .await
                .contains("`resume --from 5` goes on"),
            "{}",
            browser.text("#ask").await
        );
        assert_eq!(browser.focus().await, "ask-from");
        browser.press("from the step with 10").await;
        may_confirm(&mut browser).await;
        let said = browser.text("#ask").await;
        assert!(said.contains("step 1 of 3: green gets 10 %"), "{said}");
        browser.click("#ask-yes").await;
        closed(&mut browser).await;
        assert_eventually!(greens(&gateway).await == 10, "green did not get 10 %");
    });
}

/// What someone else has written meanwhile is not overwritten; what would happen now is shown instead.
#[test]
fn a_document_that_was_changed_meanwhile_is_not_overwritten() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let (gateway, _console, mut browser) = opened(Engine::Host, document(20), &upstreams).await;
        browser.click("#rollback").await;
        may_confirm(&mut browser).await;
        gateway.replace_document(&document(60));
        let theirs = std::fs::read(file(&gateway)).unwrap();
        browser.click("#ask-yes").await;
        assert_eventually!(
            browser
                .text("#ask-error")
                .await
                .contains("was changed by someone else meanwhile"),
            "{}",
            browser.text("#ask").await
        );
        assert_eq!(std::fs::read(file(&gateway)).unwrap(), theirs);
        may_confirm(&mut browser).await;
        let now = browser.text("#ask").await;
        assert!(now.contains("green\t60 %\t0 %"), "{now}");
        browser.click("#ask-yes").await;
        closed(&mut browser).await;
        assert_eventually!(greens(&gateway).await == 0, "green still got requests");
    });
}
