//! `switchover demo` and `switchover demo-upstream`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::serve;
use crate::demo::{self, Options, Upstream};

/// The upstreams of `envoy/demo.yaml`: name, version, port, the key they want, the variable that holds it.
const UPSTREAMS: [(&str, &str, u16, &str, &str); 2] = [
    ("blue", "2.0.3", 10001, "blue-secret", "BLUE_API_KEY"),
    ("green", "2.1.0", 10002, "green-secret", "GREEN_API_KEY"),
];

/// What to type next.
const NEXT: &str = "
Switchover's demo serves http://127.0.0.1:10000; its admin is http://127.0.0.1:9901. Ctrl-C stops everything.
In another terminal:

  # nine of ten go to blue, one to green; both get their own credential instead of the client's
  for i in {1..10}; do curl -s http://127.0.0.1:10000/v1/models -H 'authorization: Bearer demo-key-b' -o /dev/null -w '%header{x-deployment-mode} '; done
  # this consumer may name the environment
  curl -i http://127.0.0.1:10000/v1/models -H 'authorization: Bearer demo-key' -H 'x-deployment-mode: blue'
  curl -i http://127.0.0.1:10000/v1/models -H 'authorization: Bearer demo-key' -H 'x-deployment-mode: green'
  # a client that sends its key in another header is understood
  curl -i http://127.0.0.1:10000/v1/models -H 'api-key: demo-key'
  # a wrong key gets 401 in the API's own shape
  curl -i http://127.0.0.1:10000/v1/models -H 'authorization: Bearer wrong'
  # green fails, blue answers for it
  curl -s http://127.0.0.1:10002/__faults -d '{\"fail_share\": 1}'
  curl -i http://127.0.0.1:10000/v1/models -H 'api-key: demo-key' -H 'x-deployment-mode: green'
  # what it counted
  curl -s http://127.0.0.1:9901/stats/prometheus | grep ^switchover
";

/// Arguments of `switchover demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// The demo's bootstrap; its paths are relative to the working directory.
    #[arg(default_value = "envoy/demo.yaml")]
    file: PathBuf,
    /// Least level of log lines on standard error.
    #[arg(long, default_value = "warn", env = "SWITCHOVER_LOG")]
    log_level: String,
}

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// Where an address is in use or the file cannot be served.
pub(super) fn run(args: &DemoArgs) -> Result<ExitCode> {
    serve::log_to_stderr(&args.log_level)?;
    let mut options = serve::options();
    options.env = Arc::new(|name| {
        let own = UPSTREAMS
            .iter()
            .find(|upstream| upstream.4 == name)
            .map(|upstream| upstream.3.to_owned());
        own.or_else(|| std::env::var(name).ok())
    });
    serve::serve(&args.file, options, async || {
        for (name, version, port, key, _) in UPSTREAMS {
            let listen = SocketAddr::from(([127, 0, 0, 1], port));
            let mut options = Options::new(name, version);
            options.listen = listen;
            options.require_key = Some(key.to_owned());
            let (_, serving) = Upstream::bind(options)
                .await
                .with_context(|| format!("the {name} upstream cannot listen on {listen}"))?;
            tokio::spawn(serving);
        }
        println!("{NEXT}");
        Ok(())
    })
}

/// Runs one demo upstream until it is ended.
///
/// # Errors
/// Where its address is in use or its faults make no sense.
pub(super) fn upstream(args: demo::Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(demo::run(args))?;
    Ok(ExitCode::SUCCESS)
}
