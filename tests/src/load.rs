//! Load that must not notice anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Gateway;

/// Clients that send one request after the other, each on a connection of its own.
pub struct Load {
    stop: Arc<AtomicBool>,
    clients: tokio::task::JoinSet<u64>,
}

// === impl Load ===

impl Load {
    /// Starts so many clients.
    pub fn start(gateway: &Gateway, connections: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let (mut client, stop) = (gateway.client(), Arc::clone(&stop));
            clients.spawn(async move {
                let mut count = 0;
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.get("/").send().await.status, 200);
                    count += 1;
                }
                assert_eq!(client.connections(), 1, "the connection was closed");
                count
            });
        }
        Self { stop, clients }
    }

    /// Ends it: the number of requests, of which none has failed.
    pub async fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.join_all().await.into_iter().sum()
    }
}
