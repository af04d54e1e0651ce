//! What the Rust SDK offers to HTTP filters, one thing for each path.
//!
//! `/callout` asks another cluster whether the request may pass; `/shared` counts in shared data; `/ticks` tells how
//! often the timer ran; `/properties` tells what the host knows; everything else passes with both bodies in capitals.

use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, MetricType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

const TICKS: &str = "ticks";
const REQUESTS: &str = "requests";

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        self.set_tick_period(Duration::from_millis(10));
        true
    }

    fn on_tick(&mut self) {
        count(self, TICKS);
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::default()))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Adds one to a number in shared data and gives the new number; another VM may be faster, so it tries again.
fn count(context: &dyn Context, key: &str) -> u64 {
    loop {
        let (value, cas) = context.get_shared_data(key);
        let number = value.map_or(0, |bytes| {
            u64::from_le_bytes(bytes.try_into().unwrap_or_default())
        }) + 1;
        if context
            .set_shared_data(key, Some(&number.to_le_bytes()), cas)
            .is_ok()
        {
            return number;
        }
    }
}

#[derive(Default)]
struct Stream {
    /// The bodies are to be written in capitals.
    capitals: bool,
}

impl Stream {
    fn answer(&self, body: &str) -> Action {
        self.send_http_response(200, vec![("x-guest", "sdk")], Some(body.as_bytes()));
        Action::Pause
    }

    fn text(&self, path: &[&str]) -> String {
        let bytes = self.get_property(path.to_vec()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Context for Stream {
    fn on_http_call_response(
        &mut self,
        _token: u32,
        _headers: usize,
        body_size: usize,
        _trailers: usize,
    ) {
        let status = self
            .get_http_call_response_header(":status")
            .unwrap_or_default();
        let body = self
            .get_http_call_response_body(0, body_size)
            .unwrap_or_default();
        if status == "200" {
            self.set_http_request_header_bytes("x-allowed-by", Some(&body));
            self.resume_http_request();
        } else {
            self.send_http_response(
                403,
                vec![],
                Some(format!("refused with {status:?}").as_bytes()),
            );
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        match path.as_str() {
            "/callout" => {
                let to = self.get_http_request_header("x-ask").unwrap_or_default();
                let headers = vec![
                    (":method", "GET"),
                    (":path", to.as_str()),
                    (":authority", "auth.example.com"),
                ];
                match self.dispatch_http_call(
                    "auth",
                    headers,
                    None,
                    vec![],
                    Duration::from_millis(500),
                ) {
                    Ok(_) => Action::Pause,
                    Err(status) => self.answer(&format!("no callout: {status:?}")),
                }
            }
            "/unknown-cluster" => {
                let headers = vec![(":method", "GET"), (":path", "/"), (":authority", "a")];
                let status = self.dispatch_http_call(
                    "nowhere",
                    headers,
                    None,
                    vec![],
                    Duration::from_secs(1),
                );
                self.answer(&format!("{status:?}"))
            }
            "/shared" => self.answer(&count(self, REQUESTS).to_string()),
            "/ticks" => {
                let ticks = self.get_shared_data(TICKS).0.unwrap_or_default();
                self.answer(&u64::from_le_bytes(ticks.try_into().unwrap_or_default()).to_string())
            }
            "/properties" => {
                let told = [
                    self.text(&["request", "method"]),
                    self.text(&["request", "url_path"]),
                    self.text(&["request", "host"]),
                    self.text(&["request", "headers", "x-one"]),
                    self.text(&["plugin_root_id"]),
                    self.text(&["source", "address"])
                        .rsplit_once(':')
                        .map_or(String::new(), |(ip, _)| ip.into()),
                ];
                self.answer(&told.join(" "))
            }
            "/metrics" => {
                let metric = proxy_wasm::hostcalls::define_metric(MetricType::Counter, "sdk.seen");
                let told = metric.and_then(|id| {
                    proxy_wasm::hostcalls::increment_metric(id, 2)?;
                    proxy_wasm::hostcalls::get_metric(id)
                });
                self.answer(&format!("{told:?}"))
            }
            _ => {
                self.capitals = true;
                self.set_http_request_header("content-length", None);
                Action::Continue
            }
        }
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !self.capitals {
            return Action::Continue;
        }
        if !end_of_stream {
            return Action::Pause;
        }
        let body = self.get_http_request_body(0, size).unwrap_or_default();
        self.set_http_request_body(0, size, &body.to_ascii_uppercase());
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        if self.capitals {
            self.set_http_response_header("content-length", None);
            let code = self
                .get_property(vec!["response", "code"])
                .unwrap_or_default();
            let code = u64::from_le_bytes(code.try_into().unwrap_or_default());
            self.add_http_response_header("x-code", &code.to_string());
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if !self.capitals {
            return Action::Continue;
        }
        if !end_of_stream {
            return Action::Pause;
        }
        let body = self.get_http_response_body(0, size).unwrap_or_default();
        self.set_http_response_body(0, size, &body.to_ascii_uppercase());
        Action::Continue
    }
}
