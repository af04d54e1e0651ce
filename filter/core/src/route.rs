//! The route role: what becomes of a request and of its response.

mod edit;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::auth::recent::Recent;
use crate::auth::source::{find, without_query};
use crate::auth::{AuthOutcome, Identity, keys::digest, source::Found};
use crate::control::Control;
use crate::document::{Allow, Document, Rollout, Strategy, UrlPath};
use crate::headers::Headers;
use crate::reply::{Refusal, Reply};
use crate::sticky::{CookieId, KeySource, cookie, without_port};
use crate::strategy::{Random, RoundRobin};
use crate::time::Timestamp;

/// How many ids are drawn for a cookie that shall keep a client where another key has put it: enough for a share of two
/// percent nine times in ten; a client that misses moves once.
const COOKIE_DRAWS: usize = 128;
/// How much of a wrong override is repeated in the answer.
const LONGEST_ECHO: usize = 64;

/// What a decision needs besides the document and the headers.
pub struct Surroundings<'a> {
    /// The wall clock.
    pub now: Timestamp,
    /// The weights in force and the latch.
    pub control: &'a Control,
    /// What this worker remembers under this rollout and its weights.
    pub recent: &'a mut Recent,
    /// The model that the request names, where its body has been looked through; where it may go was decided before.
    pub model: Option<&'a str>,
    /// Index of the consumer whose key was found good when the headers came, by this document.
    pub verified: Option<usize>,
    /// The turns of this rollout in this worker.
    pub balancer: &'a mut RoundRobin,
    /// This worker's random numbers.
    pub random: &'a mut Random,
    /// Reads the client's address (with its port); called at most once, and only where a sticky key needs it.
    pub source_address: &'a mut dyn FnMut() -> Option<Vec<u8>>,
}

/// What becomes of a request.
#[derive(Debug)]
pub struct Decision<'a> {
    /// How the look at the credential ended; `None` where nothing was looked at.
    pub auth: Option<AuthOutcome>,
    /// Index of the consumer whose key it is, also where it is not good now; `None` where it is nobody's.
    pub consumer: Option<usize>,
    /// The request named an environment and was not allowed to.
    pub override_refused: bool,
    /// Where it goes, or the answer that it gets at once.
    pub verdict: Result<Route<'a>, Box<Reply>>,
}

/// A sender who may not pass.
#[derive(Debug)]
pub struct Unknown {
    /// How the look at the credential ended.
    pub outcome: AuthOutcome,
    /// Index of the consumer whose key it was, if it was one.
    pub consumer: Option<usize>,
    /// The answer that the request gets at once.
    pub reply: Reply,
}

/// Where a request goes.
#[derive(Debug)]
pub struct Route<'a> {
    /// Index of the environment.
    pub environment: usize,
    /// Why it was chosen.
    pub reason: Reason,
    /// The id of the cookie that the response shall set.
    pub cookie: Option<CookieId>,
    /// Whether the request may carry an environment's credential.
    pub trusted: bool,
    /// Index of the verified consumer.
    pub consumer: Option<usize>,
    credential: Option<Cow<'a, [u8]>>,
}

/// Why an environment was chosen; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The request named it
    Override,
    /// Its sticky key belongs there
    Sticky,
    /// It was the environment's turn or lot
    Strategy,
    /// Everything goes to stable
    Stable,
    /// The environment that was chosen does not take the request's model
    Model,
}

/// A change of a header map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// Set the header to one value, whatever was there.
    Set(&'a str, &'a [u8]),
    /// Add a value.
    Add(&'a str, &'a [u8]),
    /// Remove all values.
    Remove(&'a str),
}

/// Carries an [`Edit`] out.
pub type Apply<'a> = &'a mut dyn FnMut(Edit<'_>);

// === impl Reason ===

impl Reason {
    /// All reasons, in the order of [`Reason::index`].
    pub const ALL: [Self; 5] = [
        Self::Override,
        Self::Sticky,
        Self::Strategy,
        Self::Stable,
        Self::Model,
    ];

    /// The label's value.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Sticky => "sticky",
            Self::Strategy => "strategy",
            Self::Stable => "stable",
            Self::Model => "model",
        }
    }

    /// The position in [`Reason::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Override => 0,
            Self::Sticky => 1,
            Self::Strategy => 2,
            Self::Stable => 3,
            Self::Model => 4,
        }
    }
}

// === deciding ===

impl Document {
    /// Decides about a request that fits `rollout`, which must be one of this document's.
    #[inline]
    pub fn decide<'a>(
        &self,
        rollout: &Rollout,
        headers: &Headers<'a>,
        mut surroundings: Surroundings<'_>,
    ) -> Decision<'a> {
        let slots = self.slots();
        let method = headers.get(slots.method).unwrap_or_default();
        let path = headers.get(slots.path).unwrap_or_default();
        let identity = match surroundings.verified {
            Some(consumer) => Identity::verified(consumer),
            None => {
                let auth = &rollout.auth;
                auth.identify(headers, method, path, surroundings.now, surroundings.recent)
            }
        };
        let decision = |verdict, override_refused| Decision {
            auth: identity.outcome,
            consumer: identity.consumer,
            override_refused,
            verdict,
        };
        if let Some(reply) = identity
            .outcome
            .and_then(|outcome| rollout.auth.refusal(outcome, rollout.id.as_str()))
        {
            return decision(Err(Box::new(reply)), false);
        }
        if let Some(reply) = rollout.listing(method, without_query(path), identity.consumer) {
            return decision(Err(Box::new(reply)), false);
        }
        let (overridden, override_refused) = match rollout.overridden(headers, &identity) {
            Ok(chosen) => chosen,
            Err(reply) => return decision(Err(reply), false),
        };
        let (environment, reason, cookie) = match overridden {
            Some(environment) => (environment, Reason::Override, None),
            None if rollout.rollback || surroundings.control.is_tripped() => {
                (rollout.stable, Reason::Stable, None)
            }
            None => rollout.choose(headers, path, self, &identity, &mut surroundings),
        };
        let taking = surroundings
            .model
            .and_then(|model| rollout.for_model(environment, model));
        let (environment, reason) = match taking {
            Some(other) if other != environment => (other, Reason::Model),
            _ => (environment, reason),
        };
        let trusted = identity.outcome != Some(AuthOutcome::Exempt);
        let Identity {
            consumer,
            credential,
            ..
        } = identity;
        let route = Route {
            environment,
            reason,
            cookie,
            trusted,
            consumer,
            credential,
        };
        Decision {
            auth: identity.outcome,
            consumer,
            override_refused,
            verdict: Ok(route),
        }
    }
}

impl Document {
    /// Finds out who sent a request whose decision waits for its body: the index of the consumer.
    ///
    /// # Errors
    /// Nobody who may pass.
    #[inline]
    pub fn sender(
        &self,
        rollout: &Rollout,
        headers: &Headers<'_>,
        now: Timestamp,
        recent: &mut Recent,
    ) -> Result<Option<usize>, Unknown> {
        let slots = self.slots();
        let method = headers.get(slots.method).unwrap_or_default();
        let path = headers.get(slots.path).unwrap_or_default();
        let identity = rollout.auth.identify(headers, method, path, now, recent);
        let refused = identity.outcome.and_then(|outcome| {
            let reply = rollout.auth.refusal(outcome, rollout.id.as_str())?;
            Some(Unknown {
                outcome,
                consumer: identity.consumer,
                reply,
            })
        });
        refused.map_or(Ok(identity.consumer), Err)
    }

    /// The endpoint that a request is for, where it names a model in its body, which is to be looked through then.
    #[must_use]
    #[inline]
    pub fn endpoint<'a>(&self, rollout: &'a Rollout, headers: &Headers<'_>) -> Option<&'a UrlPath> {
        let models = rollout.models.as_ref()?;
        let path = headers.get(self.slots().path)?;
        let is_post = headers.get(self.slots().method) == Some(b"POST");
        models.endpoint(path).filter(|_| is_post)
    }
}

impl Rollout {
    /// The environment that the request names, if it may, and whether it was refused; the error answers a name that
    /// does not exist.
    #[inline]
    fn overridden(
        &self,
        headers: &Headers<'_>,
        identity: &Identity<'_>,
    ) -> Result<(Option<usize>, bool), Box<Reply>> {
        let Some(value) = headers
            .get(self.override_slot)
            .map(<[u8]>::trim_ascii)
            .filter(|value| !value.is_empty())
        else {
            return Ok((None, false));
        };
        let consumer = identity
            .consumer
            .and_then(|consumer| self.auth.consumers.get(consumer));
        let allowed = match self.allow {
            Allow::Nobody => false,
            Allow::Consumers => consumer.is_some_and(|consumer| consumer.may_override),
            Allow::Anyone => true,
        };
        if !allowed {
            return Ok((None, true));
        }
        let names = || {
            self.environments
                .iter()
                .map(|environment| environment.name.as_str())
        };
        match names().position(|name| value.eq_ignore_ascii_case(name.as_bytes())) {
            Some(environment) => Ok((Some(environment), false)),
            None => Err(Box::new(unknown_environment(
                self.override_header.as_str(),
                value,
                names(),
            ))),
        }
    }

    /// Chooses by sticky key, else by strategy.
    #[inline]
    fn choose(
        &self,
        headers: &Headers<'_>,
        path: &[u8],
        document: &Document,
        identity: &Identity<'_>,
        surroundings: &mut Surroundings<'_>,
    ) -> (usize, Reason, Option<CookieId>) {
        let weights = surroundings.control.weights();
        let by_key = |key: &[u8]| self.environment_of_key(weights, key);
        if let Some(environment) = self.remembered(identity, surroundings.recent) {
            return (environment, Reason::Sticky, None);
        }
        let mut wants_cookie = false;
        for source in &self.sticky.by {
            let key: Cow<'_, [u8]> = match source {
                KeySource::Consumer => match self.consumer_key(headers, path, identity) {
                    Some(key) => key,
                    None => continue,
                },
                KeySource::Header(slot) => {
                    match headers.get(*slot).filter(|value| !value.is_empty()) {
                        Some(value) => value.into(),
                        None => continue,
                    }
                }
                KeySource::Cookie(name) | KeySource::OwnCookie(name) => {
                    match cookie(headers, document.slots().cookie, name) {
                        Some(value) => value.into(),
                        None => {
                            wants_cookie |= matches!(source, KeySource::OwnCookie(_));
                            continue;
                        }
                    }
                }
                KeySource::SourceAddress => match (surroundings.source_address)() {
                    Some(address) => without_port(&address).to_vec().into(),
                    None => continue,
                },
            };
            let environment = by_key(&key);
            if let (KeySource::Consumer, Some(consumer)) = (source, identity.consumer) {
                let consumers = self.auth.consumers.len();
                surroundings
                    .recent
                    .remember_environment(consumer, consumers, environment);
            }
            let stays = |id: &CookieId| by_key(id.as_bytes()) == environment;
            let id = wants_cookie.then(|| {
                let mut draws = (0..COOKIE_DRAWS).map(|_| CookieId::new(surroundings.random));
                draws.find(stays)
            });
            return (environment, Reason::Sticky, id.flatten());
        }
        if wants_cookie {
            let id = CookieId::new(surroundings.random);
            return (by_key(id.as_bytes()), Reason::Sticky, Some(id));
        }
        let environment = match self.strategy {
            Strategy::WeightedRandom => surroundings.random.draw(weights),
            Strategy::WeightedRoundRobin | Strategy::ConsistentHash => {
                surroundings.balancer.choose()
            }
        };
        (environment.unwrap_or(self.stable), Reason::Strategy, None)
    }

    /// The environment of a verified consumer where that comes before all other keys, as it was worked out last time.
    #[inline]
    fn remembered(&self, identity: &Identity<'_>, recent: &Recent) -> Option<usize> {
        matches!(self.sticky.by.first(), Some(KeySource::Consumer)).then_some(())?;
        recent.environment(identity.consumer?)
    }

    /// The verified consumer's name, else the digest of the credential that the request carries.
    #[inline]
    fn consumer_key<'a>(
        &'a self,
        headers: &Headers<'a>,
        path: &'a [u8],
        identity: &Identity<'a>,
    ) -> Option<Cow<'a, [u8]>> {
        if let Some(consumer) = identity
            .consumer
            .and_then(|consumer| self.auth.consumers.get(consumer))
        {
            return Some(consumer.name.as_str().as_bytes().into());
        }
        match &identity.credential {
            Some(credential) => Some(digest(credential).to_vec().into()),
            None => match find(&self.auth.accept, headers, Some(path)) {
                Found::One(credential) => Some(digest(&credential).to_vec().into()),
                _ => None,
            },
        }
    }
}

fn unknown_environment<'a>(
    header: &str,
    value: &[u8],
    names: impl Iterator<Item = &'a str>,
) -> Reply {
    let echo = String::from_utf8_lossy(value.get(..LONGEST_ECHO).unwrap_or(value));
    let names: Vec<_> = names.collect();
    let message = [
        "`",
        header,
        ": ",
        &echo,
        "` names no environment. The environments are: ",
        &names.join(", "),
        ".",
    ];
    Refusal::UnknownEnvironment.reply(&message.concat(), Some(header))
}
