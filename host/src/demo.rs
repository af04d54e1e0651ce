//! An OpenAI-shaped upstream to try gateways with: `switchover demo-upstream`, and a library for tests.
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/models` | a list of models |
//! | `POST /v1/chat/completions` | a chat answer by the `model` it was asked for; with `stream: true` as server-sent events |
//! | `GET /health`, `GET /v1/health` | `{"status": "ok", …}`; needs no key |
//! | any method, `/echo` | the request as the upstream got it: method, path, headers, length of the body |
//! | `GET`, `POST /__faults` | the [`Faults`] in force; `POST` replaces them |
//! | `GET /__seen` | what it has got so far, [`Seen`] |
//!
//! Every answer carries `x-upstream` and `x-upstream-version`. Anything else is a 404 in OpenAI's error shape.

mod api;
mod faults;
mod seen;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use faults::Faults;
pub use seen::Seen;

/// How one upstream answers.
#[derive(Clone)]
pub struct Options {
    /// Its name, such as `blue`.
    pub name: String,
    /// Its version, such as `2.0.3`.
    pub version: String,
    /// Where it listens; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The bearer key that it wants; any request passes without one.
    pub require_key: Option<String>,
    /// What it does wrong to begin with.
    pub faults: Faults,
}

/// Arguments of `switchover demo-upstream`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the upstream, such as `blue`; every answer carries it.
    #[arg(long, default_value = "blue")]
    name: String,
    /// Version of the upstream; every answer carries it.
    #[arg(long, default_value = "1.0.0")]
    version: String,
    /// Address to listen on; port 0 lets the kernel choose. It is printed once the upstream listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Bearer key that requests must carry; without it any request passes.
    #[arg(long, env = "DEMO_UPSTREAM_KEY", hide_env_values = true)]
    require_key: Option<String>,
    /// Status of the requests that fail.
    #[arg(long, requires = "fail_share")]
    fail_status: Option<u16>,
    /// Share of requests that fail, 0 to 1.
    #[arg(long, requires = "fail_status")]
    fail_share: Option<f64>,
    /// Delay of the requests that are slow, such as `200ms`.
    #[arg(long, value_parser = humantime::parse_duration)]
    delay: Option<Duration>,
    /// Share of requests that are slow, 0 to 1.
    #[arg(long, requires = "delay")]
    delay_share: Option<f64>,
}

/// A demo upstream; see [`Upstream::bind`].
pub struct Upstream;

/// Why [`run`] ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address could not be listened on.
    #[error(
        "cannot listen on {address}: {source}; choose another with --listen, or port 0 for any"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The faults asked for make no sense.
    #[error(transparent)]
    Faults(#[from] faults::Invalid),
    /// The address could not be printed.
    #[error("cannot print the address: {0}")]
    Print(io::Error),
}

// === impl Options ===

impl Options {
    /// A faultless upstream on a port of the kernel's choice that wants no key.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            require_key: None,
            faults: Faults::default(),
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// Listens, and returns the address and the future that serves it.
    ///
    /// Dropping that future closes the socket and every connection.
    ///
    /// # Errors
    /// What the system says where the address cannot be listened on.
    pub async fn bind(options: Options) -> io::Result<(SocketAddr, impl Future<Output = ()>)> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        Ok((address, serve(listener, Arc::new(api::Api::new(options)))))
    }
}

/// Runs an upstream until the process ends; prints its address on standard output.
///
/// # Errors
/// Where faults are out of range or the address cannot be listened on.
pub async fn run(args: Args) -> Result<(), Error> {
    use std::io::Write;

    let faults = Faults {
        fail_status: args.fail_status.unwrap_or(Faults::default().fail_status),
        fail_share: args.fail_share.unwrap_or(0.0),
        delay_ms: args
            .delay
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        delay_share: args.delay_share.unwrap_or(1.0),
    };
    faults.check()?;
    let options = Options {
        name: args.name,
        version: args.version,
        listen: args.listen,
        require_key: args.require_key,
        faults,
    };
    let failed = |source| Error::Listen {
        address: args.listen,
        source,
    };
    let (address, serving) = Upstream::bind(options).await.map_err(failed)?;
    let mut out = io::stdout();
    writeln!(out, "{address}")
        .and_then(|()| out.flush())
        .map_err(Error::Print)?;
    serving.await;
    Ok(())
}

async fn serve(listener: TcpListener, api: Arc<api::Api>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file descriptors, or the client has gone: others may still come.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        // Small answers would otherwise wait for acknowledgements; where it fails they are late, not lost.
        let _ = stream.set_nodelay(true);
        let api = Arc::clone(&api);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let api = Arc::clone(&api);
                async move { Ok::<_, Infallible>(api.answer(request).await) }
            });
            let mut http = http1::Builder::new();
            // A client that breaks off is no fault of the upstream's.
            let _ = http
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
