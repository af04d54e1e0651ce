//! From a host to a socket: TCP, then TLS where the cluster has it, both within `connect_timeout`.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::SharedCluster;
use super::connection::AttemptError;
use crate::config::tls::UpstreamTls;
use crate::proxy::socket::Socket;
use crate::stats::Registry;
use crate::stream::UpstreamHost;
use crate::tls::{self, ClientTls, TlsError, TlsStats};

/// What a cluster's TLS connections are made with.
#[derive(Debug)]
pub struct UpstreamSecurity {
    config: UpstreamTls,
    /// Certificates and trust.
    pub connector: Arc<ClientTls>,
    stats: TlsStats,
}

// === impl UpstreamSecurity ===

impl UpstreamSecurity {
    /// Reads the files that `config` names; `alpn` is offered where it names no protocols.
    ///
    /// # Errors
    /// Where they cannot be used.
    pub(super) fn new(
        config: UpstreamTls,
        alpn: &[&[u8]],
        stats: &Registry,
        cluster: &str,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            connector: Arc::new(tls::client(&config, alpn)?),
            config,
            stats: TlsStats::new(stats, &format!("cluster.{cluster}")),
        })
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        host: &UpstreamHost,
        alpn: Option<&[u8]>,
    ) -> Result<Socket, AttemptError> {
        let address = host.address;
        let name = self.config.server_name(&host.endpoint.host, address.ip());
        let connector = TlsConnector::from(self.connector.current());
        let connected = match alpn {
            None => connector.connect(name, stream).await,
            Some(only) => {
                connector
                    .with_alpn(vec![only.to_vec()])
                    .connect(name, stream)
                    .await
            }
        };
        match connected {
            Ok(stream) => {
                self.stats.established(stream.get_ref().1);
                Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
            }
            Err(error) => {
                tracing::debug!(host = %address, "TLS handshake: {error}");
                Err(match self.stats.failed(&error) {
                    true => AttemptError::Untrusted,
                    false => AttemptError::Handshake,
                })
            }
        }
    }
}

/// Connects to a host of the cluster's and counts it; TLS offers `alpn` instead of what the cluster does, if it is given.
///
/// # Errors
/// [`AttemptError::Connect`], [`AttemptError::ConnectTimeout`], or what TLS says.
pub(super) async fn connect(
    cluster: &SharedCluster,
    host: &UpstreamHost,
    alpn: Option<&[u8]>,
) -> Result<Socket, AttemptError> {
    cluster.stats.cx_total.increment();
    let connected = async {
        let stream = TcpStream::connect(host.address)
            .await
            .map_err(|_| AttemptError::Connect)?;
        // Requests go out at once; a socket that cannot be set so still works.
        let _ = stream.set_nodelay(true);
        match &cluster.tls {
            None => Ok(Socket::Plain(stream)),
            Some(tls) => tls.handshake(stream, host, alpn).await,
        }
    };
    let connected = tokio::time::timeout(cluster.config.connect_timeout, connected)
        .await
        .unwrap_or(Err(AttemptError::ConnectTimeout));
    if connected.is_err() {
        cluster.stats.cx_connect_fail.increment();
    }
    connected
}
