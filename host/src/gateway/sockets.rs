//! Listening sockets: one for each worker on the same address, so that the kernel spreads connections.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::StartError;

/// Connections that wait to be accepted. Source: Envoy's default backlog on Linux is the system's; this is its maximum
/// on most systems.
const BACKLOG: i32 = 4096;

/// `n` sockets on one address; with port 0 the kernel chooses once for all.
pub(super) fn listen(address: SocketAddr, n: usize) -> Result<Vec<TcpListener>, StartError> {
    let mut bound = address;
    let mut sockets = Vec::with_capacity(n);
    for _ in 0..n {
        let socket = open(bound).map_err(|error| StartError::Listen { address, error })?;
        bound = socket
            .local_addr()
            .map_err(|error| StartError::Listen { address, error })?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
