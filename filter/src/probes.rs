//! Probes of environments: one worker of the proxy sends them, the others follow what it finds.

use std::rc::Rc;

use switchover_core::document::{Environment, Rollout};
use switchover_core::health::{self, Health, Probe, State};
use switchover_core::serialise;

use crate::callouts::{Callout, Callouts, Message, Purpose};
use crate::ffi::{self, Level};
use crate::library::{Live, key};
use crate::meters::Meters;

/// The probes of one rollout, as far as this worker sends them.
pub(crate) struct Prober {
    /// In the environments' order.
    probes: Vec<Probe>,
    /// Whether this worker held the lease at the last tick.
    leads: bool,
}

/// The prober's surroundings on a tick.
pub(crate) struct Tick<'a> {
    pub(crate) live: &'a Rc<Live>,
    /// Index of the rollout.
    pub(crate) index: usize,
    /// The root context that ticks.
    pub(crate) root: u32,
    pub(crate) worker: u64,
    /// Whether this VM has ever served a request: those of Envoy's main thread, and canaries, never do.
    pub(crate) serves: bool,
    /// In nanoseconds since 1970.
    pub(crate) now: u64,
}

// === impl Prober ===

impl Prober {
    pub(crate) fn new() -> Self {
        Self {
            probes: Vec::new(),
            leads: false,
        }
    }

    /// Goes on under another document with the same rollout id.
    pub(crate) fn succeed(&self, old: &Rollout, new: &Rollout) -> Self {
        if self.probes.is_empty() {
            return Self::new();
        }
        let of_old = |environment: &Environment| {
            let index = old.environment(environment.name().as_str().as_bytes())?;
            self.probes.get(index).map(Probe::succeed)
        };
        let probes = new.environments().iter();
        Self {
            probes: probes
                .map(|environment| of_old(environment).unwrap_or_default())
                .collect(),
            leads: self.leads,
        }
    }

    /// Sends what is due where this worker leads; else takes in what the one that does has found.
    fn tick(&mut self, tick: &Tick<'_>, callouts: &mut Callouts, meters: &mut Meters) {
        let rollout = tick.live.document.rollouts().get(tick.index);
        let Some((rollout, health)) = rollout.and_then(|own| Some((own, own.health()?))) else {
            return;
        };
        let led = self.leads;
        self.leads = tick.serves && take_lease(tick, rollout);
        if !self.leads {
            tick.live.learn_health(tick.index);
            return;
        }
        if !led || self.probes.len() != rollout.environments().len() {
            tick.live.learn_health(tick.index);
            let control = tick.live.control_mut(tick.index);
            let states = control.map(|control| control.health().to_vec());
            self.probes = states.into_iter().flatten().map(Probe::new).collect();
        }
        for environment in 0..self.probes.len() {
            let probe = self.probes.get_mut(environment);
            let is_due = probe.is_some_and(|probe| probe.begin(health, tick.now / 1_000_000));
            if is_due && !send(tick, environment, health, callouts) {
                self.end(tick.live, tick.index, environment, None, meters);
            }
        }
        self.share(tick.live, tick.index);
    }

    /// A probe has ended: with this status, or without an answer.
    fn end(
        &mut self,
        live: &Live,
        index: usize,
        environment: usize,
        status: Option<u16>,
        meters: &mut Meters,
    ) {
        let rollout = live.document.rollouts().get(index);
        let (Some(rollout), Some(probe)) = (rollout, self.probes.get_mut(environment)) else {
            return;
        };
        let Some(health) = rollout.health() else {
            return;
        };
        if let Some(own) = live.meters.get(index) {
            own.count_probe(environment, matches!(status, Some(200..=299)), meters);
        }
        let before = probe.state();
        probe.end(health, status);
        if probe.state() != before {
            tell(&live.plugin, rollout, environment, probe.state());
        }
    }

    /// Puts the states in force here, and where the other workers look.
    fn share(&self, live: &Live, index: usize) {
        let states: Vec<State> = self.probes.iter().map(Probe::state).collect();
        let (Some(rollout), Some(mut control)) =
            (live.document.rollouts().get(index), live.control_mut(index))
        else {
            return;
        };
        if control.health() != states {
            let text = health::write(rollout, states.iter().copied());
            ffi::set_shared_data(&health_key(&live.plugin, rollout), &text);
            control.set_health(states);
        }
    }
}

impl Live {
    /// Sends the probes of a rollout that are due.
    pub(crate) fn probe(&self, tick: &Tick<'_>, callouts: &mut Callouts, meters: &mut Meters) {
        if let Some(mut prober) = self.prober_mut(tick.index) {
            prober.tick(tick, callouts, meters);
        }
    }

    /// Takes the answer to a probe in: its status, or none, after so long.
    pub(crate) fn probed(
        &self,
        index: usize,
        environment: usize,
        (status, millis): (Option<u16>, u64),
        meters: &mut Meters,
    ) {
        if let Some(own) = self.meters.get(index) {
            own.record_probe(environment, millis, meters);
        }
        if let Some(mut prober) = self.prober_mut(index) {
            prober.end(self, index, environment, status, meters);
            prober.share(self, index);
        }
    }

    /// Takes in what the worker that probes has found.
    pub(crate) fn learn_health(&self, index: usize) {
        let Some(rollout) = self.document.rollouts().get(index) else {
            return;
        };
        let found = ffi::shared_data(&health_key(&self.plugin, rollout));
        if let (Some((text, _)), Some(mut control)) = (found, self.control_mut(index)) {
            control.set_health(health::read(rollout, &text));
        }
    }
}

fn take_lease(tick: &Tick<'_>, rollout: &Rollout) -> bool {
    let key = key("prober", &tick.live.plugin, rollout.id().as_str());
    let held = ffi::shared_data(&key);
    let (held, version) = match &held {
        Some((held, version)) => (Some(&**held), Some(*version)),
        None => (None, None),
    };
    let lease = health::lease(held, tick.worker, tick.now / 1_000_000);
    lease.is_some_and(|lease| ffi::swap_shared_data(&key, &lease, version))
}

fn send(tick: &Tick<'_>, environment: usize, health: &Health, callouts: &mut Callouts) -> bool {
    let rollout = tick.live.document.rollouts().get(tick.index);
    let cluster = rollout
        .and_then(|rollout| rollout.environments().get(environment)?.clusters().first())
        .map_or("", |cluster| cluster.as_str());
    let authority = health.host().map_or(cluster, |host| host.as_str());
    let head: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":path", health.path().as_str().as_bytes()),
        (b":authority", authority.as_bytes()),
        (b"user-agent", b"switchover"),
    ];
    let callout = Callout {
        purpose: Purpose::Probe,
        root: tick.root,
        live: Rc::clone(tick.live),
        rollout: tick.index,
        environment,
        started: tick.now,
        timeout: health.timeout(),
    };
    let message = Message {
        head: &serialise(&head),
        body: &[],
    };
    callouts.send(callout, &message)
}

fn tell(plugin: &str, rollout: &Rollout, environment: usize, state: State) {
    let (level, word) = match state {
        State::Healthy => (Level::Info, "` is healthy"),
        State::Unhealthy | State::Unknown => (Level::Warn, "` is unhealthy"),
    };
    let environment = rollout.environments().get(environment);
    let name = environment
        .map(Environment::name)
        .map_or("", |name| name.as_str());
    let rollout = rollout.id().as_str();
    let line = [
        "switchover: `",
        plugin,
        "`: rollout `",
        rollout,
        "`: `",
        name,
        word,
    ];
    ffi::log(level, &line.concat());
}

fn health_key(plugin: &str, rollout: &Rollout) -> String {
    key("health", plugin, rollout.id().as_str())
}
