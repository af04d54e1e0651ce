//! From the document as it is written to types that cannot be invalid: defaults, and the checks that span fields.

use crate::auth::keys::{Key, KeyTable};
use crate::auth::source::Source;
use crate::auth::{Auth, Consumer, Exempt};
use crate::document::raw::{self, Allow, AuthMode, ByName, Items, Strategy};
use crate::document::read::{At, FirstSeen, Problems, Read, list};
use crate::document::text::{
    ClusterName, CookieName, HeaderName, KeyDigest, Name, RolloutId, Scheme, is_header_value,
};
use crate::document::{
    CommonSlots, Credential, Document, Environment, MODE_HEADER, Rollout, VERSION_HEADER, Variables,
};
use crate::headers::{Names, Slot};
use crate::json::Node;
use crate::secret::Secret;
use crate::sticky::{KeySource, Sticky};
use crate::strategy::Salt;
use crate::time::Duration;

const DEFAULT_ROLLOUT: &str = "default";
const DEFAULT_COOKIE: &str = "switchover";
/// A day: long enough for a canary, short enough to forget it.
const DEFAULT_MAX_AGE: Duration = Duration::from_millis(86_400_000);
/// Where clients of the common APIs put their keys.
const DEFAULT_ACCEPT: [(&str, &str); 3] = [
    ("authorization", "Bearer"),
    ("api-key", ""),
    ("x-api-key", ""),
];

/// What is gathered while rollouts are compiled.
struct Compiler<'a> {
    variables: Variables<'a>,
    names: Names,
    needed: Vec<String>,
}

/// Reads and compiles a document; `None` once a problem has been noted.
pub(super) fn document(
    node: &Node,
    variables: Variables<'_>,
    problems: &mut Problems,
) -> Option<Document> {
    let root = At::Root;
    let mut compiler = Compiler {
        variables,
        names: Names::default(),
        needed: Vec::new(),
    };
    let slots = CommonSlots {
        method: compiler.names.slot(":method"),
        path: compiler.names.slot(":path"),
        authority: compiler.names.slot(":authority"),
        mode: compiler.names.slot(MODE_HEADER),
        cookie: compiler.names.slot("cookie"),
    };
    let rollouts = match raw::Document::read(node, &root, problems)? {
        raw::Document::One(rollout) => vec![compiler.rollout(*rollout, &root, problems)?],
        raw::Document::Many(many) => compiler.rollouts(many, &root.member("rollouts"), problems)?,
    };
    Some(Document {
        rollouts,
        names: compiler.names,
        slots,
        variables: compiler.needed,
    })
}

// === impl Compiler ===

impl Compiler<'_> {
    #[cold]
    #[inline(never)]
    fn rollouts(
        &mut self,
        many: raw::Rollouts,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Vec<Rollout>> {
        let Items(items) = many.rollouts?;
        if items.is_empty() {
            problems.push(at, "is empty: expected at least one rollout");
        }
        let mut rollouts: Vec<(usize, Rollout)> = Vec::new();
        for (index, raw) in items {
            let at = at.item(index);
            let Some(rollout) = self.rollout(raw, &at, problems) else {
                continue;
            };
            if let Some((other, _)) = rollouts.iter().find(|(_, other)| other.id == rollout.id) {
                let message = [
                    "is the same as that of `rollouts[",
                    &other.to_string(),
                    "]`: each needs its own",
                ];
                problems.push(&at.member("rollout"), message.concat());
            }
            if let Some((other, _)) = rollouts.iter().find(|(_, other)| other.fits_all()) {
                let message = [
                    "is never reached: `rollouts[",
                    &other.to_string(),
                    "]` before it fits every request",
                ];
                problems.push(&at, message.concat());
            }
            rollouts.push((index, rollout));
        }
        Some(rollouts.into_iter().map(|(_, rollout)| rollout).collect())
    }

    fn rollout(
        &mut self,
        raw: raw::Rollout,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Rollout> {
        let id = raw.rollout.or_else(|| RolloutId::new(DEFAULT_ROLLOUT))?;
        let auth = self.auth(raw.auth, &at.member("auth"), problems);
        let strategy = raw.strategy.unwrap_or(Strategy::WeightedRoundRobin);
        let sticky = self.sticky(raw.sticky, strategy, &at.member("sticky"), problems);
        let (allow, header) = raw
            .r#override
            .map_or((None, None), |own| (own.allow, own.header));
        let override_header = header.or_else(|| HeaderName::new(MODE_HEADER))?;
        let allow = allow.unwrap_or(Allow::Nobody);
        if allow == Allow::Consumers
            && auth
                .as_ref()
                .is_some_and(|auth| auth.mode != AuthMode::Replace)
        {
            let message = "lets verified consumers name the environment, and only `auth.mode` `replace` verifies any";
            problems.push(&at.member("override").member("allow"), message);
        }
        let rules = raw
            .r#match
            .map_or((None, None), |rules| (rules.hosts, rules.path_prefix));
        let (hosts, path_prefix) = rules;
        if hosts.as_ref().is_some_and(|Items(hosts)| hosts.is_empty()) {
            problems.push(
                &at.member("match").member("hosts"),
                "is empty: leave it out to fit every host",
            );
        }
        let routing = at.member("routing");
        let (environments, weights) = self.environments(raw.routing?, &id, &routing, problems)?;
        let stable = stable(raw.stable, &environments, &at.member("stable"), problems)?;
        let mut credential_headers: Vec<(HeaderName, Slot)> = Vec::new();
        for header in environments
            .iter()
            .filter_map(|environment| environment.credential.as_ref())
        {
            let header = header.header.clone();
            if credential_headers.iter().all(|(other, _)| *other != header) {
                let slot = self.names.slot(header.as_str());
                credential_headers.push((header, slot));
            }
        }
        if let Some((identity, _)) = auth.as_ref().and_then(|auth| auth.identity.as_ref())
            && credential_headers
                .iter()
                .any(|(header, _)| header == identity)
        {
            let message = "carries an environment's credential already: choose another";
            problems.push(&at.member("auth").member("identity_header"), message);
        }
        Some(Rollout {
            id,
            stable,
            environments,
            weights,
            strategy,
            sticky: sticky?,
            override_slot: self.names.slot(override_header.as_str()),
            override_header,
            allow,
            auth: auth?,
            attempts: raw.attempts.unwrap_or(false),
            rollback: raw.rollback.unwrap_or(false),
            resume: raw.resume.map_or(0, |count| count.0),
            hosts: hosts.map(values).unwrap_or_default(),
            path_prefix,
            response_headers: raw.response_headers.unwrap_or(true),
            credential_headers,
        })
    }

    #[cold]
    #[inline(never)]
    fn environments(
        &mut self,
        ByName(raw): ByName<raw::Environment>,
        rollout: &RolloutId,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<(Vec<Environment>, Vec<u32>)> {
        let salt = Salt::new(rollout.as_str());
        let mut environments = Vec::new();
        let mut weights = Vec::new();
        let mut taken: Vec<(ClusterName, Name)> = Vec::new();
        let complete = raw
            .iter()
            .all(|(_, environment)| environment.weight.is_some());
        for (name, raw) in raw {
            let at = at.member(name.as_str());
            let clusters = clusters(
                raw.clusters,
                &name,
                &mut taken,
                &at.member("clusters"),
                problems,
            );
            let credential = raw
                .credential
                .map(|raw| self.credential(raw, &at.member("credential"), problems));
            weights.push(raw.weight.map_or(0, |weight| weight.0));
            let hasher = salt.hasher(name.as_str());
            environments.push(Environment {
                name: name.clone(),
                version: raw.version,
                clusters,
                credential: credential.flatten(),
                hasher,
            });
        }
        if environments.is_empty() {
            problems.push(at, "has no valid environment: expected at least one");
            return None;
        }
        if complete && weights.iter().all(|weight| *weight == 0) {
            problems.push(
                at,
                "has only weights of 0: at least one environment needs more",
            );
        }
        Some((environments, weights))
    }

    #[cold]
    #[inline(never)]
    fn credential(
        &mut self,
        raw: raw::Credential,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<Credential> {
        let header = raw.header.or_else(|| HeaderName::new("authorization"))?;
        if [MODE_HEADER, VERSION_HEADER].contains(&header.as_str()) {
            problems.push(
                &at.member("header"),
                "is a header that Switchover writes itself: choose another",
            );
        }
        let scheme = raw.scheme.or_else(|| Scheme::new("Bearer"))?;
        let value = match (raw.value, raw.env) {
            (Some(value), None) => value,
            (None, Some(variable)) => {
                self.variable(variable.as_str(), &at.member("env"), problems)?
            }
            (None, None) => {
                problems.push(at, "expected one of `value` and `env`, found neither");
                return None;
            }
            (Some(_), Some(_)) => {
                problems.push(at, "expected one of `value` and `env`, found both");
                return None;
            }
        };
        let separator: &[u8] = if scheme.as_str().is_empty() {
            b""
        } else {
            b" "
        };
        let whole = [scheme.as_str().as_bytes(), separator, value.expose()].concat();
        Some(Credential {
            header,
            value: Secret::new(whole),
        })
    }

    fn variable(&mut self, name: &str, at: &At<'_>, problems: &mut Problems) -> Option<Secret> {
        if self.needed.iter().all(|other| other != name) {
            self.needed.push(name.to_owned());
        }
        let Some(value) = (self.variables)(name) else {
            let message = [
                "the environment variable `",
                name,
                "` is not set in the VM (`environment_variables`)",
            ];
            problems.push(at, message.concat());
            return None;
        };
        let value = value.trim_ascii();
        if !is_header_value(value.as_bytes()) {
            let message = [
                "the environment variable `",
                name,
                "` is empty or holds characters that no header may hold",
            ];
            problems.push(at, message.concat());
            return None;
        }
        Some(Secret::new(value.as_bytes()))
    }

    #[cold]
    #[inline(never)]
    fn sticky(
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

    #[cold]
    #[inline(never)]
    fn auth(
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

fn stable(
    named: Option<Name>,
    environments: &[Environment],
    at: &At<'_>,
    problems: &mut Problems,
) -> Option<usize> {
    let find = |name: &str| {
        environments
            .iter()
            .position(|environment| environment.name.as_str() == name)
    };
    let Some(name) = named else {
        return Some(find("blue").unwrap_or(0));
    };
    let index = find(name.as_str());
    if index.is_none() {
        let names = list(
            environments
                .iter()
                .map(|environment| environment.name.as_str()),
        );
        problems.push(at, ["names no environment: expected ", &names].concat());
    }
    index
}

fn clusters(
    raw: Option<Items<ClusterName>>,
    environment: &Name,
    taken: &mut Vec<(ClusterName, Name)>,
    at: &At<'_>,
    problems: &mut Problems,
) -> Vec<ClusterName> {
    let clusters = match raw {
        Some(Items(clusters)) => clusters,
        None => ClusterName::new(environment.as_str())
            .map(|name| (0, name))
            .into_iter()
            .collect(),
    };
    for (index, cluster) in &clusters {
        if let Some((_, other)) = taken.iter().find(|(name, _)| name == cluster) {
            let message = [
                "the cluster `",
                cluster.as_str(),
                "` belongs to environment `",
                other.as_str(),
                "` already",
            ];
            problems.push(&at.item(*index), message.concat());
        }
        taken.push((cluster.clone(), environment.clone()));
    }
    values(Items(clusters))
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

fn values<T>(Items(items): Items<T>) -> Vec<T> {
    items.into_iter().map(|(_, item)| item).collect()
}
