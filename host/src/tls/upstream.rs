//! The client's side of TLS: a cluster's connections to its hosts.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::verify::{self, SanRules};
use super::{Materials, Reloading, TlsError, provider, versions};
use crate::config::tls::{CommonTls, UpstreamTls};

/// A cluster's TLS.
pub type ClientTls = Reloading<ClientConfig>;

/// Reads a cluster's certificates and trust; `alpn` is offered where the file names none.
///
/// # Errors
/// Where they cannot be used.
pub fn client(tls: &UpstreamTls, alpn: &[&[u8]]) -> Result<ClientTls, TlsError> {
    let sni = tls.auto_sni_san_validation;
    let mut common = tls.common.clone();
    if common.alpn.is_empty() {
        common.alpn = alpn.iter().map(|name| name.to_vec()).collect();
    }
    Reloading::start(common, move |common, materials| {
        config(common, materials, sni)
    })
}

fn config(common: &CommonTls, materials: Materials, sni: bool) -> Result<ClientConfig, TlsError> {
    let verifier = verify::Upstream {
        roots: materials.roots,
        sans: SanRules::new(materials.sans),
        sni,
        algorithms: verify::algorithms(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(common.versions))
        .map_err(|error| TlsError::Unusable {
            what: "tls_params",
            error,
        })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match materials.identities.into_iter().next() {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = common.alpn.clone();
    Ok(config)
}

impl UpstreamTls {
    /// The name for a host's certificate: the SNI; its address, which is not sent, where there is none.
    #[must_use]
    pub fn server_name(&self, endpoint: &str, address: std::net::IpAddr) -> ServerName<'static> {
        let endpoint = Some(endpoint).filter(|_| self.auto_host_sni);
        endpoint
            .into_iter()
            .chain(self.sni.as_deref())
            .find_map(|name| match ServerName::try_from(name.to_owned()) {
                Ok(name @ ServerName::DnsName(_)) => Some(name),
                _ => None,
            })
            .unwrap_or_else(|| ServerName::IpAddress(address.into()))
    }
}
