//! Listening sockets: one for each worker on the same address, so that the kernel spreads connections.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::StartError;

/// Connections that wait to be accepted. Source: Envoy's default backlog on Linux is the system's; this is its maximum
/// on most systems.
const BACKLOG: i32 = 4096;

/// `n` sockets on one address; with port 0 the kernel chooses once for all.
///
/// # Errors
/// Where the address is in use, by another gateway too: sockets that share a port would let a second run take
/// connections from the first without a word.
pub(super) fn listen(
    name: &str,
    address: SocketAddr,
    n: usize,
) -> Result<Vec<TcpListener>, StartError> {
    let listen = |error| StartError::Listen {
        of: format!("listener {name:?}"),
        address,
        error,
    };
    if address.port() != 0 {
        drop(open(address, false).map_err(listen)?);
    }
    let mut bound = address;
    let mut sockets = Vec::with_capacity(n);
    for _ in 0..n {
        let socket = open(bound, true).map_err(listen)?;
        bound = socket.local_addr().map_err(listen)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// A listening socket, alone on its address or one of several.
fn open(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn workers_share_a_port_and_nobody_else_does() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let first = listen("a", any, 2).unwrap();
        let address = first[0].local_addr().unwrap();
        assert_eq!(first[1].local_addr().unwrap(), address);
        let error = listen("b", address, 2).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "listener \"b\" cannot listen on {address}: Address already in use"
            )),
            "{error}"
        );
        drop(first);
        assert_eq!(listen("b", address, 1).unwrap().len(), 1, "free again");
    }
}
