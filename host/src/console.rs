//! The console: one page that shows a rollout live, and operates it.
//!
//! [`Console`] reads a document's file and the admin servers of any number of proxies, Envoy's and the host's alike,
//! while somebody looks (`observe`); it tells what it sees as JSON (`state`, `proxy`), over the last seconds (`window`). Its
//! buttons are the verbs of [`crate::rollout`], through the same code (`act`). `access` says who may use it.

mod access;
mod act;
mod http;
mod observe;
mod proxy;
mod state;
mod window;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::LOCATION;
use ::http::{HeaderValue, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use switchover_core::Secret;
use tokio::net::TcpListener;

use crate::config::Bootstrap;
use crate::config::listener::HttpFilterKind;
use crate::rollout::Loaded;
use crate::rollout::live::Admin;
use access::Access;
use act::Desk;
use observe::Observer;

pub use access::{TokenError, token};
pub use http::{Body, is_own, nowhere};

/// How long a request's head may take.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// What a console is about.
#[derive(Debug)]
pub struct Settings {
    /// The rollout document's file.
    pub document: PathBuf,
    /// The audit log; beside the document if `None`.
    pub audit: Option<PathBuf>,
    /// The proxies.
    pub proxies: Vec<Admin>,
    /// Who operates it, for the audit log.
    pub operator: String,
    /// What users must know; `None` where it listens on loopback only.
    pub token: Option<Secret>,
}

/// A console.
pub struct Console {
    access: Access,
    desk: Desk,
    observer: Observer,
}

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The system has no random bytes.
    #[error("the system has no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// Anybody could operate the rollout.
    #[error(
        "{0} is no loopback address, where everybody could operate the rollout: it needs a token (--token-file, --console-token-file)"
    )]
    Open(SocketAddr),
    /// It cannot listen.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}

/// The rollout document of an Envoy file that has one in a file of its own, or why it has none.
///
/// # Errors
/// In words, for whoever asks for the console.
pub fn document_of(bootstrap: &Bootstrap) -> Result<PathBuf, String> {
    let filters = bootstrap
        .listeners
        .iter()
        .flat_map(|l| &l.http.http_filters);
    let mut reason = "the gateway's file has no rollout document".to_owned();
    for filter in filters {
        match &filter.kind {
            HttpFilterKind::Discovered(discovery) => match Loaded::read(&discovery.path) {
                Ok(_) => return Ok(discovery.path.clone()),
                Err(error) => reason = error.to_string(),
            },
            HttpFilterKind::Wasm(_) => {
                reason = "what its filters are configured with is in the gateway's own file, which is read once: put \
                          the rollout document into a file of its own (`config_discovery`)"
                    .to_owned();
            }
            HttpFilterKind::HeaderMutation(_) | HttpFilterKind::Terminal => {}
        }
    }
    Err(reason)
}

/// A token that nobody can guess.
///
/// # Errors
/// The system has no random bytes.
pub fn make_token() -> Result<String, getrandom::Error> {
    access::random(16)
}

// === impl Console ===

impl Console {
    /// A console for whoever reaches an address. To be called in a runtime, which does the looking.
    ///
    /// # Errors
    /// Others than this machine's users reach the address, and there is no token.
    pub fn start(settings: Settings, address: SocketAddr) -> Result<Arc<Self>, ConsoleError> {
        if settings.token.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(ConsoleError::Open(address));
        }
        let Settings {
            document,
            audit,
            proxies,
            operator,
            token,
        } = settings;
        let console = Arc::new(Self {
            access: Access::new(token)?,
            desk: Desk {
                document: document.clone(),
                audit: audit.clone(),
                operator,
            },
            observer: Observer::new(document, audit, proxies),
        });
        let observed = console.clone();
        tokio::spawn(async move { observed.observer.run().await });
        Ok(console)
    }
}

/// Serves a console on a port of its own until the runtime ends; gives the address, with the port the kernel chose.
///
/// # Errors
/// It cannot listen there, or may not.
pub async fn serve(settings: Settings, address: SocketAddr) -> Result<SocketAddr, ConsoleError> {
    let listen = |error| ConsoleError::Listen(address, error);
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let console = Console::start(settings, bound)?;
    tokio::spawn(async move {
        loop {
            // Out of descriptors, say: others may close theirs.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let console = console.clone();
            let service = service_fn(move |request| {
                let console = console.clone();
                async move {
                    if request.uri().path() == "/" {
                        let mut response = nowhere("it is /console");
                        *response.status_mut() = StatusCode::SEE_OTHER;
                        let place = HeaderValue::from_static("/console");
                        response.headers_mut().insert(LOCATION, place);
                        return Ok::<_, std::convert::Infallible>(response);
                    }
                    Ok(console.answer(request).await)
                }
            });
            tokio::spawn(async move {
                let mut connection = http1::Builder::new();
                connection
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_LIMIT);
                if let Err(error) = connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                {
                    tracing::debug!("a console's connection ended: {error}");
                }
            });
        }
    });
    Ok(bound)
}
