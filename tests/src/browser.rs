//! A real Chromium without a screen, driven over WebDriver.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Client, programs};

/// How the browser is started: no screen, no sandbox (it needs rights that a container lacks), and nothing by itself.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
];

/// Keys by WebDriver's numbers.
pub mod key {
    /// On to the next.
    pub const TAB: &str = "\u{e004}";
    /// Presses what has the focus.
    pub const ENTER: &str = "\u{e007}";
    /// Leaves a dialog.
    pub const ESCAPE: &str = "\u{e00c}";
}

/// A browser with one page; it ends when dropped.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    client: Client,
    session: String,
    _profile: TempDir,
}

// === impl Browser ===

impl Browser {
    /// Starts one with a window of this size.
    pub async fn start(width: u32, height: u32) -> Self {
        let mut command = Command::new(programs::debian("chromedriver"));
        command
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut driver = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let output = driver.stdout.take().unwrap();
        let port = tokio::task::spawn_blocking(|| {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            let mut ports = lines.filter_map(|line| {
                let rest = line.strip_prefix("ChromeDriver was started successfully on port ")?;
                rest.trim_end_matches('.').parse::<u16>().ok()
            });
            ports.next()
        });
        let port = port.await.unwrap().expect("chromedriver tells its port");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let profile = tempfile::tempdir().unwrap();
        let flags = FLAGS.iter().map(|flag| (*flag).to_owned());
        let own = [
            format!("--user-data-dir={}", profile.path().display()),
            format!("--window-size={width},{height}"),
        ];
        let arguments: Vec<String> = flags.chain(own).collect();
        let mut browser = Self {
            driver,
            address,
            client: Client::new(address),
            session: String::new(),
            _profile: profile,
        };
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"binary": programs::debian("chromium"), "args": arguments},
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }}});
        let made = browser.post("/session", &wanted).await;
        browser.session = made["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    async fn post(&mut self, path: &str, body: &Value) -> Value {
        let call = self.client.post(path, body.to_string()).host("localhost");
        let reply = call.header("content-type", "application/json").send().await;
        let mut answer = reply.json();
        assert_eq!(reply.status, 200, "{path}: {answer:#}");
        answer["value"].take()
    }

    async fn command(&mut self, command: &str, body: &Value) -> Value {
        let path = format!("/session/{}/{command}", self.session);
        self.post(&path, body).await
    }

    /// Opens an address, and waits until it is loaded.
    pub async fn open(&mut self, url: &str) {
        self.command("url", &json!({ "url": url })).await;
    }

    /// Runs a function's body in the page, and gives what it returns.
    pub async fn run(&mut self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": script, "args": []}))
            .await
    }

    /// Runs a function's body that calls its last argument when it is done.
    pub async fn run_async(&mut self, script: &str) -> Value {
        self.command("execute/async", &json!({"script": script, "args": []}))
            .await
    }

    /// Asks the browser itself, by its own protocol.
    pub async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.command(
            "goog/cdp/execute",
            &json!({"cmd": method, "params": params}),
        )
        .await
    }

    /// The text of the first element that fits, as it is seen; empty where there is none.
    pub async fn text(&mut self, selector: &str) -> String {
        let script = format!(
            "return document.querySelector({})?.innerText ?? ''",
            json!(selector)
        );
        self.run(&script).await.as_str().unwrap().trim().to_owned()
    }

    /// The rows of a table, as texts of their cells.
    pub async fn rows(&mut self, table: &str) -> Vec<Vec<String>> {
        let script = format!(
            "return [...document.querySelectorAll({})].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))",
            json!(format!("{table} tbody tr"))
        );
        serde_json::from_value(self.run(&script).await).unwrap()
    }

    /// Clicks with the mouse, where the element is seen.
    pub async fn click(&mut self, selector: &str) {
        let found = self
            .command(
                "element",
                &json!({"using": "css selector", "value": selector}),
            )
            .await;
        let element = found
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .as_str()
            .unwrap();
        self.command(&format!("element/{element}/click"), &json!({}))
            .await;
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub async fn press(&mut self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key})))
            .collect();
        let keyboard = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.command("actions", &keyboard).await;
    }

    /// The id of what has the focus.
    pub async fn focus(&mut self) -> String {
        let id = self.run("return document.activeElement?.id ?? ''").await;
        id.as_str().unwrap().to_owned()
    }

    /// Sets the size of the page, in CSS pixels, and whether it is dark.
    pub async fn appear(&mut self, width: u32, height: u32, scheme: &str) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.ask("Emulation.setDeviceMetricsOverride", size).await;
        // As on a phone; else a picture is narrower than the page.
        let hidden = json!({"hidden": true});
        self.ask("Emulation.setScrollbarsHidden", hidden).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", features).await;
    }

    /// A picture of the whole page, as PNG.
    pub async fn picture(&mut self) -> Vec<u8> {
        let whole =
            json!({"format": "png", "captureBeyondViewport": true, "optimizeForSpeed": false});
        let data = self.ask("Page.captureScreenshot", whole).await;
        let data = data["data"].as_str().unwrap();
        base64::engine::general_purpose::STANDARD
            .decode(data)
            .unwrap()
    }

    /// Every address that was asked for since the last time, by whatever part of the browser's page.
    pub async fn requests(&mut self) -> Vec<String> {
        let entries = self
            .command("se/log", &json!({"type": "performance"}))
            .await;
        let sent = entries.as_array().unwrap().iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            let is_sent = message["method"] == "Network.requestWillBeSent";
            is_sent.then(|| {
                message["params"]["request"]["url"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
        });
        sent.collect()
    }

    /// What the page complained about since the last time.
    pub async fn complaints(&mut self) -> Vec<String> {
        let entries = self.command("se/log", &json!({"type": "browser"})).await;
        let texts = entries.as_array().unwrap().iter();
        texts
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Ends the browser, which the driver's own end would leave alone.
    fn quit(&self) -> std::io::Result<()> {
        let mut driver = TcpStream::connect(self.address)?;
        driver.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            driver,
            "DELETE /session/{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
            self.session
        )?;
        driver.read_exact(&mut [0; 12])
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Either may have ended by itself.
        let _ = self.quit();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
