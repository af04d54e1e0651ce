//! The connection to an admin server, kept for the next question.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

type Sender = SendRequest<Empty<Bytes>>;

/// Where the connection is while nobody asks; a clone is the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Link(Arc<Mutex<Option<Sender>>>);

/// Why there is no answer.
pub(super) enum LinkError {
    /// Nobody takes the connection.
    Connect(std::io::Error),
    /// What comes is no answer.
    Exchange(hyper::Error),
}

// === impl Link ===

impl Link {
    /// Asks. Whoever has read the answer to its end gives the sender back.
    pub(super) async fn ask(
        &self,
        authority: &str,
        request: Request<Empty<Bytes>>,
    ) -> Result<(Response<Incoming>, Sender), LinkError> {
        let kept = self.kept().take();
        if let Some(mut sender) = kept {
            // The other side may have closed it, or just be about to.
            if let Ok(response) = sender.send_request(request.clone()).await {
                return Ok((response, sender));
            }
        }
        let stream = TcpStream::connect(authority)
            .await
            .map_err(LinkError::Connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(LinkError::Exchange)?;
        // It ends with the sender; why, the exchange tells.
        tokio::spawn(connection);
        let response = sender.send_request(request).await;
        Ok((response.map_err(LinkError::Exchange)?, sender))
    }

    /// Keeps a connection whose answer has been read.
    pub(super) fn keep(&self, sender: Sender) {
        *self.kept() = Some(sender);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Sender>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
