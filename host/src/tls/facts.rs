//! What properties and access logs tell of a TLS connection.

use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, CommonState, ProtocolVersion, ServerConnection};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate, X509Name};

use crate::stream::tls::{Certificate, Tls};

/// Those of a client's connection, when its handshake is done; `inspected` where the SNI is to be told.
#[must_use]
pub fn facts(connection: &ServerConnection, inspected: bool) -> Tls {
    let name = connection.server_name().filter(|_| inspected);
    Tls {
        server_name: name.map(Into::into),
        ..common(connection)
    }
}

/// Those of a connection to an upstream, when its handshake is done.
#[must_use]
pub fn upstream_facts(connection: &ClientConnection) -> Tls {
    common(connection)
}

fn common(state: &CommonState) -> Tls {
    Tls {
        version: match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        server_name: None,
        local: None,
        peer: state
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(peer),
    }
}

fn peer(certificate: &CertificateDer<'_>) -> Certificate {
    let mut peer = Certificate {
        sha256: hex(&Sha256::digest(certificate)).into(),
        ..Certificate::default()
    };
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return peer;
    };
    peer.subject = distinguished_name(parsed.subject()).into();
    if let Ok(Some(names)) = parsed.subject_alternative_name() {
        for name in &names.value.general_names {
            let (place, name) = match name {
                GeneralName::DNSName(name) => (&mut peer.dns_san, *name),
                GeneralName::URI(name) => (&mut peer.uri_san, *name),
                _ => continue,
            };
            // Properties tell the first.
            if place.is_none() {
                *place = Some(name.into());
            }
        }
    }
    peer
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A name as RFC 2253 writes it, as Envoy does: the last part first.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let part = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let registry = x509_parser::objects::oid_registry();
        let kind = x509_parser::objects::oid2abbrev(attribute.attr_type(), registry)
            .map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
        format!("{kind}={}", escaped(attribute.as_str().unwrap_or_default()))
    };
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(part).collect::<Vec<_>>().join("+"))
        .collect();
    parts.reverse();
    parts.join(",")
}

/// Source: RFC 2253, section 2.4.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, character) in value.chars().enumerate() {
        let edge = (at == 0 && matches!(character, ' ' | '#'))
            || (character == ' ' && at + 1 == value.chars().count());
        if edge || matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escaped("a,b"), "a\\,b");
        assert_eq!(escaped(" a "), "\\ a\\ ");
        assert_eq!(escaped("#a#"), "\\#a#");
        assert_eq!(escaped("plain"), "plain");
    }
}
