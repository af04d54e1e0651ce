//! What is shown.

use switchover_tests::{Browser, Console, Engine, assert_eventually};

use super::{both, document, file, greens, start};

#[test]
fn the_page_shows_and_operates() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let gateway = start(Engine::Host, document(20), &upstreams).await;
        let console = Console::start(&file(&gateway), &[gateway.admin_address()]).await;
        let mut browser = Browser::start(1200, 900).await;
        browser.open(&console.page()).await;
        assert_eventually!(
            browser.text("#link").await == "live",
            "{}",
            browser.text("body").await
        );
        assert_eventually!(
            {
                greens(&gateway).await;
                browser.text("#measured").await.contains("green 20 %")
            },
            "{}",
            browser.text("body").await
        );
        browser.click("#set").await;
        assert_eventually!(
            browser.focus().await == "ask-percent",
            "{}",
            browser.text("#ask").await
        );
        browser.press("25").await;
        assert_eventually!(
            browser
                .run("return !document.getElementById('ask-yes').disabled")
                .await
                == true,
            "{}",
            browser.text("#ask").await
        );
        browser.click("#ask-yes").await;
        assert_eventually!(greens(&gateway).await == 25, "green did not get 25 %");
        browser.appear(360, 740, "dark").await;
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    });
}
