//! The route role: runs in the listener's filters, once for each request.

use std::rc::Rc;

use switchover_core::attempt::{ANSWERED_PROPERTY, MARK_PROPERTY, Mark};
use switchover_core::route::{Edit, Route, Surroundings};
use switchover_core::{Headers, Random, Recent, Reply, RoundRobin, Timestamp};

use crate::attempt::HOST_ENVIRONMENT;
use crate::ffi::{self, Level, Map};
use crate::library::Live;
use crate::meters::Meters;
use crate::vm::{Action, Routed, Shared};

/// Enough for any usual sum of weights, and done within a millisecond.
const MOST_TURNS_SKIPPED: u32 = 10_000;

/// A configured route role.
pub(crate) struct RouteRoot {
    plugin: String,
    live: Rc<Live>,
    /// The turns, one for each rollout.
    balancers: Vec<RoundRobin>,
    /// What was worked out about recent requests, one for each rollout.
    recent: Vec<Recent>,
}

// === impl RouteRoot ===

impl RouteRoot {
    /// A role that goes on where `before` stands, and begins at a random turn where it knows nothing.
    pub(crate) fn new(
        plugin: &str,
        live: Rc<Live>,
        before: Option<&Self>,
        random: &mut Random,
    ) -> Self {
        let mut balancers = Vec::new();
        for rollout in live.document.rollouts() {
            let old = before.and_then(|before| {
                let (index, old) = before.live.document.rollout(rollout.id().as_str())?;
                Some((before.balancers.get(index)?, old))
            });
            balancers.push(match old {
                Some((balancer, old)) => {
                    let carried = |index: usize| {
                        old.environment(
                            rollout
                                .environments()
                                .get(index)?
                                .name()
                                .as_str()
                                .as_bytes(),
                        )
                    };
                    balancer.succeed(rollout.weights().to_vec(), carried)
                }
                None => {
                    let mut balancer = rollout.balancer();
                    let total = rollout
                        .weights()
                        .iter()
                        .fold(0_u32, |sum, weight| sum.saturating_add(*weight));
                    balancer.skip(random.below(total.min(MOST_TURNS_SKIPPED)));
                    balancer
                }
            });
            log_in_force(plugin, rollout);
        }
        let recent = live
            .document
            .rollouts()
            .iter()
            .map(|_| Recent::new((ffi::random(), ffi::random())))
            .collect();
        Self {
            plugin: plugin.to_owned(),
            live,
            recent,
            balancers,
        }
    }

    /// Decides about a request, and carries it out.
    pub(crate) fn request(&mut self, shared: &mut Shared) -> (Action, Option<Routed>) {
        let live = Rc::clone(&self.live);
        let pairs = ffi::header_pairs(Map::Request);
        let Some(headers) = pairs
            .as_deref()
            .and_then(|pairs| live.document.index(pairs, &mut shared.spans))
        else {
            // Whoever cannot be read cannot be let through.
            ffi::log(
                Level::Warn,
                "switchover: the host gave no readable request headers",
            );
            ffi::reply(&Reply {
                status: 500,
                headers: Vec::new(),
                body: String::new(),
                details: "switchover_headers",
            });
            return (Action::Pause, None);
        };
        let Some((index, rollout)) = live.document.select(&headers) else {
            return (Action::Continue, None);
        };
        let (Some(balancer), Some(recent), Some(meters)) = (
            self.balancers.get_mut(index),
            self.recent.get_mut(index),
            live.meters.get(index),
        ) else {
            return (Action::Continue, None);
        };
        let started = ffi::now();
        let surroundings = Surroundings {
            now: Timestamp::from_nanos(started),
            recent,
            balancer,
            random: &mut shared.random,
            source_address: &mut || {
                ffi::property("source\0address").map(|address| address.to_vec())
            },
        };
        let decision = live.document.decide(rollout, &headers, surroundings);
        decision
            .auth
            .into_iter()
            .for_each(|outcome| meters.count_auth(outcome, &mut shared.meters));
        if decision.override_refused {
            meters.count_refused_override(&mut shared.meters);
        }
        let route = match decision.verdict {
            Ok(route) => route,
            Err(reply) => {
                ffi::reply(&reply);
                return (Action::Pause, None);
            }
        };
        meters.count_request(route.environment, route.reason, &mut shared.meters);
        self.carry_out(&live, index, &route, &headers, &mut shared.scratch);
        let (environment, cookie) = (route.environment, route.cookie.map(Box::new));
        (
            Action::Continue,
            Some(Routed {
                live: Rc::clone(&live),
                rollout: index,
                environment,
                started,
                cookie,
            }),
        )
    }

    fn carry_out(
        &self,
        live: &Live,
        index: usize,
        route: &Route<'_>,
        headers: &Headers<'_>,
        scratch: &mut Vec<u8>,
    ) {
        let Some(rollout) = live.document.rollouts().get(index) else {
            return;
        };
        rollout.edit_request(&live.document, route, headers, scratch, &mut |edit| {
            apply(Map::Request, edit)
        });
        if !rollout.attempts() {
            return;
        }
        if let Some(environment) = rollout.environments().get(route.environment) {
            let (rollout, environment) = (rollout.id().as_str(), environment.name().as_str());
            Mark {
                rollout,
                environment,
                trusted: route.trusted,
                plugin: &self.plugin,
            }
            .write(scratch);
            ffi::set_property(MARK_PROPERTY, scratch);
        }
    }
}

// === impl Routed ===

impl Routed {
    /// Tells the client who answered.
    pub(crate) fn respond(&mut self) {
        let Some(rollout) = self.live.document.rollouts().get(self.rollout) else {
            return;
        };
        let answered = if rollout.attempts() {
            // Where no attempt was made, nobody answered.
            ffi::property(ANSWERED_PROPERTY).and_then(|name| rollout.environment(&name))
        } else if !rollout.may_answer_elsewhere() {
            Some(self.environment)
        } else {
            let host = ffi::property(HOST_ENVIRONMENT);
            host.map_or(Some(self.environment), |name| rollout.environment(&name))
        };
        rollout.edit_response(answered, self.cookie.as_deref(), &mut |edit| {
            apply(Map::Response, edit)
        });
        self.environment = answered.unwrap_or(self.environment);
    }

    /// Records how long the request took.
    pub(crate) fn end(&self, meters: &mut Meters) {
        let millis = ffi::now().saturating_sub(self.started) / 1_000_000;
        if let Some(own) = self.live.meters.get(self.rollout) {
            own.record_duration(self.environment, millis, meters);
        }
    }
}

/// Carries one change out.
pub(crate) fn apply(map: Map, edit: Edit<'_>) {
    match edit {
        Edit::Set(name, value) => ffi::set_header(map, name, value),
        Edit::Add(name, value) => ffi::add_header(map, name, value),
        Edit::Remove(name) => ffi::remove_header(map, name),
    }
}

fn log_in_force(plugin: &str, rollout: &switchover_core::document::Rollout) {
    let mut line = [
        "switchover: `",
        plugin,
        "` has rollout `",
        rollout.id().as_str(),
        "` in force:",
    ]
    .concat();
    for (environment, weight) in rollout.environments().iter().zip(rollout.weights()) {
        line.extend([" ", environment.name().as_str(), "=", &weight.to_string()]);
    }
    ffi::log(Level::Info, &line);
}
