//! What the demo upstream answers: an OpenAI-shaped API, a file for each endpoint that calls a model.

mod chat;
mod completions;
mod embeddings;
mod responses;
mod spoken;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};

use super::faults::Dealer;
use super::seen::Counter;
use super::{Faults, Options};

/// Pause between two chunks of a streamed answer, so that each travels alone, as a model's do.
const CHUNK_PAUSE: Duration = Duration::from_millis(10);

/// The models that `/v1/models` lists; calls are answered for any name.
const MODELS: [&str; 2] = ["demo-large", "demo-small"];
/// Before the name of one of them.
const MODEL: &str = "/v1/models/";

type Body = BoxBody<Bytes, Infallible>;

/// One upstream's state.
pub(super) struct Api {
    options: Options,
    dealer: Mutex<Dealer>,
    counter: Counter,
}

// === impl Api ===

impl Api {
    pub(super) fn new(options: Options) -> Self {
        Self {
            dealer: Mutex::new(Dealer::new(options.faults)),
            counter: Counter::default(),
            options,
        }
    }

    /// Answers one request; never fails.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let mut response = self.route(request).await;
        for (name, value) in [
            ("x-upstream", &self.options.name),
            ("x-upstream-version", &self.options.version),
        ] {
            let value =
                HeaderValue::try_from(value.as_str()).unwrap_or(HeaderValue::from_static("?"));
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
        response
    }

    async fn route(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        if !path.starts_with("/__") {
            self.counter.count();
        }
        // The body is read before any answer, so that the connection can be used again.
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => {
                return error(
                    StatusCode::BAD_REQUEST,
                    "The request's body broke off.",
                    "body_incomplete",
                );
            }
        };
        if path == "/__faults" {
            return self.set_faults(&parts.method, &body);
        }
        if path == "/__seen" {
            let seen = serde_json::to_value(self.counter.seen()).unwrap_or(Value::Null);
            return json_response(StatusCode::OK, &seen);
        }
        let fault = self.dealer().next();
        if let Some(delay) = fault.delay {
            tokio::time::sleep(delay).await;
        }
        if let Some(status) = fault.status.and_then(|s| StatusCode::from_u16(s).ok()) {
            return error(status, "This failure was asked for.", "demo_fault");
        }
        if let "/health" | "/v1/health" = path {
            return self.health();
        }
        if !self.authorized(&parts.headers) {
            return error(
                StatusCode::UNAUTHORIZED,
                "Incorrect API key provided.",
                "invalid_api_key",
            );
        }
        match (&parts.method, path) {
            (_, "/echo") => self.echo(&parts, body.len()),
            (&Method::GET, "/v1/models") => self.models(),
            (&Method::GET, path) if path.starts_with(MODEL) => self.model(&path[MODEL.len()..]),
            (&Method::POST, "/v1/chat/completions") => self.call(chat::answer, &body),
            (&Method::POST, "/v1/completions") => self.call(completions::answer, &body),
            (&Method::POST, "/v1/responses") => self.call(responses::answer, &body),
            (&Method::POST, "/v1/embeddings") => self.call(embeddings::answer, &body),
            (method, path) => error(
                StatusCode::NOT_FOUND,
                &format!("Unknown request URL: {method} {path}."),
                "unknown_url",
            ),
        }
    }

    fn dealer(&self) -> MutexGuard<'_, Dealer> {
        self.dealer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_faults(&self, method: &Method, body: &[u8]) -> Response<Body> {
        if method == Method::POST {
            let parsed = serde_json::from_slice::<Faults>(body).map_err(|e| e.to_string());
            match parsed.and_then(|f| f.check().map(|()| f).map_err(|e| e.to_string())) {
                Ok(faults) => *self.dealer() = Dealer::new(faults),
                Err(message) => return error(StatusCode::BAD_REQUEST, &message, "invalid_faults"),
            }
        }
        let faults = serde_json::to_value(self.dealer().faults()).unwrap_or(Value::Null);
        json_response(StatusCode::OK, &faults)
    }

    fn authorized(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.options.require_key else {
            return true;
        };
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        given.and_then(|v| v.strip_prefix(b"Bearer ")) == Some(key.as_bytes())
    }

    fn health(&self) -> Response<Body> {
        let Options { name, version, .. } = &self.options;
        json_response(
            StatusCode::OK,
            &json!({"status": "ok", "name": name, "version": version}),
        )
    }

    fn models(&self) -> Response<Body> {
        let models: Vec<Value> = MODELS.iter().map(|id| self.card(id)).collect();
        json_response(StatusCode::OK, &json!({"object": "list", "data": models}))
    }

    fn model(&self, id: &str) -> Response<Body> {
        if MODELS.contains(&id) {
            return json_response(StatusCode::OK, &self.card(id));
        }
        error(
            StatusCode::NOT_FOUND,
            &format!("The model '{id}' does not exist"),
            "model_not_found",
        )
    }

    fn card(&self, id: &str) -> Value {
        json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": self.options.name})
    }

    /// The request as it arrived. Header values as text, with what is not UTF-8 replaced, and as base64.
    fn echo(&self, parts: &http::request::Parts, length: usize) -> Response<Body> {
        let header = |(name, value): (&HeaderName, &HeaderValue)| {
            json!({
                "name": name.as_str(),
                "value": String::from_utf8_lossy(value.as_bytes()),
                "base64": BASE64_STANDARD.encode(value.as_bytes()),
            })
        };
        let headers: Vec<Value> = parts.headers.iter().map(header).collect();
        let echo = json!({
            "upstream": self.options.name,
            "version": self.options.version,
            "method": parts.method.as_str(),
            "path": parts.uri.path_and_query().map_or("", |p| p.as_str()),
            "headers": headers,
            "body_length": length,
        });
        json_response(StatusCode::OK, &echo)
    }

    /// Answers a call of a model, in one piece or as events.
    fn call(
        &self,
        endpoint: fn(&Value, &Options) -> Result<Answer, String>,
        body: &[u8],
    ) -> Response<Body> {
        let answer = serde_json::from_slice(body)
            .map_err(|e| format!("The body is not JSON: {e}."))
            .and_then(|body| endpoint(&body, &self.options));
        match answer {
            Ok(Answer::Whole(value)) => json_response(StatusCode::OK, &value),
            Ok(Answer::Events(all)) => events(all),
            Err(message) => error(StatusCode::BAD_REQUEST, &message, "invalid_body"),
        }
    }
}

/// What a model's endpoint answers.
enum Answer {
    /// One JSON document.
    Whole(Value),
    /// Server-sent events.
    Events(VecDeque<Bytes>),
}

/// An event without a name, as chats and completions send them.
fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// What ends such a stream.
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// Sends one event after the other, each when the one before has left.
fn events(events: VecDeque<Bytes>) -> Response<Body> {
    let frames = stream::unfold((events, true), |(mut events, first)| async move {
        let event = events.pop_front()?;
        if !first {
            tokio::time::sleep(CHUNK_PAUSE).await;
        }
        Some((Ok(Frame::data(event)), (events, false)))
    });
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// OpenAI's error shape.
fn error(status: StatusCode, message: &str, code: &str) -> Response<Body> {
    let kind = if status.is_server_error() {
        "server_error"
    } else {
        "invalid_request_error"
    };
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    json_response(status, &body)
}
