//! Credentials: where clients put them, and whose they are.

use crate::auth::keys::{Key, KeyTable};
use crate::auth::source::Source;
use crate::auth::{Auth, Consumer, Exempt};
use crate::document::compile::{Compiler, models};
use crate::document::raw::{self, AuthMode, Items};
use crate::document::read::{At, FirstSeen, Problems};
use crate::document::text::{HeaderName, KeyDigest, Scheme};
use crate::document::{MODE_HEADER, VERSION_HEADER};
use crate::models::Models;
use crate::models::limits::Limits;

/// Where clients of the common APIs put their keys.
const DEFAULT_ACCEPT: [(&str, &str); 3] = [
    ("authorization", "Bearer"),
    ("api-key", ""),
    ("x-api-key", ""),
];

impl Compiler<'_> {
    #[cold]
    #[inline(never)]
    pub(super) fn auth(
        &mut self,
        raw: Option<raw::Auth>,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Auth> {
        let raw = raw.unwrap_or(raw::Auth {
            mode: None,
            accept: None,
            consumers: None,
            identity_header: None,
            exempt: None,
        });
        let mode = raw.mode.unwrap_or(AuthMode::Pass);
        let accept = match raw.accept {
            Some(raw) => self.accept(raw, mode, &at.member("accept"), problems),
            None => DEFAULT_ACCEPT
                .iter()
                .filter_map(|(name, scheme)| self.header_source(name, scheme))
                .collect(),
        };
        if mode == AuthMode::Replace
            && raw
                .consumers
                .as_ref()
                .is_none_or(|Items(consumers)| consumers.is_empty())
        {
            problems.push(
                &at.member("consumers"),
                "`replace` needs at least one consumer: nobody could pass",
            );
        }
        let (consumers, keys) = consumers(raw.consumers, &at.member("consumers"), problems);
        let identity = raw.identity_header.map(|name| {
            let slot = self.names.slot(name.as_str());
            let is_source = |source: &Source| matches!(source, Source::Header { name: own, .. } if *own == name);
            if accept.iter().any(is_source) || [MODE_HEADER, VERSION_HEADER].contains(&name.as_str()) {
                problems.push(&at.member("identity_header"), "has another use already (credentials or environment): choose another");
            }
            (name, slot)
        });
        let mut exempt = Vec::new();
        for (index, raw) in raw.exempt.map(|Items(items)| items).unwrap_or_default() {
            if raw.method.is_none() && raw.path.is_none() {
                problems.push(
                    &at.member("exempt").item(index),
                    "expected at least one of `method` and `path`",
                );
            }
            exempt.push(Exempt {
                method: raw.method,
                path: raw.path,
            });
        }
        Some(Auth {
            mode,
            accept,
            keys,
            consumers,
            identity,
            exempt,
        })
    }

    fn header_source(&mut self, name: &str, scheme: &str) -> Option<Source> {
        Some(Source::Header {
            slot: self.names.slot(name),
            name: HeaderName::new(name)?,
            scheme: Scheme::new(scheme)?,
        })
    }

    #[cold]
    #[inline(never)]
    fn accept(
        &mut self,
        Items(raw): Items<raw::Source>,
        mode: AuthMode,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Vec<Source> {
        if raw.is_empty() {
            problems.push(at, "is empty: expected at least one source");
        }
        let mut sources: Vec<(usize, Source)> = Vec::new();
        for (index, raw) in raw {
            let at = at.item(index);
            let source = match (raw.header, raw.query, raw.scheme) {
                (Some(name), None, scheme) => {
                    self.header_source(name.as_str(), scheme.as_ref().map_or("", Scheme::as_str))
                }
                (None, Some(name), None) => Some(Source::Query { name }),
                (None, Some(_), Some(_)) => {
                    problems.push(&at.member("scheme"), "only a header has a scheme");
                    None
                }
                _ => {
                    problems.push(&at, "expected exactly one of `header` and `query`");
                    None
                }
            };
            let Some(source) = source else { continue };
            if let Some((other, _)) = sources.iter().find(|(_, other)| overlap(other, &source)) {
                problems.push(
                    &at,
                    [
                        "overlaps with `accept[",
                        &other.to_string(),
                        "]`: both would read the same place",
                    ]
                    .concat(),
                );
            }
            if index == 0 && mode == AuthMode::Normalize && matches!(source, Source::Query { .. }) {
                problems.push(
                    &at,
                    "`normalize` writes credentials in this first form: expected a header",
                );
            }
            sources.push((index, source));
        }
        sources.into_iter().map(|(_, source)| source).collect()
    }
}

impl Auth {
    /// Notes consumers whose models or limits need `models`.
    pub(super) fn note_models(&self, at: &At<'_>, problems: &mut Problems) {
        let mut consumers = self.consumers.iter();
        let needy = consumers.find(|own| own.models.is_some() || own.limits.is_some());
        if let Some(consumer) = needy {
            let name = consumer.name.as_str();
            let message = [
                "is missing, and the consumer `",
                name,
                "` has `models` or `limits`",
            ];
            problems.push(at, message.concat());
        }
    }

    /// Notes rules for consumers where there are none that are verified.
    pub(super) fn note_unverified(&self, models: &Models, at: &At<'_>, problems: &mut Problems) {
        if self.mode == AuthMode::Replace {
            return;
        }
        if models.limits.is_some() {
            let message = "limits verified consumers, and only `auth.mode` `replace` verifies any";
            problems.push(&at.member("models").member("limits"), message);
        }
        let mut consumers = self.consumers.iter();
        let bound = consumers.find(|own| own.models.is_some() || own.limits.is_some());
        if let Some(consumer) = bound {
            let message = [
                "must be `replace` where a consumer, here `",
                consumer.name.as_str(),
                "`, has `models` or `limits`: no other mode verifies any",
            ];
            problems.push(&at.member("auth").member("mode"), message.concat());
        }
    }

    /// Whether a consumer's limits are of what only answers tell.
    pub(super) fn needs_usage(&self) -> bool {
        let mut limits = self
            .consumers
            .iter()
            .filter_map(|own| own.limits.as_deref());
        limits.any(Limits::need_usage)
    }
}

/// Whether two sources may read the same credential: a header without a scheme reads what another reads with one.
fn overlap(left: &Source, right: &Source) -> bool {
    match (left, right) {
        (
            Source::Header { name, scheme, .. },
            Source::Header {
                name: other,
                scheme: other_scheme,
                ..
            },
        ) => {
            let (scheme, other_scheme) = (scheme.as_str(), other_scheme.as_str());
            name == other
                && (scheme.is_empty()
                    || other_scheme.is_empty()
                    || scheme.eq_ignore_ascii_case(other_scheme))
        }
        (Source::Query { name }, Source::Query { name: other }) => name == other,
        _ => false,
    }
}

#[cold]
#[inline(never)]
fn consumers(
    raw: Option<Items<raw::Consumer>>,
    at: &At<'_>,
    problems: &mut Problems,
) -> (Vec<Consumer>, KeyTable) {
    let raw = raw.map(|Items(items)| items).unwrap_or_default();
    let count = raw
        .iter()
        .filter_map(|(_, consumer)| consumer.keys.as_ref())
        .map(|Items(keys)| keys.len())
        .sum();
    let mut table = KeyTable::with_capacity(count);
    let mut consumers: Vec<Consumer> = Vec::with_capacity(raw.len());
    note_same_names(&raw, at, problems);
    for (index, raw) in raw {
        let at = at.item(index);
        for (key_index, key) in raw
            .keys
            .map(|keys| non_empty(keys, &at.member("keys"), problems))
            .unwrap_or_default()
        {
            let at = at.member("keys");
            insert_key(
                &key,
                consumers.len(),
                &mut table,
                &at.item(key_index),
                problems,
            );
        }
        let Some(name) = raw.name else { continue };
        consumers.push(Consumer {
            name,
            may_override: raw.r#override.unwrap_or(false),
            models: models::allowed(raw.models, &at.member("models"), problems),
            limits: models::limits(raw.limits, &at.member("limits"), problems).map(Box::new),
        });
    }
    (consumers, table)
}

fn note_same_names(consumers: &[(usize, raw::Consumer)], at: &At<'_>, problems: &mut Problems) {
    let mut seen = FirstSeen::new();
    for (index, name) in consumers
        .iter()
        .filter_map(|(index, consumer)| Some((index, consumer.name.as_ref()?)))
    {
        let first = *seen.entry(name.as_str()).or_insert(*index);
        if first != *index {
            let message = [
                "is the same as that of `consumers[",
                &first.to_string(),
                "]`: each needs its own",
            ];
            problems.push(&at.item(*index).member("name"), message.concat());
        }
    }
}

fn non_empty<T>(Items(items): Items<T>, at: &At<'_>, problems: &mut Problems) -> Vec<(usize, T)> {
    if items.is_empty() {
        problems.push(at, "is empty: expected at least one");
    }
    items
}

fn insert_key(
    raw: &raw::Key,
    consumer: usize,
    table: &mut KeyTable,
    at: &At<'_>,
    problems: &mut Problems,
) {
    if let (Some(from), Some(until)) = (raw.not_before, raw.not_after)
        && from >= until
    {
        problems.push(
            &at.member("not_after"),
            "is not after `not_before`: the key would never be good",
        );
    }
    let Some(KeyDigest(digest)) = raw.sha256 else {
        return;
    };
    let key = Key {
        digest,
        consumer,
        not_before: raw.not_before,
        not_after: raw.not_after,
    };
    if table.insert(key).is_err() {
        problems.push(
            &at.member("sha256"),
            "is there already, for this or another consumer",
        );
    }
}
