//! The console over HTTP: one page and what belongs to it, its state, and what its buttons ask for.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Console;
use super::access::{Access, Refusal};
use super::act::{ActError, Ask, Desk};

/// An answer's body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The longest body that is read.
const BODY_LIMIT: usize = 64 << 10;
/// How long a program waits for proxies that do not answer.
const COMPLETE: Duration = Duration::from_millis(500);
/// How many may look at the same time.
const VIEWERS: usize = 100;

/// Nothing but this server's own files, and no place in another's page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What anybody may have: there is nothing of the document in it.
const FILES: [(&str, &str, &str); 8] = [
    (
        "/console/style.css",
        "text/css; charset=utf-8",
        include_str!("page/style.css"),
    ),
    ("/console/app.js", SCRIPT, include_str!("page/app.js")),
    ("/console/ask.js", SCRIPT, include_str!("page/ask.js")),
    ("/console/costs.js", SCRIPT, include_str!("page/costs.js")),
    ("/console/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/console/chart.js", SCRIPT, include_str!("page/chart.js")),
    (
        "/console/sign-in.js",
        SCRIPT,
        include_str!("page/sign-in.js"),
    ),
    (
        "/console/icon.svg",
        "image/svg+xml",
        include_str!("page/icon.svg"),
    ),
];

#[derive(Deserialize)]
struct SignIn {
    token: String,
}

/// Whether a path is the console's.
#[must_use]
pub fn is_own(path: &str) -> bool {
    path == "/console" || path.starts_with("/console/")
}

/// Why there is no console, at its place.
#[must_use]
pub fn nowhere(reason: &str) -> Response<Body> {
    text(
        StatusCode::NOT_FOUND,
        format!("there is no console here: {reason}\n"),
    )
}

// === impl Console ===

impl Console {
    /// Answers a request for one of the console's paths; 404 for others.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        match self.respond(request).await {
            Ok(response) => response,
            Err(refusal) => failure(refusal.status(), &refusal.to_string()),
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        self.access.name(request.headers())?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let is_read = method == Method::GET || method == Method::HEAD;
        if let Some((_, kind, body)) = FILES.iter().find(|(own, ..)| *own == path && is_read) {
            return Ok(respond(StatusCode::OK, kind, (*body).to_owned()));
        }
        let token = self.access.token(request.headers());
        if path == "/console" && is_read {
            return Ok(match token {
                Ok(()) => respond(
                    StatusCode::OK,
                    HTML,
                    include_str!("page/index.html").to_owned(),
                ),
                Err(_) => {
                    let page = include_str!("page/sign-in.html").to_owned();
                    respond(StatusCode::UNAUTHORIZED, HTML, page)
                }
            });
        }
        if method == Method::POST {
            Access::origin(request.headers())?;
        }
        match (method, path.as_str()) {
            (Method::POST, "/console/session") => self.sign_in(request).await,
            (Method::GET, "/console/state") => {
                token?;
                Ok(self.state().await)
            }
            (Method::GET, "/console/events") => {
                token?;
                Ok(self.events())
            }
            (Method::POST, "/console/preview") => {
                token?;
                Ok(self.act(request, Desk::preview).await)
            }
            (Method::POST, "/console/change") => {
                token?;
                Ok(self.act(request, Desk::change).await)
            }
            _ => Ok(failure(
                StatusCode::NOT_FOUND,
                "there is nothing here; the console is /console",
            )),
        }
    }

    async fn sign_in(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let Ok(SignIn { token }) = read(request).await else {
            return Ok(failure(
                StatusCode::BAD_REQUEST,
                "expected {\"token\": TOKEN}",
            ));
        };
        let cookie = self.access.sign_in(&token)?;
        let mut response = json_text(StatusCode::OK, &json!({}));
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }

    /// One state, for a program: with all proxies' figures, unless one takes long.
    async fn state(&self) -> Response<Body> {
        let mut states = self.observer.subscribe();
        let complete = async {
            // The observer goes on as long as this console.
            while states.changed().await.is_ok() && !states.borrow_and_update().complete {}
        };
        // Then it is as it is.
        let _ = tokio::time::timeout(COMPLETE, complete).await;
        let state = states.borrow_and_update().json.clone();
        let mut response = respond(StatusCode::OK, "application/json", String::new());
        *response.body_mut() = Full::from(state).boxed_unsync();
        response
    }

    /// Each state as it comes, as server-sent events.
    fn events(&self) -> Response<Body> {
        if self.observer.viewers() >= VIEWERS {
            return failure(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many look at the console already",
            );
        }
        let states = self.observer.subscribe();
        let events = stream::unfold(states, |mut states| async move {
            states.changed().await.ok()?;
            let state = states.borrow_and_update().json.clone();
            let event = [b"data: ", &state[..], b"\n\n"].concat();
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from(event))), states))
        });
        let mut response = respond(StatusCode::OK, "text/event-stream", String::new());
        *response.body_mut() = BodyExt::boxed_unsync(StreamBody::new(events));
        response
    }

    async fn act(
        &self,
        request: Request<Incoming>,
        act: fn(&Desk, Ask) -> Result<Value, ActError>,
    ) -> Response<Body> {
        let ask = match read::<Ask>(request).await {
            Ok(ask) => ask,
            Err(message) => return failure(StatusCode::BAD_REQUEST, &message),
        };
        let desk = self.desk.clone();
        // A lock may be waited for.
        let done = tokio::task::spawn_blocking(move || act(&desk, ask)).await;
        match done {
            Ok(Ok(value)) => json_text(StatusCode::OK, &value),
            Ok(Err(error @ ActError::Wrong(_))) => {
                failure(StatusCode::BAD_REQUEST, &error.to_string())
            }
            Ok(Err(error)) => failure(StatusCode::CONFLICT, &error.to_string()),
            Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }
}

/// Reads a JSON body.
async fn read<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, String> {
    let body = Limited::new(request.into_body(), BODY_LIMIT)
        .collect()
        .await;
    let bytes = body.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn failure(status: StatusCode, message: &str) -> Response<Body> {
    json_text(status, &json!({ "error": message }))
}

fn json_text(status: StatusCode, value: &Value) -> Response<Body> {
    respond(status, "application/json", value.to_string())
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", body)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Full::from(body).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
