//! HTTP/2 downstream.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Client;
use super::socket::Rewound;
use crate::proxy::exchange;

/// Runs each stream as a task of this thread.
#[derive(Clone, Copy)]
struct Local;

impl<F> Executor<F> for Local
where
    F: Future + 'static,
{
    fn execute(&self, stream: F) {
        tokio::task::spawn_local(stream);
    }
}

/// Serves an HTTP/2 connection until it ends.
pub(super) async fn serve<S>(stream: Rewound<S>, client: Rc<Client>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    client.http2.set(true);
    let http = &client.listener.config.http;
    let options = &http.http2;
    let mut builder = http2::Builder::new(Local);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_concurrent_streams)
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .header_table_size(options.hpack_table)
        .max_header_list_size(u32::try_from(http.max_head()).unwrap_or(u32::MAX));
    if options.allow_connect {
        builder.enable_connect_protocol();
    }
    if let Some(keepalive) = &options.keepalive {
        builder
            .keep_alive_interval(keepalive.interval)
            .keep_alive_timeout(keepalive.timeout);
    }
    let service = {
        let client = client.clone();
        service_fn(move |request| exchange::serve(client.clone(), request))
    };
    let connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    client
        .drive(connection, |connection| connection.graceful_shutdown())
        .await;
}
