//! What a decision changes in the headers.

use crate::auth::source::{Source, strip_query};
use crate::document::{AuthMode, Document, MODE_HEADER, Rollout, VERSION_HEADER};
use crate::headers::{Headers, Slot};
use crate::route::{Apply, Edit, Route};
use crate::shadow::SHADOW_HEADER;
use crate::sticky::CookieId;

impl Rollout {
    /// The changes of the request's headers. `scratch` is a buffer that is used again and again.
    #[inline]
    pub fn edit_request(
        &self,
        document: &Document,
        route: &Route<'_>,
        headers: &Headers<'_>,
        scratch: &mut Vec<u8>,
        apply: Apply<'_>,
    ) {
        let Some(environment) = self.environments.get(route.environment) else {
            return;
        };
        // Some hosts set only the first of several values.
        let set = |name: &str, count: usize, value: &[u8], apply: Apply<'_>| {
            if count > 1 {
                apply(Edit::Remove(name));
            }
            apply(Edit::Set(name, value));
        };
        let slots = document.slots();
        set(
            MODE_HEADER,
            headers.count(slots.mode),
            environment.name.as_str().as_bytes(),
            apply,
        );
        if headers.count(slots.shadow) > 0 {
            apply(Edit::Remove(SHADOW_HEADER));
        }
        if let Some((name, slot)) = &self.auth.identity {
            match route
                .consumer
                .and_then(|consumer| self.auth.consumers.get(consumer))
            {
                Some(consumer) => set(
                    name.as_str(),
                    headers.count(*slot),
                    consumer.name.as_str().as_bytes(),
                    apply,
                ),
                None if headers.count(*slot) > 0 => apply(Edit::Remove(name.as_str())),
                None => {}
            }
        }
        let own = environment
            .credential
            .as_ref()
            .filter(|_| route.trusted && !self.attempts);
        let own_header = own.map(|credential| credential.header.as_str());
        self.clean(route, headers, own_header, slots.path, scratch, apply);
        if let Some(credential) = own {
            let slot = self
                .credential_headers
                .iter()
                .find(|(name, _)| *name == credential.header);
            let count = slot.map_or(0, |(_, slot)| headers.count(*slot));
            set(
                credential.header.as_str(),
                count,
                credential.value.expose(),
                apply,
            );
        }
    }

    /// Removes or rewrites what the client sent as credentials, except in the header that is set afterwards anyway.
    #[inline]
    fn clean(
        &self,
        route: &Route<'_>,
        headers: &Headers<'_>,
        own: Option<&str>,
        path: Slot,
        scratch: &mut Vec<u8>,
        apply: Apply<'_>,
    ) {
        let normalized = match (self.auth.mode, &route.credential) {
            (AuthMode::Pass, _) | (AuthMode::Normalize, None) => return,
            (AuthMode::Normalize, Some(credential)) => {
                self.auth.accept.first().zip(Some(credential))
            }
            (AuthMode::Replace, _) => None,
        };
        let form = match normalized {
            Some((Source::Header { name, slot, scheme }, credential)) => {
                scratch.clear();
                scratch.extend_from_slice(scheme.as_str().as_bytes());
                scratch.extend_from_slice(if scheme.as_str().is_empty() {
                    b""
                } else {
                    b" "
                });
                scratch.extend_from_slice(credential);
                let unchanged = headers.count(*slot) == 1 && headers.get(*slot) == Some(scratch);
                Some((name, unchanged))
            }
            _ => None,
        };
        let kept = |name: &str| {
            Some(name) == own
                || form.is_some_and(|(own, unchanged)| unchanged && own.as_str() == name)
        };
        let accepted = self.auth.accept.iter().filter_map(|source| match source {
            Source::Header { name, slot, .. } => Some((name, *slot)),
            Source::Query { .. } => None,
        });
        // In `replace` no environment's credential header may come from the client either.
        let reserved = if self.auth.mode == AuthMode::Replace {
            &self.credential_headers[..]
        } else {
            &[]
        };
        let reserved = reserved.iter().filter(|(name, _)| !self.auth.accepts(name));
        let mut last = None;
        for (name, slot) in accepted.chain(reserved.map(|(name, slot)| (name, *slot))) {
            if headers.count(slot) > 0 && !kept(name.as_str()) && last != Some(name) {
                apply(Edit::Remove(name.as_str()));
            }
            last = Some(name);
        }
        if let Some((name, false)) = form
            && own != Some(name.as_str())
        {
            apply(Edit::Set(name.as_str(), scratch));
        }
        if let Some(path) = headers.get(path)
            && strip_query(&self.auth.accept, path, scratch)
        {
            apply(Edit::Set(":path", scratch));
        }
    }

    /// The changes of the response's headers. `answered` is the environment that answered, where that is known.
    #[inline]
    pub fn edit_response(
        &self,
        answered: Option<usize>,
        cookie: Option<&CookieId>,
        apply: Apply<'_>,
    ) {
        let environment = answered
            .and_then(|index| self.environments.get(index))
            .filter(|_| self.response_headers);
        if let Some(environment) = environment {
            apply(Edit::Set(MODE_HEADER, environment.name.as_str().as_bytes()));
            if let Some(version) = &environment.version {
                apply(Edit::Set(VERSION_HEADER, version.as_str().as_bytes()));
            }
        }
        if let Some(value) = cookie.and_then(|id| self.sticky.set_cookie(id)) {
            apply(Edit::Add("set-cookie", &value));
        }
    }
}
