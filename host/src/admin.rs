//! The admin server: Envoy's paths, in Envoy's shapes.
//!
//! - `/ready`: 200 `LIVE`, or 503 while starting or draining
//! - `/stats`, `/stats/prometheus` (also `/stats?format=prometheus`; all with `?filter=REGEX`)
//! - `/clusters`, `/listeners` (both also `?format=json`)
//! - `/server_info`, `/config_dump`: JSON, without any configuration that may hold a secret
//!
//! And one of its own: `/console`, the page of [`crate::console`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use regex::Regex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::console::{self, Console};
use crate::gateway::{Gateway, Ready, StartError};
use crate::vm::engine::Digest;

/// How many compiled filters are kept: a console asks for two, and there may be several.
const FILTERS_KEPT: usize = 8;

/// What the admin tells.
pub struct AdminState {
    gateway: Arc<Gateway>,
    listeners: Vec<ListenerAddress>,
    filters: Mutex<Vec<FilterState>>,
    workers: usize,
    started: Instant,
    phase: AtomicU8,
    /// The filters that were asked for last, the newest at the end: who asks again and again asks for the same few.
    filters_asked: Mutex<Vec<Regex>>,
    /// The console, or why there is none; unset until the admin listens.
    console: OnceLock<Result<Arc<Console>, String>>,
}

/// Where the gateway stands in its life; in Envoy's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Listeners and filters are being set up.
    Initializing,
    /// It serves.
    Live,
    /// It lets requests end, and takes no new ones.
    Draining,
}

/// Where a listener listens.
#[derive(Debug, Clone)]
pub struct ListenerAddress {
    /// Its name.
    pub name: String,
    /// Its address, with the port the kernel chose.
    pub address: SocketAddr,
}

/// What a filter runs.
#[derive(Debug, Clone)]
pub struct FilterState {
    name: String,
    root_id: String,
    /// Digests, not contents: either may hold secrets or be large.
    configuration: Option<String>,
    code: Option<String>,
}

// === impl Phase ===

impl Phase {
    const ALL: [Self; 3] = [Self::Initializing, Self::Live, Self::Draining];

    fn word(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
        }
    }
}

// === impl FilterState ===

impl FilterState {
    /// What a filter of that name runs; nothing while its document is missing.
    #[must_use]
    pub fn new(name: &str, ready: Option<&Ready>) -> Self {
        let configuration = |ready: &Ready| Digest::of(&ready.config.configuration).to_string();
        Self {
            name: name.to_owned(),
            root_id: ready
                .map(|ready| ready.config.root_id.clone())
                .unwrap_or_default(),
            configuration: ready.map(configuration),
            code: ready.map(|ready| ready.compiled.digest.to_string()),
        }
    }
}

// === impl AdminState ===

impl AdminState {
    /// For a gateway that is not ready yet.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, listeners: Vec<ListenerAddress>, workers: usize) -> Self {
        Self {
            gateway,
            listeners,
            filters: Mutex::default(),
            workers,
            started: Instant::now(),
            phase: AtomicU8::new(Phase::Initializing as u8),
            filters_asked: Mutex::default(),
            console: OnceLock::new(),
        }
    }

    /// Sets the console, or why there is none.
    pub fn set_console(&self, console: Result<Arc<Console>, String>) {
        // It is set once, when the admin's address is known.
        let _ = self.console.set(console);
    }

    async fn respond(&self, request: Request<Incoming>) -> Response<console::Body> {
        if !console::is_own(request.uri().path()) {
            return self.answer(&request).map(BodyExt::boxed_unsync);
        }
        match self.console.get() {
            Some(Ok(console)) => console.clone().answer(request).await,
            Some(Err(reason)) => console::nowhere(reason),
            None => console::nowhere("the gateway is starting"),
        }
    }

    /// Sets what `/ready` says.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        let number = self.phase.load(Ordering::Relaxed);
        let mut phases = Phase::ALL.into_iter();
        phases
            .find(|phase| *phase as u8 == number)
            .unwrap_or(Phase::Initializing)
    }

    /// Sets what the filters run.
    pub fn set_filters(&self, filters: Vec<FilterState>) {
        *self.filters.lock().unwrap_or_else(PoisonError::into_inner) = filters;
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                "Method Not Allowed\n".to_owned(),
            );
        }
        let query = request.uri().query().unwrap_or_default();
        let parameter = |name: &str| {
            let mut pairs = query.split('&');
            pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let format = parameter("format");
        let filter = parameter("filter").map(|text| percent_decode_str(text).decode_utf8_lossy());
        let filter = match filter.map(|text| self.filter(&text)).transpose() {
            Ok(filter) => filter,
            Err(error) => {
                return text(StatusCode::BAD_REQUEST, format!("Invalid regex: {error}\n"));
            }
        };
        match (request.uri().path(), format) {
            ("/", _) => text(StatusCode::OK, HELP.to_owned()),
            ("/ready", _) => {
                let phase = self.phase();
                let status = match phase {
                    Phase::Live => StatusCode::OK,
                    Phase::Initializing | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
                };
                text(status, format!("{}\n", phase.word()))
            }
            ("/stats/prometheus", _) | ("/stats", Some("prometheus")) => text(
                StatusCode::OK,
                self.gateway.process.stats.prometheus(filter.as_ref()),
            ),
            ("/stats", _) => text(
                StatusCode::OK,
                self.gateway.process.stats.plain(filter.as_ref()),
            ),
            ("/listeners", Some("json")) => json_text(&self.listeners_json()),
            ("/listeners", _) => {
                let lines = self
                    .listeners
                    .iter()
                    .map(|l| format!("{}::{}\n", l.name, l.address));
                text(StatusCode::OK, lines.collect())
            }
            ("/clusters", Some("json")) => json_text(&self.clusters_json()),
            ("/clusters", _) => text(StatusCode::OK, self.clusters_text()),
            ("/server_info", _) => json_text(&self.server_info()),
            ("/config_dump", _) => json_text(&self.config_dump()),
            _ => text(
                StatusCode::NOT_FOUND,
                format!("invalid path. admin commands are:\n{HELP}"),
            ),
        }
    }

    fn filter(&self, text: &str) -> Result<Regex, regex::Error> {
        let mut known = self
            .filters_asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let filter = match known.iter().position(|filter| filter.as_str() == text) {
            Some(at) => known.remove(at),
            None => Regex::new(text)?,
        };
        if known.len() >= FILTERS_KEPT {
            known.remove(0);
        }
        known.push(filter.clone());
        Ok(filter)
    }

    fn listeners_json(&self) -> Value {
        let statuses: Vec<Value> = self
            .listeners
            .iter()
            .map(|l| json!({"name": l.name, "local_address": socket_address(l.address)}))
            .collect();
        json!({ "listener_statuses": statuses })
    }

    fn clusters_text(&self) -> String {
        let mut out = String::new();
        for cluster in self.gateway.clusters.values() {
            for host in cluster.hosts.load().iter().flat_map(|level| level.iter()) {
                let flags = if host.healthy.load(Ordering::Relaxed) {
                    "healthy"
                } else {
                    "/failed_active_hc"
                };
                out.push_str(&format!(
                    "{}::{}::health_flags::{flags}\n",
                    cluster.name, host.address
                ));
            }
        }
        out
    }

    fn clusters_json(&self) -> Value {
        let statuses: Vec<Value> = self
            .gateway
            .clusters
            .values()
            .map(|cluster| {
                let hosts: Vec<Value> = cluster
                    .hosts
                    .load()
                    .iter()
                    .enumerate()
                    .flat_map(|(priority, level)| level.iter().map(move |host| (priority, host)))
                    .map(|(priority, host)| {
                        let failed = !host.healthy.load(Ordering::Relaxed);
                        let health = if failed {
                            json!({"eds_health_status": "HEALTHY", "failed_active_health_check": true})
                        } else {
                            json!({"eds_health_status": "HEALTHY"})
                        };
                        json!({"address": socket_address(host.address), "priority": priority, "health_status": health})
                    })
                    .collect();
                json!({"name": &*cluster.name, "host_statuses": hosts})
            })
            .collect();
        json!({ "cluster_statuses": statuses })
    }

    fn server_info(&self) -> Value {
        json!({
            "version": concat!("switchover/", env!("CARGO_PKG_VERSION")),
            "state": self.phase().word(),
            "uptime_current_epoch": format!("{}s", self.started.elapsed().as_secs()),
            "command_line_options": {"concurrency": self.workers},
            "node": {"id": self.gateway.process.node.id, "cluster": self.gateway.process.node.cluster},
        })
    }

    fn config_dump(&self) -> Value {
        let filters: Vec<Value> = self
            .filters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|filter| {
                json!({
                    "name": filter.name,
                    "root_id": filter.root_id,
                    "configuration_digest": filter.configuration,
                    "code_digest": filter.code,
                })
            })
            .collect();
        let listeners: Vec<Value> = self
            .listeners
            .iter()
            .map(|l| json!({"name": l.name, "address": l.address.to_string()}))
            .collect();
        let clusters: Vec<&str> = self.gateway.clusters.keys().map(String::as_str).collect();
        json!({"configs": [{"listeners": listeners, "clusters": clusters, "wasm_filters": filters}]})
    }
}

const HELP: &str = "  /clusters: upstream cluster status\n  /config_dump: dump current configs, without secrets\n  \
/console: show the rollout live, and operate it\n  \
/listeners: print listener info\n  /ready: print server state, return 200 if LIVE, otherwise return 503\n  \
/server_info: print server version/status information\n  /stats: print server stats\n  \
/stats/prometheus: print server stats in prometheus format\n";

fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=UTF-8", body)
}

fn json_text(body: &Value) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, "application/json", format!("{body:#}\n"))
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    headers.insert(
        header::CACHE_CONTROL,
        http::HeaderValue::from_static("no-cache, max-age=0"),
    );
    headers.insert(
        "x-content-type-options",
        http::HeaderValue::from_static("nosniff"),
    );
    response
}

/// Serves the admin on this runtime until it ends; gives the address, with the port the kernel chose.
///
/// # Errors
/// Where it cannot listen there.
pub async fn start(state: Arc<AdminState>, address: SocketAddr) -> Result<SocketAddr, StartError> {
    let listen = |error| StartError::Listen {
        of: "the admin".to_owned(),
        address,
        error,
    };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let state = state.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let state = state.clone();
                    async move { Ok::<_, Infallible>(state.respond(request).await) }
                });
                if let Err(error) = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                {
                    tracing::debug!("admin connection ended: {error}");
                }
            });
        }
    });
    Ok(bound)
}
