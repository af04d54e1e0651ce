//! The world of a scenario: routes, and clusters that answer as they are told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::matching;
use super::model::{Answer, Asked, Body, Match, Short, Values};
use super::prepare::{Ready, Routed, Target};
use crate::abi::CalloutResponse;
use crate::simulation::{
    self, GrpcAnswer, GrpcCall, GrpcEvent, Outcome, Outgoing, Reply, Response, Route, Sent, World,
};
use crate::stream::{RequestHead, ResponseHead, UpstreamHost};

/// gRPC's status where nobody listens.
const UNAVAILABLE: u32 = 14;

/// Routes, hosts and what they answer now.
pub(super) struct Scripted {
    routes: Arc<[Routed]>,
    hosts: BTreeMap<String, Arc<UpstreamHost>>,
    /// By cluster.
    pub(super) answers: BTreeMap<String, Vec<Short<Answer>>>,
    /// Where bodies' files are.
    folder: Arc<std::path::Path>,
}

/// What is asked, of whom.
struct Question<'a> {
    method: &'a str,
    path: &'a [u8],
    headers: &'a HeaderMap,
    body: &'a [u8],
    attempt: Option<u32>,
}

// === impl Scripted ===

impl Scripted {
    pub(super) fn new(ready: &Ready, folder: Arc<std::path::Path>) -> Self {
        let clusters = ready.clusters.iter();
        Self {
            routes: ready.routes.clone(),
            hosts: clusters
                .clone()
                .map(|(name, cluster)| {
                    let host = simulation::host(name, cluster.metadata.clone());
                    (name.clone(), host)
                })
                .collect(),
            answers: clusters
                .filter_map(|(name, cluster)| {
                    let answers = cluster.answers.as_ref()?;
                    Some((name.clone(), answers.to_vec()))
                })
                .collect(),
            folder,
        }
    }

    fn find(&self, cluster: &str, question: &Question<'_>) -> Option<&Answer> {
        let answers = self.answers.get(cluster)?.iter();
        answers.map(|answer| &answer.0).find(|answer| {
            answer
                .asked
                .as_ref()
                .is_none_or(|asked| question.fits(asked))
        })
    }

    fn response(&self, answer: &Answer) -> Response {
        Response {
            status: answer
                .status
                .and_then(|status| StatusCode::from_u16(status).ok())
                .unwrap_or(StatusCode::OK),
            headers: header_map(&answer.headers),
            body: answer
                .body
                .as_ref()
                .map_or_else(Vec::new, |body| parts(body, &self.folder)),
            trailers: answer.trailers.as_ref().map(header_map),
            broken: answer.reset,
        }
    }
}

impl World for Scripted {
    fn route(&mut self, head: &RequestHead) -> Option<Route> {
        let path = String::from_utf8_lossy(head.path.as_bytes());
        let fits = |route: &&Routed| {
            route.path.as_ref().is_none_or(|wanted| wanted.holds(&path))
                && all_fit(&route.headers, &head.headers)
        };
        let route = self.routes.iter().find(fits)?;
        let cluster: Arc<str> = match &route.target {
            Target::Cluster(name) => name.clone(),
            Target::Header(name) => {
                let values = matching::header(&head.headers, name);
                Arc::from(values.first()?.as_ref())
            }
        };
        let attempts = match &route.attempts {
            Some(attempts) => attempts.clone(),
            None => vec![cluster.to_string()],
        };
        Some(Route {
            name: route.name.clone(),
            hosts: attempts
                .iter()
                .filter_map(|name| self.hosts.get(name).cloned())
                .collect(),
            cluster,
            retry_on: route.retry_on.clone(),
            timeout: route.timeout,
        })
    }

    fn reply(&mut self, sent: &Sent) -> Reply {
        let question = Question {
            method: sent.method.as_str(),
            path: &sent.path,
            headers: &sent.headers,
            body: &sent.body,
            attempt: Some(sent.attempt),
        };
        let Some(answer) = self.find(&sent.cluster, &question) else {
            return Reply::status(StatusCode::OK);
        };
        let given_up = answer
            .given_up
            .and_then(|status| StatusCode::from_u16(status).ok());
        let outcome = match given_up {
            Some(status) => Outcome::GivenUp(status),
            None if answer.never => Outcome::Never,
            None if answer.reset && answer.status.is_none() => Outcome::Reset,
            None => Outcome::Response(Box::new(self.response(answer))),
        };
        let after = after(answer);
        Reply { after, outcome }
    }

    fn callout(&mut self, callout: &Outgoing) -> simulation::Answer {
        let asked = &callout.callout;
        let answer = self.find(&asked.cluster, &callout_question(callout));
        let answer = answer.cloned().unwrap_or_default();
        if answer.never {
            return simulation::Answer::never();
        }
        let given = match self.callout_response(&answer) {
            Some(response) => simulation::Answer::response(response),
            None => simulation::Answer::failure(),
        };
        given.after(after(&answer))
    }

    /// A call is answered; a stream gets what is said of its start.
    fn grpc(&mut self, call: &GrpcCall) -> GrpcAnswer {
        let message = call.start.message.clone();
        let single = message.is_some();
        self.grpc_answer(call, &message.unwrap_or_default(), single)
    }

    fn grpc_sent(&mut self, call: &GrpcCall, message: &Bytes) -> GrpcAnswer {
        self.grpc_answer(call, message, false)
    }
}

impl Scripted {
    fn grpc_answer(&self, call: &GrpcCall, message: &[u8], single: bool) -> GrpcAnswer {
        let question = Question {
            method: "POST",
            path: call.start.path.as_bytes(),
            headers: &call.start.metadata,
            body: message,
            attempt: None,
        };
        let found = self.find(&call.start.cluster, &question);
        // A stream on which nothing is told to come back says nothing.
        let answer = match (found, single) {
            (Some(answer), _) => answer.clone(),
            (None, true) => Answer::default(),
            (None, false) => return GrpcAnswer::never(),
        };
        if answer.never {
            return GrpcAnswer::never();
        }
        let mut after = after(&answer);
        if answer.reset {
            let close = GrpcEvent::Close(UNAVAILABLE, Bytes::from_static(b"connection refused"));
            return GrpcAnswer::never().then(after, close);
        }
        let grpc = answer.grpc.unwrap_or_default();
        let close = |status| {
            let message = Bytes::copy_from_slice(grpc.message.as_bytes());
            GrpcEvent::Close(status, message)
        };
        let mut messages = grpc
            .messages
            .iter()
            .map(|body| Bytes::from(parts(body, &self.folder).concat()));
        if single {
            let event = match grpc.status.unwrap_or(0) {
                0 => GrpcEvent::Message(messages.next().unwrap_or_default()),
                status => close(status),
            };
            return GrpcAnswer::never().then(after, event);
        }
        let mut events = Vec::new();
        if !grpc.metadata.is_empty() {
            events.push(GrpcEvent::Initial(Some(header_map(&grpc.metadata))));
        }
        events.extend(messages.map(GrpcEvent::Message));
        if let Some(status) = grpc.status {
            events.push(GrpcEvent::Trailing(header_map(&grpc.trailers)));
            events.push(close(status));
        }
        events
            .into_iter()
            .fold(GrpcAnswer::never(), |answer, event| {
                answer.then(std::mem::take(&mut after), event)
            })
    }

    /// A callout's answer; `None` is a failure.
    pub(super) fn callout_response(&self, answer: &Answer) -> Option<CalloutResponse> {
        if answer.reset {
            return None;
        }
        let response = self.response(answer);
        Some(CalloutResponse {
            body: response.whole_body(),
            head: ResponseHead::new(response.status, response.headers),
            trailers: response.trailers.unwrap_or_default(),
        })
    }
}

/// Whether a callout is like this.
pub(super) fn callout_fits(callout: &Outgoing, asked: &Asked) -> bool {
    callout_question(callout).fits(asked)
}

fn callout_question(callout: &Outgoing) -> Question<'_> {
    let asked = &callout.callout;
    Question {
        method: asked.head.method.as_str(),
        path: asked.head.path.as_bytes(),
        headers: &asked.head.headers,
        body: &asked.body,
        attempt: None,
    }
}

fn after(answer: &Answer) -> Duration {
    answer.after.map(|span| span.0).unwrap_or_default()
}

// === impl Question ===

impl Question<'_> {
    fn fits(&self, asked: &Asked) -> bool {
        let text = |wanted: &Option<Short<Match>>, bytes: &[u8]| {
            let holds = |wanted: &Short<Match>| wanted.holds(&String::from_utf8_lossy(bytes));
            wanted.as_ref().is_none_or(holds)
        };
        text(&asked.method, self.method.as_bytes())
            && text(&asked.path, self.path)
            && text(&asked.body, self.body)
            && (asked.attempt.is_none() || asked.attempt == self.attempt)
            && all_fit(&asked.headers, self.headers)
    }
}

fn all_fit(wanted: &BTreeMap<String, Short<Match>>, headers: &HeaderMap) -> bool {
    wanted
        .iter()
        .all(|(name, wanted)| wanted.check(&matching::header(headers, name)).is_ok())
}

/// Headers as a map; names and values have been checked.
pub(super) fn header_map(values: &Values) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, values) in values {
        let name = match name.as_str() {
            ":authority" => Ok(header::HOST),
            name => HeaderName::from_bytes(name.as_bytes()),
        };
        let Ok(name) = name else { continue };
        for value in values.iter() {
            if let Ok(value) = HeaderValue::from_str(&value.0.0) {
                map.append(name.clone(), value);
            }
        }
    }
    map
}

/// What filters see of a body at a time, in bytes, unless its parts are given: what Envoy reads at a time.
const PART: usize = 16 * 1024;

/// A body's parts; its file has been checked.
pub(super) fn parts(body: &Body, folder: &std::path::Path) -> Vec<Bytes> {
    let whole = |bytes: Vec<u8>| {
        let mut rest = Bytes::from(bytes);
        let mut parts = Vec::new();
        while !rest.is_empty() {
            parts.push(rest.split_to(PART.min(rest.len())));
        }
        parts
    };
    match body {
        Body::Text(text) => whole(text.clone().into_bytes()),
        Body::Json(value) => whole(value.to_string().into_bytes()),
        Body::File(file) => whole(std::fs::read(folder.join(file)).unwrap_or_default()),
        Body::Base64(text) => whole(base64(text).unwrap_or_default()),
        Body::Parts(parts) => parts
            .iter()
            .map(|part| Bytes::from(part.clone().into_bytes()))
            .collect(),
        Body::Size(size) => whole(vec![b'x'; usize::try_from(*size).unwrap_or_default()]),
    }
}

/// Decodes standard base64.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()
}
