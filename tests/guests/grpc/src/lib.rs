//! gRPC callouts as the request asks for them; what comes of them is the answer.
//!
//! `/call` makes the call of `x-method` with the message of `x-message`; `/stream` opens a stream, sends each of the
//! messages of `x-messages`, and tells all that comes back; `/cancel` gives both up at once; `/misuse` tells the statuses of
//! calls that make no sense. `x-upstream` is the cluster, `x-service` the same as a message (in hexadecimal digits).

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, Status};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

const SERVICE: &str = "test.Echo";

struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::default()))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

#[derive(Default)]
struct Stream {
    /// Messages still to be sent.
    messages: Vec<String>,
    /// What has come of the stream, a line each.
    told: Vec<String>,
}

impl Stream {
    fn header(&self, name: &str) -> String {
        self.get_http_request_header(name).unwrap_or_default()
    }

    /// The argument that names the upstream.
    fn upstream(&self) -> String {
        let digits = self.header("x-service");
        if digits.is_empty() {
            return self.header("x-upstream");
        }
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_default();
        let bytes = (0..digits.len()).step_by(2).map(byte).collect();
        String::from_utf8(bytes).unwrap_or_default()
    }

    fn answer(&self, body: &str) -> Action {
        self.send_http_response(200, vec![("x-guest", "grpc")], Some(body.as_bytes()));
        Action::Pause
    }

    fn call(&self, message: &[u8]) -> Result<u32, Status> {
        let timeout = self.header("x-timeout").parse().unwrap_or(10_000);
        self.dispatch_grpc_call(
            &self.upstream(),
            SERVICE,
            &self.header("x-method"),
            vec![("x-hello", b"guest")],
            Some(message),
            Duration::from_millis(timeout),
        )
    }

    fn open(&self) -> Result<u32, Status> {
        let metadata = vec![("x-hello", &b"guest"[..])];
        self.open_grpc_stream(
            &self.upstream(),
            SERVICE,
            &self.header("x-method"),
            metadata,
        )
    }

    /// Sends the next message; the last one ends the stream.
    fn send_next(&mut self, token: u32) {
        if self.messages.is_empty() {
            return;
        }
        let message = self.messages.remove(0);
        let last = self.messages.is_empty();
        self.send_grpc_stream_message(token, Some(message.as_bytes()), last);
    }

    fn misuse(&self) -> String {
        let nowhere =
            self.dispatch_grpc_call("nowhere", SERVICE, "Unary", vec![], None, Duration::ZERO);
        let stream = self.open_grpc_stream("nowhere", SERVICE, "Bidi", vec![]);
        let message = Some(&b"x"[..]);
        let results = [
            hostcalls::send_grpc_stream_message(1_000_002, message, false),
            hostcalls::send_grpc_stream_message(1_000_001, message, false),
            hostcalls::close_grpc_stream(1_000_002),
            hostcalls::cancel_grpc_call(1_000_001),
        ];
        format!("{nowhere:?} {stream:?} {results:?}")
    }
}

impl Context for Stream {
    fn on_grpc_call_response(&mut self, _token: u32, status: u32, size: usize) {
        let body = self
            .get_grpc_call_response_body(0, size)
            .unwrap_or_default();
        let (code, words) = self.get_grpc_status();
        let shown = if body.len() > 100 {
            format!("{} bytes", body.len())
        } else {
            String::from_utf8_lossy(&body).into_owned()
        };
        let told = match status {
            0 => format!("answer {shown:?}"),
            _ => format!("status {status} {code} {words:?}"),
        };
        self.answer(&told);
    }

    fn on_grpc_stream_initial_metadata(&mut self, _token: u32, count: u32) {
        let value = self.get_grpc_stream_initial_metadata_value("x-initial");
        let value = value.map(|v| String::from_utf8_lossy(&v).into_owned());
        let all = self.get_grpc_stream_initial_metadata().len();
        self.told
            .push(format!("initial {value:?} {}", all == count as usize));
    }

    fn on_grpc_stream_message(&mut self, token: u32, size: usize) {
        let message = self.get_grpc_stream_message(0, size).unwrap_or_default();
        self.told
            .push(format!("message {:?}", String::from_utf8_lossy(&message)));
        self.send_next(token);
    }

    fn on_grpc_stream_trailing_metadata(&mut self, _token: u32, count: u32) {
        let value = self.get_grpc_stream_trailing_metadata_value("x-trailing");
        let value = value.map(|v| String::from_utf8_lossy(&v).into_owned());
        let all = self.get_grpc_stream_trailing_metadata().len();
        self.told
            .push(format!("trailing {value:?} {}", all == count as usize));
    }

    fn on_grpc_stream_close(&mut self, _token: u32, status: u32) {
        let (code, words) = self.get_grpc_status();
        self.told.push(format!("close {status} {code} {words:?}"));
        self.answer(&self.told.join("\n"));
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        match self.header(":path").as_str() {
            "/call" => {
                let mut message = self.header("x-message");
                if let Ok(size) = self.header("x-size").parse() {
                    message = "a".repeat(size);
                }
                match self.call(message.as_bytes()) {
                    Ok(_) => Action::Pause,
                    Err(status) => self.answer(&format!("no call: {status:?}")),
                }
            }
            "/stream" => {
                let messages = self.header("x-messages");
                self.messages = messages.split(',').map(str::to_owned).collect();
                match self.open() {
                    Ok(token) => {
                        self.send_next(token);
                        Action::Pause
                    }
                    Err(status) => self.answer(&format!("no stream: {status:?}")),
                }
            }
            "/cancel" => {
                if let (Ok(call), Ok(stream)) = (self.call(b"10000"), self.open()) {
                    self.cancel_grpc_call(call);
                    self.cancel_grpc_stream(stream);
                    let again = [
                        hostcalls::cancel_grpc_call(call),
                        hostcalls::cancel_grpc_stream(stream),
                    ];
                    return self.answer(&format!("cancelled, then {again:?}"));
                }
                self.answer("neither")
            }
            "/misuse" => self.answer(&self.misuse()),
            _ => Action::Continue,
        }
    }
}
