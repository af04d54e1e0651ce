//! What becomes of the clients' credentials: the rules of one rollout.

pub(crate) mod keys;
pub(crate) mod recent;
pub(crate) mod source;

use std::borrow::Cow;

use crate::auth::keys::KeyTable;
use crate::auth::recent::Recent;
use crate::auth::source::{Found, Source};
use crate::document::raw::AuthMode;
use crate::document::text::{HeaderName, Label, Method, UrlPath};
use crate::headers::{Headers, Slot};
use crate::models::{Allowed, limits::Limits};
use crate::reply::{Refusal, Reply};
use crate::time::Timestamp;

/// The rules, as the document gives them.
#[derive(Debug)]
pub(crate) struct Auth {
    pub(crate) mode: AuthMode,
    pub(crate) accept: Vec<Source>,
    pub(crate) keys: KeyTable,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) identity: Option<(HeaderName, Slot)>,
    pub(crate) exempt: Vec<Exempt>,
}

/// Someone who may use the API.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) name: Label,
    pub(crate) may_override: bool,
    /// What the consumer may use.
    pub(crate) models: Allowed,
    /// What the consumer may use up, if that is its own.
    pub(crate) limits: Option<Box<Limits>>,
}

/// Requests that need no key.
#[derive(Debug)]
pub(crate) struct Exempt {
    pub(crate) method: Option<Method>,
    pub(crate) path: Option<UrlPath>,
}

/// How the look at a request's credential ended; a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthOutcome {
    /// A good key, or in `normalize` any credential
    Ok,
    /// No credential; in `normalize` the request passes
    Missing,
    /// A credential that is nobody's key
    Wrong,
    /// A key after its time
    Expired,
    /// A key before its time
    NotYetValid,
    /// Different credentials in different places
    Conflict,
    /// A credential that no header could hold
    Malformed,
    /// A request that needs no key
    Exempt,
}

/// What is known about who sent a request.
#[derive(Debug, Default)]
pub(crate) struct Identity<'a> {
    /// How it ended; `None` in `pass`, which looks at nothing.
    pub(crate) outcome: Option<AuthOutcome>,
    /// Index of the consumer whose key it is; where the outcome is not [`AuthOutcome::Ok`], the key is not good now.
    pub(crate) consumer: Option<usize>,
    /// The credential, where it is to be written anew.
    pub(crate) credential: Option<Cow<'a, [u8]>>,
}

// === impl AuthOutcome ===

impl AuthOutcome {
    /// All outcomes, in the order of [`AuthOutcome::index`].
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Missing,
        Self::Wrong,
        Self::Expired,
        Self::NotYetValid,
        Self::Conflict,
        Self::Malformed,
        Self::Exempt,
    ];

    /// The label's value.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Conflict => "conflict",
            Self::Malformed => "malformed",
            Self::Exempt => "exempt",
        }
    }

    /// The position in [`AuthOutcome::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        Self::ALL
            .iter()
            .position(|outcome| *outcome == self)
            .unwrap_or(0)
    }
}

// === impl Exempt ===

impl Exempt {
    fn fits(&self, method: &[u8], path: &[u8]) -> bool {
        self.method
            .as_ref()
            .is_none_or(|own| own.as_str().as_bytes() == method)
            && self
                .path
                .as_ref()
                .is_none_or(|own| own.as_str().as_bytes() == source::without_query(path))
    }
}

// === impl Identity ===

impl Identity<'_> {
    /// A consumer whose key is good.
    #[inline]
    pub(crate) fn verified(consumer: usize) -> Self {
        Self {
            outcome: Some(AuthOutcome::Ok),
            consumer: Some(consumer),
            credential: None,
        }
    }
}

// === impl Auth ===

impl Auth {
    /// Finds out who sent a request. Where it must not pass, the identity's outcome has a [`refusal`](Self::refusal).
    #[inline]
    pub(crate) fn identify<'a>(
        &self,
        headers: &Headers<'a>,
        method: &[u8],
        path: &'a [u8],
        now: Timestamp,
        recent: &mut Recent,
    ) -> Identity<'a> {
        if self.mode == AuthMode::Pass {
            return Identity::default();
        }
        if self.mode == AuthMode::Replace
            && self.exempt.iter().any(|exempt| exempt.fits(method, path))
        {
            return Identity {
                outcome: Some(AuthOutcome::Exempt),
                ..Identity::default()
            };
        }
        let credential = match source::find(&self.accept, headers, Some(path)) {
            Found::One(credential) => credential,
            Found::Nothing => {
                return Identity {
                    outcome: Some(AuthOutcome::Missing),
                    ..Identity::default()
                };
            }
            Found::Conflict => {
                return Identity {
                    outcome: Some(AuthOutcome::Conflict),
                    ..Identity::default()
                };
            }
            Found::Malformed => {
                return Identity {
                    outcome: Some(AuthOutcome::Malformed),
                    ..Identity::default()
                };
            }
        };
        if self.mode == AuthMode::Normalize {
            return Identity {
                outcome: Some(AuthOutcome::Ok),
                consumer: None,
                credential: Some(credential),
            };
        }
        let (outcome, consumer) = self.keys.verify(&credential, now, recent);
        Identity {
            outcome: Some(outcome),
            consumer,
            credential: None,
        }
    }

    /// The answer to a request with this outcome; `None` if it may pass.
    pub(crate) fn refusal(&self, outcome: AuthOutcome, realm: &str) -> Option<Reply> {
        let message = match outcome {
            AuthOutcome::Ok | AuthOutcome::Exempt => return None,
            AuthOutcome::Missing if self.mode == AuthMode::Normalize => return None,
            AuthOutcome::Missing => [
                "You didn't provide an API key. Send it ",
                &self.places(),
                ".",
            ]
            .concat(),
            AuthOutcome::Wrong => "Incorrect API key provided.".into(),
            AuthOutcome::Expired => "The API key provided has expired.".into(),
            AuthOutcome::NotYetValid => "The API key provided is not valid yet.".into(),
            AuthOutcome::Conflict => [
                "The request carries different API keys. Send one, ",
                &self.places(),
                ".",
            ]
            .concat(),
            AuthOutcome::Malformed => {
                "The API key provided contains characters that no API key has.".into()
            }
        };
        let error = if outcome == AuthOutcome::Missing {
            ""
        } else {
            ", error=\"invalid_token\""
        };
        let challenge = [self.scheme(), " realm=\"", realm, "\"", error].concat();
        let mut reply = Refusal::Unauthorized.reply(&message, None);
        reply.headers.push(("www-authenticate", challenge));
        Some(reply)
    }

    /// Whether a header is an accepted source.
    pub(crate) fn accepts(&self, header: &HeaderName) -> bool {
        self.accept
            .iter()
            .any(|source| matches!(source, Source::Header { name, .. } if name == header))
    }

    /// The scheme to challenge with: the first that is accepted, `Bearer` if none has one.
    fn scheme(&self) -> &str {
        let schemes = self.accept.iter().filter_map(|source| match source {
            Source::Header { scheme, .. } => Some(scheme.as_str()),
            Source::Query { .. } => None,
        });
        schemes
            .into_iter()
            .find(|scheme| !scheme.is_empty())
            .unwrap_or("Bearer")
    }

    /// Where a key may be, in words.
    fn places(&self) -> String {
        let mut text = String::from("as ");
        for (index, source) in self.accept.iter().enumerate() {
            if index > 0 {
                text.push_str(" or ");
            }
            let parts = match source {
                Source::Header { name, scheme, .. } if scheme.as_str().is_empty() => {
                    ["header `", name.as_str(), ": ", ""]
                }
                Source::Header { name, scheme, .. } => {
                    ["header `", name.as_str(), ": ", scheme.as_str()]
                }
                Source::Query { name } => ["query parameter `", name.as_str(), "=", ""],
            };
            text.extend(parts);
            text.push_str(if text.ends_with([' ', '=']) {
                "KEY`"
            } else {
                " KEY`"
            });
        }
        text
    }
}
