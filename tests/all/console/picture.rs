//! The picture of the console in the README: `make picture` draws it anew.

use std::time::{Duration, SystemTime};

use serde_json::json;
use switchover_tests::{Console, Engine, Load, assert_eventually, programs};

use super::{both, document, file, looking, start};

/// Where the picture goes; without it, it is only looked at.
const VARIABLE: &str = "SWITCHOVER_PICTURE";
/// The longest file.
const LIMIT: usize = 150_000;

#[test]
fn a_rollout_under_way() {
    switchover_tests::run(async {
        let upstreams = both().await;
        let begun = SystemTime::now() - Duration::from_secs(41 * 60);
        let mut document = document(0);
        document["rollout"] = "chat-api-2.1.0".into();
        document["guard"] = json!({"environment": "green", "window": "30s", "min_requests": 50, "max_error_rate": 0.05, "max_p99": "2s"});
        document["schedule"] = json!({
            "environment": "green", "start": humantime::format_rfc3339_seconds(begun).to_string(),
            "steps": [{"at": "5m", "weight": 1}, {"at": "15m", "weight": 5}, {"at": "30m", "weight": 25},
                      {"at": "60m", "weight": 50}, {"at": "90m", "weight": 100}],
        });
        let host = start(Engine::Host, document.clone(), &upstreams).await;
        let envoy = start(Engine::Envoy, document, &upstreams).await;
        let console =
            Console::start(&file(&host), &[host.admin_address(), envoy.admin_address()]).await;
        let mut browser = looking(&console).await;
        browser.appear(1200, 900, "light").await;
        let loads = [&host, &envoy].map(|gateway| Load::start(gateway, 1));
        assert_eventually!(
            {
                let rows = browser.rows("#environments").await;
                rows.len() == 2 && rows[1][3] == "25 %" && rows[1][8] != "–"
            },
            "{:?}",
            browser.rows("#environments").await
        );
        let picture = browser.picture().await;
        for load in loads {
            load.end().await;
        }
        assert!(picture.len() <= LIMIT, "{} bytes", picture.len());
        if let Some(place) = std::env::var_os(VARIABLE) {
            std::fs::write(programs::root().join(place), picture).unwrap();
        }
    });
}
