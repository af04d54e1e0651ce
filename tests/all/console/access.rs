//! Who may use the console.

use std::path::Path;
use std::process::Stdio;

use http::StatusCode;
use serde_json::{Value, json};
use switchover_tests::console::as_program;
use switchover_tests::{
    Browser, Client, Console, Engine, Setup, Upstream, assert_eventually, programs,
};
use tokio::process::Command;

use super::{document, file};

/// A console without proxies, and the folder of its document.
async fn alone(arguments: &[&str]) -> (tempfile::TempDir, Console) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rollout.json");
    std::fs::write(&path, document(20).to_string()).unwrap();
    let console = Console::with(&path, &[], arguments).await;
    (folder, console)
}

fn text(folder: &tempfile::TempDir) -> String {
    std::fs::read_to_string(folder.path().join("rollout.json")).unwrap()
}

/// A rollback that was agreed to, as the page asks for it.
async fn agreed(console: &Console) -> Value {
    let mut ask = json!({"rollout": "api-1", "verb": "rollback"});
    let preview = console.post("/console/preview", &ask).await.json();
    ask["confirmed"] = json!({"sha256": preview["sha256"], "shares": [100, 0]});
    ask
}

/// A console on loopback answers under every name that its users may type, and under no other.
async fn names(client: &mut Client, document: &Path) {
    let before = std::fs::read(document).unwrap();
    let ask = json!({"rollout": "api-1", "verb": "rollback"}).to_string();
    for host in [
        "localhost:1",
        "LOCALHOST",
        "localhost.",
        "api.localhost:9902",
        "localhost.localdomain",
        "ip6-localhost",
        "127.0.0.1",
        "127.1:9902",
        "127.0.1.1",
        "0.0.0.0:9902",
        "0:9902",
        "[::1]:9902",
        "[::]",
    ] {
        for path in ["/console", "/console/app.js", "/console/state"] {
            let reply = client.get(path).host(host).send().await;
            assert_eq!(reply.status, 200, "{path} under {host}");
        }
        // As the page itself asks there.
        let post = as_program(client.post("/console/preview", ask.clone())).host(host);
        let post = post.header("origin", format!("http://{host}"));
        let reply = post.header("sec-fetch-site", "same-origin").send().await;
        assert_eq!(reply.status, 200, "{host}: {reply:?}");
    }
    for host in [
        "evil.example",
        "evil.example:9902",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        // A name that this machine may have elsewhere, too.
        "mybox.lan",
        "mybox",
    ] {
        for path in [
            "/console",
            "/console/state",
            "/console/events",
            "/console/app.js",
        ] {
            let reply = client.get(path).host(host).send().await;
            assert_eq!(reply.status, 403, "{path} under {host}");
            assert!(
                reply.text().contains("names of this machine only"),
                "{}",
                reply.text()
            );
        }
        // What a page can send whose name leads here since a moment ago.
        for path in ["/console/preview", "/console/change", "/console/session"] {
            let post = as_program(client.post(path, ask.clone())).host(host);
            let post = post.header("origin", format!("http://{host}"));
            let reply = post.header("sec-fetch-site", "same-origin").send().await;
            assert_eq!(reply.status, 403, "{path} under {host}");
        }
    }
    assert_eq!(std::fs::read(document).unwrap(), before);
}

#[test]
fn only_names_of_loopback_are_answered() {
    switchover_tests::run(async {
        let (folder, console) = alone(&["--listen", "127.0.0.1:0"]).await;
        let mut client = console.client();
        names(&mut client, &folder.path().join("rollout.json")).await;
        let page = client.get("/console").host("localhost").send().await;
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(page.header(name), value);
        }
        assert_eq!(
            client
                .get("/")
                .host("localhost")
                .send()
                .await
                .header("location"),
            "/console"
        );
        assert_eq!(
            client
                .get("/console/none")
                .host("localhost")
                .send()
                .await
                .status,
            404
        );
    });
}

#[test]
fn forged_requests_change_nothing() {
    switchover_tests::run(async {
        let (folder, console) = alone(&["--listen", "127.0.0.1:0"]).await;
        let (before, ask) = (text(&folder), agreed(&console).await);
        let mut client = console.client();
        let body = ask.to_string();
        let json = "application/json";
        let own = "x-switchover-console";
        let forged: [(&[(&str, &str)], StatusCode); 6] = [
            (&[("content-type", json)], StatusCode::FORBIDDEN),
            (
                &[(own, "1"), ("content-type", "text/plain")],
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            (
                &[
                    (own, "1"),
                    ("content-type", json),
                    ("origin", "https://evil.test"),
                ],
                StatusCode::FORBIDDEN,
            ),
            (
                &[(own, "1"), ("content-type", json), ("origin", "null")],
                StatusCode::FORBIDDEN,
            ),
            (
                &[
                    (own, "1"),
                    ("content-type", json),
                    ("sec-fetch-site", "cross-site"),
                ],
                StatusCode::FORBIDDEN,
            ),
            (
                &[
                    (own, "1"),
                    ("content-type", json),
                    ("sec-fetch-site", "same-site"),
                ],
                StatusCode::FORBIDDEN,
            ),
        ];
        for (headers, status) in forged {
            let mut call = client
                .post("/console/change", body.clone())
                .host("localhost");
            for (name, value) in headers {
                call = call.header(name, value);
            }
            assert_eq!(call.send().await.status, status, "{headers:?}");
        }
        // A real page of another site, in a real browser, by every way it has.
        let target = format!("{}/change", console.page());
        let script = format!(
            "const done = arguments[0]; const send = (more) => fetch({target:?}, {{method: 'POST', body: {body:?}, ...more}}).catch(() => 0);
             const kind = {{'content-type': 'application/json', 'x-switchover-console': '1'}};
             Promise.all([send({{mode: 'no-cors'}}), send({{headers: kind}}), send({{mode: 'no-cors', headers: {{'content-type': 'text/plain'}}}})])
               .then(() => {{ navigator.sendBeacon({target:?}, {body:?}); const form = document.createElement('form');
                 form.method = 'post'; form.enctype = 'text/plain'; form.action = {target:?}; document.body.append(form); form.submit(); done(1); }});"
        );
        let evil = Upstream::start(|_| async {
            let mut page = switchover_tests::upstream::text(
                StatusCode::OK,
                "<!doctype html><title>evil</title>",
            );
            page.headers_mut()
                .insert("content-type", "text/html".parse().unwrap());
            page
        });
        let evil = evil.await;
        let mut browser = Browser::start(800, 600).await;
        browser
            .open(&format!("http://localhost:{}/", evil.address().port()))
            .await;
        browser.run_async(&script).await;
        assert_eventually!(
            browser.text("body").await.contains("error"),
            "the form was answered: {}",
            browser.text("body").await
        );
        assert_eq!(text(&folder), before);
        // The same without forging is done.
        let done = as_program(client.post("/console/change", body))
            .send()
            .await;
        assert_eq!(done.status, 200, "{done:?}");
        assert!(text(&folder).contains("\"rollback\""), "{}", text(&folder));
    });
}

#[test]
fn nothing_is_written_that_was_not_shown() {
    switchover_tests::run(async {
        let (folder, console) = alone(&["--listen", "127.0.0.1:0"]).await;
        let before = text(&folder);
        let ask = agreed(&console).await;
        let with = |pointer: &str, value: Value| {
            let mut other = ask.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            other
        };
        for (body, status, words) in [
            (
                with("/confirmed", Value::Null),
                400,
                "`confirmed` is missing",
            ),
            (
                with("/confirmed/sha256", "0".into()),
                409,
                "changed by someone else meanwhile",
            ),
            (
                with("/confirmed/shares", json!([80, 20])),
                409,
                "now it would be blue 100 %, green 0 %",
            ),
            (with("/verb", "destroy".into()), 400, "destroy"),
            (
                with("/rollout", "api-0".into()),
                409,
                "no rollout \"api-0\"",
            ),
        ] {
            let reply = console.post("/console/change", &body).await;
            assert_eq!(reply.status, status, "{body}: {reply:?}");
            assert!(
                reply.json()["error"].as_str().unwrap().contains(words),
                "{body}: {reply:?}"
            );
        }
        assert_eq!(text(&folder), before);
    });
}

#[test]
fn elsewhere_a_token_is_demanded() {
    switchover_tests::run(async {
        let (folder, console) = alone(&["--listen", "0.0.0.0:0"]).await;
        let (_, token) = console
            .link()
            .split_once("/console#token=")
            .expect("a token in the link");
        let mut client = console.client();
        let ask = json!({"rollout": "api-1", "verb": "rollback"});
        for wrong in [
            "",
            "Bearer wrong-wrong-wrong",
            &format!("Basic {token}"),
            &format!("Bearer {token}x"),
        ] {
            for path in ["/console/state", "/console/events"] {
                let reply = client.get(path).header("authorization", wrong).send().await;
                assert_eq!(reply.status, 401, "{path} with {wrong:?}");
            }
            let post = as_program(client.post("/console/preview", ask.to_string()));
            assert_eq!(
                post.header("authorization", wrong).send().await.status,
                401,
                "{wrong:?}"
            );
        }
        let page = client.get("/console").send().await;
        assert_eq!(page.status, 401);
        assert!(
            page.text().contains("Sign in") && !page.text().contains("api-1"),
            "{}",
            page.text()
        );
        let right = client
            .get("/console/state")
            .host("console.test")
            .bearer(token)
            .send()
            .await;
        assert_eq!(right.json()["rollouts"][0]["rollout"], "api-1");

        let mut browser = Browser::start(800, 600).await;
        browser.open(&console.page()).await;
        assert_eq!(browser.focus().await, "token");
        browser.press("wrong-wrong-wrong").await;
        browser.press(switchover_tests::browser::key::ENTER).await;
        assert_eventually!(
            browser.text("#error").await == "That is not the token.",
            "{}",
            browser.text("body").await
        );
        browser.open("about:blank").await;
        browser
            .open(&format!("{}#token={token}", console.page()))
            .await;
        assert_eventually!(
            browser.text("#link").await == "live",
            "{}",
            browser.text("body").await
        );
        let shown = browser
            .run("return location.href + document.cookie + document.documentElement.outerHTML")
            .await;
        assert!(!shown.as_str().unwrap().contains(token), "{shown}");
        let before = text(&folder);
        browser.click("#rollback").await;
        super::may_confirm(&mut browser).await;
        browser.click("#ask-yes").await;
        super::closed(&mut browser).await;
        assert_ne!(text(&folder), before);
    });
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    switchover_tests::run(async {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rollout.json"), document(20).to_string()).unwrap();
        std::fs::write(folder.path().join("token"), "short").unwrap();
        let mut command = Command::new(programs::switchover());
        command
            .args(["console", "rollout.json", "--token-file", "token"])
            .current_dir(folder.path());
        let output = command.stdin(Stdio::null()).output().await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            told.contains("token is no token's file: the token has fewer than 16 characters"),
            "{told}"
        );
    });
}

/// The gateway's admin has the console of its own document, or says why not.
#[test]
fn the_gateways_admin_has_a_console() {
    switchover_tests::run(async {
        let (blue, green) = (
            Upstream::named("blue").await,
            Upstream::named("green").await,
        );
        let upstreams = [("blue", &blue), ("green", &green)];
        let gateway = Setup::new(&upstreams)
            .document(document(20))
            .start(Engine::Host)
            .await;
        let mut client = Client::new(gateway.admin_address());
        names(&mut client, &file(&gateway)).await;
        let mut browser = Browser::start(800, 600).await;
        browser
            .open(&format!("http://{}/console", gateway.admin_address()))
            .await;
        assert_eventually!(
            browser
                .rows("#proxies")
                .await
                .first()
                .is_some_and(|row| row[1] == "current"),
            "{}",
            browser.text("body").await
        );
        assert_eq!(
            browser.text("#document").await,
            file(&gateway).to_str().unwrap()
        );
        browser.click("#rollback").await;
        super::may_confirm(&mut browser).await;
        browser.click("#ask-yes").await;
        assert_eventually!(
            super::greens(&gateway).await == 0,
            "green still got requests"
        );

        let inline = Setup::new(&upstreams)
            .document(document(20))
            .inline()
            .start(Engine::Host)
            .await;
        let told = inline.admin("/console").await;
        assert!(
            told.contains("there is no console here: ") && told.contains("file of its own"),
            "{told}"
        );
        let open = Setup::new(&upstreams)
            .document(document(20))
            .edit(|bootstrap| {
                bootstrap.0["admin"]["address"]["socket_address"]["address"] = "0.0.0.0".into();
            });
        let open = open.start(Engine::Host).await;
        let mut client = Client::new(([127, 0, 0, 1], open.admin_address().port()).into());
        let reply = client.get("/console").host("localhost").send().await;
        assert_eq!(reply.status, 404);
        assert!(reply.text().contains("needs a token"), "{}", reply.text());
        assert_eq!(
            client.get("/ready").host("localhost").send().await.status,
            200
        );
    });
}
