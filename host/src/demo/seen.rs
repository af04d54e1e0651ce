//! What an upstream has got, for those who measure when traffic comes and goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What an upstream has got since it started, as `GET /__seen` tells it; its own paths (`/__…`) do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// The number of requests, failed ones too.
    pub requests: u64,
    /// When the head of the last one came, in microseconds since 1970; 0 before the first.
    pub last_us: u64,
}

/// Counts requests.
#[derive(Debug, Default)]
pub(super) struct Counter {
    requests: AtomicU64,
    last_us: AtomicU64,
}

// === impl Seen ===

impl Seen {
    /// When the last request came; `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<SystemTime> {
        let since = Duration::from_micros(self.last_us);
        (self.requests > 0).then(|| UNIX_EPOCH.checked_add(since))?
    }
}

// === impl Counter ===

impl Counter {
    /// A request has come.
    pub(super) fn count(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let micros = now.map_or(0, |now| u64::try_from(now.as_micros()).unwrap_or(u64::MAX));
        self.last_us.fetch_max(micros, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// What came so far.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            requests: self.requests.load(Ordering::Relaxed),
            last_us: self.last_us.load(Ordering::Relaxed),
        }
    }
}
