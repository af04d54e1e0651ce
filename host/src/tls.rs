//! TLS by rustls: certificates, keys and trust, from the files that name them to what connections use, and again when
//! the files change.

mod downstream;
mod facts;
mod materials;
mod upstream;
mod verify;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

use crate::config::Problem;
use crate::config::tls::{CommonTls, Version, Versions};
use crate::stats::{Counter, Registry};
pub use downstream::{ServerTls, server};
pub use facts::{facts, upstream_facts};
pub use materials::Materials;
pub use upstream::{ClientTls, client};
pub use verify::{SanMismatch, SanRules};

/// Why certificates, keys or trust cannot be used. No message holds anything of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A secret's document.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Secret(Vec<Problem>),
    /// A secret's document that holds another kind of secret.
    #[error("{} must hold a {wanted}", path.display())]
    Kind {
        /// The document.
        path: PathBuf,
        /// What was asked for.
        wanted: &'static str,
    },
    /// No PEM, or nothing in it.
    #[error("{what} {place}: expected {expected} in PEM")]
    Pem {
        /// The field.
        what: &'static str,
        /// Where it comes from.
        place: String,
        /// What was looked for.
        expected: &'static str,
    },
    /// What rustls thinks of it.
    #[error("{what}: {error}")]
    Unusable {
        /// What was made.
        what: &'static str,
        /// Why it cannot be.
        error: rustls::Error,
    },
}

/// Makes a configuration of what the files say.
type Make<C> = Box<dyn Fn(&CommonTls, Materials) -> Result<C, TlsError> + Send + Sync>;

/// A side's TLS configuration, made anew when one of its files changes. Connections that are open keep theirs.
pub struct Reloading<C> {
    common: CommonTls,
    make: Make<C>,
    current: ArcSwap<C>,
    /// What the files said when they were last looked at, accepted or not; the control thread's.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    digest: u64,
    directories: BTreeSet<PathBuf>,
}

/// What the control thread does with each of them.
pub trait Follow: Send + Sync {
    /// Looks at the files again; true where what they say is in force from now on, false where nothing has changed.
    ///
    /// # Errors
    /// Where what they say cannot be used: what was before stays in force.
    fn refresh(&self) -> Result<bool, TlsError>;

    /// The directories whose changes may mean it.
    fn directories(&self) -> BTreeSet<PathBuf>;

    /// The names of the secrets that files discover.
    fn secrets(&self) -> Vec<&str>;
}

// === impl Reloading ===

impl<C: Send + Sync> Reloading<C> {
    /// Reads the files and makes the configuration.
    ///
    /// # Errors
    /// Where they cannot be used.
    pub fn start(
        common: CommonTls,
        make: impl Fn(&CommonTls, Materials) -> Result<C, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        let loaded = materials::load(&common)?;
        let current = make(&common, loaded.materials?)?;
        Ok(Self {
            common,
            make: Box::new(make),
            current: ArcSwap::from_pointee(current),
            seen: Mutex::new(Seen {
                digest: loaded.digest,
                directories: loaded.directories,
            }),
        })
    }

    /// What is in force.
    pub fn current(&self) -> Arc<C> {
        self.current.load_full()
    }
}

impl<C: Send + Sync> Follow for Reloading<C> {
    fn refresh(&self) -> Result<bool, TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = match materials::load(&self.common) {
            // A file that is gone for a moment is between two moves.
            Err(TlsError::Read { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(false);
            }
            loaded => loaded?,
        };
        if seen.digest == loaded.digest {
            return Ok(false);
        }
        seen.digest = loaded.digest;
        seen.directories = loaded.directories;
        let next = (self.make)(&self.common, loaded.materials?)?;
        self.current.store(Arc::new(next));
        Ok(true)
    }

    fn directories(&self) -> BTreeSet<PathBuf> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.directories.clone()
    }

    fn secrets(&self) -> Vec<&str> {
        let secrets = self.common.secrets();
        secrets.map(|secret| secret.name.as_str()).collect()
    }
}

impl<C> std::fmt::Debug for Reloading<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reloading")
    }
}

/// Whether a context's files can be used, for `check`.
///
/// # Errors
/// Why they cannot.
pub fn check(common: &CommonTls) -> Result<(), TlsError> {
    materials::load(common)?.materials.map(drop)
}

/// The cryptography of all TLS here.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    PROVIDER.clone()
}

/// The versions for rustls.
#[must_use]
pub fn versions(versions: Versions) -> &'static [&'static SupportedProtocolVersion] {
    use rustls::version::{TLS12, TLS13};
    static OLDER: [&SupportedProtocolVersion; 1] = [&TLS12];
    static NEWER: [&SupportedProtocolVersion; 1] = [&TLS13];
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match (versions.min, versions.max) {
        (Version::Tls12, Version::Tls12) => &OLDER,
        (Version::Tls13, _) => &NEWER,
        (Version::Tls12, Version::Tls13) => &BOTH,
    }
}

/// Counters under `PREFIX.ssl.`, named as Envoy names them.
#[derive(Debug)]
pub struct TlsStats {
    /// `handshake`.
    pub handshake: Counter,
    /// `session_reused`.
    pub session_reused: Counter,
    /// `connection_error`: handshakes that failed for another reason than the peer's certificate.
    pub connection_error: Counter,
    /// `no_certificate`: handshakes in which the peer showed none.
    pub no_certificate: Counter,
    /// `fail_verify_no_cert`: the peer showed none and had to.
    pub fail_verify_no_cert: Counter,
    /// `fail_verify_error`: the peer's is not trusted.
    pub fail_verify_error: Counter,
    /// `fail_verify_san`: the peer's has none of the names.
    pub fail_verify_san: Counter,
}

// === impl TlsStats ===

impl TlsStats {
    /// Those of a cluster (`cluster.NAME`) or a listener (`listener.ADDRESS`).
    #[must_use]
    pub fn new(stats: &Registry, prefix: &str) -> Self {
        let counter = |name: &str| stats.counter(&format!("{prefix}.ssl.{name}"));
        Self {
            handshake: counter("handshake"),
            session_reused: counter("session_reused"),
            connection_error: counter("connection_error"),
            no_certificate: counter("no_certificate"),
            fail_verify_no_cert: counter("fail_verify_no_cert"),
            fail_verify_error: counter("fail_verify_error"),
            fail_verify_san: counter("fail_verify_san"),
        }
    }

    /// Counts a handshake that went well.
    pub fn established(&self, connection: &rustls::CommonState) {
        self.handshake.increment();
        if connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
            self.session_reused.increment();
        }
        if connection.peer_certificates().is_none() {
            self.no_certificate.increment();
        }
    }

    /// Counts one that failed; true where the peer's certificate was why, which Envoy counts by itself.
    pub fn failed(&self, error: &std::io::Error) -> bool {
        match error
            .get_ref()
            .and_then(|e| e.downcast_ref::<rustls::Error>())
        {
            Some(rustls::Error::NoCertificatesPresented) => self.fail_verify_no_cert.increment(),
            Some(error) if verify::is_san_mismatch(error) => self.fail_verify_san.increment(),
            Some(rustls::Error::InvalidCertificate(_)) => self.fail_verify_error.increment(),
            _ => {
                self.connection_error.increment();
                return false;
            }
        }
        true
    }
}
