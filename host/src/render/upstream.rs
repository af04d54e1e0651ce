//! Where an environment is: `NAME=HOST:PORT`.

use std::net::IpAddr;

use serde::Serialize;

/// An address of an environment, or of one of its clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The environment's name, or the cluster's.
    pub name: String,
    /// Where it is.
    pub endpoint: Endpoint,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// An IP address without brackets, or a host name.
    pub host: String,
    /// The port, from 1.
    pub port: u16,
}

const EXPECTED: &str = "expected NAME=HOST:PORT, such as green=10.0.0.7:8080 or green=green.example.com:80, where NAME \
is an environment or one of its clusters";

// === impl Upstream ===

impl Upstream {
    /// Reads `NAME=HOST:PORT`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('=').and_then(|(name, address)| {
            let (host, port) = address.rsplit_once(':')?;
            let port = port.parse().ok().filter(|port| *port > 0)?;
            let host = host_of(host)?;
            let name = (!name.is_empty()).then(|| name.to_owned())?;
            Some(Self {
                name,
                endpoint: Endpoint { host, port },
            })
        });
        parsed.ok_or_else(|| EXPECTED.to_owned())
    }
}

/// A host as it stands in an address.
fn host_of(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return matches!(inner.parse(), Ok(IpAddr::V6(_))).then(|| inner.to_owned());
    }
    let host = text.to_ascii_lowercase();
    is_host_name(&host).then_some(host)
}

/// Whether a text is a host name: labels of letters, digits, `-` and `_`, with dots between them.
fn is_host_name(text: &str) -> bool {
    let of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(of_label);
    text.len() <= 253 && text.split('.').all(is_label)
}

// === impl Endpoint ===

impl Endpoint {
    /// Whether the host is an IP address.
    #[must_use]
    pub fn is_ip(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }
}
