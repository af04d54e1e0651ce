//! Small filters written with the Rust SDK, one for each root id: what authors write first.
//!
//! `config` puts its configuration into a header and refuses `refuse`; `chain` adds to a header both ways; `redact`
//! holds a response until it is whole; `headers` copies bytes, and answers by itself; `close` breaks off; `callouts`
//! waits for two answers; `later` answers from its timer; `clock` tells time and chance; `panics` does;
//! `producer` and `consumer` share a queue across VMs.

use std::cell::{Cell, RefCell};
use std::time::{Duration, UNIX_EPOCH};

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

/// The queue between `producer` and `consumer`.
const QUEUE: &str = "parcels";

thread_local! {
    /// Streams that `later` answers on its next tick.
    static WAITING: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct Root {
    id: String,
    configuration: String,
    parcels: u32,
}

struct Stream {
    id: String,
    configuration: String,
    context: u32,
    /// Callouts whose answers are awaited.
    awaited: Cell<u32>,
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(at: *mut u8, len: usize) -> u32;
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let text = |bytes: Option<Vec<u8>>| {
            String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
        };
        self.id = text(self.get_property(vec!["plugin_root_id"]));
        self.configuration = text(self.get_plugin_configuration());
        match self.id.as_str() {
            "later" => self.set_tick_period(Duration::from_millis(10)),
            "consumer" => {
                self.register_shared_queue(QUEUE);
                let metric = hostcalls::define_metric(MetricType::Counter, "examples.parcels");
                self.parcels = metric.unwrap_or_default();
            }
            _ => (),
        }
        self.configuration != "refuse"
    }

    fn on_tick(&mut self) {
        for context in WAITING.take() {
            if hostcalls::set_effective_context(context).is_ok() {
                let _ = hostcalls::send_http_response(
                    202,
                    vec![("x-later", "yes")],
                    Some(b"from the timer"),
                );
            }
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        while let Ok(Some(parcel)) = self.dequeue_shared_queue(queue) {
            let _ = hostcalls::log(
                LogLevel::Info,
                &format!("got {}", String::from_utf8_lossy(&parcel)),
            );
            let _ = hostcalls::increment_metric(self.parcels, 1);
        }
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            id: self.id.clone(),
            configuration: self.configuration.clone(),
            context,
            awaited: Cell::new(0),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Stream {
    fn answer(&self, body: &str) -> Action {
        self.send_http_response(
            200,
            vec![("x-answered-by", self.id.as_str())],
            Some(body.as_bytes()),
        );
        Action::Pause
    }

    /// Asks the cluster `helper` for a path.
    fn ask(&self, path: &str) {
        let headers = vec![
            (":method", "GET"),
            (":path", path),
            (":authority", "helper.test"),
        ];
        if self
            .dispatch_http_call("helper", headers, None, vec![], Duration::from_secs(5))
            .is_ok()
        {
            self.awaited.set(self.awaited.get() + 1);
        }
    }

    fn headers(&self, path: &str) -> Action {
        match path {
            "/list" => {
                let list = self.get_http_request_headers();
                let own = list.iter().filter(|(name, _)| name.starts_with("x-own"));
                let lines: Vec<String> =
                    own.map(|(name, value)| format!("{name}={value}")).collect();
                self.answer(&lines.join("\n"))
            }
            "/text" => {
                // The SDK panics on a value that is no text.
                self.set_http_request_header(
                    "x-copy",
                    self.get_http_request_header("x-raw").as_deref(),
                );
                Action::Continue
            }
            _ => {
                self.set_http_request_header_bytes(
                    "x-copy",
                    self.get_http_request_header_bytes("x-raw").as_deref(),
                );
                Action::Continue
            }
        }
    }

    fn clock(&self) -> Action {
        let time = self
            .get_current_time()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut bytes = [0; 8];
        // SAFETY: the host writes just these bytes.
        let failed = unsafe { random_get(bytes.as_mut_ptr(), bytes.len()) };
        self.answer(&format!(
            "{} {failed} {}",
            time.as_millis(),
            u64::from_le_bytes(bytes)
        ))
    }
}

impl Context for Stream {
    fn on_http_call_response(
        &mut self,
        _token: u32,
        _headers: usize,
        size: usize,
        _trailers: usize,
    ) {
        let body = self
            .get_http_call_response_body(0, size)
            .unwrap_or_default();
        self.add_http_request_header("x-heard", &String::from_utf8_lossy(&body));
        self.awaited.set(self.awaited.get() - 1);
        if self.awaited.get() == 0 {
            self.resume_http_request();
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _fields: usize, _end: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        match self.id.as_str() {
            "config" => self.set_http_request_header("x-config", Some(&self.configuration)),
            "chain" => self.add_http_request_header("x-chain", &self.configuration),
            "headers" => return self.headers(&path),
            "close" if path == "/close" => self.reset_http_request(),
            "callouts" => {
                self.ask("/one");
                self.ask("/two");
                return Action::Pause;
            }
            "later" => {
                WAITING.with_borrow_mut(|waiting| waiting.push(self.context));
                return Action::Pause;
            }
            "clock" => return self.clock(),
            "panics" if path == "/headers" => panic!("in the headers"),
            "producer" => {
                if let Some(queue) = self.resolve_shared_queue(&self.configuration, QUEUE) {
                    let _ = self.enqueue_shared_queue(queue, Some(path.as_bytes()));
                }
            }
            _ => (),
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, _size: usize, _end: bool) -> Action {
        if self.id == "panics" {
            panic!("in the body");
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _fields: usize, _end: bool) -> Action {
        match self.id.as_str() {
            "chain" => self.add_http_response_header("x-chain", &self.configuration),
            "redact" => self.set_http_response_header("content-length", None),
            _ => (),
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if self.id != "redact" {
            return Action::Continue;
        }
        if !end {
            return Action::Pause;
        }
        let body = self.get_http_response_body(0, size).unwrap_or_default();
        if body.windows(6).any(|word| word == b"secret") {
            self.set_http_response_body(0, size, format!("{size} bytes are withheld").as_bytes());
        }
        Action::Continue
    }
}
