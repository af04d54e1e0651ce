//! HTTP/1.1 downstream.

use std::pin::Pin;
use std::rc::Rc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Client;
use super::socket::{Guarded, Rewound};
use crate::proxy::exchange;

/// Serves an HTTP/1.1 connection until it ends.
pub(super) async fn serve<S>(stream: Rewound<S>, client: Rc<Client>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let max_head = client.listener.config.http.max_head();
    let io = TokioIo::new(Guarded::new(stream, client.clone()));
    let service = {
        let client = client.clone();
        service_fn(move |request| exchange::serve(client.clone(), request))
    };
    let mut connection = http1::Builder::new()
        .max_header_size(max_head)
        .max_buf_size(max_head.max(8192) + 64 * 1024)
        .half_close(false)
        // heads and small bodies leave in one piece, which costs the kernel less than a list of pieces
        .writev(false)
        .serve_connection(io, service);
    let in_order = client
        .drive(Pin::new(&mut connection), |connection| {
            connection.graceful_shutdown();
        })
        .await;
    // Taken in any case: it holds the client.
    let tunnel = client.tunnel.take();
    if let Some(tunnel) = tunnel
        && in_order
    {
        let parts = connection.into_parts();
        tunnel.run(parts.io.into_inner(), parts.read_buf).await;
    }
}
