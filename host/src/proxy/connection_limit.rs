//! `envoy.filters.network.connection_limit`: so many connections at a time over all workers.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::config::listener;
use crate::stats::{Counter, Registry};

/// A listener's limit, and what Envoy counts of it.
pub struct ConnectionLimit {
    max: u64,
    delay: Duration,
    /// `active_connections`, which all workers share.
    active: Counter,
    /// `limited_connections`.
    limited: Counter,
}

// === impl ConnectionLimit ===

impl ConnectionLimit {
    /// The limit of the file.
    pub(super) fn new(config: &listener::ConnectionLimit, stats: &Registry) -> Self {
        let name = |name| format!("connection_limit.{}.{name}", config.stat_prefix);
        Self {
            max: config.max_connections.into(),
            delay: config.delay,
            active: stats.gauge(&name("active_connections")),
            limited: stats.counter(&name("limited_connections")),
        }
    }

    /// Takes a place, if there is one; it is given back by [`Self::leave`].
    pub(super) fn enter(&self) -> bool {
        // Counted first, so that two workers never share the last place.
        self.active.increment();
        if self.active.get() <= self.max {
            return true;
        }
        self.active.decrement();
        self.limited.increment();
        false
    }

    /// Gives a place back.
    pub(super) fn leave(&self) {
        self.active.decrement();
    }

    /// Closes a connection that has no place.
    pub(super) fn refuse(&self, stream: TcpStream) {
        let delay = self.delay;
        if !delay.is_zero() {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(delay).await;
                drop(stream);
            });
        }
    }
}
