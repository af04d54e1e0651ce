//! Whom a connection trusts, as Envoy does: the chain, and the names that the file lists; the host's own name only where
//! the file asks for it.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::provider;
use crate::config::route::ValueMatch;
use crate::config::tls::{SanKind, SanMatch};

/// None of the certificate's names is one of those that the file lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no subject alternative name of the certificate's matches")]
pub struct SanMismatch;

/// `match_typed_subject_alt_names`.
#[derive(Debug, Clone, Default)]
pub struct SanRules(Vec<SanMatch>);

/// Verifies an upstream's certificate.
#[derive(Debug)]
pub(super) struct Upstream {
    /// `None`: any certificate is taken.
    pub(super) roots: Option<Arc<RootCertStore>>,
    pub(super) sans: SanRules,
    /// The certificate must be for the SNI, whatever the rules say.
    pub(super) sni: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

// === impl SanRules ===

impl SanRules {
    /// These rules.
    #[must_use]
    pub fn new(rules: Vec<SanMatch>) -> Self {
        Self(rules)
    }

    /// Whether a certificate passes; without rules, each does.
    ///
    /// # Errors
    /// Where none of its names matches, or it is no certificate.
    pub fn verify(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        let parsed = webpki::EndEntityCert::try_from(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.0.iter().any(|rule| fits(rule, &parsed)) {
            return Ok(());
        }
        let mismatch = OtherError(Arc::new(SanMismatch));
        Err(Error::InvalidCertificate(CertificateError::Other(mismatch)))
    }
}

/// Whether a handshake failed by [`SanRules`].
pub(super) fn is_san_mismatch(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::Other(other)) => other.0.is::<SanMismatch>(),
        _ => false,
    }
}

fn fits(rule: &SanMatch, certificate: &webpki::EndEntityCert<'_>) -> bool {
    let test = &rule.test;
    match rule.kind {
        SanKind::Dns => certificate.valid_dns_names().any(|name| {
            test.fits(name.as_bytes())
                || matches!(test, ValueMatch::Exact(wanted, _) if wildcard(name, wanted))
        }),
        SanKind::Uri => certificate
            .valid_uri_names()
            .any(|name| test.fits(name.as_bytes())),
        SanKind::Ip => match test {
            ValueMatch::Exact(text, _) => text
                .parse::<IpAddr>()
                .is_ok_and(|ip| is_for(certificate, &ServerName::IpAddress(ip.into()))),
            _ => false,
        },
    }
}

/// Whether a certificate's wildcard name covers a name: one label in the place of the star.
pub(super) fn wildcard(name: &str, wanted: &str) -> bool {
    let (Some(suffix), Some((first, rest))) = (name.strip_prefix("*."), wanted.split_once('.'))
    else {
        return false;
    };
    !first.is_empty() && rest.eq_ignore_ascii_case(suffix)
}

fn is_for(certificate: &webpki::EndEntityCert<'_>, name: &ServerName<'_>) -> bool {
    certificate.verify_is_valid_for_subject_name(name).is_ok()
}

// === impl Upstream ===

impl Upstream {
    fn verify_name(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
    ) -> Result<(), Error> {
        if !self.sni {
            return self.sans.verify(certificate);
        }
        let exact = match name {
            ServerName::DnsName(name) => DnsName::as_ref(name).to_owned(),
            // Without an SNI there is nothing to compare with: Envoy goes by the rules.
            _ => return self.sans.verify(certificate),
        };
        SanRules(vec![SanMatch {
            kind: SanKind::Dns,
            test: ValueMatch::Exact(exact, true),
        }])
        .verify(certificate)
    }
}

impl ServerCertVerifier for Upstream {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                algorithms,
            )?;
            self.verify_name(end_entity, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
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

/// The algorithms that signatures may have.
pub(super) fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(wildcard("*.example.com", "a.example.com"));
        assert!(wildcard("*.example.com", "A.Example.com"));
        assert!(!wildcard("*.example.com", "a.b.example.com"));
        assert!(!wildcard("*.example.com", "example.com"));
        assert!(!wildcard("*.example.com", ".example.com"));
        assert!(!wildcard("a.example.com", "a.example.com"), "no wildcard");
    }
}
