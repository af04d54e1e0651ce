//! The control thread: starts the workers, follows changes, ends everything.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::reload::{self, Source, Watch};
use super::{Gateway, Options, Ready, StartError, sockets, wasm_filters};
use crate::admin::{self, AdminState, FilterState, ListenerAddress, Phase};
use crate::config::Bootstrap;
use crate::console::{self, Console};
use crate::process::Process;
use crate::proxy::upstream::resolve;
use crate::proxy::worker::{self, Command};
use crate::rollout::audit;
use crate::rollout::live::Admin;
use crate::vm::VmError;

/// A gateway that serves.
pub struct Running {
    gateway: Arc<Gateway>,
    options: Options,
    sources: Vec<Source>,
    workers: Vec<Worker>,
    admin: Arc<AdminState>,
    /// Where each listener listens, in the file's order.
    pub listeners: Vec<SocketAddr>,
    /// Where the admin listens.
    pub admin_address: Option<SocketAddr>,
}

struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts everything the bootstrap names. To be called in a runtime, which drives admin and look-ups.
    ///
    /// # Errors
    /// The first thing that cannot be started.
    pub async fn start(bootstrap: &Bootstrap, options: Options) -> Result<Self, StartError> {
        let gateway = Gateway::new(bootstrap, &options)?;
        resolve::start(&gateway.clusters).await;
        let mut sources: Vec<Source> = wasm_filters(bootstrap)
            .into_iter()
            .map(|(id, filter)| Source::new(id, filter.clone()))
            .collect();
        for source in &mut sources {
            source.start(&gateway)?;
        }
        let mut by_worker: Vec<Vec<std::net::TcpListener>> =
            (0..options.workers).map(|_| Vec::new()).collect();
        let mut listeners = Vec::new();
        for listener in &gateway.listeners {
            let sockets = sockets::listen(
                &listener.config.name,
                listener.config.address,
                options.workers,
            )?;
            listeners.extend(sockets.first().and_then(|socket| socket.local_addr().ok()));
            for (sockets, socket) in by_worker.iter_mut().zip(sockets) {
                sockets.push(socket);
            }
        }
        // Whatever may fail fails before the first connection is accepted.
        let admin = Arc::new(AdminState::new(
            gateway.clone(),
            addresses(&gateway, &listeners),
            options.workers,
        ));
        let admin_address = match bootstrap.admin {
            Some(address) => Some(admin::start(admin.clone(), address).await?),
            None => None,
        };
        if let Some(address) = admin_address {
            let process = gateway.process.clone();
            admin.set_console(console(bootstrap, &options, address, process));
        }
        let mut workers = Vec::new();
        for (n, sockets) in by_worker.into_iter().enumerate() {
            workers.push(spawn(n, &gateway, &sources, sockets).await?);
        }
        if let (Some(path), Some(address)) = (&options.admin_address_path, admin_address) {
            std::fs::write(path, address.to_string()).map_err(|error| StartError::System {
                what: "cannot write the admin's address",
                error: std::io::Error::new(error.kind(), format!("{}: {error}", path.display())),
            })?;
        }
        let running = Self {
            gateway,
            options,
            sources,
            workers,
            admin,
            listeners,
            admin_address,
        };
        running.tell_admin();
        running.admin.set_phase(Phase::Live);
        Ok(running)
    }

    /// Follows changes of documents and binaries until `end`, then drains.
    ///
    /// # Errors
    /// Where the files cannot be watched.
    pub async fn serve_until(mut self, end: impl Future<Output = ()>) -> Result<(), StartError> {
        // As in Envoy: whoever moves access logs away says so.
        let mut reopen =
            signal(SignalKind::user_defined1()).map_err(|error| StartError::System {
                what: "cannot take SIGUSR1",
                error,
            })?;
        let (mut watcher, mut changes) =
            Watch::start(self.directories()).map_err(|error| StartError::System {
                what: "cannot watch files",
                error: std::io::Error::other(error),
            })?;
        // What changed between the start and the watch.
        self.reload().await;
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(()) = reopen.recv() => self.gateway.logs.reopen(),
                change = changes.recv() => match change {
                    Some(()) => {
                        self.reload().await;
                        watcher.extend(self.directories());
                    }
                    None => break,
                },
            }
        }
        self.drain().await;
        Ok(())
    }

    /// The directories whose changes may mean something.
    fn directories(&self) -> BTreeSet<PathBuf> {
        let filters = self.sources.iter().flat_map(Source::directories);
        let tls = self.gateway.tls.iter();
        filters
            .chain(tls.flat_map(|followed| followed.tls.directories()))
            .collect()
    }

    async fn reload(&mut self) {
        reload::certificates(&self.gateway);
        for at in 0..self.sources.len() {
            let gateway = self.gateway.clone();
            let outcome = match self.sources[at].changed(&gateway) {
                Ok(None) => continue,
                Ok(Some(ready)) => match self.swap(at, &ready).await {
                    Ok(()) => Ok(ready),
                    Err(error) => Err(error.into()),
                },
                Err(refusal) => Err(refusal),
            };
            match outcome {
                Ok(ready) => self.sources[at].accepted(&gateway, ready),
                Err(refusal) => self.sources[at].refused(&gateway, &refusal),
            }
        }
        self.tell_admin();
    }

    /// Puts a plugin to work on all workers.
    async fn swap(&self, at: usize, ready: &Ready) -> Result<(), VmError> {
        let mut answers = Vec::new();
        for worker in &self.workers {
            let (done, answer) = oneshot::channel();
            let command = Command::Swap(self.sources[at].id.clone(), Box::new(ready.clone()), done);
            if worker.commands.send(command).is_ok() {
                answers.push(answer);
            }
        }
        for answer in answers {
            if let Ok(result) = answer.await {
                result?;
            }
        }
        Ok(())
    }

    fn tell_admin(&self) {
        self.admin.set_filters(
            self.sources
                .iter()
                .map(|source| FilterState::new(&source.filter.name, source.current.as_ref()))
                .collect(),
        );
    }

    /// Accepts no more, waits for requests in progress, no longer than the limit.
    async fn drain(mut self) {
        self.admin.set_phase(Phase::Draining);
        tracing::info!("draining");
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Drain);
        }
        let limit = tokio::time::Instant::now() + self.options.drain;
        for worker in &mut self.workers {
            while worker
                .thread
                .as_ref()
                .is_some_and(|thread| !thread.is_finished())
            {
                if tokio::time::Instant::now() >= limit {
                    return tracing::warn!(
                        "requests in progress were cut off after the drain time"
                    );
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a worker panicked");
            }
        }
        tracing::info!("drained");
    }
}

/// The console of the gateway's own document, or why there is none.
fn console(
    bootstrap: &Bootstrap,
    options: &Options,
    address: SocketAddr,
    process: Arc<Process>,
) -> Result<Arc<Console>, String> {
    let document = console::document_of(bootstrap)?;
    let mut own = address;
    if own.ip().is_unspecified() {
        own.set_ip(match own.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let settings = console::Settings {
        document,
        audit: None,
        proxies: vec![Admin::parse(&format!("http://{own}"))?.of(process)],
        operator: audit::operator(&*options.env),
        token: options.console_token.clone(),
    };
    Console::start(settings, address).map_err(|error| error.to_string())
}

fn addresses(gateway: &Gateway, bound: &[SocketAddr]) -> Vec<ListenerAddress> {
    let named = gateway.listeners.iter().zip(bound);
    named
        .map(|(listener, address)| ListenerAddress {
            name: listener.config.name.clone(),
            address: *address,
        })
        .collect()
}

/// A worker that panicked serves nobody: better to end, and be started again, than to go on deaf.
struct EndsTheProcess;

impl Drop for EndsTheProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a worker panicked: the gateway ends");
            std::process::exit(1);
        }
    }
}

/// Starts a worker thread and waits until it accepts.
async fn spawn(
    n: usize,
    gateway: &Arc<Gateway>,
    sources: &[Source],
    sockets: Vec<std::net::TcpListener>,
) -> Result<Worker, StartError> {
    let (commands, receiver) = mpsc::unbounded_channel();
    let (ready, started) = oneshot::channel();
    let plugins: Vec<_> = sources
        .iter()
        .filter_map(|source| Some((source.id.clone(), source.current.clone()?)))
        .collect();
    let gateway = gateway.clone();
    let thread = std::thread::Builder::new()
        .name(format!("worker-{n}"))
        .spawn(move || {
            let _ends = EndsTheProcess;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => {
                    let local = tokio::task::LocalSet::new();
                    local.block_on(
                        &runtime,
                        worker::run(gateway, plugins, sockets, receiver, ready),
                    );
                }
                Err(error) => {
                    let _ = ready.send(Err(VmError::Engine(error.to_string())));
                }
            }
        })
        .map_err(|error| StartError::System {
            what: "cannot start a worker",
            error,
        })?;
    match started.await {
        Ok(Ok(())) => Ok(Worker {
            commands,
            thread: Some(thread),
        }),
        Ok(Err(error)) => Err(StartError::Filter {
            name: "of a worker".to_owned(),
            error,
        }),
        Err(_) => Err(StartError::System {
            what: "a worker ended while it started",
            error: std::io::Error::other("see the log"),
        }),
    }
}
