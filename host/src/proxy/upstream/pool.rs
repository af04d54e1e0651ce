//! A worker's connections to the hosts of one leaf.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use rustc_hash::FxBuildHasher;

use super::Leaf;
use super::connect::connect;
use super::connection::{AttemptError, Connection};
use super::http1::Http1;
use super::http2::{Failed, Http2, Multiplexed};
use crate::config::cluster::Protocol;
use crate::config::protocol::Http2Options;
use crate::proxy::body::UpstreamRequestBody;
use crate::proxy::socket::Socket;
use crate::stream::UpstreamHost;

/// So many connections that took no more requests are passed over for one request.
const MAX_UNSENT: u32 = 3;

/// Makes the absolute target of a request, which HTTP/2 wants, what HTTP/1.1 writes: a path, and a `host`.
fn origin_form(request: &mut Request<UpstreamRequestBody>) {
    // The target of `CONNECT` is an authority in HTTP/1.1 too.
    if request.method() == Method::CONNECT {
        return;
    }
    let Some(authority) = request.uri().authority() else {
        return;
    };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map(Uri::from).unwrap_or_default();
    *request.version_mut() = Version::HTTP_11;
}

/// Connections by host.
#[derive(Default)]
pub(super) struct Pool {
    idle: RefCell<HashMap<SocketAddr, Vec<Http1>, FxBuildHasher>>,
    shared: RefCell<HashMap<SocketAddr, Vec<Rc<Multiplexed>>, FxBuildHasher>>,
}

impl Leaf {
    /// Sends a request to a host and waits for the response's head; `connected` gets to know the connection before.
    ///
    /// # Errors
    /// Where there is no connection, or no response on it.
    pub async fn send(
        &self,
        host: &UpstreamHost,
        request: Request<UpstreamRequestBody>,
        mut connected: impl FnMut(&Connection),
    ) -> Result<(Response<Incoming>, Connection), AttemptError> {
        let mut request = request;
        for _ in 0..MAX_UNSENT {
            let mut connection = self.connection(host).await?;
            connected(&connection);
            if let Connection::Http1(_) = connection {
                origin_form(&mut request);
            }
            match connection.send(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(Failed::Error(error)) => return Err(error),
                Err(Failed::Unsent(unsent)) => request = *unsent,
            }
        }
        Err(AttemptError::ResetBeforeRequest)
    }

    /// A connection to a host by itself, on which nothing has been said.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn socket(&self, host: &UpstreamHost) -> Result<Socket, AttemptError> {
        connect(&self.shared, host, Some(b"http/1.1")).await
    }

    async fn connection(&self, host: &UpstreamHost) -> Result<Connection, AttemptError> {
        match &self.shared.config.protocol {
            Protocol::Http1(_) => match self.take_idle(host.address) {
                Some(connection) => Ok(Connection::Http1(connection)),
                None => {
                    let socket = connect(&self.shared, host, None).await?;
                    let connection = Http1::open(socket, host.address).await?;
                    Ok(Connection::Http1(connection))
                }
            },
            Protocol::Http2(options) => {
                let stream = self.stream(host.address, options).unwrap_or_else(|| {
                    let connection = Multiplexed::new();
                    self.share(host.address, &connection);
                    connection.take()
                });
                let connect = async || connect(&self.shared, host, None).await;
                stream.opened(options, connect).await?;
                Ok(Connection::Http2(stream))
            }
            Protocol::Auto(options) => self.negotiated(host, options).await,
        }
    }

    /// A connection of the protocol that ALPN agrees on.
    async fn negotiated(
        &self,
        host: &UpstreamHost,
        options: &Http2Options,
    ) -> Result<Connection, AttemptError> {
        if let Some(stream) = self.stream(host.address, options) {
            return Ok(Connection::Http2(stream));
        }
        if let Some(connection) = self.take_idle(host.address) {
            return Ok(Connection::Http1(connection));
        }
        let socket = connect(&self.shared, host, None).await?;
        if socket.alpn() != Some(b"h2") {
            let connection = Http1::open(socket, host.address).await?;
            return Ok(Connection::Http1(connection));
        }
        let connection = Multiplexed::over(socket, options).await?;
        self.share(host.address, &connection);
        Ok(Connection::Http2(connection.take()))
    }

    /// A place on a connection that has room.
    fn stream(&self, address: SocketAddr, options: &Http2Options) -> Option<Http2> {
        let shared = self.pool.shared.borrow();
        let max_uses = self.shared.config.max_requests_per_connection;
        let connections = shared.get(&address)?;
        let with_room = |connection: &&Rc<Multiplexed>| connection.has_room(options, max_uses);
        connections.iter().find(with_room).map(Multiplexed::take)
    }

    fn share(&self, address: SocketAddr, connection: &Rc<Multiplexed>) {
        let mut shared = self.pool.shared.borrow_mut();
        shared.entry(address).or_default().push(connection.clone());
    }

    /// An idle connection that still lives.
    fn take_idle(&self, address: SocketAddr) -> Option<Http1> {
        let mut idle = self.pool.idle.borrow_mut();
        let connections = idle.get_mut(&address)?;
        while let Some(mut connection) = connections.pop() {
            if connection.alive() {
                return Some(connection);
            }
        }
        None
    }

    /// Takes a connection whose exchange is over, for the next request if it can take one.
    pub fn give_back(&self, connection: Connection) {
        let Connection::Http1(mut connection) = connection else {
            // The others share it still.
            return;
        };
        let max = self.shared.config.max_requests_per_connection;
        if !connection.finish() || max.is_some_and(|max| connection.uses() >= max) {
            return;
        }
        let mut idle = self.pool.idle.borrow_mut();
        idle.entry(connection.address())
            .or_default()
            .push(connection);
    }

    /// Drops connections that were closed from the other side, or idle for too long.
    pub fn sweep(&self) {
        let limit = self.shared.config.idle_timeout;
        self.pool.idle.borrow_mut().retain(|_, connections| {
            connections
                .retain_mut(|c| c.alive() && (limit == Duration::ZERO || c.idle_for() < limit));
            !connections.is_empty()
        });
        self.pool.shared.borrow_mut().retain(|_, connections| {
            connections.retain(|connection| connection.to_keep(limit));
            !connections.is_empty()
        });
    }
}
