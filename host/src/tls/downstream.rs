//! The server's side of TLS: a listener's connections from clients.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

use super::verify::{self, SanRules};
use super::{Materials, Reloading, TlsError, provider, versions};
use crate::config::tls::{CommonTls, DownstreamTls};

/// A listener's TLS.
pub type ServerTls = Reloading<ServerConfig>;

/// Reads a listener's certificates and trust.
///
/// # Errors
/// Where they cannot be used.
pub fn server(tls: &DownstreamTls) -> Result<ServerTls, TlsError> {
    let DownstreamTls {
        common,
        require_client_certificate,
        tickets,
    } = tls.clone();
    Reloading::start(common, move |common, materials| {
        config(common, materials, require_client_certificate, tickets)
    })
}

fn config(
    common: &CommonTls,
    materials: Materials,
    required: bool,
    tickets: bool,
) -> Result<ServerConfig, TlsError> {
    let unusable = |what| move |error| TlsError::Unusable { what, error };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(common.versions))
        .map_err(unusable("tls_params"))?;
    let builder = match client(&materials, required)? {
        Some(verifier) => builder.with_client_cert_verifier(Arc::new(verifier)),
        None => builder.with_no_client_auth(),
    };
    let identities = Identities::new(materials.identities)?;
    let mut config = builder.with_cert_resolver(Arc::new(identities));
    config.alpn_protocols = common.alpn.clone();
    if tickets {
        config.ticketer =
            rustls::crypto::ring::Ticketer::new().map_err(unusable("session tickets"))?;
    }
    Ok(config)
}

/// What is asked of clients; `None` where nothing is.
fn client(materials: &Materials, required: bool) -> Result<Option<Client>, TlsError> {
    let trusted = match &materials.roots {
        None if !required => return Ok(None),
        None => None,
        Some(roots) => {
            let builder = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
            let verifier = builder.build().map_err(|error| TlsError::Unusable {
                what: "trusted_ca",
                error: Error::General(error.to_string()),
            })?;
            Some(verifier)
        }
    };
    Ok(Some(Client {
        trusted,
        sans: SanRules::new(materials.sans.clone()),
        required,
        algorithms: verify::algorithms(),
    }))
}

/// Verifies clients' certificates as Envoy does: the chain, and the names that the file lists.
#[derive(Debug)]
struct Client {
    /// `None`: any certificate is taken.
    trusted: Option<Arc<dyn ClientCertVerifier>>,
    sans: SanRules,
    required: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Client {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.trusted {
            Some(trusted) => trusted.root_hint_subjects(),
            None => &[],
        }
    }

    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(trusted) = &self.trusted {
            trusted.verify_client_cert(end_entity, intermediates, now)?;
            self.sans.verify(end_entity)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The listener's certificates and the names that each is for.
#[derive(Debug)]
struct Identities(Vec<(Vec<String>, Arc<CertifiedKey>)>);

// === impl Identities ===

impl Identities {
    fn new(identities: Vec<Arc<CertifiedKey>>) -> Result<Self, TlsError> {
        let named = |identity: Arc<CertifiedKey>| {
            let names = identity
                .cert
                .first()
                .and_then(|leaf| webpki::EndEntityCert::try_from(leaf).ok())
                .map(|leaf| leaf.valid_dns_names().map(str::to_owned).collect())
                .unwrap_or_default();
            (names, identity)
        };
        if identities.is_empty() {
            return Err(TlsError::Unusable {
                what: "tls_certificates",
                error: Error::General("there is none".to_owned()),
            });
        }
        Ok(Self(identities.into_iter().map(named).collect()))
    }

    /// The certificates for a name: those that have it, then those whose wildcard covers it, then the first of all.
    fn candidates<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a Arc<CertifiedKey>> {
        let with = |fits: fn(&str, &str) -> bool| {
            let named = self.0.iter();
            named.filter(move |(names, _)| names.iter().any(|name| fits(name, wanted)))
        };
        let exact = with(|name, wanted| name.eq_ignore_ascii_case(wanted));
        let wildcard = with(verify::wildcard);
        exact.chain(wildcard).map(|(_, identity)| identity)
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |identity: &&Arc<CertifiedKey>| {
            identity
                .key
                .choose_scheme(hello.signature_schemes())
                .is_some()
        };
        let wanted = hello.server_name().unwrap_or_default();
        let all = self.0.iter().map(|(_, identity)| identity);
        self.candidates(wanted).chain(all).find(usable).cloned()
    }
}
