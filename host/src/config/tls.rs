//! TLS: `transport_socket`s, and the secrets that files discover.

use std::path::PathBuf;

use super::Data;
use super::route::ValueMatch;

mod read;
mod secret;

pub(super) use read::{downstream as read_downstream, upstream as read_upstream};
pub use secret::{Secret, load as load_secret};

/// `CommonTlsContext`: what both sides of a connection have.
#[derive(Debug, Clone, Default)]
pub struct CommonTls {
    /// `tls_params`.
    pub versions: Versions,
    /// `tls_certificates` or `tls_certificate_sds_secret_configs`: how this side proves who it is. A client has one at
    /// most; a server shows the one that the client's SNI asks for, or else the first.
    pub identities: Vec<IdentitySource>,
    /// `validation_context` and its kin: whom this side trusts.
    pub validation: Option<ValidationSource>,
    /// `alpn_protocols`.
    pub alpn: Vec<Vec<u8>>,
}

/// `UpstreamTlsContext`.
#[derive(Debug, Clone, Default)]
pub struct UpstreamTls {
    /// `common_tls_context`.
    pub common: CommonTls,
    /// `sni`.
    pub sni: Option<String>,
    /// `auto_host_sni`: the endpoint's name where it is one, over `sni`.
    pub auto_host_sni: bool,
    /// `auto_sni_san_validation`: the certificate must be for the SNI, whatever `match_typed_subject_alt_names` says.
    pub auto_sni_san_validation: bool,
}

/// `DownstreamTlsContext`.
#[derive(Debug, Clone, Default)]
pub struct DownstreamTls {
    /// `common_tls_context`.
    pub common: CommonTls,
    /// `require_client_certificate`.
    pub require_client_certificate: bool,
    /// `disable_stateless_session_resumption` is off: sessions are resumed by tickets.
    pub tickets: bool,
}

/// `TlsParameters`, as far as rustls lets one choose. TLS 1.0 and 1.1 do not exist there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// `tls_minimum_protocol_version`.
    pub min: Version,
    /// `tls_maximum_protocol_version`.
    pub max: Version,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `TLSv1_2`.
    Tls12,
    /// `TLSv1_3`.
    Tls13,
}

/// Where a certificate and its key come from.
#[derive(Debug, Clone)]
pub enum IdentitySource {
    /// The bootstrap.
    Static(Identity),
    /// A file of its own.
    Discovered(SecretFile),
}

/// Where trust comes from: the bootstrap, a file of its own, or both (`combined_validation_context`), in which what the
/// file says is put over what the bootstrap does.
#[derive(Debug, Clone, Default)]
pub struct ValidationSource {
    /// The bootstrap's.
    pub default: Option<Validation>,
    /// The file's.
    pub discovered: Option<SecretFile>,
}

/// `SdsSecretConfig` with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// `name`: the secret's.
    pub name: String,
    /// `sds_config.path_config_source.path`: a `DiscoveryResponse` with one `Secret`.
    pub path: PathBuf,
    /// `sds_config.path_config_source.watched_directory.path`.
    pub watched_directory: Option<PathBuf>,
}

/// `TlsCertificate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `certificate_chain`: PEM, the leaf first.
    pub chain: Data,
    /// `private_key`: PEM.
    pub key: Data,
    /// `watched_directory.path`.
    pub watched_directory: Option<PathBuf>,
}

/// `CertificateValidationContext`.
#[derive(Debug, Clone, Default)]
pub struct Validation {
    /// `trusted_ca`: PEM; without it the peer's certificate is not verified.
    pub trusted_ca: Option<Data>,
    /// `match_typed_subject_alt_names`: one of them must match; none, any certificate of the CA's does.
    pub sans: Vec<SanMatch>,
    /// `trust_chain_verification: ACCEPT_UNTRUSTED`.
    pub accept_untrusted: bool,
    /// `watched_directory.path`.
    pub watched_directory: Option<PathBuf>,
}

/// `SubjectAltNameMatcher`.
#[derive(Debug, Clone)]
pub struct SanMatch {
    /// `san_type`.
    pub kind: SanKind,
    /// `matcher`. An `exact` one of a DNS name also fits a wildcard name of the certificate's, as in Envoy.
    pub test: ValueMatch,
}

/// `SubjectAltNameMatcher.SanType`, as far as supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanKind {
    /// `DNS`.
    Dns,
    /// `URI`.
    Uri,
    /// `IP_ADDRESS`: `exact` only.
    Ip,
}

// === impl Versions ===

impl Default for Versions {
    fn default() -> Self {
        Self {
            min: Version::Tls12,
            max: Version::Tls13,
        }
    }
}
