//! What a filter costs by itself: requests through one VM in this process, without a network.
//!
//! A request is: a stream context made, `proxy_on_request_headers`, `proxy_on_response_headers`, done, log, delete;
//! cloning the two heads is part of what is measured. Requests are timed in batches; the figure is the batches' median.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hdrhistogram::Histogram;
use http::HeaderMap;

use crate::abi::SharedData;
use crate::config::{Node, WasmPlugin};
use crate::process::{Clock, GuestLimits, GuestLog, Process, Random};
use crate::stats::Registry;
use crate::stream::head::Target;
use crate::stream::{RequestHead, ResponseHead, Stream, StreamInfo};
use crate::vm::VmError;
use crate::vm::engine::Engine;
use crate::vm::plugin::{Plugin, Vms};

/// Requests timed together: long enough for the clock, short enough for a median of many.
const BATCH: u64 = 1_000;

/// What is run.
pub struct Workload {
    /// The filter with its configuration.
    pub plugin: WasmPlugin,
    /// The request's headers besides pseudo headers.
    pub request: HeaderMap,
    /// `:path`.
    pub path: Target,
    /// The upstream's response.
    pub response: HeaderMap,
    /// Requests that are counted; a tenth as many run before.
    pub requests: u64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Requests that were counted.
    pub requests: u64,
    /// Median over batches, nanoseconds a request.
    pub ns_median: u64,
    /// First decile over batches.
    pub ns_p10: u64,
    /// Ninth decile over batches.
    pub ns_p90: u64,
    /// Hostcalls a request.
    pub hostcalls: f64,
    /// Callbacks a request.
    pub callbacks: f64,
    /// Bytes of guest memory when the warm-up was over.
    pub memory: usize,
    /// Bytes it grew by while requests were counted.
    pub memory_growth: usize,
    /// Requests that the filter answered by itself.
    pub answered: u64,
}

/// Runs a workload; `progress` is told how many requests are done.
///
/// # Errors
/// Where the filter does not start or traps.
pub fn run(workload: &Workload, mut progress: impl FnMut(u64)) -> Result<Measured, VmError> {
    let process = Arc::new(Process {
        node: Node::default(),
        stats: Registry::new(Vec::new()),
        shared_data: SharedData::default(),
        clusters: std::collections::BTreeSet::new(),
        limits: GuestLimits::default(),
        clock: Clock::default(),
        random: Random::default(),
        guest_log: GuestLog::default(),
    });
    let engine = Engine::new()?;
    let compiled = engine.load(&workload.plugin.vm.code)?;
    let vms = Vms::new(process, Rc::new(|_, _| ()));
    let plugin = Plugin::start(workload.plugin.clone(), compiled, vms)?;
    let mut run = Run {
        plugin,
        workload,
        answered: 0,
    };
    for _ in 0..workload.requests / 10 {
        run.request()?;
    }
    run.answered = 0;
    let before = run.usage()?;
    let mut times = Histogram::<u64>::new(3).map_err(|error| VmError::Engine(error.to_string()))?;
    let mut done = 0;
    while done < workload.requests {
        let batch = BATCH.min(workload.requests - done);
        let began = Instant::now();
        for _ in 0..batch {
            run.request()?;
        }
        let each = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX) / batch;
        times
            .record(each)
            .map_err(|error| VmError::Engine(error.to_string()))?;
        done += batch;
        // What hosts do between requests: the filter's tick, on which it may flush its counters.
        run.tick()?;
        progress(done);
    }
    let after = run.usage()?;
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let each = |before: u64, after: u64| (after - before) as f64 / done as f64;
    Ok(Measured {
        requests: done,
        ns_median: times.value_at_quantile(0.5),
        ns_p10: times.value_at_quantile(0.1),
        ns_p90: times.value_at_quantile(0.9),
        hostcalls: each(before.0, after.0),
        callbacks: each(before.1, after.1),
        memory: before.2,
        memory_growth: after.2.saturating_sub(before.2),
        answered: run.answered,
    })
}

/// A run in progress.
struct Run<'a> {
    plugin: Rc<Plugin>,
    workload: &'a Workload,
    answered: u64,
}

impl Run<'_> {
    fn request(&mut self) -> Result<(), VmError> {
        let trapped = |_| VmError::Trap("see the log".to_owned());
        let root = self.plugin.root()?;
        let cell = Rc::new(RefCell::new(self.stream()));
        let fields = self.workload.request.len() + 3;
        let id = root
            .vm
            .run(|vm| {
                let id = vm.add_stream(root.id, cell.clone())?;
                vm.request_headers(id, fields, true)?;
                Ok(id)
            })
            .map_err(trapped)?;
        {
            let mut stream = cell.borrow_mut();
            let status = match stream.local_reply.take() {
                Some(reply) => {
                    self.answered += 1;
                    reply.status
                }
                None => http::StatusCode::OK,
            };
            stream.response = Some(ResponseHead {
                status,
                headers: self.workload.response.clone(),
            });
        }
        let fields = self.workload.response.len() + 1;
        root.vm
            .run(|vm| vm.response_headers(id, fields, false))
            .map_err(trapped)?;
        root.vm.run(|vm| vm.end(id, true));
        Ok(())
    }

    fn stream(&self) -> Stream {
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let head = RequestHead {
            method: http::Method::POST,
            path: self.workload.path.clone(),
            scheme: http::HeaderValue::from_static("http"),
            headers: self.workload.request.clone(),
        };
        let name: Arc<str> = NAME.with(Clone::clone);
        let mut info = StreamInfo::new(SystemTime::UNIX_EPOCH, nobody, nobody, name);
        info.connection_id = 1;
        info.attempts = 1;
        Stream::new(head, info)
    }

    fn tick(&self) -> Result<(), VmError> {
        let root = self.plugin.root()?;
        root.vm
            .run(|vm| vm.tick(root.id))
            .map_err(|_| VmError::Trap("see the log".to_owned()))
    }

    fn usage(&self) -> Result<(u64, u64, usize), VmError> {
        Ok(self.plugin.root()?.vm.run(|vm| vm.usage()))
    }
}

thread_local! {
    static NAME: Arc<str> = Arc::from("");
}

/// A plugin of a module alone, as `bench` runs it.
#[must_use]
pub fn plugin(
    code: std::path::PathBuf,
    root_id: String,
    configuration: bytes::Bytes,
    environment: BTreeMap<String, String>,
) -> WasmPlugin {
    use crate::config::plugin::{Code, FailurePolicy, VmConfig};
    WasmPlugin {
        name: root_id.clone(),
        root_id,
        configuration,
        vm: VmConfig {
            vm_id: String::new(),
            runtime: String::new(),
            code: Code::File(code),
            configuration: bytes::Bytes::new(),
            environment,
        },
        failure_policy: FailurePolicy::FailClosed,
        reload_backoff: std::time::Duration::from_secs(1),
        allow_on_headers_stop_iteration: false,
    }
}
