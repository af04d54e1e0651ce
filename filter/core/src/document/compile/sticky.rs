//! Sticky keys: their sources, and the cookie.

use crate::document::compile::Compiler;
use crate::document::raw::{self, Items, Strategy};
use crate::document::read::{At, Problems};
use crate::document::text::CookieName;
use crate::sticky::{KeySource, Sticky};
use crate::time::Duration;

const DEFAULT_COOKIE: &str = "switchover";
/// A day: long enough for a canary, short enough to forget it.
const DEFAULT_MAX_AGE: Duration = Duration::from_millis(86_400_000);

impl Compiler<'_> {
    #[cold]
    #[inline(never)]
    pub(super) fn sticky(
        &mut self,
        raw: Option<raw::Sticky>,
        strategy: Strategy,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Sticky> {
        let Some(raw) = raw else {
            let by = if strategy == Strategy::ConsistentHash {
                vec![KeySource::Consumer]
            } else {
                Vec::new()
            };
            return Some(Sticky { by, max_age: None });
        };
        let mut by = Vec::new();
        if let Some(Items(sources)) = raw.by {
            for (index, source) in sources {
                by.extend(self.key_source(source, &at.member("by").item(index), problems));
            }
        } else if raw.set_cookie.is_none() {
            by.push(KeySource::Consumer);
        }
        let Some(cookie) = raw.set_cookie else {
            return Some(Sticky { by, max_age: None });
        };
        let max_age = cookie.max_age.unwrap_or(DEFAULT_MAX_AGE);
        if max_age.as_secs() == 0 {
            problems.push(
                &at.member("set_cookie").member("max_age"),
                "is less than a second",
            );
        }
        let name = cookie.name.or_else(|| CookieName::new(DEFAULT_COOKIE))?;
        place_own_cookie(&mut by, name);
        Some(Sticky {
            by,
            max_age: Some(max_age),
        })
    }

    fn key_source(
        &mut self,
        raw: raw::KeySource,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<KeySource> {
        match raw {
            raw::KeySource::Consumer => Some(KeySource::Consumer),
            raw::KeySource::SourceAddress => Some(KeySource::SourceAddress),
            raw::KeySource::Field(raw::KeyField {
                header: Some(header),
                cookie: None,
            }) => Some(KeySource::Header(self.names.slot(header.as_str()))),
            raw::KeySource::Field(raw::KeyField {
                header: None,
                cookie: Some(cookie),
            }) => Some(KeySource::Cookie(cookie)),
            raw::KeySource::Field(_) => {
                problems.push(at, "expected exactly one of `header` and `cookie`");
                None
            }
        }
    }
}

/// Puts the cookie that responses set where `by` names it, else before the address, which every request has, else last.
fn place_own_cookie(by: &mut Vec<KeySource>, name: CookieName) {
    let named = by
        .iter_mut()
        .find(|source| matches!(source, KeySource::Cookie(other) if *other == name));
    if let Some(source) = named {
        *source = KeySource::OwnCookie(name);
        return;
    }
    let address = by
        .iter()
        .position(|source| matches!(source, KeySource::SourceAddress));
    by.insert(address.unwrap_or(by.len()), KeySource::OwnCookie(name));
}
