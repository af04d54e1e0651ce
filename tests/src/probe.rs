//! The guest `tests/guests/probe`, which carries out scripts of hostcalls: a gateway with it, and what it told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::raw::Raw;
use crate::setup::endpoint;
use crate::upstream::Wire;
use crate::{Engine, Gateway, Setup, Upstream, assert_eventually, programs};

/// How long the end of an answer is waited for; a script may keep it from coming.
const ANSWER: Duration = Duration::from_secs(3);

/// Marks the guest's lines in an engine's log.
const MARK: &str = "PROBE | ";

/// Connections that reach each of two workers, all but surely.
const CONNECTIONS: usize = 16;

/// Commands that the guest's VM does not survive.
const FAILURES: [&str; 3] = ["trap", "loop", "recurse"];

/// In the place of a command where a callback begins.
const BEGINS: &str = "begins";

/// One line of the guest: a callback that began, or a hostcall that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The script's name; `root` of root contexts.
    pub tag: String,
    /// The callback.
    pub callback: String,
    /// The hostcall with its arguments; `begins` where the callback does.
    pub command: String,
    /// The status and what was written; the callback's arguments where it begins.
    pub answer: String,
}

/// Which of the bytes that go in and come out a probe wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message {
    /// `GET` without a body, or `POST` with one.
    pub body: bool,
    /// Trailers behind the body.
    pub trailers: bool,
}

/// What an exchange came to.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// All bytes that the client got; nothing where the connection was reset before.
    pub client: String,
    /// All bytes that the upstream got; `None` where it got no request.
    pub upstream: Option<String>,
    /// What the guest told of this exchange.
    pub lines: Vec<Line>,
    /// The engine's process has ended.
    pub crashed: bool,
    /// The client waited in vain for the end of an answer.
    pub hung: bool,
}

/// A gateway with the guest as its only filter.
pub struct Probe {
    /// The gateway.
    pub gateway: Gateway,
    upstream: Recorder,
    _grpc: Upstream,
    /// How many exchanges there were; each has a tag of its own.
    exchanges: u32,
}

/// Where the clusters `blue` and `grpc` lead.
#[derive(Debug, Clone, Copy)]
pub struct Upstreams {
    /// Keeps requests as they came.
    pub plain: std::net::SocketAddr,
    /// Answers each call of gRPC with one message.
    pub grpc: std::net::SocketAddr,
}

/// An upstream that keeps requests as they came, byte for byte.
struct Recorder {
    address: std::net::SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

// === impl Probe ===

impl Probe {
    /// A setup with the guest and this program, for [`Self::start`].
    pub fn setup(
        engine: Engine,
        program: &str,
        edit: impl FnOnce(Setup) -> Setup,
    ) -> impl FnOnce(Upstreams) -> Setup {
        let program = program.to_owned();
        move |Upstreams {
                  plain: upstream,
                  grpc,
              }| {
            let setup = Setup::at(&[("blue", upstream)])
                .route_guest(&programs::guest("probe"))
                .without_attempt_role()
                .inline()
                .plugin(move |plugin| {
                    // A VM that fails is soon replaced.
                    if engine == Engine::Host {
                        plugin["reload_config"] = json!({"backoff": {"base_interval": "0.01s"}});
                    }
                })
                .variable("PROBE", &program)
                .edit(move |bootstrap| {
                    let trailers = json!({"enable_trailers": true});
                    bootstrap.http()["http_protocol_options"] = trailers.clone();
                    let leaf = bootstrap.cluster("blue-only");
                    leaf["load_assignment"]["endpoints"][0]["lb_endpoints"] = vec![endpoint(upstream, "blue")].into();
                    leaf["typed_extension_protocol_options"] = json!({
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": {"http_protocol_options": trailers}
                        }
                    });
                    bootstrap.clusters().push(json!({
                        "name": "grpc",
                        "connect_timeout": "1s",
                        "load_assignment": {"cluster_name": "grpc", "endpoints": [{"lb_endpoints": [endpoint(grpc, "blue")]}]},
                    }));
                    bootstrap.speak("grpc", json!({"explicit_http_config": {"http2_protocol_options": {}}}));
                });
            edit(setup)
        }
    }

    /// Starts it.
    pub async fn start(engine: Engine, setup: impl FnOnce(Upstreams) -> Setup) -> Self {
        let upstream = Recorder::start().await;
        let grpc = grpc().await;
        let upstreams = Upstreams {
            plain: upstream.address,
            grpc: grpc.address(),
        };
        let gateway = setup(upstreams).start(engine).await;
        Self {
            gateway,
            upstream,
            _grpc: grpc,
            exchanges: 0,
        }
    }

    /// Sends one request with a script, on a connection of its own, and waits until its context has ended.
    pub async fn exchange(&mut self, script: &str, message: Message) -> Outcome {
        self.exchange_with(script, message, "").await
    }

    /// The same with further header lines, each with its line end.
    pub async fn exchange_with(
        &mut self,
        script: &str,
        message: Message,
        headers: &str,
    ) -> Outcome {
        self.exchanges += 1;
        let tag = format!("x{}", self.exchanges);
        self.upstream.requests.lock().unwrap().clear();
        let mut raw = Raw::connect(self.gateway.address()).await;
        let method = if message.body { "POST" } else { "GET" };
        let mut request = format!(
            "{method} /probe?q=1 HTTP/1.1\r\nhost: probe.test\r\nconnection: close\r\nte: trailers\r\nx-probe: {tag} {script}\r\n{headers}"
        );
        if message.body {
            request += "transfer-encoding: chunked\r\n";
            if message.trailers {
                request += "trailer: x-trailer\r\n";
            }
            request += "\r\n9\r\nbody-more\r\n0\r\n";
            if message.trailers {
                request += "x-trailer: request\r\n";
            }
        }
        raw.write(request + "\r\n").await;
        let (client, closed) = raw.read_for(ANSWER).await;
        drop(raw);
        // Logs are written beside: the last callback's first line may be there before its others.
        let mark = format!("{MARK}{tag} | delete | ends");
        // A VM that fails ends no context.
        let fails = fails(script);
        let ended = |gateway: &Gateway| gateway.output().contains(&mark);
        assert_eventually!(
            fails || ended(&self.gateway) || !self.gateway.runs(),
            "the context of {tag} did not end"
        );
        let lines = self
            .lines()
            .into_iter()
            .filter(|line| line.tag == tag)
            .collect();
        let upstream = {
            let requests = self.upstream.requests.lock().unwrap();
            requests
                .iter()
                .rfind(|request| !request.contains(" /call "))
                .cloned()
        };
        let crashed = !self.gateway.runs();
        Outcome {
            client,
            upstream,
            lines,
            crashed,
            hung: !closed,
        }
    }

    /// Waits until every worker's VM serves again, so that the next exchange meets one.
    pub async fn recovered(&self, after: &str) {
        assert_eventually!(self.serves().await, "nothing is served after {after:?}");
    }

    /// Whether every worker's VM serves: each connection reaches one of them, by the kernel's choice.
    async fn serves(&self) -> bool {
        for _ in 0..CONNECTIONS {
            let reply = self.gateway.client().get("/probe").try_send().await;
            if !reply.is_ok_and(|reply| reply.status == 200) {
                return false;
            }
        }
        true
    }

    /// What the guest told so far.
    pub fn lines(&self) -> Vec<Line> {
        lines(&self.gateway.output())
    }
}

/// Whether the guest's VM does not survive a script.
pub fn fails(script: &str) -> bool {
    FAILURES.iter().any(|word| script.contains(word))
}

/// The guest's lines in an engine's log.
pub fn lines(output: &str) -> Vec<Line> {
    let line = |line: &str| {
        let told = line.split_once(MARK)?.1;
        // The host writes the plugin's name behind a guest's message.
        let told = told.split_once(" plugin=").map_or(told, |(told, _)| told);
        let mut parts = told.split(" | ").map(|part| part.trim().to_owned());
        let (tag, callback, command) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Line {
            tag,
            callback,
            command,
            answer: parts.next()?,
        })
    };
    output.lines().filter_map(line).collect()
}

// === impl Outcome ===

impl Outcome {
    /// The status that the client got; 0 where it got none.
    pub fn status(&self) -> u16 {
        let status = self
            .client
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.split_whitespace().next());
        status.map_or(0, |status| status.parse().unwrap())
    }

    /// What the client saw, in few words: the status, and whether the answer was whole.
    pub fn shown(&self) -> String {
        match self.status() {
            _ if self.crashed => "the process ends".to_owned(),
            _ if self.hung => "no end".to_owned(),
            0 => "reset".to_owned(),
            status
                if self.client.contains("content-length: ")
                    || self.client.contains("\r\n0\r\n") =>
            {
                status.to_string()
            }
            status => format!("{status} cut"),
        }
    }

    /// What hostcalls answered in a callback, in order.
    pub fn answers(&self, callback: &str) -> Vec<&str> {
        let told = self
            .lines
            .iter()
            .filter(|line| line.callback == callback && line.command != BEGINS);
        told.map(|line| line.answer.as_str()).collect()
    }

    /// The callbacks with their arguments, in order.
    pub fn callbacks(&self) -> Vec<String> {
        let begun = self.lines.iter().filter(|line| line.command == BEGINS);
        begun
            .map(|line| {
                format!("{} {}", line.callback, line.answer)
                    .trim()
                    .to_owned()
            })
            .collect()
    }
}

// === impl Recorder ===

impl Recorder {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            loop {
                let raw = Raw::accept_whenever(&listener).await;
                tokio::spawn(serve(raw, Arc::clone(&kept)));
            }
        });
        Self {
            address,
            requests,
            server,
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A server of gRPC: metadata, a message, and metadata behind it.
async fn grpc() -> Upstream {
    let wire = Wire {
        http2: true,
        ..Wire::default()
    };
    Upstream::speaking(wire, |_| async {
        let trailers = [
            ("grpc-status", "0"),
            ("grpc-message", "fine"),
            ("x-trailing", "1"),
        ];
        let trailers =
            trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let frames = [
            Frame::data(Bytes::from_static(b"\0\0\0\0\x06answer")),
            Frame::trailers(trailers.into_iter().collect()),
        ];
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok)));
        let answer = Response::builder()
            .header("content-type", "application/grpc")
            .header("x-initial", "1");
        answer.body(body.boxed()).unwrap()
    })
    .await
}

/// Answers requests on one connection, each with a chunked body and trailers.
async fn serve(mut raw: Raw, requests: Arc<Mutex<Vec<String>>>) {
    while let Some(mut request) = raw.try_read_until("\r\n\r\n").await {
        let head = request.to_ascii_lowercase();
        if head.contains("transfer-encoding: chunked") {
            while !request.contains("\r\n0\r\n") {
                match raw.try_read_until("\r\n\r\n").await {
                    Some(more) => request += &more,
                    None => return,
                }
            }
        } else if let Some(length) = head
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next())
        {
            match raw.try_read(length.trim().parse().unwrap_or(0)).await {
                Some(more) => request += &more,
                None => return,
            }
        }
        if request.contains(" /never ") {
            std::future::pending::<()>().await;
        }
        requests.lock().unwrap().push(request);
        raw.write(
            "HTTP/1.1 200 OK\r\nx-from: upstream\r\nx-two: 1\r\nx-two: 2\r\ntrailer: x-trailer\r\ntransfer-encoding: chunked\r\n\r\n\
             b\r\nanswer-more\r\n0\r\nx-trailer: response\r\n\r\n",
        )
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_in_a_log() {
        let log = "[x][info] wasm log: PROBE | a | request_headers | begins | fields=3 end=1\nnoise\nINFO guest: PROBE | a | request_headers | proxy_done | NOT_FOUND plugin=\"a\"\n";
        let line = |command: &str, answer: &str| Line {
            tag: "a".into(),
            callback: "request_headers".into(),
            command: command.into(),
            answer: answer.into(),
        };
        assert_eq!(
            lines(log),
            [
                line(BEGINS, "fields=3 end=1"),
                line("proxy_done", "NOT_FOUND")
            ]
        );
    }
}
