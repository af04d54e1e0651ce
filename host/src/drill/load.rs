//! Clients under load: each sends a request when the one before was answered, in a thread of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use tokio::task::JoinSet;

use super::DrillError;
use super::client::{Client, Failure};

/// A consumer's key of the demo's document.
const AUTHORIZATION: HeaderValue = HeaderValue::from_static("Bearer demo-key-b");
const CHAT: &str =
    r#"{"model": "demo-small", "messages": [{"role": "user", "content": "Say hello, please."}]}"#;
/// Latencies are kept to a thousandth, up to a minute, in microseconds.
const LONGEST: u64 = 60_000_000;
/// After a failure, so that a gateway that is gone is not asked a million times.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// Clients that send until they are stopped.
pub(super) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<std::io::Result<Vec<Tally>>>>,
}

/// What became of the requests of one phase.
#[derive(Clone)]
pub(super) struct Tally {
    /// In microseconds, of whatever was answered.
    pub(super) latency: Histogram<u64>,
    /// Requests.
    pub(super) requests: u64,
    /// Those that ended with something else than 200, or with nothing.
    pub(super) failed: u64,
    /// Those whose answer had begun and broke off.
    pub(super) broken_off: u64,
    /// Those that green answered.
    pub(super) green: u64,
    /// What the first failure was.
    pub(super) first_failure: Option<String>,
}

/// What story and load tell each other.
struct Shared {
    phase: AtomicUsize,
    requests: AtomicU64,
    stop: AtomicBool,
}

// === impl Load ===

impl Load {
    /// Starts clients; what they see is counted by phase, of which there are so many.
    pub(super) fn start(
        gateway: SocketAddr,
        connections: u16,
        phases: usize,
    ) -> Result<Self, DrillError> {
        let shared = Arc::new(Shared {
            phase: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let told = shared.clone();
        let thread = std::thread::Builder::new().name("load".to_owned());
        let thread = thread.spawn(move || run(gateway, connections, phases, &told));
        let thread = thread.map_err(|error| DrillError::File {
            what: "cannot start the load's thread".to_owned(),
            error,
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Requests answered so far.
    pub(super) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Counts requests that begin from now on under this phase.
    pub(super) fn enter(&self, phase: usize) {
        self.shared.phase.store(phase, Ordering::Relaxed);
    }

    /// Whether the clients still send.
    pub(super) fn runs(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Lets each client finish its request, and gives what became of all of them.
    pub(super) fn finish(mut self) -> Result<Vec<Tally>, DrillError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(tallies)) => tallies.map_err(|error| DrillError::File {
                what: "cannot run the load".to_owned(),
                error,
            }),
            _ => Err(DrillError::Load),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn run(
    gateway: SocketAddr,
    connections: u16,
    phases: usize,
    shared: &Arc<Shared>,
) -> std::io::Result<Vec<Tally>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(async {
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            clients.spawn(client(gateway, phases, shared.clone()));
        }
        let mut sum = vec![Tally::default(); phases];
        while let Some(tallies) = clients.join_next().await {
            // A client that panicked has lost its figures; that must not look like a good end.
            let tallies = tallies.unwrap_or_else(|e| vec![Tally::lost(e.to_string())]);
            for (sum, tally) in sum.iter_mut().zip(tallies) {
                sum.add(&tally);
            }
        }
        sum
    }))
}

/// One client: looks at the models and chats, in turns.
async fn client(gateway: SocketAddr, phases: usize, shared: Arc<Shared>) -> Vec<Tally> {
    let mut client = Client::new(gateway);
    let mut tallies = vec![Tally::default(); phases];
    for turn in 0_u64.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let phase = shared.phase.load(Ordering::Relaxed);
        let start = Instant::now();
        let answer = client.send(request(turn)).await;
        let took = start.elapsed();
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let Some(tally) = tallies.get_mut(phase) else {
            break;
        };
        let failure = match answer {
            Ok(answer) => {
                tally.answered(took, answer.upstream.as_ref());
                (answer.status != StatusCode::OK).then(|| {
                    format!(
                        "{}: {}",
                        answer.status,
                        String::from_utf8_lossy(&answer.body)
                    )
                })
            }
            Err(Failure::None(why)) => Some(why),
            Err(Failure::BrokeOff(why)) => {
                tally.requests += 1;
                tally.broken_off += 1;
                tally.first_failure.get_or_insert(why);
                continue;
            }
        };
        if let Some(failure) = failure {
            tally.failed(failure);
            tokio::time::sleep(AFTER_FAILURE).await;
        } else {
            tally.requests += 1;
        }
    }
    tallies
}

fn request(turn: u64) -> Request<Full<Bytes>> {
    let (method, path, body) = match turn % 2 {
        0 => (Method::GET, "/v1/models", ""),
        _ => (Method::POST, "/v1/chat/completions", CHAT),
    };
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(header::AUTHORIZATION, AUTHORIZATION);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    request
}

// === impl Tally ===

impl Default for Tally {
    fn default() -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3);
        Self {
            latency: latency.expect("bounds that are in order"),
            requests: 0,
            failed: 0,
            broken_off: 0,
            green: 0,
            first_failure: None,
        }
    }
}

impl Tally {
    /// Adds another's figures.
    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
        self.requests += other.requests;
        self.failed += other.failed;
        self.broken_off += other.broken_off;
        self.green += other.green;
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&other.first_failure);
        }
    }

    fn lost(why: String) -> Self {
        let mut tally = Self::default();
        tally.failed(why);
        tally
    }

    fn answered(&mut self, took: Duration, upstream: Option<&HeaderValue>) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST);
        self.latency.saturating_record(micros);
        self.green += u64::from(upstream.is_some_and(|name| name == "green"));
    }

    fn failed(&mut self, why: String) {
        self.requests += 1;
        self.failed += 1;
        self.first_failure.get_or_insert(why);
    }
}
