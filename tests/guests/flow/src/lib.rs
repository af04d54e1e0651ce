//! Tells what it sees of bodies and trailers, and holds, changes or adds to them as a request asks.
//!
//! The request header `x-flow` says what is to be done, as words such as `L:hold-trailers`: the letter is the plugin's
//! configuration, so that one request tells several filters apart. What a filter sees it logs.

use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root {
    name: String,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let bytes = self.get_plugin_configuration().unwrap_or_default();
        self.name = String::from_utf8_lossy(&bytes).into_owned();
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Flow {
            name: self.name.clone(),
            todo: Vec::new(),
            resumes: Resumes::Request,
            waits: false,
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

/// Which direction goes on when the callout is answered.
#[derive(Clone, Copy)]
enum Resumes {
    Request,
    Response,
}

struct Flow {
    name: String,
    todo: Vec<String>,
    resumes: Resumes,
    /// For the answer to its callout.
    waits: bool,
}

impl Flow {
    fn tell(&self, what: &str) {
        let line = format!("flow {}: {what}", self.name);
        let _ = proxy_wasm::hostcalls::log(LogLevel::Info, &line);
    }

    fn does(&self, what: &str) -> bool {
        self.todo.iter().any(|todo| todo == what)
    }

    /// Pauses until a callout has been answered.
    fn hold(&mut self, resumes: Resumes) -> Action {
        self.resumes = resumes;
        let path = format!("/side/{}", self.name);
        let headers = vec![(":method", "GET"), (":path", &path), (":authority", "side")];
        let limit = Duration::from_secs(5);
        match self.dispatch_http_call("blue-only", headers, None, vec![], limit) {
            Ok(_) => {
                self.waits = true;
                Action::Pause
            }
            Err(status) => {
                self.tell(&format!("no callout: {status:?}"));
                Action::Continue
            }
        }
    }
}

fn text(bytes: Option<Vec<u8>>) -> String {
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// All of them as `name=value`.
fn listed(map: Vec<(String, String)>) -> String {
    let all: Vec<String> = map.iter().map(|(n, v)| format!("{n}={v}")).collect();
    all.join(" ")
}

impl Context for Flow {
    fn on_http_call_response(
        &mut self,
        _token: u32,
        _headers: usize,
        body: usize,
        _trailers: usize,
    ) {
        self.waits = false;
        let answer = self
            .get_http_call_response_body(0, body)
            .unwrap_or_default();
        if self.does("take-body") {
            match self.resumes {
                Resumes::Request => self.set_http_request_body(0, usize::MAX, &answer),
                Resumes::Response => self.set_http_response_body(0, usize::MAX, &answer),
            }
        }
        if self.does("take-header") {
            let value = text(Some(answer));
            match self.resumes {
                Resumes::Request => self.set_http_request_header("x-side", Some(&value)),
                Resumes::Response => self.set_http_response_header("x-side", Some(&value)),
            }
        }
        self.tell("goes on");
        match self.resumes {
            Resumes::Request => self.resume_http_request(),
            Resumes::Response => self.resume_http_response(),
        }
    }
}

impl HttpContext for Flow {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let asked = self.get_http_request_header("x-flow").unwrap_or_default();
        let mine = |word: &str| Some(word.strip_prefix(&self.name)?.strip_prefix(':')?.to_owned());
        self.todo = asked.split(' ').filter_map(mine).collect();
        if self.does("tell-tls") {
            let property = |name| text(self.get_property(vec!["connection", name]));
            let mutual = self
                .get_property(vec!["connection", "mtls"])
                .unwrap_or_default();
            self.tell(&format!(
                "tls {} {} {} {} {}",
                property("tls_version"),
                property("requested_server_name"),
                property("subject_peer_certificate"),
                property("dns_san_peer_certificate"),
                mutual.first().copied().unwrap_or_default(),
            ));
        }
        if self.does("hold-request-headers") {
            return self.hold(Resumes::Request);
        }
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let body = text(self.get_http_request_body(0, size));
        self.tell(&format!("request body {body:?} end {end_of_stream}"));
        if self.waits || self.does("buffer-request") && !end_of_stream {
            return Action::Pause;
        }
        if end_of_stream && self.does("sign-request") {
            self.set_http_request_body(size, 0, format!("+{}", self.name).as_bytes());
        }
        if end_of_stream && self.does("add-request-trailers") {
            self.add_http_request_trailer("x-added", &self.name);
        }
        if end_of_stream && self.does("hold-request-body") {
            return self.hold(Resumes::Request);
        }
        Action::Continue
    }

    fn on_http_request_trailers(&mut self, _trailers: usize) -> Action {
        self.tell(&format!(
            "request trailers {}",
            listed(self.get_http_request_trailers())
        ));
        if self.does("hold-request-trailers") {
            return self.hold(Resumes::Request);
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        if self.does("tell-upstream") {
            let property = |name| text(self.get_property(vec!["upstream", name]));
            self.tell(&format!(
                "upstream {} {} {} from {}",
                property("tls_version"),
                property("dns_san_peer_certificate"),
                property("sha256_peer_certificate_digest").len(),
                property("local_address"),
            ));
        }
        if self.does("sign-response") || self.does("take-body") {
            self.set_http_response_header("content-length", None);
        }
        if self.does("hold-response-headers") {
            return self.hold(Resumes::Response);
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let body = text(self.get_http_response_body(0, size));
        self.tell(&format!("response body {body:?} end {end_of_stream}"));
        if self.waits || self.does("buffer-response") && !end_of_stream {
            return Action::Pause;
        }
        if end_of_stream && self.does("sign-response") {
            self.set_http_response_body(size, 0, format!("+{}", self.name).as_bytes());
        }
        if end_of_stream && self.does("add-response-trailers") {
            self.add_http_response_trailer("x-added", &self.name);
        }
        if end_of_stream && self.does("hold-response-body") {
            return self.hold(Resumes::Response);
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _trailers: usize) -> Action {
        self.tell(&format!(
            "response trailers {}",
            listed(self.get_http_response_trailers())
        ));
        if self.does("hold-response-trailers") {
            return self.hold(Resumes::Response);
        }
        Action::Continue
    }
}
