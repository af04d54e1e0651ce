//! What guests learn of the world besides their streams: the time and random bytes; and where their words go.
//!
//! A gateway's are the system's; a simulation's are its own. Which they are is chosen when the process is made and
//! costs a hostcall one branch that is always taken the same way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;

/// Where the time comes from.
#[derive(Debug)]
pub enum Clock {
    /// The system.
    System {
        /// What the monotonic clock counts from.
        since: Instant,
    },
    /// Somebody's hand.
    Virtual(Arc<VirtualClock>),
}

/// A clock that stands still until it is turned.
///
/// The wall clock may be set to any time; the monotonic clock only goes forward.
#[derive(Debug)]
pub struct VirtualClock {
    /// Nanoseconds since it was made.
    elapsed: AtomicU64,
    /// The wall clock's nanoseconds since 1970 when nothing had elapsed; wraps where it was set to before that.
    origin: AtomicU64,
}

/// Where random bytes for guests come from.
#[derive(Debug, Default)]
pub enum Random {
    /// The system.
    #[default]
    System,
    /// A generator that gives the same bytes for the same seed.
    Seeded(Mutex<Rng>),
}

/// Where guests' log lines go.
#[derive(Debug, Default)]
pub enum GuestLog {
    /// To the process's log, under the target `guest`.
    #[default]
    Process,
    /// Into memory, all levels.
    Kept(Mutex<Vec<LogLine>>),
}

/// A line that a guest logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The wall clock, in nanoseconds since 1970.
    pub at: u64,
    /// The plugin's name.
    pub plugin: String,
    /// How much it matters.
    pub level: LogLevel,
    /// What it says.
    pub text: String,
}

/// The log levels of the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// 0.
    Trace,
    /// 1.
    Debug,
    /// 2.
    Info,
    /// 3.
    Warn,
    /// 4.
    Error,
    /// 5.
    Critical,
}

/// No randomness could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandom;

// === impl Clock ===

impl Default for Clock {
    fn default() -> Self {
        Self::System {
            since: Instant::now(),
        }
    }
}

impl Clock {
    /// The wall clock, in nanoseconds since 1970.
    #[must_use]
    pub fn wall(&self) -> u64 {
        match self {
            Self::System { .. } => nanoseconds(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
            ),
            Self::Virtual(clock) => clock.wall(),
        }
    }

    /// The monotonic clock: time since some moment, which never goes back.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        match self {
            Self::System { since } => since.elapsed(),
            Self::Virtual(clock) => clock.elapsed(),
        }
    }
}

// === impl VirtualClock ===

impl VirtualClock {
    /// A clock that shows this time.
    #[must_use]
    pub fn starting_at(wall: SystemTime) -> Self {
        Self {
            elapsed: AtomicU64::new(0),
            origin: AtomicU64::new(since_epoch(wall)),
        }
    }

    /// The wall clock, in nanoseconds since 1970.
    #[must_use]
    pub fn wall(&self) -> u64 {
        self.origin
            .load(Ordering::Relaxed)
            .wrapping_add(self.elapsed.load(Ordering::Relaxed))
    }

    /// How far it has been turned.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed.load(Ordering::Relaxed))
    }

    /// Turns both clocks on until so much has elapsed; back they do not go.
    pub fn turn_to(&self, elapsed: Duration) {
        self.elapsed
            .fetch_max(nanoseconds(elapsed), Ordering::Relaxed);
    }

    /// Sets the wall clock, as an operator or NTP does; the monotonic clock does not notice.
    pub fn set_wall(&self, wall: SystemTime) {
        let elapsed = self.elapsed.load(Ordering::Relaxed);
        self.origin
            .store(since_epoch(wall).wrapping_sub(elapsed), Ordering::Relaxed);
    }
}

// === impl Random ===

impl Random {
    /// A generator of its own.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Mutex::new(Rng::with_seed(seed)))
    }

    /// Fills `bytes`.
    ///
    /// # Errors
    /// Where the system has none.
    pub fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        match self {
            Self::System => getrandom::fill(bytes).map_err(|_| NoRandom),
            Self::Seeded(rng) => {
                rng.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .fill(bytes);
                Ok(())
            }
        }
    }
}

// === impl LogLevel ===

impl LogLevel {
    /// The level of that number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            4 => Self::Error,
            5 => Self::Critical,
            _ => return None,
        })
    }
}

// === impl GuestLog ===

impl GuestLog {
    /// A log that is kept in memory.
    #[must_use]
    pub fn kept() -> Self {
        Self::Kept(Mutex::default())
    }

    /// The lines that were kept so far.
    #[must_use]
    pub fn lines(&self) -> Vec<LogLine> {
        match self {
            Self::Process => Vec::new(),
            Self::Kept(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Keeps what the host says of a guest that trapped; in a gateway it is in the process's log anyway.
    pub fn trap(&self, at: u64, plugin: &str, text: &str) {
        if let Self::Kept(lines) = self {
            let line = LogLine {
                at,
                plugin: plugin.to_owned(),
                level: LogLevel::Critical,
                text: text.to_owned(),
            };
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(line);
        }
    }

    /// How many lines were kept.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Process => 0,
            Self::Kept(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).len(),
        }
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn since_epoch(wall: SystemTime) -> u64 {
    nanoseconds(wall.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_can_be_set_while_the_other_goes_on() {
        let start = UNIX_EPOCH + Duration::from_secs(1_000);
        let clock = VirtualClock::starting_at(start);
        clock.turn_to(Duration::from_secs(5));
        assert_eq!(clock.wall(), 1_005_000_000_000);
        clock.set_wall(UNIX_EPOCH);
        assert_eq!((clock.wall(), clock.elapsed().as_secs()), (0, 5));
        clock.turn_to(Duration::from_secs(7));
        clock.turn_to(Duration::from_secs(6));
        assert_eq!(
            (clock.wall(), clock.elapsed().as_secs()),
            (2_000_000_000, 7)
        );
    }

    #[test]
    fn one_seed_gives_the_same_bytes() {
        let bytes = |seed| {
            let mut bytes = [0; 32];
            Random::seeded(seed).fill(&mut bytes).map(|()| bytes)
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }
}
