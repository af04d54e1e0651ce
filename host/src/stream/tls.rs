//! What properties tell of a connection that is secured, and of one to an upstream.

use std::net::SocketAddr;
use std::sync::Arc;

/// What is told of a connection to an upstream.
#[derive(Debug, Clone, Default)]
pub struct UpstreamConnection {
    /// The gateway's own end.
    pub local: Option<SocketAddr>,
    /// Its security, where it has some.
    pub tls: Option<Arc<Tls>>,
}

/// A connection that is secured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name the client asked for (SNI).
    pub server_name: Option<Box<str>>,
    /// The gateway's own certificate, where it showed one.
    pub local: Option<Certificate>,
    /// The other side's, where it showed one.
    pub peer: Option<Certificate>,
}

/// What is told of a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject, as RFC 2253 writes it.
    pub subject: Box<str>,
    /// Its first DNS name.
    pub dns_san: Option<Box<str>>,
    /// Its first URI.
    pub uri_san: Option<Box<str>>,
    /// SHA-256 of the whole, in hexadecimal.
    pub sha256: Box<str>,
}
