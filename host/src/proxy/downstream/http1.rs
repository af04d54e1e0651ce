//! HTTP/1.1 downstream.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::socket::{Guarded, Rewound};
use super::{Client, Ended};
use crate::proxy::exchange;

/// A late client's answer may take so long.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// hyper's number of headers, which costs no allocation.
const MAX_HEADERS: u32 = 100;

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
    let mut builder = http1::Builder::new();
    let max_headers = client.listener.config.http.common.max_headers_count;
    if max_headers != MAX_HEADERS {
        builder.max_headers(usize::try_from(max_headers).unwrap_or(usize::MAX));
    }
    let mut connection = builder
        .max_header_size(max_head)
        .max_buf_size(max_head.max(8192) + 64 * 1024)
        .half_close(false)
        // heads and small bodies leave in one piece, which costs the kernel less than a list of pieces
        .writev(false)
        .serve_connection(io, service);
    let ended = client
        .drive(Pin::new(&mut connection), |connection| {
            connection.graceful_shutdown();
        })
        .await;
    // Taken in any case: it holds the client.
    let tunnel = client.tunnel.take();
    match (ended, tunnel) {
        (Ended::InOrder, Some(tunnel)) => {
            let parts = connection.into_parts();
            tunnel.run(parts.io.into_inner(), parts.read_buf).await;
        }
        (Ended::Late, None) => too_late(connection.into_parts().io.into_inner(), &client).await,
        _ => {}
    }
}

/// Answers a request whose head has not come in time.
pub(super) async fn too_late<S: AsyncWrite + Unpin>(mut stream: S, client: &Client) {
    const BODY: &str = "request header timeout";
    let server = client.listener.server.to_str().unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-length: {}\r\ncontent-type: text/plain\r\nserver: {server}\r\n\
         connection: close\r\n\r\n{BODY}",
        BODY.len(),
    );
    // One write: whoever does not take it in does not get it.
    let writing = async {
        if stream.write_all(answer.as_bytes()).await.is_ok() {
            let _ = stream.shutdown().await;
        }
    };
    let _ = tokio::time::timeout(LAST_WRITE, writing).await;
}
