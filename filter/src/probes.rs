//! Probes of environments: one worker of the proxy sends them, the others follow what it finds.

use std::rc::Rc;

use switchover_core::document::{Environment, Rollout};
use switchover_core::health::{self, Health, Probe, State};
use switchover_core::serialise;

use crate::callouts::{Callout, Callouts, Message, Purpose};
use crate::ffi::{self, Level};
use crate::library::Live;

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

    /// Sends what is due where this worker leads; else takes in what the one that does has found.
    pub(crate) fn tick(&mut self, tick: &Tick<'_>, callouts: &mut Callouts) {
        let Some(rollout) = tick.live.document.rollouts().get(tick.index) else {
            return;
        };
        let Some(health) = rollout.health() else {
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
        for (environment, probe) in self.probes.iter_mut().enumerate() {
            if probe.begin(health, tick.now / 1_000_000)
                && !send(tick, environment, health, callouts)
            {
                probe.end(health, None);
            }
        }
        self.share(tick.live, tick.index);
    }

    /// Takes the answer to a probe in: its status, or none.
    pub(crate) fn answer(&mut self, callout: &Callout, status: Option<u16>) {
        let rollout = callout.live.document.rollouts().get(callout.rollout);
        let (Some(rollout), Some(probe)) = (rollout, self.probes.get_mut(callout.environment))
        else {
            return;
        };
        let Some(health) = rollout.health() else {
            return;
        };
        let before = probe.state();
        probe.end(health, status);
        if probe.state() != before {
            tell(
                &callout.live.plugin,
                rollout,
                callout.environment,
                probe.state(),
            );
        }
        self.share(&callout.live, callout.rollout);
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
    let key = [
        "switchover.prober.",
        &tick.live.plugin,
        ".",
        rollout.id().as_str(),
    ]
    .concat();
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
        live: Rc::clone(tick.live),
        rollout: tick.index,
        environment,
        started: tick.now,
    };
    let message = Message {
        head: &serialise(&head),
        body: &[],
        timeout: health.timeout(),
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
    ["switchover.health.", plugin, ".", rollout.id().as_str()].concat()
}
