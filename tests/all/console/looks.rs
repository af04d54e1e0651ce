//! How the page looks in every situation, at every size: nothing is cut off, and everybody can use it.
//!
//! The proxies are made up, so that each situation is there at once. With `SWITCHOVER_LOOKS=FOLDER` each view is left
//! there as a picture.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::browser::key;
use switchover_tests::upstream::{refusing, text};
use switchover_tests::{Browser, Console, Upstream, assert_eventually};
use tempfile::TempDir;

use super::limits::violations;
use super::looking;

/// Where pictures go.
const VARIABLE: &str = "SWITCHOVER_LOOKS";
/// Widths in CSS pixels, with a scheme: a screen, one on which tables just have room, the first at 200 % zoom, a phone.
const VIEWS: [(u32, &str); 6] = [
    (1200, "light"),
    (940, "light"),
    (1200, "dark"),
    (600, "light"),
    (360, "light"),
    (360, "dark"),
];
/// What models took, by a metric's name.
const COSTS: [(&str, u64); 5] = [
    ("input_tokens", 123_456_789_012),
    ("cached_input_tokens", 98_765_432_109),
    ("output_tokens", 12_345_678_901),
    ("cost_microdollars", 308_641_972_530),
    ("reference_cost_microdollars", 1_629_629_614_956),
];
/// What is cut off, or runs out of the page; bars say in words what does not fit into them.
const CUT: &str = "const wide = document.documentElement.scrollWidth - innerWidth;
    const cut = [...document.querySelectorAll('.part span')].filter((e) => {
      const [own, part] = [e, e.parentElement].map((one) => one.getBoundingClientRect());
      return own.top < part.bottom && (own.left < part.left - 1 || own.right > part.right + 1);
    }).concat([...document.querySelectorAll('main *, header *')].filter((e) => e.checkVisibility() && !e.closest('.sr, .bar, svg, thead')
      && (e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 && getComputedStyle(e).display !== 'inline'
          || e.getBoundingClientRect().right > innerWidth + 1)),
      [...document.querySelectorAll('svg text')].filter((e) => e.getBoundingClientRect().left < e.closest('.card').getBoundingClientRect().left));
    return [...(wide > 0 ? [`the page by ${wide} px`] : []), ...cut.map((e) => `${e.outerHTML.slice(0, 120)}: ${e.scrollWidth} > ${e.clientWidth}`)];";

/// How many colours the bar of configured shares has.
const COLOURS: &str = "return new Set([...document.querySelectorAll('#configured .part')].map((e) => getComputedStyle(e).backgroundColor)).size";

/// A made-up proxy.
struct Proxy {
    /// The document it runs; the console's own if `None`.
    document: Option<&'static str>,
    /// The limits over which its tripwire has tripped.
    tripped: &'static [&'static str],
}

const FINE: Proxy = Proxy {
    document: None,
    tripped: &[],
};

/// A document, and whoever runs it.
struct Situation {
    _folder: TempDir,
    file: PathBuf,
    _console: Console,
    browser: Browser,
    _proxies: Vec<Upstream>,
}

// === impl Proxy ===

impl Proxy {
    /// What its admin server tells: a hundred requests a second by the shares, and a gauge for each environment.
    async fn start(self, document: &Value) -> Upstream {
        let since = Instant::now();
        let bytes = document.to_string().into_bytes();
        let own = switchover_core::document::digest(&bytes).expect("a document");
        let own = self.document.map_or(own, str::to_owned);
        let rollout = document["rollout"].as_str().unwrap().to_owned();
        let routing = document["routing"].as_object().unwrap().clone();
        let models = document["models"]["catalogue"].clone();
        let has_guard = document["guard"].is_object();
        let tripped = self.tripped;
        Upstream::start(move |request| {
            let seconds = since.elapsed().as_secs_f64();
            let mut told = format!("switchover_document{{document=\"{own}\"}} 1\n");
            let weights = routing
                .values()
                .filter_map(|own| own["weight"].as_f64())
                .sum::<f64>();
            for (name, environment) in &routing {
                let labels = format!("rollout=\"{rollout}\",environment=\"{name}\"");
                let share = environment["weight"].as_f64().unwrap_or(0.0) / weights;
                let share = if tripped.is_empty() {
                    share
                } else {
                    f64::from(u8::from(name == "blue"))
                };
                let count = seconds * 1000.0 * share;
                told += &format!("switchover_weight{{{labels}}} {}\n", share * 10000.0);
                told += &format!("switchover_weight_planned{{{labels}}} {}\n", share * 10000.0);
                told += &format!("switchover_healthy{{{labels}}} 1\n");
                told += &format!("switchover_requests{{{labels}}} {count:.0}\n");
                told += &format!("switchover_attempts{{{labels}}} {count:.0}\n");
                told += &format!("switchover_failures{{{labels}}} {:.0}\n", count * 0.02);
                for (bound, part) in [(25, 0.4), (50, 0.9), (100, 0.97), (2500, 1.0)] {
                    told += &format!(
                        "switchover_request_duration_ms_bucket{{{labels},le=\"{bound}\"}} {:.0}\n",
                        count * part
                    );
                }
            }
            if has_guard {
                let has_tripped = u8::from(!tripped.is_empty());
                told += &format!("switchover_tripped{{rollout=\"{rollout}\"}} {has_tripped}\n");
            }
            for cause in tripped {
                told += &format!("switchover_trips{{rollout=\"{rollout}\",cause=\"{cause}\"}} 1\n");
            }
            for model in models.as_array().into_iter().flatten() {
                let model = model["id"].as_str().unwrap();
                let labels = format!("rollout=\"{rollout}\",environment=\"blue\",consumer=\"team-a\",model=\"{model}\"");
                told += &format!("switchover_answers{{{labels},usage=\"told\"}} 12345678\n");
                for (family, count) in COSTS {
                    told += &format!("switchover_{family}{{{labels}}} {count}\n");
                }
            }
            if request.uri().path() == "/server_info" {
                told = json!({"uptime_current_epoch": "86400s"}).to_string() + "\n";
            }
            async move { text(StatusCode::OK, &told) }
        })
        .await
    }
}

// === impl Situation ===

impl Situation {
    /// A console of this document and these proxies, and of others at these addresses.
    async fn start(document: &Value, proxies: Vec<Proxy>, others: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("document.json");
        std::fs::write(&file, document.to_string()).unwrap();
        let mut started = Vec::new();
        for proxy in proxies {
            started.push(proxy.start(document).await);
        }
        let mut addresses: Vec<SocketAddr> = started.iter().map(Upstream::address).collect();
        addresses.extend(others);
        let console = Console::start(&file, &addresses).await;
        let browser = looking(&console).await;
        Self {
            _folder: folder,
            file,
            _console: console,
            browser,
            _proxies: started,
        }
    }

    /// Waits until a part of the page says something.
    async fn says(&mut self, selector: &str, words: &str) {
        assert_eventually!(
            self.browser.text(selector).await.contains(words),
            "{}",
            self.browser.text("body").await
        );
    }

    /// Which buttons would do something.
    async fn offers(&mut self, verbs: &[&str]) {
        let script = "return [...document.querySelectorAll('[data-verb][aria-disabled=false]')].map((e) => e.dataset.verb)";
        assert_eventually!(
            self.browser.run(script).await == json!(verbs),
            "{}",
            self.browser.run(script).await
        );
    }

    /// Whoever goes on with the keyboard sees where.
    async fn shows_the_focus(&mut self) {
        let script = "const e = document.activeElement, style = getComputedStyle(e);
            return [e.tagName, e.id, style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2]";
        let mut visited = Vec::new();
        loop {
            self.browser.press(key::TAB).await;
            let at = self.browser.run(script).await;
            if at[0] == "BODY" {
                break;
            }
            assert_eq!(at[2], true, "{at}");
            visited.push(at);
            assert!(visited.len() < 20, "{visited:?}");
        }
        assert!(visited.len() > 6, "{visited:?}");
    }

    /// Looks at it from everywhere.
    async fn looks_well(&mut self, name: &str) {
        for (width, scheme) in VIEWS {
            self.browser.appear(width, 800, scheme).await;
            let found = violations(&mut self.browser).await;
            let cut = self.browser.run(CUT).await;
            if let Some(folder) = std::env::var_os(VARIABLE) {
                let place = PathBuf::from(folder).join(format!("{name}-{width}-{scheme}.png"));
                std::fs::write(place, self.browser.picture().await).unwrap();
                println!("{name} {width} {scheme}: {found:#?} {cut:#}");
                continue;
            }
            assert!(found.is_empty(), "{name}, {scheme} at {width}: {found:#?}");
            assert_eq!(cut, json!([]), "{name}, {scheme} at {width}: {cut:#}");
        }
    }
}

fn document(green: u64) -> Value {
    json!({"rollout": "chat-api-2.1.0", "stable": "blue", "attempts": true, "routing": {
        "blue": {"weight": 100 - green, "version": "2.0.4", "clusters": ["blue"]},
        "green": {"weight": green, "version": "2.1.0", "clusters": ["green"]},
    }, "guard": {"environment": "green", "max_error_rate": 0.05, "max_p99": "2s", "window": "30s", "min_requests": 50}})
}

/// A schedule that began this many minutes ago.
fn scheduled(minutes: u64) -> Value {
    let mut document = document(0);
    let start = SystemTime::now() - Duration::from_secs(minutes * 60);
    document["schedule"] = json!({
        "environment": "green", "start": humantime::format_rfc3339_seconds(start).to_string(),
        "steps": [{"at": "5m", "weight": 1}, {"at": "15m", "weight": 5}, {"at": "30m", "weight": 25},
                  {"at": "60m", "weight": 50}, {"at": "90m", "weight": 100}],
    });
    document
}

#[test]
fn every_situation_looks_well() {
    switchover_tests::run(async {
        let mut fixed = Situation::start(&document(20), vec![FINE, FINE], &[]).await;
        fixed.says("#measured", "20 %").await;
        fixed.shows_the_focus().await;
        fixed.offers(&["set", "rollback"]).await;
        fixed.looks_well("fixed").await;
        drop(fixed);

        let mut running = Situation::start(&scheduled(41), vec![FINE, FINE], &[]).await;
        running.says("#phase-pill", "the schedule runs").await;
        running.says("#measured", "%").await;
        running
            .offers(&["promote", "pause", "set", "rollback"])
            .await;
        running.looks_well("running").await;
        drop(running);

        let mut done = Situation::start(&scheduled(100), vec![FINE], &[]).await;
        done.says("#phase-pill", "at its end").await;
        done.offers(&["set", "finish", "rollback"]).await;
        done.looks_well("done").await;
        drop(done);

        let mut paused = scheduled(41);
        let hold = SystemTime::now() - Duration::from_secs(300);
        paused["schedule"]["hold"] = humantime::format_rfc3339_seconds(hold).to_string().into();
        let mut paused = Situation::start(&paused, vec![FINE], &[]).await;
        paused.says("#phase-pill", "paused").await;
        paused
            .offers(&["promote", "resume", "set", "rollback"])
            .await;
        paused.looks_well("paused").await;
        drop(paused);

        let tripped = Proxy {
            document: None,
            tripped: &["max_error_rate", "max_p99"],
        };
        let mut tripped = Situation::start(&scheduled(41), vec![FINE, tripped], &[]).await;
        tripped.says("#alerts", "has tripped").await;
        tripped
            .says("#phase-pill", "tripped on 1 of 2 proxies")
            .await;
        tripped
            .offers(&["promote", "pause", "resume", "set", "rollback"])
            .await;
        tripped.looks_well("tripped").await;
        drop(tripped);

        let mut rolled_back = document(20);
        rolled_back["rollback"] = true.into();
        let mut rolled_back = Situation::start(&rolled_back, vec![FINE], &[]).await;
        rolled_back.says("#phase-pill", "rolled back").await;
        rolled_back.offers(&["resume", "set"]).await;
        rolled_back.looks_well("rolled-back").await;
    });
}

#[test]
fn proxies_that_are_away_look_well() {
    switchover_tests::run(async {
        let (nowhere, _reserved) = refusing();
        let slow = super::proxies::admin("").await;
        let behind = Proxy {
            document: Some("0123456789ab"),
            tripped: &[],
        };
        let mut lost = Situation::start(&document(20), vec![FINE, behind], &[nowhere, slow]).await;
        lost.says("#proxies", "does not answer").await;
        lost.says("#alerts", "do not run this document").await;
        lost.looks_well("lost").await;
        std::fs::write(
            &lost.file,
            "{\"rollout\": \"chat-api-2.1.0\", \"routing\": {}}",
        )
        .unwrap();
        lost.says("#alerts", "cannot be used").await;
        lost.looks_well("invalid").await;
    });
}

#[test]
fn long_names_and_many_environments_look_well() {
    switchover_tests::run(async {
        let mut many = document(20);
        many["routing"] = json!({"blue": {"weight": 30, "version": "2.0.4", "clusters": ["blue"]}});
        for number in 1..=7 {
            let name = format!("canary-{number}");
            many["routing"][name] = json!({"weight": 10, "version": format!("2.1.{number}"), "clusters": [format!("green-{number}")]});
        }
        many["guard"]["environment"] = "canary-1".into();
        let mut many = Situation::start(&many, vec![FINE, FINE], &[]).await;
        many.says("#measured", "10 %").await;
        let colours = many.browser.run(COLOURS).await;
        assert_eq!(colours, 8, "each has a colour of its own");
        many.looks_well("many").await;
        drop(many);

        let long = "green-of-the-northern-region-012";
        let mut named = document(20);
        named["rollout"] =
            "chat-completions-api-of-the-department-of-long-names-2.1.0-rc.17".into();
        let mut green = named["routing"]
            .as_object_mut()
            .unwrap()
            .remove("green")
            .unwrap();
        green["version"] =
            "2.1.0-rc.17+build.20261126.0123456789abcdef0123456789abcdef01234".into();
        named["routing"][long] = green;
        named["guard"]["environment"] = long.into();
        named["schedule"] = scheduled(41)["schedule"].clone();
        named["schedule"]["environment"] = long.into();
        let tripped = Proxy {
            document: None,
            tripped: &["max_error_rate"],
        };
        let mut named = Situation::start(&named, vec![FINE, tripped], &[]).await;
        named.says("#alerts", "has tripped").await;
        named.looks_well("long").await;
        named.browser.click("#rollback").await;
        super::may_confirm(&mut named.browser).await;
        named.looks_well("long-ask").await;
    });
}

#[test]
fn costs_look_well() {
    switchover_tests::run(async {
        let mut costly = document(20);
        let mut catalogue = Vec::new();
        for size in [
            "large",
            "small",
            "of-a-family-with-a-rather-long-name-2026-11-26-preview",
        ] {
            catalogue.push(json!({"id": format!("model-{size}"), "usd_per_million": {"input": 2.5, "cached_input": 1.25, "output": 10},
                "reference_usd_per_million": 12}));
        }
        costly["models"] = json!({ "catalogue": catalogue });
        let mut costly = Situation::start(&costly, vec![FINE], &[]).await;
        costly.says("#costs", "123.46B").await;
        costly.looks_well("costs").await;
    });
}
