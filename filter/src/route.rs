//! The route role: runs in the listener's filters, once for each request.

use std::rc::Rc;

use switchover_core::attempt::{MARK_PROPERTY, Mark, Origin};
use switchover_core::document::Rollout;
use switchover_core::route::{Edit, Route, Surroundings};
use switchover_core::{Headers, Random, Recent, Reply, RoundRobin, Timestamp};

use crate::ffi::{self, Level, Map};
use crate::library::Live;
use crate::models::{Arrival, Held, Start, Talk};
use crate::probes::Tick;
use crate::routed::Routed;
use crate::vm::{Action, Business, Shared};

/// Enough for any usual sum of weights, and done within a millisecond.
const MOST_TURNS_SKIPPED: u32 = 10_000;

/// A configured route role.
pub(crate) struct RouteRoot {
    live: Rc<Live>,
    /// The turns, one for each rollout.
    balancers: Vec<RoundRobin>,
    /// What was worked out about recent requests, one for each rollout.
    recent: Vec<Recent>,
}

/// A request about which nothing has been decided.
struct Begun<'a> {
    stream: u32,
    /// When it came, in nanoseconds since 1970.
    started: u64,
    talk: Option<Box<Talk>>,
    /// The document that has looked at its body, and the index of its rollout there.
    judged: Option<(&'a Live, usize)>,
    /// Whose it is, where that was found out before by the same document.
    verified: Option<usize>,
    /// It has no body.
    end_of_stream: bool,
}

// === impl RouteRoot ===

impl RouteRoot {
    /// A role that goes on where `before` stands, and begins at a random turn where it knows nothing.
    pub(crate) fn new(live: Rc<Live>, before: Option<&Self>, random: &mut Random) -> Self {
        let rollouts = live.document.rollouts().iter().enumerate();
        let balancers = rollouts
            .map(|(index, rollout)| {
                let weights = live.weights(index);
                log_in_force(&live.plugin, rollout, &weights);
                before
                    .and_then(|before| before.carried(rollout, &weights))
                    .unwrap_or_else(|| fresh(weights, random))
            })
            .collect();
        let rollouts = live.document.rollouts().iter();
        let recent = rollouts
            .map(|_| Recent::new((ffi::random(), ffi::random())))
            .collect();
        Self {
            live,
            recent,
            balancers,
        }
    }

    /// The turns of a rollout that goes on under another document.
    fn carried(&self, rollout: &Rollout, weights: &[u32]) -> Option<RoundRobin> {
        let (index, old) = self.live.document.rollout(rollout.id().as_str())?;
        let of_old = |index: usize| {
            let environment = rollout.environments().get(index)?;
            old.environment(environment.name().as_str().as_bytes())
        };
        Some(self.balancers.get(index)?.succeed(weights.to_vec(), of_old))
    }

    /// The document by which it decides.
    pub(crate) fn live(&self) -> &Rc<Live> {
        &self.live
    }

    /// Looks at the clock, the other workers and the environments, and puts the weights that follow in force. Where another
    /// document has taken over, it only follows: it has clients whose connections are older.
    pub(crate) fn tick(&mut self, root: u32, is_newest: bool, shared: &mut Shared) {
        let nanos = ffi::now();
        let now = Timestamp::from_nanos(nanos);
        for (index, rollout) in self.live.document.rollouts().iter().enumerate() {
            if is_newest {
                self.live.meet_others(index, shared.worker, now);
                let tick = Tick {
                    live: &self.live,
                    index,
                    root,
                    worker: shared.worker,
                    serves: shared.serves,
                    now: nanos,
                };
                self.live
                    .probe(&tick, &mut shared.callouts, &mut shared.meters);
            } else {
                self.live.look_at_latch(index);
                self.live.learn_health(index);
            }
            let Some(mut control) = self.live.control_mut(index) else {
                continue;
            };
            control.refresh(rollout, now);
            if let Some(balancer) = self.balancers.get_mut(index)
                && balancer.weights() != control.weights()
            {
                *balancer = balancer.succeed(control.weights().to_vec(), Some);
                let recent = self.recent.get_mut(index);
                recent.into_iter().for_each(Recent::forget_environments);
            }
            if let Some(own) = self.live.meters.get(index).filter(|_| is_newest) {
                own.show(rollout, &control, now, &mut shared.meters);
            }
        }
    }

    /// Decides about a request, and carries it out; where its model is to be known first, begins to look for it.
    pub(crate) fn request(
        &mut self,
        stream: u32,
        end_of_stream: bool,
        shared: &mut Shared,
    ) -> (Action, Business) {
        let live = Rc::clone(&self.live);
        let pairs = ffi::header_pairs(Map::Request);
        let mut answer = self.with_headers(
            &live,
            pairs.as_deref(),
            shared,
            |role, index, headers, shared| {
                let rollout = live.document.rollouts().get(index);
                let endpoint = rollout.and_then(|rollout| live.document.endpoint(rollout, headers));
                let started = ffi::now();
                let talk = endpoint.map(|endpoint| {
                    let arrival = Arrival {
                        started,
                        end_of_stream,
                        completes: endpoint
                            .as_str()
                            .trim_end_matches('/')
                            .ends_with("/completions"),
                    };
                    role.start(&live, index, headers, arrival, shared)
                });
                let (talk, judged) = match talk {
                    None => (None, None),
                    Some(Start::Reads(talk)) => (Some(talk), None),
                    Some(Start::Passes(talk)) => (Some(talk), Some((&*live, index))),
                    Some(Start::Waits(held)) => return (Action::Pause, Business::Held(held)),
                    Some(Start::Answered) => return (Action::Pause, Business::None),
                };
                let begun = Begun {
                    stream,
                    started,
                    verified: talk.as_ref().and_then(|talk| talk.consumer()),
                    talk,
                    judged,
                    end_of_stream,
                };
                role.decide(&live, index, headers, begun, shared)
            },
        );
        if let Business::Held(held) = &mut answer.1 {
            held.pairs = pairs;
            held.spans = std::mem::take(&mut shared.spans);
        }
        answer
    }

    /// Decides about a request whose headers waited for its body: by the root's document, which may be another than the one
    /// that has looked at the body where a host configures a root anew.
    pub(crate) fn resume(
        &mut self,
        stream: u32,
        held: Held,
        shared: &mut Shared,
    ) -> (Action, Business) {
        let live = Rc::clone(&self.live);
        let is_same = Rc::ptr_eq(&live, &held.live);
        let begun = Begun {
            stream,
            started: held.started,
            verified: held.talk.consumer().filter(|_| is_same),
            talk: Some(held.talk),
            judged: Some((&held.live, held.rollout)),
            end_of_stream: false,
        };
        // As they were: while they are held nobody else has them.
        let pairs = held.pairs;
        let go_on = |role: &mut Self, index, headers: &Headers<'_>, shared: &mut Shared| {
            role.decide(&live, index, headers, begun, shared)
        };
        match pairs.as_deref() {
            Some(pairs) if is_same => {
                let headers = live.document.indexed(pairs, &held.spans);
                let answer = go_on(self, held.rollout, &headers, shared);
                shared.spans = held.spans;
                answer
            }
            pairs => self.with_headers(&live, pairs, shared, go_on),
        }
    }

    /// Reads the headers, and goes on where some rollout is for the request.
    fn with_headers(
        &mut self,
        live: &Live,
        pairs: Option<&[u8]>,
        shared: &mut Shared,
        go_on: impl FnOnce(&mut Self, usize, &Headers<'_>, &mut Shared) -> (Action, Business),
    ) -> (Action, Business) {
        let mut spans = std::mem::take(&mut shared.spans);
        let Some(headers) = pairs.and_then(|pairs| live.document.index(pairs, &mut spans)) else {
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
            return (Action::Pause, Business::None);
        };
        let answer = match live.document.select(&headers) {
            Some((index, _)) => go_on(self, index, &headers, shared),
            None => (Action::Continue, Business::None),
        };
        shared.spans = spans;
        answer
    }

    /// Looks who sent a request that names a model, and whether it goes on.
    fn start(
        &mut self,
        live: &Rc<Live>,
        index: usize,
        headers: &Headers<'_>,
        arrival: Arrival,
        shared: &mut Shared,
    ) -> Start {
        let (Some(rollout), Some(recent)) = (
            live.document.rollouts().get(index),
            self.recent.get_mut(index),
        ) else {
            return Start::Answered;
        };
        let now = Timestamp::from_nanos(arrival.started);
        match live.document.sender(rollout, headers, now, recent) {
            Ok(consumer) => Start::of(live, index, headers, consumer, arrival, shared),
            Err(unknown) => {
                if let Some(own) = live.meters.get(index) {
                    own.count_auth(
                        rollout,
                        unknown.outcome,
                        unknown.consumer,
                        &mut shared.meters,
                    );
                }
                ffi::reply(&unknown.reply);
                Start::Answered
            }
        }
    }

    fn decide(
        &mut self,
        live: &Rc<Live>,
        index: usize,
        headers: &Headers<'_>,
        begun: Begun<'_>,
        shared: &mut Shared,
    ) -> (Action, Business) {
        let (Some(rollout), Some(balancer), Some(recent), Some(meters), Some(control)) = (
            live.document.rollouts().get(index),
            self.balancers.get_mut(index),
            self.recent.get_mut(index),
            live.meters.get(index),
            live.control(index),
        ) else {
            return (Action::Continue, Business::None);
        };
        let talk = begun.talk.as_ref().zip(begun.judged);
        // What could not be read may be for any model: it has a name that no environment lists.
        let model = talk.map(|(talk, (judge, index))| talk.model(judge, index).unwrap_or_default());
        let surroundings = Surroundings {
            now: Timestamp::from_nanos(begun.started),
            model,
            verified: begun.verified,
            control: &control,
            recent,
            balancer,
            random: &mut shared.random,
            source_address: &mut || {
                ffi::property("source\0address").map(|address| address.to_vec())
            },
        };
        let decision = live.document.decide(rollout, headers, surroundings);
        decision.auth.into_iter().for_each(|outcome| {
            meters.count_auth(rollout, outcome, decision.consumer, &mut shared.meters);
        });
        if decision.override_refused {
            meters.count_refused_override(&mut shared.meters);
        }
        let route = match decision.verdict {
            Ok(route) => route,
            Err(reply) => {
                ffi::reply(&reply);
                return (Action::Pause, Business::None);
            }
        };
        meters.count_request(route.environment, route.reason, &mut shared.meters);
        let is_copied = rollout.may_copy(model)
            && rollout.is_copied(
                route.environment,
                route.trusted,
                headers,
                &live.document,
                &control,
                &mut shared.random,
            );
        rollout.edit_request(
            &live.document,
            &route,
            headers,
            &mut shared.scratch,
            &mut |edit| apply(Map::Request, edit),
        );
        leave_mark(live, rollout, &route, (begun.stream, model), shared);
        let models = rollout.models();
        let model = model.filter(|name| !name.is_empty());
        let model = model.and_then(|name| models?.find(name));
        let mut talk = begun.talk;
        if let Some(talk) = &mut talk {
            talk.belongs_to(route.consumer);
            if begun.judged.is_some() {
                talk.is_for(model);
            }
        }
        let routed = Routed {
            live: Rc::clone(live),
            rollout: index,
            environment: route.environment,
            attempted: None,
            unanswered: None,
            started: begun.started,
            sent: begun.end_of_stream.then_some(begun.started),
            trusted: route.trusted,
            is_copied,
            copied: None,
            cookie: route.cookie.map(Box::new),
            talk,
        };
        (Action::Continue, Business::Routed(routed))
    }
}

/// Tells the attempts of a stream, which may be for a model, what was decided.
fn leave_mark(
    live: &Live,
    rollout: &Rollout,
    route: &Route<'_>,
    (stream, model): (u32, Option<&str>),
    shared: &mut Shared,
) {
    let Some(environment) = rollout.environments().get(route.environment) else {
        return;
    };
    if !rollout.attempts() {
        return;
    }
    let mark = Mark {
        rollout: rollout.id().as_str(),
        environment: environment.name().as_str(),
        trusted: route.trusted,
        origin: Origin {
            worker: shared.worker,
            stream,
        },
        takers: &rollout.takers(model),
        plugin: &live.plugin,
    };
    mark.write(&mut shared.scratch);
    ffi::set_property(MARK_PROPERTY, &shared.scratch);
}

/// Turns that begin anywhere, so that workers do not all begin with the same environment.
fn fresh(weights: Vec<u32>, random: &mut Random) -> RoundRobin {
    let add = |sum: u32, weight: &u32| sum.saturating_add(*weight);
    let total = weights.iter().fold(0, add);
    let mut balancer = RoundRobin::new(weights);
    balancer.skip(random.below(total.min(MOST_TURNS_SKIPPED)));
    balancer
}

/// Carries one change out.
pub(crate) fn apply(map: Map, edit: Edit<'_>) {
    match edit {
        Edit::Set(name, value) => ffi::set_header(map, name, value),
        Edit::Add(name, value) => ffi::add_header(map, name, value),
        Edit::Remove(name) => ffi::remove_header(map, name),
    }
}

fn log_in_force(plugin: &str, rollout: &Rollout, weights: &[u32]) {
    let mut line = [
        "switchover: `",
        plugin,
        "` has rollout `",
        rollout.id().as_str(),
        "` in force:",
    ]
    .concat();
    for (environment, weight) in rollout.environments().iter().zip(weights) {
        line.extend([" ", environment.name().as_str(), "=", &weight.to_string()]);
    }
    if rollout.rollback() {
        line.push_str(", rolled back");
    }
    ffi::log(Level::Info, &line);
}
