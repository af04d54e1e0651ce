//! `switchover demo` and `switchover demo-upstream`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::serve;
use crate::config::Bootstrap;
use crate::config::cluster::ClusterKind;
use crate::demo::{self, Options, Upstream};
use crate::gateway::Running;

/// An upstream of the demo.
struct Environment {
    /// Its name in the endpoints' metadata.
    name: &'static str,
    version: &'static str,
    /// The key it wants.
    key: &'static str,
    /// The variable that holds the key.
    variable: &'static str,
}

const ENVIRONMENTS: [Environment; 2] = [
    Environment {
        name: "blue",
        version: "2.0.3",
        key: "blue-secret",
        variable: "BLUE_API_KEY",
    },
    Environment {
        name: "green",
        version: "2.1.0",
        key: "green-secret",
        variable: "GREEN_API_KEY",
    },
];

/// Arguments of `switchover demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In envoy/demo.yaml the gateway is 127.0.0.1:10000 and its admin 127.0.0.1:9901. The upstreams blue and
green listen where the file's endpoints of these environments are: 127.0.0.1:10001 and 127.0.0.1:10002.")]
pub(super) struct DemoArgs {
    /// The demo's bootstrap; its paths are relative to the working directory.
    #[arg(default_value = "envoy/demo.yaml")]
    file: PathBuf,
    /// Least level of log lines on standard error.
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "warn",
        env = "SWITCHOVER_LOG"
    )]
    log_level: super::log::LogLevel,
}

/// Runs the demo until Ctrl-C.
///
/// # Errors
/// Where an address is in use or the file cannot be served.
pub(super) fn run(args: &DemoArgs) -> Result<ExitCode> {
    super::log::start(&args.log_level)?;
    let mut options = serve::options();
    options.env = Arc::new(|name| {
        let own = ENVIRONMENTS.iter().find(|own| own.variable == name);
        own.map(|own| own.key.to_owned())
            .or_else(|| std::env::var(name).ok())
    });
    let before = async |bootstrap: &Bootstrap| {
        let mut last = None;
        for environment in &ENVIRONMENTS {
            for address in addresses(bootstrap, environment.name)? {
                upstream_at(environment, address).await?;
                last = Some(address);
            }
        }
        Ok(last)
    };
    let ready = |running: &Running, green| {
        let gateway = running.listeners.first();
        let text = next(gateway.copied(), running.admin_address, green);
        std::io::stdout()
            .write_all(text.as_bytes())
            .context("cannot print")
    };
    serve::serve(&args.file, options, before, ready)
}

/// Where the file has the endpoints of an environment.
fn addresses(bootstrap: &Bootstrap, environment: &str) -> Result<Vec<SocketAddr>> {
    let mut found = BTreeSet::new();
    for cluster in bootstrap.clusters.values() {
        let ClusterKind::Leaf { priorities, .. } = &cluster.kind else {
            continue;
        };
        for endpoint in priorities.iter().flatten() {
            let metadata = endpoint.metadata.get("switchover");
            if metadata.is_some_and(|own| own["environment"] == environment) {
                let ip = endpoint.host.parse().with_context(|| {
                    format!(
                        "the {environment} upstream cannot listen on {}",
                        endpoint.host
                    )
                })?;
                found.insert(SocketAddr::new(ip, endpoint.port));
            }
        }
    }
    ensure!(
        !found.is_empty(),
        "no endpoint has the metadata switchover: {{environment: {environment}}}, which says where its upstream is to listen"
    );
    Ok(found.into_iter().collect())
}

/// Serves an upstream until the process ends.
async fn upstream_at(environment: &Environment, listen: SocketAddr) -> Result<()> {
    let mut options = Options::new(environment.name, environment.version);
    options.listen = listen;
    options.require_key = Some(environment.key.to_owned());
    let (_, serving) = Upstream::bind(options).await.with_context(|| {
        format!(
            "the {} upstream cannot listen on {listen}",
            environment.name
        )
    })?;
    tokio::spawn(serving);
    Ok(())
}

/// What to type next.
fn next(
    gateway: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    green: Option<SocketAddr>,
) -> String {
    let url = |address: Option<SocketAddr>| {
        address.map_or("(none)".to_owned(), |address| format!("http://{address}"))
    };
    let (gateway, admin, green) = (url(gateway), url(admin), url(green));
    format!(
        "
Switchover's demo serves {gateway}; its admin is {admin}, its console {admin}/console. Ctrl-C stops everything.
In another terminal:

  # nine of ten go to blue, one to green; both get their own credential instead of the client's
  for i in {{1..10}}; do curl -s {gateway}/v1/models -H 'authorization: Bearer demo-key-b' -o /dev/null -w '%header{{x-deployment-mode}} '; done
  # this consumer may name the environment
  curl -i {gateway}/v1/models -H 'authorization: Bearer demo-key' -H 'x-deployment-mode: blue'
  curl -i {gateway}/v1/models -H 'authorization: Bearer demo-key' -H 'x-deployment-mode: green'
  # a client that sends its key in another header is understood
  curl -i {gateway}/v1/models -H 'api-key: demo-key'
  # a wrong key gets 401 in the API's own shape
  curl -i {gateway}/v1/models -H 'authorization: Bearer wrong'
  # green fails, blue answers for it
  curl -s {green}/__faults -d '{{\"fail_share\": 1}}'
  curl -i {gateway}/v1/models -H 'api-key: demo-key' -H 'x-deployment-mode: green'
  # what it counted
  curl -s {admin}/stats/prometheus | grep ^switchover

"
    )
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
