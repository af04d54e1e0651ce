//! The filter of `../README.md` in Rust with its SDK, for wasm32-wasip1.

use std::cell::RefCell;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType};

const LANGUAGE: &str = "rust";

thread_local! {
    static DEFERRED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root { metric: 0 }));
}}

struct Root {
    metric: u32,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let metric = hostcalls::define_metric(MetricType::Counter, "languages.rust.requests");
        self.metric = metric.unwrap_or_default();
        self.set_tick_period(Duration::from_millis(10));
        metric.is_ok()
    }

    fn on_tick(&mut self) {
        for context in DEFERRED.take() {
            // A stream that has ended meanwhile is nobody's context.
            if hostcalls::set_effective_context(context).is_ok() {
                let _ = hostcalls::resume_http_request();
            }
        }
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            context,
            metric: self.metric,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    context: u32,
    metric: u32,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _fields: usize, _end: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let _ = hostcalls::log(LogLevel::Info, &format!("{LANGUAGE} saw {path}"));
        let _ = hostcalls::increment_metric(self.metric, 1);
        if path == "/local" {
            self.send_http_response(200, vec![], Some(LANGUAGE.as_bytes()));
            return Action::Pause;
        }
        let old = self.get_http_request_header("x-old").unwrap_or_default();
        self.set_http_request_header("x-new", Some(&old));
        self.set_http_request_header("x-old", None);
        self.set_http_request_header("content-length", None);
        self.set_http_request_header("x-language", Some(LANGUAGE));
        if path == "/defer" {
            DEFERRED.with_borrow_mut(|deferred| deferred.push(self.context));
            return Action::Pause;
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        if !end {
            return Action::Pause;
        }
        let body = self.get_http_request_body(0, size).unwrap_or_default();
        self.set_http_request_body(0, size, &body.to_ascii_uppercase());
        Action::Continue
    }
}
