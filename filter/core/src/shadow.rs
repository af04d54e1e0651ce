//! Copies of requests for an environment that is to be tried with real traffic before it serves any.

use crate::auth::source::without_query;
use crate::control::Control;
use crate::document::{Document, MODE_HEADER, Rollout, Size, UrlPath};
use crate::headers::{Headers, all, serialise};
use crate::health::State;
use crate::schedule::Share;
use crate::strategy::Random;
use crate::time::Duration;

/// The header by which an upstream can tell a copy.
pub const SHADOW_HEADER: &str = "x-switchover-shadow";
/// Methods that change nothing. Source: RFC 9110, section 9.2.1; `TRACE` is left out.
const SAFE_METHODS: [&[u8]; 3] = [b"GET", b"HEAD", b"OPTIONS"];
/// Headers that belong to the client's connection, or that say how the copy's body is sent.
const LEFT_OUT: [&[u8]; 7] = [
    b"content-length",
    b"transfer-encoding",
    b"connection",
    b"expect",
    b"upgrade",
    b"te",
    b"keep-alive",
];

/// Which requests are copied.
#[derive(Debug)]
pub struct Shadow {
    pub(crate) environment: usize,
    pub(crate) percent: Share,
    pub(crate) max_body: Size,
    pub(crate) paths: Vec<UrlPath>,
    pub(crate) timeout: Duration,
}

// === impl Shadow ===

impl Shadow {
    /// The index of the environment that gets copies.
    #[must_use]
    pub fn environment(&self) -> usize {
        self.environment
    }

    /// Requests with longer bodies, in bytes, are not copied.
    #[must_use]
    pub fn max_body(&self) -> usize {
        usize::try_from(self.max_body.0).unwrap_or(usize::MAX)
    }

    /// How long a copy's answer may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The part of requests that is copied.
    #[must_use]
    pub fn percent(&self) -> Share {
        self.percent
    }
}

impl Rollout {
    /// Whether a request for this model may be copied: the environment that gets copies takes it.
    #[must_use]
    #[inline]
    pub fn may_copy(&self, model: Option<&str>) -> bool {
        let (Some(shadow), Some(model)) = (&self.shadow, model) else {
            return true;
        };
        self.may_go(shadow.environment, model)
    }

    /// Whether a request is to be copied that goes to the environment of index `goes_to`. Requests that need no key are not:
    /// they may not carry the environment's.
    #[inline]
    pub fn is_copied(
        &self,
        goes_to: usize,
        trusted: bool,
        headers: &Headers<'_>,
        document: &Document,
        control: &Control,
        random: &mut Random,
    ) -> bool {
        let Some(shadow) = self
            .shadow
            .as_ref()
            .filter(|shadow| shadow.environment != goes_to && trusted)
        else {
            return false;
        };
        // What is to be left in peace gets no copies either.
        let unhealthy = control.health().get(shadow.environment) == Some(&State::Unhealthy);
        if self.rollback || control.is_tripped() || unhealthy {
            return false;
        }
        if random.below(Share::ALL.hundredths()) >= shadow.percent.hundredths() {
            return false;
        }
        let slots = document.slots();
        let method = headers.get(slots.method).unwrap_or_default();
        let path = without_query(headers.get(slots.path).unwrap_or_default());
        let is_listed = |own: &UrlPath| own.as_str().as_bytes() == path;
        SAFE_METHODS.contains(&method) || shadow.paths.iter().any(is_listed)
    }

    /// The headers of a copy, serialised, from those of the request as it goes on: with the environment's own credential
    /// and no other's. `None` if the map is malformed.
    #[must_use]
    pub fn copied_head(&self, pairs: &[u8]) -> Option<Vec<u8>> {
        let shadow = self.shadow.as_ref()?;
        let environment = self.environments.get(shadow.environment)?;
        let mut headers = all(pairs)?;
        headers.retain(|(name, _)| {
            let is = |other: &str| *name == other.as_bytes();
            let of_credential = self
                .credential_headers
                .iter()
                .any(|(own, _)| is(own.as_str()));
            !of_credential && !is(MODE_HEADER) && !is(SHADOW_HEADER) && !LEFT_OUT.contains(name)
        });
        headers.push((MODE_HEADER.as_bytes(), environment.name.as_str().as_bytes()));
        headers.push((SHADOW_HEADER.as_bytes(), b"true"));
        if let Some(credential) = &environment.credential {
            headers.push((
                credential.header.as_str().as_bytes(),
                credential.value.expose(),
            ));
        }
        Some(serialise(&headers))
    }
}

#[cfg(test)]
mod tests;
