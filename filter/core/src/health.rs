//! Health of environments: what probes find, with thresholds both ways, and who probes.

use crate::document::{HostPattern, Rollout, UrlPath};
use crate::time::Duration;

/// How environments are probed.
#[derive(Debug)]
pub struct Health {
    pub(crate) path: UrlPath,
    pub(crate) host: Option<HostPattern>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) unhealthy_after: u32,
    pub(crate) healthy_after: u32,
    pub(crate) failover: bool,
}

/// What is known of an environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// No probe has been answered yet.
    #[default]
    Unknown,
    /// Its probes succeed.
    Healthy,
    /// Its probes fail.
    Unhealthy,
}

/// The probes of one environment, in the worker that sends them.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    state: State,
    /// Answers in a row that speak against the state.
    against: u32,
    /// When the next one is due, in milliseconds since 1970.
    due: u64,
    /// One is on its way.
    pending: bool,
}

// === impl Health ===

impl Health {
    /// The path that is asked for.
    #[must_use]
    pub fn path(&self) -> &UrlPath {
        &self.path
    }

    /// The authority; `None`: the cluster's name.
    #[must_use]
    pub fn host(&self) -> Option<&HostPattern> {
        self.host.as_ref()
    }

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// From one probe to the next.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether an unhealthy stable's share goes to the others.
    #[must_use]
    pub fn failover(&self) -> bool {
        self.failover
    }
}

// === impl State ===

impl State {
    /// As a letter, for shared data.
    fn letter(self) -> u8 {
        match self {
            Self::Unknown => b'?',
            Self::Healthy => b'+',
            Self::Unhealthy => b'-',
        }
    }

    fn from_letter(letter: u8) -> Self {
        match letter {
            b'+' => Self::Healthy,
            b'-' => Self::Unhealthy,
            _ => Self::Unknown,
        }
    }
}

// === impl Probe ===

impl Probe {
    /// For an environment of which so much is known.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    /// Goes on under another document: what was on its way is no longer waited for.
    #[must_use]
    pub fn succeed(&self) -> Self {
        Self {
            pending: false,
            ..self.clone()
        }
    }

    /// What is known.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether a probe is to be sent now; if so, it counts as sent. A clock that jumps back by more than the interval makes
    /// it due.
    pub fn begin(&mut self, health: &Health, now: u64) -> bool {
        let interval = health.interval.as_millis();
        let early = self.due > now && self.due - now <= interval;
        if self.pending || early {
            return false;
        }
        self.pending = true;
        self.due = now.saturating_add(interval);
        true
    }

    /// Takes the answer in: its status, or none. The first answer decides at once, later ones by the thresholds.
    pub fn end(&mut self, health: &Health, status: Option<u16>) {
        self.pending = false;
        let answer = match status {
            Some(200..=299) => State::Healthy,
            _ => State::Unhealthy,
        };
        let enough = match self.state {
            State::Unknown => 1,
            State::Healthy => health.unhealthy_after,
            State::Unhealthy => health.healthy_after,
        };
        self.against = if answer == self.state {
            0
        } else {
            self.against.saturating_add(1)
        };
        if self.against >= enough {
            self.state = answer;
            self.against = 0;
        }
    }
}

// === sharing ===

/// The states as text for shared data, by the environments' names: `blue=+;green=-;`.
#[must_use]
pub fn write(rollout: &Rollout, states: impl Iterator<Item = State>) -> Vec<u8> {
    let mut text = Vec::new();
    for (environment, state) in rollout.environments.iter().zip(states) {
        text.extend_from_slice(environment.name.as_str().as_bytes());
        text.extend([b'=', state.letter(), b';']);
    }
    text
}

/// The states in a text of [`write()`], of another document perhaps, in the environments' order.
#[must_use]
pub fn read(rollout: &Rollout, text: &[u8]) -> Vec<State> {
    let of = |name: &[u8]| {
        let mut entries = text.split(|byte| *byte == b';');
        entries.find_map(|entry| match entry.strip_prefix(name)? {
            [b'=', letter] => Some(State::from_letter(*letter)),
            _ => None,
        })
    };
    let states = rollout.environments.iter();
    states
        .map(|environment| of(environment.name.as_str().as_bytes()).unwrap_or_default())
        .collect()
}

/// How long a lease to probe lasts, in milliseconds: several ticks, so that a busy worker does not lose it.
const LEASE_MILLIS: u64 = 2_000;

/// The lease for `worker`, if it may have it: it is free, has run out, or was the worker's own. `now` is in milliseconds
/// since 1970; a lease that lasts longer than any lease does is of another clock.
#[must_use]
pub fn lease(held: Option<&[u8]>, worker: u64, now: u64) -> Option<[u8; 16]> {
    if let Some((whose, until)) = held.and_then(lease_fields) {
        let lasts = until > now && until - now <= LEASE_MILLIS;
        if lasts && whose != worker {
            return None;
        }
    }
    let mut lease = [0; 16];
    let until = now.saturating_add(LEASE_MILLIS);
    let bytes = worker.to_le_bytes().into_iter().chain(until.to_le_bytes());
    lease
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = from);
    Some(lease)
}

fn lease_fields(lease: &[u8]) -> Option<(u64, u64)> {
    let (whose, rest) = lease.split_first_chunk()?;
    let until = rest.first_chunk()?;
    Some((u64::from_le_bytes(*whose), u64::from_le_bytes(*until)))
}

#[cfg(test)]
mod tests;
